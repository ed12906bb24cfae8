"""Run by test_processes.py in each process of a job: number of the process, their number, port, folder."""

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import toys
from on_eight_devices import keeping_its_key

import rpo_jax
from rpo_jax import Checkpoints, Evaluation, fit, grid, seeds, sweep
from rpo_jax.cli.main import main
from rpo_jax.errors import LostProcessError, SettingsError
from rpo_jax.execution.fit import Progress

UPDATES = 6
OnProgress = Callable[[Progress], object]
NAME = "mine/reaching"  # of an environment
SIZES: dict[str, Any] = toys.TINY | {"num_envs": 16, "total_timesteps": UPDATES * 16 * 8}
# As many runs and episodes as of `many_runs`, so that its programs serve both.
RUNS = ["--num-seeds=3", "--num-evaluations=1", "--evaluation-episodes=3", "--no-compilation-cache"]
COMMAND = ["train", NAME, *(f"--{name}={value}" for name, value in (SIZES | {"hidden_sizes": 8}).items()), *RUNS]
Found = dict[str, Any]


def settings(count: int = 2) -> rpo_jax.Hyperparams:
    return grid(rpo_alpha=[0.3, 0.1, 0.2][:count], learning_rate=[3e-3])


ENVIRONMENTS = {
    "host": toys.host_env,
    "with a key": functools.partial(keeping_its_key, own=False),
}


@contextlib.contextmanager
def known_by_name() -> Iterator[None]:
    """The command and `agent` have the same agent of the environment `NAME`."""
    with pytest.MonkeyPatch.context() as patch, toys.agents_of_specs_shared():
        toys.forget_names(patch)
        rpo_jax.register("environment", NAME, toys.reaching_env)
        yield


def agent() -> rpo_jax.Agent:
    return rpo_jax.make_spec(NAME, **SIZES).agent()


@functools.cache
def other_agent(env: str, num_envs: int = 12) -> rpo_jax.Agent:
    return toys.tiny_agent(rpo_jax.RPO, ENVIRONMENTS[env](), updates=UPDATES, num_envs=num_envs)


def shared_run(folder: Path, on_progress: OnProgress = lambda progress: None) -> rpo_jax.Fit:
    """One run, whose environments are shared by the processes."""
    return fit(other_agent("with a key"), grid(), seeds(0, 1), on_progress, checkpoints=Checkpoints(folder / "shared"))


def many_runs(on_progress: OnProgress = lambda progress: None, num_seeds: int = 1) -> rpo_jax.Fit:
    """Three settings, and three runs in a call."""
    evaluation = Evaluation(2, 3, jax.random.key(5))
    return fit(agent(), settings(3), seeds(0, num_seeds), on_progress, runs_at_once=3, evaluation=evaluation)


def runs_on_the_host() -> rpo_jax.Fit:
    return fit(other_agent("host"), settings(), seeds(0, 2))


def everything(result: rpo_jax.Fit) -> Found:
    returns = result.evaluated.returns if result.evaluated else np.zeros(0)
    params = [np.asarray(x).reshape(*x.shape[:2], -1) for x in jax.tree.leaves(result.state.params)]
    return {**result.metrics, "params": np.concatenate(params, -1), "obs": result.state.obs, "returns": returns}


def named(name: str, found: Found) -> Found:
    return {f"{name}/{key}": x for key, x in found.items()}


def message_of(function: Callable[..., object], *args: object) -> np.ndarray:
    with contextlib.suppress(ZeroDivisionError):
        try:
            function(*args)
        except (SettingsError, LostProcessError) as error:
            return np.array(str(error))
    return np.array("")


def in_three(number: int, folder: Path) -> Found:
    def stop(_: Progress) -> None:
        if number == 2:
            signal.raise_signal(signal.SIGTERM)

    stopped = shared_run(folder, stop)
    assert stopped.interrupted
    idle = message_of(fit, other_agent("with a key", num_envs=2), grid(), seeds(0, 1))
    return {"idle": idle, **named("stopped", everything(stopped))}


def in_two(number: int, folder: Path) -> Found:
    def fail(_: Progress) -> None:
        if number == 1:
            raise ZeroDivisionError

    def die(_: Progress) -> None:
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    rest = shared_run(folder, lambda progress: progress.updates < 4)
    found = {"from": np.array(rest.resumed_from), **named("resumed", everything(rest))}
    found |= named("runs", everything(many_runs())) | named("host", everything(runs_on_the_host()))
    states, metrics = sweep(agent(), settings(), seeds(0, 2))
    found |= named("sweep", {**metrics, "obs": states.obs})
    found["failed"] = message_of(many_runs, fail)
    found["others"] = message_of(fit, agent(), grid(gamma=[0.9 if number else 0.8]), seeds(0, 4))
    np.savez(folder / f"2-{number}.npz", **found)
    return found | {"lost": message_of(many_runs, die)}


if __name__ == "__main__":
    number, count, port, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    jax.config.update("jax_num_cpu_devices", 1)
    with toys.compiled_with(toys.QUICK), known_by_name():
        if count == 3:
            jax.distributed.initialize(f"localhost:{port}", count, number)
            found = in_three(number, folder)
        else:
            command = [*COMMAND, "--out", str(folder / "run"), "--distributed", f"localhost:{port},{count},{number}"]
            assert main(command) == 0
            found = in_two(number, folder)
    np.savez(folder / f"{count}-{number}.npz", **found)
    sys.stdout.flush()
    os._exit(0)  # JAX would wait for the one that was killed
