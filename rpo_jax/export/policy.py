"""Export of a trained policy as a program that runs without rpo_jax, in StableHLO and ONNX.

It maps observations of the environment [batch, O] to mean actions within the bounds [batch, A], and includes the
normalisation of observations, the network, the action head and the scaling of actions.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.acting import make_actor
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.heads import clip_to_bounds, squash_to_bounds
from rpo_jax.algorithm.networks import ActorCritic
from rpo_jax.algorithm.types import Policy
from rpo_jax.compiling.jit import jit
from rpo_jax.errors import SettingsError
from rpo_jax.files import atomic_write, make_folder
from rpo_jax.runs.choose import clip_of, policy_of
from rpo_jax.runs.results import LoadedRun
from rpo_jax.settings.spec import run_label

PLATFORMS = ("cpu", "cuda", "tpu")
SAMPLES = 4096  # observations on which a program is tested
PRECISION = "highest"  # of matrix products; a GPU would round them to TF32
ROUNDINGS = 10  # a program may differ by so many times the rounding error of the policy


class Program(NamedTuple):
    """An exported policy.

    Attributes:
        name: name of its file.
        content: content of its file.
        call: runs the program, observations [batch, O] to actions [batch, A].
    """

    name: str
    content: bytes
    call: Callable[[np.ndarray], np.ndarray | jax.Array]


def export(run: LoadedRun, place: tuple[int, int], folder: Path) -> dict[str, float]:
    """Writes the policy as StableHLO, and as ONNX unless `why_no_onnx` gives a reason, after testing both.

    Args:
        run: the run, loaded from its folder.
        place: indices of the setting and the seed of the policy.
        folder: folder for the files, created if necessary.

    Returns:
        The largest difference between the actions of the program and the policy, by name of the file.

    Raises:
        SettingsError: if a program differs from the policy by more than rounding, the policy is not finite, or the
            folder cannot be created; nothing is written then.
    """
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(policy_of(run, place))):
        raise SettingsError(f"{run_label(run.spec, *place)} has diverged; choose another with --setting and --seed")
    makers = [to_stablehlo] + ([] if why_no_onnx(run.agent) else [to_onnx])
    programs, expected = [maker(run, place) for maker in makers], _compute_expected(run, place)
    differences = {program.name: _check_difference(program, expected) for program in programs}
    make_folder(folder)
    for program in programs:
        with atomic_write(folder / program.name) as path:
            path.write_bytes(program.content)
    return differences


def why_no_onnx(agent: Agent) -> str | None:
    """Explains why policies of an agent cannot be exported to ONNX.

    Args:
        agent: from `make_agent`.

    Returns:
        The reason; None if they can be exported.
    """
    if type(agent.network) is not ActorCritic:  # a subclass may compute anything
        return f"{type(agent.network).__name__} is a network of your own, and only rpo_jax's is translated"
    if agent.head.to_env not in (clip_to_bounds, squash_to_bounds):
        return "the head maps actions to the environment in a way of its own"
    if not (find_spec("onnx") and find_spec("onnxruntime")):
        return "it needs: pip install 'rpo_jax[export]'"
    return None


def act(run: LoadedRun, place: tuple[int, int]) -> Callable[[jax.Array], jax.Array]:
    """Makes a function of the policy.

    Args:
        run: the run, loaded from its folder.
        place: indices of the setting and the seed of the policy.

    Returns:
        A pure function, observations [batch, O] to mean actions [batch, A].
    """
    actor = make_actor(run.agent, policy_of(run, place), jax.random.key(0), False, clip_of(run, place))
    return lambda obs: actor(obs, jnp.zeros((), jnp.int32))


def to_stablehlo(run: LoadedRun, place: tuple[int, int]) -> Program:
    """Exports a policy by `jax.export`, for any batch size and platform; to be read by `jax.export.deserialize`.

    Args:
        run: the run, loaded from its folder.
        place: indices of the setting and the seed of the policy.

    Returns:
        The program.
    """
    (batch,) = jax.export.symbolic_shape("batch")
    obs = jax.ShapeDtypeStruct((batch, run.agent.env.observation_size), jnp.float32)
    with jax.default_matmul_precision(PRECISION):
        exported = jax.export.export(jax.jit(act(run, place)), platforms=PLATFORMS)(obs)
    content = bytes(exported.serialize())
    return Program("policy.stablehlo", content, jit(jax.export.deserialize(bytearray(content)).call))


def to_onnx(run: LoadedRun, place: tuple[int, int]) -> Program:
    """Exports a policy to ONNX, with input `observation` and output `action`.

    Args:
        run: the run, loaded from its folder.
        place: indices of the setting and the seed of the policy.

    Returns:
        The program.
    """
    import onnxruntime

    from rpo_jax.export.onnx_graph import policy_model

    content = policy_model(run.agent, policy_of(run, place), clip_of(run, place)).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def call(obs: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(["action"], {"observation": obs})[0])

    return Program("policy.onnx", content, call)


class Expected(NamedTuple):
    """What a program is tested against.

    Attributes:
        obs: observations [SAMPLES, O].
        action: actions of the policy [SAMPLES, A].
        rounding: rounding error of each dimension of these actions [A].
    """

    obs: np.ndarray
    action: np.ndarray
    rounding: np.ndarray


def _compute_expected(run: LoadedRun, place: tuple[int, int]) -> Expected:
    obs = _draw_observations(policy_of(run, place))
    with jax.default_matmul_precision(PRECISION):
        action = np.asarray(jit(act(run, place))(obs))
        with jax.enable_x64(True):
            exact = np.asarray(jit(act(_in_float64(run), place))(obs.astype(np.float64)))
    rounding = np.max(np.abs(action - exact), axis=0) + 1e-6 * np.max(np.abs(exact), axis=0)
    return Expected(obs, action, rounding)


def _check_difference(program: Program, expected: Expected) -> float:
    """The largest difference from the policy; raises an error if rounding does not explain it."""
    with jax.default_matmul_precision(PRECISION):
        found = np.asarray(program.call(expected.obs))
    same_shape = found.shape == expected.action.shape
    difference = np.abs(found - expected.action).max(axis=0) if same_shape else np.inf
    if not (difference <= ROUNDINGS * expected.rounding).all():
        raise SettingsError(
            f"{program.name} differs from the policy by {np.max(difference):.2g}, which should never happen; "
            "nothing was written; please report this"
        )
    return float(np.max(difference))


def _draw_observations(policy: Policy) -> np.ndarray:
    """Random observations [SAMPLES, O] around those of training, from small to far beyond the clipping bound."""
    random, moments = np.random.default_rng(0), policy.obs_moments
    size = 10.0 ** random.uniform(-2, 3, (SAMPLES, 1))
    mean, deviation = np.asarray(moments.mean), np.sqrt(np.asarray(moments.variance))
    return (mean + size * deviation * random.normal(size=(SAMPLES, len(mean)))).astype(np.float32)


def _in_float64(run: LoadedRun) -> LoadedRun:
    return run._replace(policy=jax.tree.map(lambda x: np.asarray(x, np.float64), run.policy))
