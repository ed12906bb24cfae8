"""Rules of operations that hold programs."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr

from rpo_jax.envs.vmap_last.interpret import Rule, Value, batched, interpret, run


def _call(equation: Any, size: int, *operands: Value) -> list[Value]:
    return run(program_of(equation), size, operands)


def _scan(equation: Any, size: int, *operands: Value) -> list[Value]:
    params = equation.params
    num_consts, num_carry = consts_and_carry(params)
    consts, start, xs = operands[:num_consts], operands[num_consts:][:num_carry], operands[num_consts + num_carry :]
    carried = batched_carries(params, [value.batched for value in operands])
    found: list[bool] = []  # whether each result of a step is batched

    def body(carry: Any, x: Any) -> Any:
        inputs = (*consts, *map(Value, carry, carried), *map(Value, x, [value.batched for value in xs]))
        results = run(params["jaxpr"], size, inputs)
        found[:] = [value.batched for value in results]
        return _start(results[: len(carried)], carried, size), [value.array for value in results[len(carried) :]]

    loop = {name: params[name] for name in ("length", "reverse", "unroll")}
    end, ys = lax.scan(body, _start(start, carried, size), [value.array for value in xs], **loop)
    return list(map(Value, [*end, *ys], [*carried, *found[len(carried) :]]))


def batched_carries(params: dict[str, Any], operands: Sequence[bool]) -> list[bool]:
    """Finds which of what a scan carries is batched in some step; a counter, say, stays the same for all of the batch.

    Args:
        params: parameters of the scan.
        operands: whether each of its operands is batched.

    Returns:
        Whether each of what it carries is.
    """
    num_consts, num_carry = consts_and_carry(params)
    end = num_consts + num_carry
    carried = list(operands[num_consts:end])
    while not all(carried):
        results = _are_batched(params["jaxpr"], (*operands[:num_consts], *carried, *operands[end:]))
        if (after := [own or of_step for own, of_step in zip(carried, results, strict=False)]) == carried:
            break
        carried = after
    return carried


def _are_batched(program: ClosedJaxpr, inputs: Sequence[bool]) -> list[bool]:
    """Whether each result of a program is batched, without tracing it: whether it depends on an input that is."""

    def apply(equation: Any, operands: Sequence[bool]) -> list[bool]:
        if RULES.get(equation.primitive.name) is _call:
            return _are_batched(program_of(equation), operands)
        return [any(operands)] * len(equation.outvars)

    return interpret(program, inputs, lambda array: False, apply)


def program_of(call: Any) -> ClosedJaxpr:
    """Returns the program that the operation `call` calls, such as a function under `jax.jit`."""
    return call.params["jaxpr" if "jaxpr" in call.params else "call_jaxpr"]


def consts_and_carry(params: dict[str, Any]) -> tuple[int, int]:
    """Returns how many operands of a scan, by its `params`, are constants, and how many are carried."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()  # since JAX 0.11
    return len(consts), len(carry)


def _start(values: Sequence[Value], batched: Sequence[bool], size: int) -> list[Any]:
    return [value.spread(size) if own else value.array for value, own in zip(values, batched, strict=True)]


def _cond(equation: Any, size: int, index: Value, *operands: Value) -> Any:
    def branch(program: ClosedJaxpr) -> Callable[..., list[jax.Array]]:
        def taken(*arrays: Any) -> list[jax.Array]:
            values = map(Value, arrays, (value.batched for value in operands))
            return [value.spread(size) for value in run(program, size, list(values))]

        return taken

    branches = [branch(program) for program in equation.params["branches"]]
    arrays = [value.array for value in operands]
    if not index.batched:
        return batched(lax.switch(index.array, branches, *arrays))
    which = jnp.clip(index.array.astype(jnp.int32), 0, len(branches) - 1)  # [N]: all are done, and one is taken
    results = zip(*(taken(*arrays) for taken in branches), strict=True)
    return batched([lax.select_n(jnp.broadcast_to(which, cases[0].shape), *cases) for cases in results])


RULES: dict[str, Rule] = {
    **dict.fromkeys(("jit", "closed_call", "custom_jvp_call"), _call),
    "cond": _cond,
    "scan": _scan,
}
