"""Gymnasium: any registered environment, also those of PyBullet, stepped one after another in Python."""

import contextlib
import importlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rpo_jax.envs.host import host_environment
from rpo_jax.envs.pool import Outcome
from rpo_jax.envs.protocol import Environment
from rpo_jax.envs.quiet import quiet
from rpo_jax.envs.suites.single import (
    as_actions,
    check_actions,
    check_distinct,
    flatten_observations,
    import_gymnasium,
    make_checked,
)
from rpo_jax.errors import MOST_WORDS, SettingsError, one_line, unknown_name, warn_once

if TYPE_CHECKING:
    from gymnasium import Env

# Packages whose modules register environments when imported, by the name of the module.
PROVIDERS = {"pybullet_envs_gymnasium": "pybullet-envs-gymnasium"}


def module_of(name: str) -> str | None:
    """Returns the module that making an environment imports because its name says so.

    Args:
        name: suite and id of any environment, such as "gymnasium/module:Env-v0".

    Returns:
        The module, such as "module"; None if the name has none.
    """
    suite, _, env_id = name.partition("/")
    return env_id.partition(":")[0] if suite == "gymnasium" and ":" in env_id else None


def make(env_id: str, /, **arguments: Any) -> Environment:
    """Makes an environment that is registered with Gymnasium.

    Args:
        env_id: such as "BipedalWalker-v3" or "AntBulletEnv-v0"; "module:id" imports a module that registers it.
        **arguments: of `gymnasium.make`: `max_episode_steps`, and those of the environment itself.

    Returns:
        The environment.

    Raises:
        SettingsError: if the environment or an argument is unknown, it needs a package that is not installed, or its
            actions or observations are not real vectors.
    """
    name, flat = f"gymnasium/{env_id}", _maker(env_id, arguments, render_mode=None)
    with quiet():
        env = flat()
        env.close()
    return _environment(env, flat, name)


def from_gymnasium(make: "Callable[[], Env]", name: str) -> Environment:
    """Makes an Environment from a Gymnasium environment of your own.

    Args:
        make: makes a new `gymnasium.Env` on each call. Its observations are vectors, or numbers and vectors in
            dictionaries and tuples; they are flattened to one vector as Gymnasium does it, and integers become float32
            (a `Discrete` one by one-hot encoding). Its actions are a one-dimensional Box; those of a Box of integers
            are rounded to the nearest integer.
        name: name of the environment in tables and error messages.

    Returns:
        The environment.

    Raises:
        SettingsError: if its actions or observations are not real vectors, `make` returns the same environment each
            time, or Gymnasium is not installed.
    """
    import_gymnasium()
    if not callable(make):
        raise SettingsError(
            f"{name} is a single environment, and a function is needed that makes a new one on each call: "
            "lambda: MyEnv(), and not lambda: env"
        )
    flat = flatten_observations(make, name)
    envs = flat(), flat()
    check_distinct(envs, name)
    for env in envs:
        env.close()
    return _environment(envs[0], flat, name)


def _environment(like: "Env", make: "Callable[[], Env]", name: str) -> Environment:
    """Makes an Environment of environments like that one, whose observations are vectors."""
    space: Any = like.action_space
    check_actions(space, name)
    if not np.issubdtype(space.dtype, np.floating):
        warn_once(f"{name} has actions {space}: those of the policy are rounded to the nearest integer")
    return host_environment(
        partial(GymnasiumPool, make, name=name),
        name=name,
        observation_size=math.prod(like.observation_space.shape or ()),
        low=space.low,
        high=space.high,
        time_limit=None if like.spec is None else like.spec.max_episode_steps,
    )


class GymnasiumPool:
    """A `Pool` of environments vectorised by Gymnasium, reset in the same step that ends an episode."""

    def __init__(self, make: "Callable[[], Env]", seeds: Sequence[int], name: str = "the environment"):
        """Opens the environments.

        Args:
            make: makes one environment with vector observations.
            seeds: seed of each environment.
            name: name of the environment in error messages.

        Raises:
            SettingsError: if two of them are the same environment.
        """
        vector = import_gymnasium().vector
        makers = [partial(make_checked, make, index) for index in range(len(seeds))]
        self._envs = vector.SyncVectorEnv(makers, autoreset_mode=vector.AutoresetMode.SAME_STEP)
        check_distinct(self._envs.envs, name)
        self._seeds = list(seeds)

    def reset(self) -> np.ndarray:
        """Begins an episode in every environment and returns the first observations [n, O]."""
        return self._envs.reset(seed=self._seeds)[0]

    def step(self, action: np.ndarray) -> Outcome:
        """Steps every environment, and resets those whose episode ends.

        Args:
            action: actions within the bounds [n, A] float32.

        Returns:
            The result of the step.
        """
        obs, reward, terminated, truncated, info = self._envs.step(as_actions(action, self._envs.action_space))
        ended, final_obs = terminated | truncated, obs
        if ended.any():
            final_obs = obs.copy()
            final_obs[ended] = np.stack(info["final_obs"][ended])
        return Outcome(obs, reward, terminated, truncated, final_obs)

    def close(self) -> None:
        """Closes all environments."""
        self._envs.close()


def tasks() -> dict[str, tuple[int, int]]:
    """Lists the latest version of each registered environment that `make` accepts.

    Returns:
        Observation and action size by id.

    Raises:
        SettingsError: if Gymnasium is not installed.
    """
    gymnasium, sizes = import_gymnasium(), {}
    _import_providers()
    for env_id, spec in list(gymnasium.registry.items()):
        if spec.namespace is None and f"{spec.name}-v{(spec.version or 0) + 1}" not in gymnasium.registry:
            with contextlib.suppress(SettingsError), quiet():
                env = make(env_id)
                sizes[env_id] = env.observation_size, env.action_size
    return sizes


def make_renderable(env_id: str, /, **arguments: Any) -> "Env":
    """Makes a single Gymnasium environment with vector observations that renders images.

    Args:
        env_id: as of `make`.
        **arguments: as of `make`.

    Returns:
        Gymnasium's environment.

    Raises:
        SettingsError: if the environment is unknown, or cannot be made.
    """
    return _maker(env_id, arguments, render_mode="rgb_array")()


def _maker(env_id: str, arguments: Mapping[str, Any], render_mode: str | None) -> "Callable[[], Env]":
    """Returns a function that makes environments with vector observations; they render images if there is a mode."""
    name = f"gymnasium/{env_id}"
    if "render_mode" in arguments:
        raise SettingsError(f"render_mode of {name} cannot be chosen: training draws nothing, and play chooses it")
    gymnasium = import_gymnasium()
    _register(gymnasium, env_id)
    more = {} if render_mode is None else {"render_mode": render_mode}
    return flatten_observations(partial(_construct, gymnasium, env_id, {**arguments, **more}), name)


def _register(gymnasium: ModuleType, env_id: str) -> None:
    """Imports the installed providers if Gymnasium does not know the id."""
    if ":" in env_id or env_id in gymnasium.registry:
        return
    absent = _import_providers()
    if env_id in gymnasium.registry:
        return
    error = unknown_name("environment", f"gymnasium/{env_id}", [f"gymnasium/{known}" for known in gymnasium.registry])
    more = f"; more are in {' and '.join(absent)}, not installed here: pip install {' '.join(absent)}" if absent else ""
    raise SettingsError(f"{error}{more}")


def _import_providers() -> list[str]:
    """Imports the installed providers; returns the packages of the others."""
    absent = []
    for module, package in PROVIDERS.items():
        try:
            with quiet():
                importlib.import_module(module)
        except ModuleNotFoundError:
            absent.append(package)
    return absent


def _construct(gymnasium: ModuleType, env_id: str, arguments: Mapping[str, Any]) -> "Env":
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about outdated versions
            return gymnasium.make(env_id, **arguments)
    except Exception as error:  # simulators raise all kinds of errors
        raise SettingsError(f"gymnasium/{env_id} cannot be made: {one_line(error, MOST_WORDS)}") from None
