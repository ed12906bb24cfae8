"""Brax's own PPO: one endless run, of which a call trains the next epoch.

`train` compiles anew whenever it is called, so it is called once, in a thread that waits after every epoch.
"""

import functools
import math
import os
import queue
import threading
import warnings

import jax
from worker import serve

EPOCHS = 10_000  # more than anyone asks for


def make(work):
    """One call trains on, for all the rounds of the work, and only for one seed."""
    # Its pmap over one device per core took two thirds of the time of one device; each needs its part of a minibatch.
    batch_size = work["num_envs"] // work["num_minibatches"]
    jax.config.update("jax_num_cpu_devices", math.gcd(len(os.sched_getaffinity(0)), batch_size))
    return in_turns(make_training(work), epoch_steps(work))


def make_training(work):
    """Its `train`, whose every epoch does all the rounds of the work."""
    warnings.simplefilter("ignore")
    from brax import envs
    from brax.training.agents.ppo import networks
    from brax.training.agents.ppo.train import train
    from flax import linen

    sizes = {f"{network}_hidden_layer_sizes": (work["width"],) * 2 for network in ("policy", "value")}
    gaussian = {"distribution_type": "normal", "noise_std_type": "log"}  # one scale for all states, as in the others
    return functools.partial(
        train,
        envs.get_environment(work["env"].partition("/")[2], backend="spring"),
        num_timesteps=EPOCHS * epoch_steps(work),
        num_evals=EPOCHS + 1,
        run_evals=False,
        episode_length=1000,
        num_envs=work["num_envs"],
        unroll_length=work["num_steps"],
        batch_size=work["num_envs"] // work["num_minibatches"],
        num_minibatches=work["num_minibatches"],
        num_updates_per_batch=work["num_epochs"],
        normalize_observations=True,
        learning_rate=3e-4,
        entropy_cost=0.0,
        discounting=0.99,
        clipping_epsilon=0.2,
        clipping_epsilon_value=0.2,
        max_grad_norm=0.5,
        network_factory=functools.partial(networks.make_ppo_networks, activation=linen.tanh, **sizes, **gaussian),
    )


def epoch_steps(work):
    """Environment steps of an epoch."""
    return work["updates"] * work["num_envs"] * work["num_steps"]


def in_turns(train, steps_of_epoch):
    """A function that lets `train` do one epoch and waits for its end."""
    turns, ends = queue.Queue(), queue.Queue()

    def pause(steps, *_):  # before the first epoch and after each
        ends.put(steps)
        turns.get()

    def run():
        try:
            train(policy_params_fn=pause)
        except BaseException as error:
            ends.put(error)

    def wait(expected):
        steps = ends.get()
        if isinstance(steps, BaseException):
            raise steps
        assert steps == expected, f"{steps} steps were done instead of {expected}"

    def call():
        nonlocal done
        done += steps_of_epoch
        turns.put(None)
        wait(done)

    done = 0
    threading.Thread(target=run, daemon=True).start()
    wait(done)
    return call


if __name__ == "__main__":
    serve(make, "brax", compiling_calls=2)  # the second epoch compiles again, all later ones do not
