"""Environments: one protocol, wrappers, and an adapter per suite, which is imported only when asked for."""

from rpo_jax.envs import brax_suite, gymnax_suite
from rpo_jax.envs.protocol import Dynamics, Environment, Successor, Timestep, vectorize
from rpo_jax.envs.wrappers import record_episodes, terminate_at_time_limit
from rpo_jax.errors import SettingsError, unknown_name

__all__ = [
    "Dynamics",
    "Environment",
    "Successor",
    "Timestep",
    "environment_names",
    "make_env",
    "record_episodes",
    "terminate_at_time_limit",
    "vectorize",
]

TIME_LIMITS = ("bootstrap", "terminate")


def environment_names() -> dict[str, list[str]]:
    """What `make_env` makes: names by suite. Imports no suite."""
    return {
        "gymnax": [f"gymnax/{name}" for name in gymnax_suite.IDS],
        "brax": [f"brax/{name}" for name in brax_suite.NAMES],
    }


def make_env(name: str, *, time_limit: str = "bootstrap", backend: str | None = None) -> Environment:
    """Makes an environment.

    Args:
        name: suite and id, such as "gymnax/Pendulum-v1" or "brax/ant"; `environment_names` lists them.
        time_limit: "bootstrap" values the state in which a time limit cut an episode, which is right; "terminate"
            takes the cut for the end of the task, as the paper's published code does.
        backend: Brax only: "spring" (the default), "positional", "generalized" or "mjx".

    Raises:
        SettingsError: if the name, the time limit or the backend is unknown, or the actions are discrete.
    """
    suite, _, env_id = name.partition("/")
    if time_limit not in TIME_LIMITS:
        raise unknown_name("time limit", time_limit, TIME_LIMITS)
    if suite == "gymnax":
        if backend is not None:
            raise SettingsError(f"backend={backend!r} is for brax environments; {name} has none")
        env = gymnax_suite.make(env_id)
    elif suite == "brax":
        env = brax_suite.make(env_id, backend)
    else:
        raise unknown_name("environment", name, [name for names in environment_names().values() for name in names])
    return terminate_at_time_limit(env) if time_limit == "terminate" else env
