"""Brax: rigid-body physics in JAX, on four backends."""

import contextlib
import importlib
import types
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.envs.batching import Batching, batch_dynamics
from rpo_jax.envs.on_cpu import on_cpu
from rpo_jax.envs.own_devices import on_own_devices
from rpo_jax.envs.protocol import Dynamics, Environment, Successor
from rpo_jax.envs.quiet import quiet
from rpo_jax.envs.remembered import remember
from rpo_jax.envs.tracing import traced
from rpo_jax.errors import SettingsError, described, unknown_name
from rpo_jax.keys import key_shape
from rpo_jax.typing import PyTree

# Observation and action size by name.
TASKS = {
    "ant": (27, 8),
    "fast": (2, 1),
    "halfcheetah": (17, 6),
    "hopper": (11, 3),
    "humanoid": (244, 17),
    "humanoidstandup": (244, 17),
    "inverted_double_pendulum": (8, 1),
    "inverted_pendulum": (4, 1),
    "pusher": (23, 7),
    "reacher": (11, 2),
    "swimmer": (8, 2),
    "walker2d": (17, 6),
}
BACKENDS = ("spring", "positional", "generalized", "mjx")
EPISODE_LENGTH = 1000
# How many times as fast a step is as with the other, on a CPU with 128 and 1024 environments (benchmarks/batching.py):
# "last" with `spring` 2.7 to 4.4, hopper on others 1.1 to 3.9. On an accelerator "components" of these backends
# has a tenth of the kernels, counted by benchmarks/compiled.py; it is not tried with others, whose arrays are larger.
FEW_KERNELS = ("spring", "positional")


class BraxState(Protocol):
    """The fields of `brax.envs.State` that are used here."""

    pipeline_state: PyTree
    obs: jax.Array
    reward: jax.Array
    done: jax.Array
    info: dict[str, PyTree]
    replace: Callable[..., "BraxState"]


class BraxEnvironment(Protocol):
    """The members of `brax.envs.Env` that are used here; `sys` is a `brax.System` and `dt` seconds per step."""

    action_size: int
    dt: float
    sys: Any
    reset: Callable[[jax.Array], BraxState]
    step: Callable[[BraxState, jax.Array], BraxState]


@remember
def make(
    name: str,
    /,
    backend: str | None = None,
    *,
    batching: Batching | None = None,
    max_episode_steps: int | None = None,
    **arguments: Any,
) -> Environment:
    """Makes a Brax environment, truncated after 1000 steps as in Brax's own training.

    Args:
        name: one of `TASKS`.
        backend: one of `BACKENDS`; "spring" if None, except for the swimmer, which only has "generalized".
        batching: as of `vectorize`; "last" if None, but with the backends `FEW_KERNELS` as there.
        max_episode_steps: steps after which an episode is truncated; `EPISODE_LENGTH` if None.
        **arguments: arguments of the environment itself, such as `ctrl_cost_weight=0.1`.

    Returns:
        The environment.

    Raises:
        SettingsError: if the environment, the backend or an argument is unknown, the environment does not run on the
            backend, or it fails with the arguments.
    """
    if name not in TASKS:
        raise unknown_name("environment", f"brax/{name}", [f"brax/{known}" for known in TASKS])
    if backend is not None and backend not in BACKENDS:
        raise unknown_name("Brax backend", backend, BACKENDS)
    if name == "swimmer" and backend not in (None, "generalized"):
        raise SettingsError(f"brax/swimmer runs on backend 'generalized' only, not on {backend!r}")
    if batching is None and (backend or _usual_backend(name)) not in FEW_KERNELS:
        batching = "last"
    limit = EPISODE_LENGTH if max_episode_steps is None else max_episode_steps
    with quiet(), on_own_devices(), on_cpu(), _refusing(name, arguments):
        env = load(name, backend, **arguments)
        reset, move = traced(env.reset), on_own_devices()(env.step)
        template = jax.eval_shape(reset, key_shape())
        if arguments:  # a step may fail with them, and training would tell it late
            jax.eval_shape(env.step, template, jax.ShapeDtypeStruct((env.action_size,), jnp.float32))

    def init(key: jax.Array):
        state = reset(key)
        return (state.pipeline_state, state.info, jnp.zeros((), jnp.int32)), state.obs

    def step(key: jax.Array, carried, action: jax.Array):
        # A step reads nothing but the physics, `info` and the time.
        pipeline_state, info, time = carried
        blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), template)
        state = move(blank.replace(pipeline_state=pipeline_state, info=info), action)
        time = time + 1
        successor = Successor(state.obs, state.reward, state.done > 0, time >= limit)
        return (state.pipeline_state, state.info, time), successor

    # Every Brax environment takes actions in [-1, 1], and scales them to the range of its actuators itself.
    bound = np.ones(env.action_size, np.float32)
    return batch_dynamics(
        Dynamics(init, step),
        batching=batching,
        name=f"brax/{name}",
        observation_size=template.obs.shape[0],
        low=-bound,
        high=bound,
        time_limit=limit,
        shown=lambda carried: carried[0].x,  # positions and rotations of bodies
    )


def load(
    name: str, /, backend: str | None = None, *, max_episode_steps: int | None = None, **arguments: Any
) -> BraxEnvironment:
    """Loads a single environment as Brax defines it, which truncates no episode.

    Args:
        name: one of `TASKS`.
        backend: as of `make`.
        max_episode_steps: has no effect.
        **arguments: as of `make`.

    Returns:
        Brax's environment.

    Raises:
        SettingsError: if the environment does not take the arguments.
    """
    backend = backend or _usual_backend(name)
    make = _load_brax().get_environment
    with _refusing(name, arguments):
        return make(name, backend=backend, **arguments)


def _usual_backend(name: str) -> str:
    return "generalized" if name == "swimmer" else "spring"


@contextlib.contextmanager
def _refusing(name: str, arguments: dict[str, Any]) -> Iterator[None]:
    """Turns errors of the block into a `SettingsError`, if there are arguments that may be their cause."""
    try:
        yield
    except Exception as error:  # of whatever the environment does with them
        if isinstance(error, SettingsError) or not arguments:
            raise
        raise SettingsError(f"brax/{name} cannot be made with {arguments}: {described(error)}") from None


def _load_brax() -> types.ModuleType:
    envs = importlib.import_module("brax.envs")
    fluid: Any = importlib.import_module("brax.fluid")
    # brax 0.14.2 calls jnp.clip(a_min=), which jax 0.10 removed; only the fluid forces of the swimmer use it.
    fluid.jp = types.SimpleNamespace(**{**vars(jnp), "clip": _clip_with_old_names})
    return envs


def _clip_with_old_names(x, min=None, max=None, *, a_min=None, a_max=None):
    return jnp.clip(x, a_min if min is None else min, a_max if max is None else max)
