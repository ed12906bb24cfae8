"""The published RPO program, transcribed to measure what preset `paper` does differently.

It is CleanRL's `rpo_continuous_action.py` with the wrappers of gym 0.23, step by step, and shares nothing with what
rpo_jax trains by. The environment is gymnax's; sums are of float32, where the wrappers have float64. A run has one
environment; alphas and seeds are vmapped.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from rich.console import Console
from rich.progress import track

from recording import Row
from rpo_jax.files import plain
from rpo_jax.runs.summary import final_values
from study import scale_of, thinned

STEPS, EPOCHS, MINIBATCHES = 2048, 10, 32
HIDDEN = 64
GAMMA, LAMBDA = 0.99, 0.95
LEARNING_RATE, ADAM_EPSILON = 3e-4, 1e-5
CLIP_EPSILON, VALUE_COEFFICIENT, MAX_GRAD_NORM = 0.2, 0.5, 0.5
BOUND = 10.0  # of normalised observations and scaled rewards

Layer = tuple[jax.Array, jax.Array]  # weights [I, J] and biases [J]
Params = Mapping[str, Any]  # policy and value: three layers each; log_scale [A]


class Moments(NamedTuple):
    """Running mean and variance [...], and the number of samples []."""

    mean: jax.Array
    variance: jax.Array
    num_samples: jax.Array


class Play(NamedTuple):
    """A run's environment and its wrappers.

    Attributes:
        state: of the environment.
        obs: to act on next, normalised [O].
        done: whether it is the first one of an episode that follows another [].
        obs_moments: of observations.
        discounted_return: of the episode so far [].
        return_moments: of discounted returns.
        episode_return: undiscounted return of the episode so far [].
    """

    state: Any
    obs: jax.Array
    done: jax.Array
    obs_moments: Moments
    discounted_return: jax.Array
    return_moments: Moments
    episode_return: jax.Array


class Step(NamedTuple):
    """What is stored of a step; `done` is of the step before, `ended` the return of an episode that ended, or NaN."""

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    done: jax.Array
    ended: jax.Array


class Learner(NamedTuple):
    """All parameters in one vector [P], Adam's moments of the gradient, and the number of its steps."""

    weights: jax.Array
    first: jax.Array
    second: jax.Array
    num_steps: jax.Array


class Trained(NamedTuple):
    """Results of H alphas and S seeds.

    Attributes:
        metrics: episode_return (NaN where none ended) and entropy of U updates [H, S, U].
        params: leaves [H, S, ...].
        seconds: time, compilation included.
    """

    metrics: dict[str, np.ndarray]
    params: Params
    seconds: float


def record(env: str, alphas: Sequence[float], seeds: Sequence[int], total_timesteps: int) -> Row:
    """Trains as `train` does, and returns what is kept of it, as `study.record` does.

    Args:
        env: such as "gymnax/Pendulum-v1".
        alphas: as of `train`.
        seeds: as of `train`.
        total_timesteps: as of `train`.
    """
    trained = train(env.removeprefix("gymnax/"), alphas, seeds, total_timesteps)
    updates = trained.metrics["entropy"].shape[-1]
    diverged = ~np.isfinite(trained.metrics["entropy"][..., -1])  # and its last returns are of before
    returns = np.where(diverged, np.nan, final_values(trained.metrics["episode_return"], updates))
    return {
        "summary": {
            "env": env,
            "variant": "rpo",
            "head": "normal",
            "time_limit": "terminate",
            "seeds": list(seeds),
            "settings": [{"rpo_alpha": alpha, "entropy_coefficient": 0.0} for alpha in alphas],
            "total_timesteps": updates * STEPS,
            "final_return": plain(returns.tolist()),
            "final_entropy": plain(final_values(trained.metrics["entropy"], updates).tolist()),
            "train_seconds": round(trained.seconds, 1),
        },
        **thinned(trained.metrics, STEPS),
        **scale_of(trained.params),
    }


def train(env_id: str, alphas: Sequence[float], seeds: Sequence[int], total_timesteps: int) -> Trained:
    """Trains every alpha with every seed.

    Args:
        env_id: of gymnax, such as "Pendulum-v1".
        alphas: bounds of the perturbation, in action units; 0 is PPO.
        seeds: of random numbers.
        total_timesteps: environment steps of every run.
    """
    began = time.perf_counter()
    env, constants = gymnax.make(env_id)
    obs_size, action_size = env.observation_space(constants).shape[0], env.action_space(constants).shape[0]
    initial = [initial_params(seed, obs_size, action_size) for seed in seeds]
    _, as_params = ravel_pytree(initial[0])
    weights = jnp.stack([ravel_pytree(params)[0] for params in initial])
    keys = jax.vmap(jax.random.key)(jnp.array(seeds))

    def begin(weights: jax.Array, key: jax.Array) -> tuple[Play, Learner]:
        zeros = jnp.zeros_like(weights)
        return begin_play(env, constants, key), Learner(weights, zeros, zeros, jnp.zeros(()))

    def update(alpha: jax.Array, run: tuple[Play, Learner], key: jax.Array, index: jax.Array, left: jax.Array):
        key_play, key_learn = jax.random.split(jax.random.fold_in(key, index))
        play, steps = rollout(env, constants, as_params(run[1].weights), run[0], key_play)
        learner, entropy = learn(as_params, run[1], play, steps, alpha, LEARNING_RATE * left, key_learn)
        return (play, learner), {"episode_return": jnp.nanmean(steps.ended), "entropy": entropy}

    of_seeds = jax.vmap(update, (None, 0, 0, None, None))
    updates = jax.jit(jax.vmap(of_seeds, (0, 0, None, None, None)))
    runs = jax.vmap(lambda _: jax.vmap(begin)(weights, keys))(jnp.array(alphas))
    total, rows = total_timesteps // STEPS, []
    for index in track(range(total), "published program", console=Console(stderr=True)):
        runs, row = updates(jnp.array(alphas), runs, keys, 1 + index, 1 - index / total)
        rows.append(jax.device_get(row))
    metrics = {name: np.stack([row[name] for row in rows], -1) for name in rows[0]}
    return Trained(metrics, jax.vmap(jax.vmap(as_params))(runs[1].weights), time.perf_counter() - began)


def initial_params(seed: int, obs_size: int, action_size: int) -> Params:
    """Orthogonal weights, of gains sqrt(2), and 0.01 for the mean and 1 for the value; no biases, sigma 1."""
    random = np.random.default_rng(seed)

    def layer(inputs: int, outputs: int, gain: float) -> Layer:
        q, r = np.linalg.qr(random.normal(size=(max(inputs, outputs), min(inputs, outputs))))
        q *= np.sign(np.diag(r))
        return jnp.array(gain * (q if inputs >= outputs else q.T), jnp.float32), jnp.zeros(outputs)

    def layers(outputs: int, gain: float) -> list[Layer]:
        return [layer(obs_size, HIDDEN, 2**0.5), layer(HIDDEN, HIDDEN, 2**0.5), layer(HIDDEN, outputs, gain)]

    return {"policy": layers(action_size, 0.01), "value": layers(1, 1.0), "log_scale": jnp.zeros(action_size)}


def apply(layers: Sequence[Layer], x: jax.Array) -> jax.Array:
    """Outputs of a tanh network [..., J] for inputs [..., I]."""
    for weights, biases in layers[:-1]:
        x = jnp.tanh(x @ weights + biases)
    weights, biases = layers[-1]
    return x @ weights + biases


def log_density(action: jax.Array, mean: jax.Array, log_scale: jax.Array) -> jax.Array:
    """Log-density of actions [..., A] under a normal policy, [...]."""
    z = (action - mean) / jnp.exp(log_scale)
    return jnp.sum(-0.5 * z**2 - log_scale - 0.5 * jnp.log(2 * jnp.pi), -1)


def nothing_seen(shape: tuple[int, ...] = ()) -> Moments:
    """Moments before any sample, which count as 1e-4 samples."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.array(1e-4))


def seen(moments: Moments, sample: jax.Array) -> Moments:
    """Moments with one more sample [...]."""
    total = moments.num_samples + 1
    delta = sample - moments.mean
    variance = (moments.variance + delta**2 / total) * (moments.num_samples / total)
    return Moments(moments.mean + delta / total, variance, total)


def scaled(x: jax.Array, moments: Moments) -> jax.Array:
    """`x` over the running standard deviation, clipped."""
    return jnp.clip(x / jnp.sqrt(moments.variance + 1e-8), -BOUND, BOUND)


def begin_play(env: Any, constants: Any, key: jax.Array) -> Play:
    """Begins the first episode."""
    obs, state = env.reset_env(key, constants)
    moments = seen(nothing_seen(obs.shape), obs)
    zero = jnp.zeros(())
    return Play(state, scaled(obs - moments.mean, moments), zero, moments, zero, nothing_seen(), zero)


def rollout(env: Any, constants: Any, params: Params, play: Play, key: jax.Array) -> tuple[Play, Step]:
    """Plays `STEPS` steps with the unperturbed policy; every step updates the moments before they are used."""
    space = env.action_space(constants)

    def step(play: Play, key: jax.Array) -> tuple[Play, Step]:
        key_noise, key_step, key_reset = jax.random.split(key, 3)
        mean = apply(params["policy"], play.obs)
        action = mean + jnp.exp(params["log_scale"]) * jax.random.normal(key_noise, mean.shape)
        inside = jnp.clip(action, space.low, space.high)
        obs, state, reward, terminated, _ = env.step_env(key_step, play.state, inside, constants)
        done = terminated | env.is_truncated(state, constants)
        episode_return = play.episode_return + reward
        discounted_return = GAMMA * play.discounted_return + reward
        return_moments = seen(play.return_moments, discounted_return)

        # The last observation of an episode counts, and then so does the first of the next one.
        moments = seen(play.obs_moments, obs)
        first, fresh = env.reset_env(key_reset, constants)
        state, obs, moments = jax.tree.map(
            partial(jnp.where, done), (fresh, first, seen(moments, first)), (state, obs, moments)
        )
        stored = Step(
            obs=play.obs,
            action=action,
            log_prob=log_density(action, mean, params["log_scale"]),
            reward=scaled(reward, return_moments),
            done=play.done,
            ended=jnp.where(done, episode_return, jnp.nan),
        )
        left = 1.0 - done
        after = Play(
            state=state,
            obs=scaled(obs - moments.mean, moments),
            done=1.0 * done,
            obs_moments=moments,
            discounted_return=left * discounted_return,
            return_moments=return_moments,
            episode_return=left * episode_return,
        )
        return after, stored

    return jax.lax.scan(step, play, jax.random.split(key, STEPS))


def advantages_of(rewards: jax.Array, values: jax.Array, dones: jax.Array) -> jax.Array:
    """Generalised advantages [T].

    Args:
        rewards: scaled rewards [T].
        values: of the observations, and of the one after the last [T + 1].
        dones: whether these are the first of an episode that follows another [T + 1].
    """

    def step(advantage: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        reward, value, next_value, next_done = inputs
        delta = reward + GAMMA * next_value * (1 - next_done) - value
        advantage = delta + GAMMA * LAMBDA * (1 - next_done) * advantage
        return advantage, advantage

    inputs = (rewards, values[:-1], values[1:], dones[1:])
    return jax.lax.scan(step, jnp.zeros(()), inputs, reverse=True)[1]


class Minibatch(NamedTuple):
    """Samples [B, ...] with the perturbation of their means."""

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    value: jax.Array
    shift: jax.Array


def loss_of(params: Params, batch: Minibatch) -> jax.Array:
    """The loss of a minibatch []."""
    mean = apply(params["policy"], batch.obs) + batch.shift
    ratio = jnp.exp(log_density(batch.action, mean, params["log_scale"]) - batch.log_prob)
    advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std(ddof=1) + 1e-8)
    clipped = jnp.clip(ratio, 1 - CLIP_EPSILON, 1 + CLIP_EPSILON)
    policy_loss = jnp.maximum(-advantage * ratio, -advantage * clipped).mean()
    target = batch.advantage + batch.value
    value = apply(params["value"], batch.obs)[..., 0]
    near = batch.value + jnp.clip(value - batch.value, -CLIP_EPSILON, CLIP_EPSILON)
    value_loss = 0.5 * jnp.maximum((value - target) ** 2, (near - target) ** 2).mean()
    return policy_loss + VALUE_COEFFICIENT * value_loss


def descend(learner: Learner, gradient: jax.Array, rate: jax.Array) -> Learner:
    """A step of Adam with the gradient [P], scaled down to a norm of at most `MAX_GRAD_NORM`."""
    gradient *= jnp.minimum(1.0, MAX_GRAD_NORM / (jnp.linalg.norm(gradient) + 1e-6))
    count = learner.num_steps + 1
    first = 0.9 * learner.first + 0.1 * gradient
    second = 0.999 * learner.second + 0.001 * gradient**2
    direction = first / (1 - 0.9**count) / (jnp.sqrt(second / (1 - 0.999**count)) + ADAM_EPSILON)
    return Learner(learner.weights - rate * direction, first, second, count)


def learn(
    as_params: Any, learner: Learner, play: Play, steps: Step, alpha: jax.Array, rate: jax.Array, key: jax.Array
) -> tuple[Learner, jax.Array]:
    """All epochs of an update; returns the mean entropy of the policy over its minibatches too.

    Args:
        as_params: makes the parameters of a vector.
        learner: before the update.
        play: after the rollout.
        steps: of the rollout [T, ...].
        alpha: bound of the perturbation [].
        rate: learning rate [].
        key: of shuffles and perturbations.
    """
    values = apply(as_params(learner.weights)["value"], jnp.concatenate([steps.obs, play.obs[None]]))[:, 0]
    advantages = advantages_of(steps.reward, values, jnp.append(steps.done, play.done))

    def minibatch(learner: Learner, batch: Minibatch) -> tuple[Learner, jax.Array]:
        gradient = jax.grad(lambda weights: loss_of(as_params(weights), batch))(learner.weights)
        log_scale = as_params(learner.weights)["log_scale"]
        return descend(learner, gradient, rate), jnp.sum(log_scale + 0.5 * jnp.log(2 * jnp.pi * jnp.e))

    def epoch(learner: Learner, key: jax.Array) -> tuple[Learner, jax.Array]:
        key_order, key_shift = jax.random.split(key)
        order = jax.random.permutation(key_order, STEPS)
        shift = jax.random.uniform(key_shift, steps.action.shape, minval=-alpha, maxval=alpha)
        data = Minibatch(steps.obs, steps.action, steps.log_prob, advantages, values[:-1], shift)
        batches = jax.tree.map(lambda x: x[order].reshape(MINIBATCHES, -1, *x.shape[1:]), data)
        return jax.lax.scan(minibatch, learner, batches)

    learner, entropies = jax.lax.scan(epoch, learner, jax.random.split(key, EPOCHS))
    return learner, entropies.mean()
