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

from rpo_jax.errors import SettingsError
from rpo_jax.evaluation import make_actor
from rpo_jax.runs.chosen import clip_of, policy_of
from rpo_jax.runs.folder import LoadedRun, written_whole

PLATFORMS = ("cpu", "cuda", "tpu")
SAMPLES = 4096  # observations that a program is tried on
TOLERANCE = 1e-4  # of an action, and of its size beyond 1


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
    """Writes the policy as StableHLO, and as ONNX where that is installed.

    Args:
        run: what was loaded from its folder.
        place: which of its settings and seeds.
        folder: where the files go.

    Returns:
        By name of the file, the largest difference from the policy over observations of all sizes.

    Raises:
        SettingsError: if a program does not do what the policy does; its file is not written then.
    """
    makers = [to_stablehlo] + ([to_onnx] if find_spec("onnx") and find_spec("onnxruntime") else [])
    folder.mkdir(parents=True, exist_ok=True)
    differences = {}
    for maker in makers:
        program = maker(run, place)
        differences[program.name] = _difference(run, place, program)
        with written_whole(folder / program.name) as path:
            path.write_bytes(program.content)
    return differences


def act(run: LoadedRun, place: tuple[int, int]) -> Callable[[jax.Array], jax.Array]:
    """The policy: observations [batch, O] to mean actions [batch, A]."""
    actor = make_actor(run.agent, policy_of(run, place), jax.random.key(0), False, clip_of(run, place))
    return lambda obs: actor(obs, jnp.zeros((), jnp.int32))


def to_stablehlo(run: LoadedRun, place: tuple[int, int]) -> Program:
    """By `jax.export`, for any batch size and platform; `jax.export.deserialize` reads it."""
    (batch,) = jax.export.symbolic_shape("batch")
    obs = jax.ShapeDtypeStruct((batch, run.agent.env.observation_size), jnp.float32)
    exported = jax.export.export(jax.jit(act(run, place)), platforms=PLATFORMS)(obs)
    content = bytes(exported.serialize())
    return Program("policy.stablehlo", content, jax.export.deserialize(bytearray(content)).call)


def to_onnx(run: LoadedRun, place: tuple[int, int]) -> Program:
    """By the operators of ONNX; input `observation`, output `action`."""
    import onnxruntime

    from rpo_jax.runs.onnx_graph import policy_model

    content = policy_model(run.agent, policy_of(run, place), clip_of(run, place)).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def call(obs: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(["action"], {"observation": obs})[0])

    return Program("policy.onnx", content, call)


def _difference(run: LoadedRun, place: tuple[int, int], program: Program) -> float:
    """The largest difference from the policy, relative to an action's size beyond 1."""
    random, moments = np.random.default_rng(0), policy_of(run, place).obs_moments
    size = 10.0 ** random.uniform(-2, 3, (SAMPLES, 1))  # well beyond the clipping of observations
    mean, deviation = np.asarray(moments.mean), np.sqrt(np.asarray(moments.variance))
    obs = (mean + size * deviation * random.normal(size=(SAMPLES, len(mean)))).astype(np.float32)
    with jax.default_matmul_precision("highest"):
        expected = np.asarray(jax.jit(act(run, place))(jnp.asarray(obs)))
        found = np.asarray(program.call(obs))
    difference = float(np.max(np.abs(found - expected) / np.maximum(1.0, np.abs(expected)), initial=0.0))
    if found.shape != expected.shape or not difference <= TOLERANCE:
        raise SettingsError(
            f"{program.name} is not written: it differs from the policy by {difference:.2g}; please report this"
        )
    return difference
