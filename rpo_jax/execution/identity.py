"""Digests of what a fit trains, by part: a fit resumes from its own checkpoints only, and names what differs."""

import dataclasses
import hashlib
import inspect
import textwrap
from collections.abc import Mapping
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.heads import HEADS
from rpo_jax.algorithm.networks import ActorCritic, make_mlp
from rpo_jax.algorithm.types import Policy
from rpo_jax.algorithm.variants import VARIANTS
from rpo_jax.execution.evaluations import Evaluation

# Packages whose functions are identified by name. For all others, those of a user, the source text counts too.
KNOWN = ("rpo_jax", "jax", "flax", "distrax", "tensorflow_probability", "numpy", "builtins", "functools")
# Kinds of global variables that count if a user's function refers to them.
CONSTANTS = (bool, int, float, complex, str, bytes, type(None), tuple, frozenset, np.ndarray, np.generic, jax.Array)


def identify(
    agent: Agent, hyperparams: Hyperparams, keys: jax.Array, evaluation: Evaluation | None, initial: Policy | None
) -> dict[str, str]:
    """Computes digests of what is trained, by part.

    A variant and a head of rpo_jax count by name, those of a user by content. What is at its default does not count,
    so that a setting or a field that is added later changes no digest.

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
    usual = type(network) is ActorCritic and network == make_mlp(env, agent.config)
    parts: dict[str, Any] = {
        "environment": [env.name, env.time_limit, env.low, env.high],
        "head": HEADS.own_name(agent.head) or agent.head,
        "variant": VARIANTS.own_name(agent.variant) or agent.variant,
        "network": None if usual else network,  # the configuration describes it
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
    if value is None or default is None:
        return value is default
    if isinstance(value, str | tuple):
        return value == default
    return bool(np.all(np.float32(value) == np.float32(default)))


def describe(thing: Any, outer: tuple[Any, ...] = ()) -> str:
    """Describes an object as text that depends on its content only, so that it is the same in other processes.

    Of a user's function, the content is its text, and what it refers to: functions, numbers, text, tuples and arrays,
    but not lists and dictionaries, which can change while it runs.

    Args:
        thing: array, function, dataclass, flax module, or a container of these.
        outer: functions and classes that are being described and refer to this object.

    Returns:
        The text.
    """
    each = partial(describe, outer=outer)
    if isinstance(thing, jax.Array) and jnp.issubdtype(thing.dtype, jax.dtypes.prng_key):
        thing = jax.random.key_data(thing)
    if isinstance(thing, np.ndarray | np.generic | jax.Array):
        array = np.asarray(thing)
        return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(thing, Mapping):
        return each([(name, thing[name]) for name in sorted(thing)])
    if isinstance(thing, partial):
        return each(["partial", thing.func, thing.args, thing.keywords])
    if isinstance(thing, nn.Module) or (dataclasses.is_dataclass(thing) and not isinstance(thing, type)):
        fields = [field for field in dataclasses.fields(thing) if field.name not in ("parent", "name")]
        return each([type(thing), *_without_defaults(thing, {field.name: field.default for field in fields})])
    if isinstance(thing, tuple) and (names := getattr(thing, "_fields", ())):
        defaults = dict.fromkeys(names) | getattr(thing, "_field_defaults", {})
        return each([type(thing), *_without_defaults(thing, defaults)])
    if isinstance(thing, list | tuple):
        return f"[{', '.join(map(each, thing))}]"
    if isinstance(thing, set | frozenset):
        return f"{{{', '.join(sorted(map(each, thing)))}}}"
    if callable(thing):
        return _describe_callable(thing, outer)
    # By default an object shows its address, which differs in every process.
    return each(type(thing)) if type(thing).__repr__ is object.__repr__ else repr(thing)


def _without_defaults(record: Any, defaults: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The fields of a record that differ from their defaults."""
    fields = [(name, getattr(record, name)) for name in defaults]
    return [(name, x) for name, x in fields if not (x is defaults[name] or _same_constant(x, defaults[name]))]


def _same_constant(x: Any, y: Any) -> bool:
    return isinstance(x, str | int | float | tuple) and type(x) is type(y) and x == y


def _describe_callable(thing: Any, outer: tuple[Any, ...]) -> str:
    if not isinstance(thing, FunctionType) and callable(getattr(thing, "__wrapped__", None)):
        return describe([type(thing), thing.__wrapped__], outer)  # by `jax.jit`, for example
    code = getattr(thing, "__code__", None)
    # What `functools.wraps` changes says nothing about the wrapper.
    name = code.co_qualname if code else getattr(thing, "__qualname__", type(thing).__qualname__)
    module = thing.__globals__.get("__name__") if code else getattr(thing, "__module__", None)
    if (package := (module or "").partition(".")[0]) in KNOWN:
        return f"{package}:{name.rpartition('.')[2]}"
    if any(thing is other for other in outer):
        return name
    try:
        text = textwrap.dedent(inspect.getsource(code or thing))
    except (OSError, TypeError):  # defined in an interpreter, or not written in Python
        text = f"{code.co_code.hex()} {code.co_names} {code.co_varnames}" if code else name
    return describe([name, text, *_referred(thing)], (*outer, thing))


def _referred(thing: Any) -> list[Any]:
    """What a callable refers to beyond its text: defaults, captured and global variables, bases and methods."""
    if isinstance(thing, FunctionType):
        captured = [cell.cell_contents for cell in thing.__closure__ or ()]
        found = {name: thing.__globals__[name] for name in _names(thing.__code__) if name in thing.__globals__}
        constants = [(name, x) for name, x in sorted(found.items()) if callable(x) or isinstance(x, CONSTANTS)]
        return [thing.__defaults__, thing.__kwdefaults__, captured, constants]
    if isinstance(thing, type):
        methods = [x for x in vars(thing).values() if isinstance(x, FunctionType)]
        written = [x for x in methods if x.__code__.co_filename != "<string>"]  # not those that dataclasses generate
        return [*thing.__bases__, *written]
    if isinstance(thing, MethodType | BuiltinFunctionType):
        return []
    return [type(thing), getattr(thing, "__dict__", {})]


def _names(code: CodeType) -> set[str]:
    """The names that a function, and the functions within it, may look up."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)
