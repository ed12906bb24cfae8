"""Gymnasium: any registered environment, also those of PyBullet, stepped one after another in Python."""

import contextlib
import importlib
import math
import warnings
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rpo_jax.envs.host import host_environment
from rpo_jax.envs.protocol import Environment
from rpo_jax.envs.quiet import quiet
from rpo_jax.envs.suites.gymnasium_pool import GymnasiumPool, check_interface, import_gymnasium
from rpo_jax.errors import SettingsError, one_line, unknown_name

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


def make(env_id: str) -> Environment:
    """Makes an environment that is registered with Gymnasium.

    Args:
        env_id: such as "BipedalWalker-v3" or "AntBulletEnv-v0"; "module:id" imports a module that registers it.

    Returns:
        The environment.

    Raises:
        SettingsError: if the environment is unknown, it needs a package that is not installed, or its actions or
            observations are not real vectors.
    """
    gymnasium = import_gymnasium()
    _register(gymnasium, env_id)
    with quiet():
        return from_gymnasium(partial(_construct, gymnasium, env_id), name=f"gymnasium/{env_id}")


def from_gymnasium(make: "Callable[[], Env]", name: str) -> Environment:
    """Makes an Environment from a Gymnasium environment of your own.

    Args:
        make: makes a new `gymnasium.Env` whose observation space is a Box, or can be flattened to one by Gymnasium.
        name: name of the environment in tables and error messages.

    Returns:
        The environment.

    Raises:
        SettingsError: if its actions or observations are not real vectors, or Gymnasium is not installed.
    """
    gymnasium = import_gymnasium()
    if not callable(make):
        raise SettingsError(f"{name} is a single environment, and a function that makes one is needed: lambda: MyEnv()")
    env = _flatten_observations(make, name)()
    space: Any = env.action_space
    spec = env.spec
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise SettingsError(
            f"{name} has actions {space}, and RPO needs a vector of real numbers: a one-dimensional Box"
        )
    size = math.prod(env.observation_space.shape or ())
    env.close()
    return host_environment(
        partial(GymnasiumPool, _flatten_observations(make, name)),
        name=name,
        observation_size=size,
        low=np.asarray(space.low, np.float32),
        high=np.asarray(space.high, np.float32),
        time_limit=None if spec is None else spec.max_episode_steps,
    )


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


def make_renderable(env_id: str) -> "Env":
    """Makes a single Gymnasium environment with vector observations that renders images.

    Args:
        env_id: as of `make`.

    Returns:
        Gymnasium's environment.

    Raises:
        SettingsError: if the environment is unknown, or cannot be made.
    """
    gymnasium = import_gymnasium()
    _register(gymnasium, env_id)
    return _flatten_observations(
        partial(_construct, gymnasium, env_id, render_mode="rgb_array"), f"gymnasium/{env_id}"
    )()


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


def _construct(gymnasium: ModuleType, env_id: str, **options: str) -> "Env":
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about outdated versions
            return gymnasium.make(env_id, **options)
    except Exception as error:  # simulators raise all kinds of errors
        raise SettingsError(f"gymnasium/{env_id} cannot be made: {one_line(error, 300)}") from None


def _flatten_observations(make: "Callable[[], Env]", name: str) -> "Callable[[], Env]":
    """Wraps a function that makes environments: their observations become vectors."""

    def make_flat() -> "Env":
        gymnasium, env = import_gymnasium(), make()
        check_interface(env)
        space: Any = env.observation_space
        if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
            return env
        try:
            flat_space = gymnasium.spaces.flatten_space(space)
        except NotImplementedError:
            flat_space = None
        if not isinstance(flat_space, gymnasium.spaces.Box) or getattr(space, "dtype", None) == np.uint8:
            raise SettingsError(f"{name} has observations {space}, and RPO needs vectors of real numbers")
        return gymnasium.wrappers.FlattenObservation(env)

    return make_flat
