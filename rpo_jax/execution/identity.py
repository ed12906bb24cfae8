"""Digests of what a fit trains, by part: a fit resumes from its own checkpoints only, and names what differs."""

import dataclasses
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.networks import ActorCritic
from rpo_jax.algorithm.types import Policy
from rpo_jax.execution.evaluations import Evaluation

# Packages whose functions are identified by name. For all others, those of a user, the source text counts too.
KNOWN = ("rpo_jax", "jax", "flax", "distrax", "tensorflow_probability", "numpy", "builtins", "functools")


def identify(
    agent: Agent, hyperparams: Hyperparams, keys: jax.Array, evaluation: Evaluation | None, initial: Policy | None
) -> dict[str, str]:
    """Computes digests of what is trained, by part.

    Settings at their default do not count, so that a setting that is added later changes no digest.

    Args:
        agent: from `make_agent`.
        hyperparams: settings with leaves [H], or a single setting.
        keys: random keys of the seeds [S].
        evaluation: when and how to evaluate during training; None if never.
        initial: trained policy with which every run begins; None if there is none.

    Returns:
        SHA-256 digests by name of the part, such as "environment" or "seeds".
    """
    env, network = agent.env, agent.network
    parts: dict[str, Any] = {
        "environment": [env.name, env.time_limit, env.low, env.high],
        "head": agent.head,
        "variant": agent.variant,
        "network": None if isinstance(network, ActorCritic) else network,  # the configuration describes it
        "configuration": _changed(agent.config),
        "hyperparameters": _changed(hyperparams),
        "seeds": keys,
        "evaluation": evaluation,
        "initial policy": initial,
    }
    return {name: hashlib.sha256(describe(part).encode()).hexdigest() for name, part in parts.items()}


def _changed(settings: Any) -> dict[str, Any]:
    """The fields that differ from their default in any setting."""
    values = {field.name: (getattr(settings, field.name), field.default) for field in dataclasses.fields(settings)}
    return {name: value for name, (value, default) in values.items() if not _equal(value, default)}


def _equal(value: Any, default: Any) -> bool:
    if value is None or default is None or isinstance(value, str | tuple):
        return value == default
    return bool(np.all(np.float32(value) == np.float32(default)))


def describe(thing: Any) -> str:
    """Describes an object as text that depends on its content only, so that it is the same in other processes.

    Args:
        thing: array, function, dataclass, flax module, or a container of these.

    Returns:
        The text.
    """
    if isinstance(thing, jax.Array) and jnp.issubdtype(thing.dtype, jax.dtypes.prng_key):
        thing = jax.random.key_data(thing)
    if isinstance(thing, np.ndarray | np.generic | jax.Array):
        array = np.asarray(thing)
        return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(thing, Mapping):
        return describe([(name, thing[name]) for name in sorted(thing)])
    if isinstance(thing, functools.partial):
        return describe(["partial", thing.func, thing.args, thing.keywords])
    if isinstance(thing, nn.Module) or (dataclasses.is_dataclass(thing) and not isinstance(thing, type)):
        fields = [field.name for field in dataclasses.fields(thing) if field.name not in ("parent", "name")]
        return describe([type(thing), [(name, getattr(thing, name)) for name in fields]])
    if isinstance(thing, tuple) and hasattr(thing, "_asdict"):
        return describe([type(thing), *thing._asdict().items()])  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(thing, list | tuple):
        return f"[{', '.join(map(describe, thing))}]"
    if callable(thing):
        return _describe_callable(thing)
    # By default an object shows its address, which differs in every process.
    return describe(type(thing)) if type(thing).__repr__ is object.__repr__ else repr(thing)


def _describe_callable(thing: Any) -> str:
    module, name = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", type(thing).__qualname__)
    if module.partition(".")[0] in KNOWN:
        return f"{module.partition('.')[0]}:{name.rpartition('.')[2]}"
    try:
        source = textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):  # defined in an interpreter, or not written in Python
        code = getattr(thing, "__code__", None)
        source = f"{code.co_code.hex()} {code.co_names} {code.co_varnames}" if code else name
    return describe([name, source, *_captured(thing)])


def _captured(thing: Any) -> list[Any]:
    """Default arguments of a function, and the variables that it captures, unless they are callable."""
    if not isinstance(thing, FunctionType):
        return []
    cells = [cell.cell_contents for cell in thing.__closure__ or () if not callable(cell.cell_contents)]
    return [thing.__defaults__, thing.__kwdefaults__, cells]
