"""Environments: one protocol, wrappers, and an adapter per suite, which is imported only when asked for."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from rpo_jax.envs.protocol import Dynamics, Environment, Successor, Timestep, vectorize
from rpo_jax.envs.suites import brax, envpool, gymnasium, gymnax, playground
from rpo_jax.envs.suites.gymnasium import from_gymnasium
from rpo_jax.envs.wrappers import record_episodes, terminate_at_time_limit
from rpo_jax.errors import SettingsError, unknown_name
from rpo_jax.registry import Registry

__all__ = [
    "SUITES",
    "Dynamics",
    "Environment",
    "Successor",
    "Timestep",
    "environment_names",
    "from_gymnasium",
    "make_env",
    "record_episodes",
    "terminate_at_time_limit",
    "vectorize",
]

TIME_LIMITS = ("bootstrap", "terminate")


class Suite(NamedTuple):
    """Where environments come from.

    Attributes:
        make: gives the environment of an id; takes `options` by name.
        tasks: `() -> {id: (observation size, action size)}`; imports the suite if it is not in `JAX_SUITES`.
        module: what has to be installed.
        options: keywords of `make_env` that it takes.
        more: modules that add tasks, and what installs them.
    """

    make: Callable[..., Environment]
    tasks: Callable[[], Mapping[str, tuple[int, int]]]
    module: str
    options: tuple[str, ...] = ()
    more: Mapping[str, str] = MappingProxyType({})


SUITES = {
    "gymnax": Suite(gymnax.make, lambda: gymnax.TASKS, "gymnax"),
    "brax": Suite(brax.make, lambda: brax.TASKS, "brax", ("backend",)),
    "envpool": Suite(envpool.make, envpool.tasks, "envpool", ("num_threads",)),
    "gymnasium": Suite(gymnasium.make, gymnasium.tasks, "gymnasium", more=gymnasium.PROVIDERS),
    "playground": Suite(playground.make, playground.tasks, "mujoco_playground"),
}
JAX_SUITES = ("gymnax", "brax")  # what is installed with rpo_jax
ENVIRONMENTS: Registry[Callable[[], Environment]] = Registry("environment", {})  # users' own


def environment_names() -> dict[str, list[str]]:
    """The environments that come with rpo_jax: names by suite. Imports no suite."""
    return {suite: [f"{suite}/{name}" for name in SUITES[suite].tasks()] for suite in JAX_SUITES}


def make_env(name: str, *, time_limit: str = "bootstrap", **options: Any) -> Environment:
    """Makes an environment.

    Args:
        name: suite and id, such as "gymnax/Pendulum-v1", "brax/ant" or "envpool/HopperHop-v1"; `rpo-jax envs` lists
            them. Or one that `register` was given.
        time_limit: "bootstrap" values the state in which a time limit cut an episode, which is right; "terminate"
            takes the cut for the end of the task, as the paper's published code does.
        **options: those that are not None are for one suite: `backend` of Brax ("spring", the default, "positional",
            "generalized" or "mjx"); `num_threads` of EnvPool (of the pool of each device).

    Raises:
        SettingsError: if the name, the time limit or an option is unknown, the suite is not installed, or actions are
            discrete.
    """
    suite, _, env_id = name.partition("/")
    if time_limit not in TIME_LIMITS:
        raise unknown_name("time limit", time_limit, TIME_LIMITS)
    own = suite not in SUITES and ENVIRONMENTS.knows(name)
    if suite not in SUITES and not own:
        names = [name for names in environment_names().values() for name in names]
        raise unknown_name("environment", name, [*names, *(f"{known}/..." for known in SUITES), *ENVIRONMENTS])
    given = {option: value for option, value in options.items() if value is not None}
    for option, value in given.items():
        takers = [known for known, suite in SUITES.items() if option in suite.options]
        if not takers:
            raise unknown_name("option", option, [option for suite in SUITES.values() for option in suite.options])
        if suite not in takers:
            raise SettingsError(f"{option}={value!r} is for {' and '.join(takers)} environments; {name} has none")
    if not env_id:
        raise SettingsError(f"{name} names a suite and no environment of it; `rpo-jax envs {suite}` lists them")
    env = _registered(name) if own else SUITES[suite].make(env_id, **given)
    return terminate_at_time_limit(env) if time_limit == "terminate" else env


def _registered(name: str) -> Environment:
    env = ENVIRONMENTS[name]()
    if not isinstance(env, Environment):
        raise SettingsError(f"what was registered as {name} makes {type(env).__name__}, and must make an Environment")
    return env._replace(name=name)
