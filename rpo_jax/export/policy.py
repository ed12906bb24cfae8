"""A trained policy as a program of its own, which needs nothing of rpo_jax: StableHLO, and ONNX.

It maps observations [batch, O], as the environment gives them, to mean actions [batch, A] within its bounds:
normalisation, network, head and scaling are all in it.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.evaluation import make_actor
from rpo_jax.algorithm.heads import clip_to_bounds, squash_to_bounds
from rpo_jax.algorithm.networks import ActorCritic
from rpo_jax.algorithm.types import Policy
from rpo_jax.compiling.jit import jit
from rpo_jax.errors import SettingsError
from rpo_jax.files import make_folder, written_whole
from rpo_jax.runs.choose import clip_of, policy_of
from rpo_jax.runs.results import LoadedRun
from rpo_jax.settings.spec import run_label

PLATFORMS = ("cpu", "cuda", "tpu")
SAMPLES = 4096  # observations that a program is tried on
PRECISION = "highest"  # of products, which a GPU would round otherwise
ROUNDINGS = 10  # by how many of the policy's own rounding errors a program may differ


class Program(NamedTuple):
    """A policy as others run it.

    Attributes:
        name: of its file.
        content: of its file.
        call: runs it on observations [batch, O].
    """

    name: str
    content: bytes
    call: Callable[[np.ndarray], np.ndarray | jax.Array]


def export(run: LoadedRun, place: tuple[int, int], folder: Path) -> dict[str, float]:
    """Writes the policy as StableHLO, and as ONNX unless there is a reason against it (`why_no_onnx`).

    Args:
        run: what was loaded from its folder.
        place: which of its settings and seeds.
        folder: where the files go.

    Returns:
        By name of the file, the largest difference from the policy over observations of all sizes.

    Raises:
        SettingsError: if a program does not do what the policy does, or the policy is not finite, or there can be no
            such folder; nothing is written then.
    """
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(policy_of(run, place))):
        raise SettingsError(f"{run_label(run.spec, *place)} has diverged; choose another with --setting and --seed")
    makers = [to_stablehlo] + ([] if why_no_onnx(run.agent) else [to_onnx])
    programs, expected = [maker(run, place) for maker in makers], _expected(run, place)
    differences = {program.name: _difference(program, expected) for program in programs}
    make_folder(folder)
    for program in programs:
        with written_whole(folder / program.name) as path:
            path.write_bytes(program.content)
    return differences


def why_no_onnx(agent: Agent) -> str | None:
    """Why a policy of this agent is not written as ONNX; None if it is."""
    if not isinstance(agent.network, ActorCritic):
        return f"{type(agent.network).__name__} is a network of your own, and only rpo_jax's is translated"
    if agent.head.to_env not in (clip_to_bounds, squash_to_bounds):
        return "the head maps actions to the environment in a way of its own"
    if not (find_spec("onnx") and find_spec("onnxruntime")):
        return "it needs: pip install 'rpo_jax[export]'"
    return None


def act(run: LoadedRun, place: tuple[int, int]) -> Callable[[jax.Array], jax.Array]:
    """The policy: observations [batch, O] to mean actions [batch, A]."""
    actor = make_actor(run.agent, policy_of(run, place), jax.random.key(0), False, clip_of(run, place))
    return lambda obs: actor(obs, jnp.zeros((), jnp.int32))


def to_stablehlo(run: LoadedRun, place: tuple[int, int]) -> Program:
    """By `jax.export`, for any batch size and platform; `jax.export.deserialize` reads it."""
    (batch,) = jax.export.symbolic_shape("batch")
    obs = jax.ShapeDtypeStruct((batch, run.agent.env.observation_size), jnp.float32)
    with jax.default_matmul_precision(PRECISION):
        exported = jax.export.export(jax.jit(act(run, place)), platforms=PLATFORMS)(obs)
    content = bytes(exported.serialize())
    return Program("policy.stablehlo", content, jit(jax.export.deserialize(bytearray(content)).call))


def to_onnx(run: LoadedRun, place: tuple[int, int]) -> Program:
    """By the operators of ONNX; input `observation`, output `action`."""
    import onnxruntime

    from rpo_jax.export.onnx_graph import policy_model

    content = policy_model(run.agent, policy_of(run, place), clip_of(run, place)).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def call(obs: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(["action"], {"observation": obs})[0])

    return Program("policy.onnx", content, call)


class Expected(NamedTuple):
    """What a program must do.

    Attributes:
        obs: observations [SAMPLES, O].
        action: the policy's actions [SAMPLES, A].
        rounding: how far those may be from exact ones, by each action [A].
    """

    obs: np.ndarray
    action: np.ndarray
    rounding: np.ndarray


def _expected(run: LoadedRun, place: tuple[int, int]) -> Expected:
    obs = _observations(policy_of(run, place))
    with jax.default_matmul_precision(PRECISION):
        action = np.asarray(jit(act(run, place))(obs))
        with jax.enable_x64(True):
            exact = np.asarray(jit(act(_in_float64(run), place))(obs.astype(np.float64)))
    rounding = np.max(np.abs(action - exact), axis=0) + 1e-6 * np.max(np.abs(exact), axis=0)
    return Expected(obs, action, rounding)


def _difference(program: Program, expected: Expected) -> float:
    """The largest difference from the policy; refuses one that rounding does not explain."""
    with jax.default_matmul_precision(PRECISION):
        found = np.asarray(program.call(expected.obs))
    same_shape = found.shape == expected.action.shape
    difference = np.abs(found - expected.action).max(axis=0) if same_shape else np.inf
    if not (difference <= ROUNDINGS * expected.rounding).all():
        raise SettingsError(
            f"{program.name} differs from the policy by {np.max(difference):.2g}, which should never happen; "
            "nothing is written; please report this"
        )
    return float(np.max(difference))


def _observations(policy: Policy) -> np.ndarray:
    """Random ones [SAMPLES, O] about what it has seen, from small to well beyond where they are clipped."""
    random, moments = np.random.default_rng(0), policy.obs_moments
    size = 10.0 ** random.uniform(-2, 3, (SAMPLES, 1))
    mean, deviation = np.asarray(moments.mean), np.sqrt(np.asarray(moments.variance))
    return (mean + size * deviation * random.normal(size=(SAMPLES, len(mean)))).astype(np.float32)


def _in_float64(run: LoadedRun) -> LoadedRun:
    return run._replace(policy=jax.tree.map(lambda x: np.asarray(x, np.float64), run.policy))
