"""Environments: the common interface, wrappers, and an adapter for each suite. A suite is imported on first use."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from rpo_jax.envs.batching import vectorize
from rpo_jax.envs.protocol import Dynamics, Environment, Successor, Timestep
from rpo_jax.envs.suites import brax, envpool, gymnasium, gymnax, playground
from rpo_jax.envs.suites.gymnasium import from_gymnasium
from rpo_jax.envs.wrappers import record_episodes, terminate_at_time_limit
from rpo_jax.errors import SettingsError, described, unknown_name
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
OF_STEPPING = ("batching", "num_threads")  # options that do not change the simulator


class Suite(NamedTuple):
    """The adapter of a suite of environments.

    Attributes:
        make: `(id, **options) -> Environment`.
        tasks: `() -> {id: (observation size, action size)}`; imports the suite unless it is `included`.
        module: module that has to be installed.
        packages: packages whose versions a run records, because its results depend on them.
        options: names of the options of `make_env` that the suite accepts.
        included: whether it is installed with rpo_jax, and not by an extra of its name.
        takes_arguments: whether it accepts other arguments too, which it hands to the environment.
        more: packages that add tasks to the suite, by the name of their module.
    """

    make: Callable[..., Environment]
    tasks: Callable[[], Mapping[str, tuple[int, int]]]
    module: str
    packages: tuple[str, ...]
    options: tuple[str, ...] = ()
    included: bool = False
    takes_arguments: bool = False
    more: Mapping[str, str] = MappingProxyType({})


SUITES = {
    "gymnax": Suite(
        gymnax.make,
        lambda: gymnax.TASKS,
        "gymnax",
        ("gymnax",),
        ("batching",),
        included=True,
        takes_arguments=True,
    ),
    "brax": Suite(
        brax.make,
        lambda: brax.TASKS,
        "brax",
        ("brax", "mujoco"),
        ("backend", "batching"),
        included=True,
        takes_arguments=True,
    ),
    "envpool": Suite(envpool.make, envpool.tasks, "envpool", ("envpool",), ("num_threads",)),
    "gymnasium": Suite(
        gymnasium.make,
        gymnasium.tasks,
        "gymnasium",
        ("gymnasium", "mujoco", "pybullet"),
        takes_arguments=True,
        more=gymnasium.PROVIDERS,
    ),
    "playground": Suite(
        playground.make, playground.tasks, "mujoco_playground", ("playground", "mujoco"), ("batching",)
    ),
}
ENVIRONMENTS: Registry[Callable[..., Environment]] = Registry("environment", {})  # registered by users


def environment_names() -> dict[str, list[str]]:
    """Lists the environments of the suites that are installed with rpo_jax, without importing them.

    Returns:
        Names that `make_env` accepts, by suite.
    """
    return {name: [f"{name}/{task}" for task in suite.tasks()] for name, suite in SUITES.items() if suite.included}


def make_env(name: str, /, *, time_limit: str = "bootstrap", **options: Any) -> Environment:
    """Makes an environment.

    Args:
        name: suite and id, such as "gymnax/Pendulum-v1", "brax/ant" or "envpool/HopperHop-v1"; `rpo-jax envs` lists
            them. Or a name that was given to `register`.
        time_limit: how to treat an episode that ends by its time limit. "bootstrap" adds the value of the last state
            to the return, which is correct; "terminate" treats it as the end of the task, as the paper's published
            code does.
        **options: options of one suite, of which None is the default. `backend` of Brax: "spring" (the default),
            "positional", "generalized" or "mjx". `batching` of suites in JAX: "last", "first" or "components", as of
            `vectorize`. `num_threads` of EnvPool: threads of the pool of each device. Any other is an argument of the
            environment itself, for Gymnasium, gymnax, Brax and environments that were given to `register`: such as
            `g=5.0`, and `max_episode_steps` to truncate episodes at another step. It becomes part of the environment's
            name.

    Returns:
        The environment.

    Raises:
        SettingsError: if the name, the time limit or an option is unknown, the suite is not installed, or the actions
            are discrete.
    """
    if not isinstance(name, str):
        raise SettingsError(f'the name of an environment is text, such as "gymnax/Pendulum-v1", and not {name!r:.60}')
    suite, _, env_id = name.partition("/")
    if time_limit not in TIME_LIMITS:
        raise unknown_name("time limit", time_limit, TIME_LIMITS)
    own = suite not in SUITES and ENVIRONMENTS.knows(name)
    if suite not in SUITES and not own:
        names = [name for names in environment_names().values() for name in names]
        raise unknown_name("environment", name, [*names, *(f"{known}/..." for known in SUITES), *ENVIRONMENTS])
    of_suites = {option for known in SUITES.values() for option in known.options}
    given = {option: value for option, value in options.items() if value is not None or option not in of_suites}
    takes_arguments = own or SUITES[suite].takes_arguments
    for option, value in given.items():
        takers = [known for known, suite in SUITES.items() if option in suite.options]
        if not takers and not takes_arguments:
            raise unknown_name("option", option, of_suites)
        if takers and suite not in takers:
            raise SettingsError(
                f"{option}={value!r} is for {' and '.join(takers)} environments; {name} does not have this option"
            )
    if not env_id:
        raise SettingsError(f"{name} is a suite, and an environment is needed; `rpo-jax envs {suite}` lists them")
    env = _registered(name, given) if own else SUITES[suite].make(env_id, **given)
    options_only = SUITES[suite].options if suite in SUITES else ()
    arguments = [f"{argument}={value!r}" for argument, value in given.items() if argument not in options_only]
    if arguments:  # so that no checkpoint of one is taken for that of another
        env = env._replace(name=f"{name}({', '.join(arguments)})")
    env = env._replace(options={option: value for option, value in given.items() if option not in OF_STEPPING})
    return terminate_at_time_limit(env) if time_limit == "terminate" else env


def _registered(name: str, arguments: dict[str, Any]) -> Environment:
    make = ENVIRONMENTS[name]
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        raise SettingsError(f"the function registered as {name} cannot be called with {arguments}: {error}") from None
    try:
        env = make(**arguments)
    except Exception as error:  # of whatever the function does with them
        if isinstance(error, SettingsError) or not arguments:
            raise
        raise SettingsError(f"the function registered as {name} fails with {arguments}: {described(error)}") from error
    if not isinstance(env, Environment):
        raise SettingsError(
            f"the function registered as {name} returns {type(env).__name__}, and must return an Environment"
        )
    return env._replace(name=name)
