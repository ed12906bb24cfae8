"""The checks of `rpo-jax check`."""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.advantages import generalized_advantage_estimation
from rpo_jax.algorithm.agent import Agent, make_agent
from rpo_jax.algorithm.config import Hyperparams, TrainConfig
from rpo_jax.algorithm.metrics import Metrics
from rpo_jax.algorithm.optimization import flatten, make_optimizer
from rpo_jax.algorithm.rpo import init, train
from rpo_jax.algorithm.types import Batch, TrainingState
from rpo_jax.algorithm.update import draw_noise, rows_of, shuffle, take, update_policy
from rpo_jax.compiling.jit import jit
from rpo_jax.compiling.probe import BROKEN, failed_probes, remedy
from rpo_jax.diagnosis import numpy_update
from rpo_jax.diagnosis.stepping import COMPILERS, compare
from rpo_jax.envs import SUITES, Dynamics, Environment, Successor, make_env, vectorize
from rpo_jax.envs.suites.brax import BACKENDS
from rpo_jax.keys import GENERATOR
from rpo_jax.typing import PyTree

NUM_ENVS, NUM_STEPS = 128, 50


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        ok: whether the computed results are right.
        text: what was found, in one line.
        remedy: what to do if they are not.
    """

    ok: bool
    text: str
    remedy: str = ""


def devices() -> Finding:
    """Finds the devices that JAX uses, and whether the installed jaxlib has a known fault on them."""
    found, release = jax.devices(), version("jaxlib")
    text = f"{len(found)} x {found[0].device_kind} ({found[0].client.platform_version.splitlines()[0]})"
    if known := BROKEN.get(found[0].platform, {}).get(release):
        return Finding(False, f"{text}; jaxlib {release}: {known}", remedy())
    if found[0].platform == "cpu" and shutil.which("nvidia-smi"):
        text += "; the NVIDIA GPU is not used, for which extra cuda12 or cuda13 is needed"
    return Finding(True, text)


def known_faults() -> Finding:
    """Returns what the probes find, compiled as a program of the user and as one of rpo_jax."""
    compilers = {"programs of your own": jax.jit, "programs of rpo_jax": jit}
    failed = [f"{name} ({', '.join(names)})" for name, make in compilers.items() if (names := failed_probes(make))]
    return _finding(not failed, f"{' and '.join(failed or compilers)} are {'wrong' if failed else 'right'}")


def crashes() -> Finding:
    """Returns whether sums are computed that crashed or hung the process, jax issues 39257 and 40412."""
    random, right = np.random.default_rng(3), True
    for shape in ((3, 1, 2, 2, 8, 8, 8), (1, 3, 2, 2, 8, 8, 8)):
        x, y = random.normal(size=(2, *shape)).astype(np.float32)
        right &= np.allclose(jax.jit(lambda x, y: (x * y).sum(3))(x, y), (x * y).sum(3), atol=1e-5)
    x, y = np.full((6, 4, 5), 0.5, np.float32), np.ones((6, 4, 5, 7, 7, 7, 7, 7), np.float32)
    sums = jax.jit(lambda x, y: jnp.log(jnp.maximum((x.reshape((*x.shape, *(5 * [1]))) * y).sum(2), 1e-16)))(x, y)
    right &= np.allclose(sums, np.log(2.5))
    return _finding(right, f"sums over arrays of many axes are {'right' if right else 'wrong'}")


def update() -> Finding:
    """Returns whether advantages and a learning step of RPO are NumPy's, and the learning step its repetition's."""
    # With a large epsilon, a step of Adam is nearly proportional to the gradient, so that its size is tested too.
    agent, hyperparams = _small_agent(), Hyperparams(adam_epsilon=1.0, learning_rate=1.0, entropy_coefficient=0.01)
    state = jit(partial(init, agent))(hyperparams, jax.random.key(0, impl=GENERATOR))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + jnp.asarray(0.1 * random.normal(size=x.shape), x.dtype), state.params)
    state = state.replace(params=params, opt_state=make_optimizer(hyperparams).init(flatten(params)[0]))
    batch, key = _random_batch(agent, random), jax.random.key(1, impl=GENERATOR)
    program = jit(partial(update_policy, agent))
    found, again = (program(state, batch, key, hyperparams)[0].params for _ in range(2))
    minibatches = jax.tree.map(np.asarray, jit(partial(_minibatches, agent))(batch, key, hyperparams))
    expected = numpy_update.update(params, minibatches, hyperparams)
    change = max(np.abs(y - x).max() for x, y in zip(*map(jax.tree.leaves, (params, expected)), strict=True))
    error = max(np.abs(y - x).max() for x, y in zip(*map(jax.tree.leaves, (found, expected)), strict=True)) / change
    advantage_error = _compute_advantage_error(random)
    text = f"an update differs from NumPy's by {error:.0e} of the largest change, advantages by {advantage_error:.0e}"
    repeated = _compare_bits(found, again)
    return _finding(error < 1e-3 and advantage_error < 1e-4 and repeated.ok, f"{text}; {repeated.text}")


def training() -> Finding:
    """Returns whether the same run, trained twice, gives the same results."""
    agent = _small_agent()
    run = jit(partial(train, agent, Hyperparams()))
    return _compare_bits(*(_without_keys(run(jax.random.key(0, impl=GENERATOR))) for _ in range(2)))


def products() -> Finding:
    """Measures the rounding errors of matrix products."""
    x = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    exact = x.astype(float) @ x
    errors = {}
    for precision in ("default", "highest"):
        with jax.default_matmul_precision(None if precision == "default" else precision):
            errors[precision] = np.abs(np.asarray(jit(jnp.matmul)(x, x)) - exact).max() / np.abs(exact).max()
    text = f"products are right to {errors['default']:.0e}, and to {errors['highest']:.0e} with the highest precision"
    return _finding(errors["highest"] < 1e-5 and errors["default"] < 0.05, text)


def environment(name: str, compilers: Sequence[str] = tuple(COMPILERS), **options: str) -> Finding:
    """Compares resets and steps of an environment with those of a program without fused kernels.

    Args:
        name: suite and id of the environment.
        compilers: how to compile the environment, names of `COMPILERS`.
        **options: options of `make_env`.

    Returns:
        What was found.
    """
    found = compare(make_env(name, **options), NUM_ENVS, NUM_STEPS, {known: COMPILERS[known] for known in compilers})
    wrong = [f"{known}: {', '.join(comparison.wrong)}" for known, comparison in found.items() if comparison.wrong]
    error = max(comparison.steps.first for comparison in found.values())
    return _finding(not wrong, "; ".join(wrong) or f"steps are those without fused kernels, to {error:.0e}")


GENERAL = (devices, known_faults, update, products)
SHORT = {"compilers": ("by jax.jit",)}  # as users compile; `known_faults` and `update` test how rpo_jax does
LONG = (
    *("brax/halfcheetah", "brax/hopper", "brax/pusher", "brax/walker2d", "playground/CartpoleBalance"),
    *(f"brax/inverted_pendulum {backend}" for backend in BACKENDS[1:]),
)


def checks_of(*, long: bool) -> list[dict[str, Callable[[], Finding]]]:
    """Lists the checks of the suites that are installed.

    Args:
        long: whether to include checks that take long.

    Returns:
        Groups of checks by name. A group shares a process; a check that may crash it is the last of its group.
    """
    quick = {
        **{check.__name__.replace("_", " "): check for check in GENERAL},
        "gymnax/Pendulum-v1": partial(environment, "gymnax/Pendulum-v1", **SHORT),
        "crashes": crashes,
    }
    groups = [quick, {"brax/inverted_pendulum": partial(environment, "brax/inverted_pendulum", **SHORT)}]
    if long:
        groups += [{"training": training}, *({name: _environment_check(name)} for name in LONG if _is_installed(name))]
    return groups


def _environment_check(name: str) -> Callable[[], Finding]:
    task, _, backend = name.partition(" ")
    return partial(environment, task, **({"backend": backend} if backend else {}))


def _is_installed(name: str) -> bool:
    return bool(find_spec(SUITES[name.partition("/")[0]].module))


def _compare_bits(first: PyTree, second: PyTree) -> Finding:
    """Compares the results of the same program run twice; on a GPU, differences are allowed."""
    pairs = zip(*map(jax.tree.leaves, (first, second)), strict=True)
    same = all(np.array_equal(x, y, equal_nan=True) for x, y in pairs)
    text = f"run twice it gives {'the same' if same else 'different'} bits"
    if same or jax.default_backend() == "cpu":
        return _finding(same, text)
    return Finding(True, f"{text}; `--deterministic` (`deterministic=True`) may help")


def _finding(ok: bool | np.bool_, text: str) -> Finding:
    return Finding(bool(ok), text, "" if ok else remedy())


def _compute_advantage_error(random: np.random.Generator) -> float:
    shape = 32, 64
    rewards, values, next_values = random.normal(size=(3, *shape)).astype(np.float32)
    terminated, truncated = random.uniform(size=(2, *shape)) < 0.1
    rows = rewards, values, next_values, terminated, terminated | truncated
    found, _ = jit(partial(generalized_advantage_estimation, gamma=0.99, gae_lambda=0.95))(*rows)
    return float(np.abs(np.asarray(found) - numpy_update.advantages(*rows)).max())


def _without_keys(result: tuple[TrainingState, Metrics]) -> tuple[TrainingState, Metrics]:
    return result[0].replace(key=None, env_state=None), result[1]


def _small_agent() -> Agent:
    config = TrainConfig(
        num_envs=32, num_steps=16, num_epochs=2, num_minibatches=4, total_timesteps=3 * 512, matmul_precision="highest"
    )
    return make_agent(_point(), config=config)


def _point() -> Environment:
    """A point in a plane whose reward is highest at the origin."""

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
    """The minibatches of an update in order, with advantages that are not normalised yet, and their perturbations."""
    found, rows = [], rows_of(batch, agent.config)
    for epoch in range(agent.config.num_epochs):
        key_shuffle, key_noise = jax.random.split(jax.random.fold_in(key, epoch))
        noise = draw_noise(agent, key_noise).location
        assert noise is not None  # the variant is RPO
        indices = shuffle(key_shuffle, agent.config)
        found += zip((take(rows, own) for own in indices), hyperparams.rpo_alpha * noise, strict=True)
    return found
