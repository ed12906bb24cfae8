"""What `rpo-jax check` looks at. Each check runs in a process of its own, since a fault may end or hang it."""

import dataclasses
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.agent import Agent, flatten, make_agent, make_optimizer
from rpo_jax.compiling import jit
from rpo_jax.config import Hyperparams, TrainConfig
from rpo_jax.diagnosis import numpy_update
from rpo_jax.diagnosis.stepping import SEGMENT, compare
from rpo_jax.envs import SUITES, Dynamics, Environment, Successor, make_env, vectorize
from rpo_jax.envs.brax_suite import BACKENDS
from rpo_jax.losses import standardize
from rpo_jax.probe import ANOTHER, failed_probes
from rpo_jax.rpo import init, train
from rpo_jax.types import Batch
from rpo_jax.update import draw_offsets, shuffle, update_policy

NUM_ENVS = 1024


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        ok: whether what was computed is right.
        text: what was found, in a line.
        remedy: what to do where it is not.
    """

    ok: bool
    text: str
    remedy: str = ""


def devices() -> Finding:
    """What JAX finds to compute on."""
    found = jax.devices()
    return Finding(True, f"{len(found)} x {found[0].device_kind} ({found[0].client.platform_version.splitlines()[0]})")


def known_faults() -> Finding:
    """What XLA is known to have computed wrong, compiled as a user's own program."""
    failed = failed_probes(jax.jit)
    if not _crashing_sums():
        failed.append("jax issue 40412")
    text = f"wrong: {', '.join(failed)}" if failed else "programs of your own compute right"
    return Finding(not failed, text, ANOTHER)


def own_programs() -> Finding:
    """The same, compiled as rpo_jax compiles its programs."""
    failed = failed_probes(jit)
    text = f"wrong: {', '.join(failed)}" if failed else "programs of rpo_jax compute right"
    return Finding(not failed, text, ANOTHER)


def update_by_numpy() -> Finding:
    """One update of RPO by XLA and by NumPy."""
    # With a large epsilon a step of Adam is nearly proportional to the gradient, so that its size is tested too.
    agent, hyperparams = _small_agent(), Hyperparams(adam_epsilon=1.0, learning_rate=1.0, entropy_coefficient=0.01)
    state = jit(partial(init, agent))(hyperparams, jax.random.key(0))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + jnp.asarray(0.1 * random.normal(size=x.shape), x.dtype), state.params)
    state = state.replace(params=params, opt_state=make_optimizer(hyperparams).init(flatten(params)[0]))
    batch, key = _random_batch(agent, random), jax.random.key(1)
    found = jit(partial(update_policy, agent))(state, batch, key, hyperparams)[0].params
    minibatches = jax.tree.map(np.asarray, jit(partial(_minibatches, agent))(batch, key, hyperparams))
    expected = numpy_update.update(params, minibatches, hyperparams)
    moved = max(np.abs(y - x).max() for x, y in zip(*map(jax.tree.leaves, (params, expected)), strict=True))
    apart = max(np.abs(y - x).max() for x, y in zip(*map(jax.tree.leaves, (found, expected)), strict=True))
    return Finding(
        bool(apart < 1e-3 * moved), f"differs from NumPy's by {apart / moved:.0e} of the largest change", ANOTHER
    )


def same_bits() -> Finding:
    """The same program twice."""
    agent = _small_agent()
    run = jit(partial(train, agent, Hyperparams()))
    first, second = (jax.tree.leaves(run(jax.random.key(0))[0].params) for _ in range(2))
    same = all((np.asarray(x) == np.asarray(y)).all() for x, y in zip(first, second, strict=True))
    if same or jax.default_backend() == "cpu":
        text = "a program run twice gives the same bits" if same else "a program run twice gives other bits"
        return Finding(bool(same), text, ANOTHER)
    return Finding(
        True, "a program run twice gives other bits; XLA_FLAGS=--xla_gpu_deterministic_ops=true makes it not"
    )


def products() -> Finding:
    """How matrix products round."""
    x = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    exact = x.astype(float) @ x
    errors = {}
    for precision in ("default", "highest"):
        with jax.default_matmul_precision(None if precision == "default" else precision):
            errors[precision] = np.abs(np.asarray(jit(jnp.matmul)(x, x)) - exact).max() / np.abs(exact).max()
    text = f"products are right to {errors['default']:.0e}, and to {errors['highest']:.0e} with the highest precision"
    return Finding(bool(errors["highest"] < 1e-5 and errors["default"] < 0.05), text, ANOTHER)


def environment(name: str, **options: str) -> Finding:
    """Resets and steps of an environment, compiled as users do, against a program without fused kernels."""
    found = compare(make_env(name, **options), NUM_ENVS, SEGMENT)
    text = f"{NUM_ENVS} environments step and reset as without fused kernels, to {found.steps.first:.0e}"
    return Finding(found.small, text, ANOTHER)


def checks_of(*, long: bool) -> dict[str, Callable[[], Finding]]:
    """The checks by name; those of suites that are installed."""
    environments = {"gymnax/Pendulum-v1": {}, "brax/hopper": {}}
    if long:
        tasks = ("brax/halfcheetah", "brax/pusher", "brax/walker2d", "playground/CartpoleBalance")
        environments |= {task: {} for task in tasks}
        environments |= {f"brax/hopper {backend}": {"backend": backend} for backend in BACKENDS[1:]}
    environments = {
        name: partial(environment, name.partition(" ")[0], **options)
        for name, options in environments.items()
        if find_spec(SUITES[name.partition("/")[0]].module)
    }
    return {
        "devices": devices,
        "known faults": known_faults,
        "rpo_jax's programs": own_programs,
        "update": update_by_numpy,
        "repetition": same_bits,
        "products": products,
        **environments,
    }


def _crashing_sums() -> bool:
    """Jax issue 40412: sums over an axis of arrays of seven, one of them of size 1; it ended the process."""
    random, right = np.random.default_rng(3), True
    for shape in ((3, 1, 2, 2, 8, 8, 8), (1, 3, 2, 2, 8, 8, 8)):
        x, y = random.normal(size=(2, *shape)).astype(np.float32)
        right &= np.allclose(jax.jit(lambda x, y: (x * y).sum(3))(x, y), (x * y).sum(3), atol=1e-5)
    return bool(right)


def _small_agent() -> Agent:
    config = TrainConfig(
        num_envs=32, num_steps=16, num_epochs=2, num_minibatches=4, total_timesteps=3 * 512, matmul_precision="highest"
    )
    return make_agent(_point(), config=config)


def _point() -> Environment:
    """A point that is pushed towards the middle of a plane."""

    def init(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        position = jax.random.uniform(key, (2,), minval=-1.0)
        return position, position

    def step(key: jax.Array, position: jax.Array, action: jax.Array) -> tuple[jax.Array, Successor]:
        position = position + 0.1 * action
        far = jnp.abs(position).max() > 2
        return position, Successor(position, -jnp.square(position).sum(), far, jnp.zeros_like(far))

    bound = np.ones(2, np.float32)
    return vectorize(Dynamics(init, step), name="point", observation_size=2, low=-bound, high=bound)


def _random_batch(agent: Agent, random: np.random.Generator) -> Batch:
    shape = agent.config.num_steps, agent.config.num_envs

    def normal(*sizes: int) -> jax.Array:
        return jnp.asarray(random.normal(size=(*shape, *sizes)), jnp.float32)

    action = normal(agent.env.action_size)
    log_prob = (-0.5 * action**2 - 0.919).sum(-1) + 0.3 * normal()
    return Batch(normal(agent.env.observation_size), action, log_prob, normal(), normal(), normal())


def _minibatches(agent: Agent, batch: Batch, key: jax.Array, hyperparams: Hyperparams) -> list[tuple[Batch, jax.Array]]:
    """What an update learns from, in its order: minibatches and perturbations."""
    found = []
    for epoch in range(agent.config.num_epochs):
        key_shuffle, key_offsets = jax.random.split(jax.random.fold_in(key, epoch))
        shuffled = shuffle(key_shuffle, batch, agent.config)
        shuffled = shuffled._replace(advantage=jax.vmap(standardize)(shuffled.advantage))
        offsets = draw_offsets(agent, key_offsets, hyperparams)
        count = agent.config.num_minibatches
        found += [jax.tree.map(lambda x, index=index: x[index], (shuffled, offsets)) for index in range(count)]
    return found
