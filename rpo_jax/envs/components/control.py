"""Rules of operations that hold programs."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr

from rpo_jax.envs.components.interpret import Rule, run
from rpo_jax.envs.components.values import MAX_PARTS, Value, taken_apart
from rpo_jax.envs.vmap_last.control import batched_carries, consts_and_carry, program_of

MOST_ROWS = 128  # that XLA joins in one kernel of a GPU; of many more it joins parts, and may copy the result


def _call(equation: Any, size: int, *operands: Value) -> list[Value]:
    return run(program_of(equation), size, operands)


def _scan(equation: Any, size: int, *operands: Value) -> list[Value]:
    params = equation.params
    num_consts, num_carry = consts_and_carry(params)
    consts, start, xs = operands[:num_consts], operands[num_consts:][:num_carry], operands[num_consts + num_carry :]
    _take_apart(consts)
    rows = [value.single() if value.is_single else value.whole(size) for value in xs]
    loop = {name: params[name] for name in ("length", "reverse", "unroll")}

    def scan(single: Sequence[bool]) -> Any:
        def body(carry: Any, x: Any) -> Any:
            results = run(params["jaxpr"], size, (*consts, *_apart(carry, start, single), *_rows(x, xs)))
            stay = [own and value.is_single for own, value in zip(single, results, strict=False)]
            if stay != single:
                raise _NotSingleError(stay)
            return _together(results[:num_carry], single, size), [value.whole(size) for value in results[num_carry:]]

        return lax.scan(body, _together(start, single, size), rows, **loop)

    single = [not own for own in batched_carries(params, [not value.is_single for value in operands])]
    while True:
        try:
            end, ys = scan(single)
            break
        except _NotSingleError as error:
            single = error.single
    return [*_apart(end, start, single), *map(Value.of_whole, ys)]


class _NotSingleError(Exception):
    """What was taken to stay the same for all of the batch does not.

    Attributes:
        single: whether each of what is carried may stay so.
    """

    def __init__(self, single: list[bool]):
        """Tells what may stay `single`."""
        super().__init__()
        self.single = single


def _take_apart(values: Sequence[Value]) -> None:
    """Takes apart what an inner program uses, outside of it: what is traced within must not leave it."""
    for value in filter(_is_joined, values):
        _ = value.parts


def _rows(x: Sequence[jax.Array], xs: Sequence[Value]) -> list[Value]:
    return [Value.of_known(row) if value.is_single else Value.of_whole(row) for row, value in zip(x, xs, strict=True)]


def _together(values: Sequence[Value], single: Sequence[bool], size: int) -> tuple[Any, Any, Any]:
    """What is carried: arrays that are single, large ones, and the others joined to a few arrays for each dtype."""
    singles = [value.single() for value, own in zip(values, single, strict=True) if own]
    others = [value for value, own in zip(values, single, strict=True) if not own]
    large = [value.whole(size) for value in others if not _is_joined(value)]
    joined: dict[str, list[jax.Array]] = {}
    for value in filter(_is_joined, others):
        joined.setdefault(str(value.dtype), []).append(value.whole(size).reshape((-1, size)))
    return singles, large, {dtype: _joined(arrays) for dtype, arrays in joined.items()}


def _joined(arrays: list[jax.Array]) -> list[jax.Array]:
    """Joins arrays [K, N] to one, or to several of `MOST_ROWS` if they have many rows."""
    if sum(map(len, arrays)) <= 3 * MOST_ROWS:  # counted: up to so many, one array takes fewer kernels
        return [jnp.concatenate(arrays)]
    rows = list(itertools.chain(*map(jnp.unstack, arrays)))
    return [jnp.stack(rows[first : first + MOST_ROWS]) for first in range(0, len(rows), MOST_ROWS)]


def _apart(carry: tuple[Any, Any, Any], like: Sequence[Value], single: Sequence[bool]) -> list[Value]:
    """The inverse of `_together`."""
    singles, large, joined = carry
    singles, large = iter(singles), iter(large)
    components = {dtype: itertools.chain(*map(jnp.unstack, arrays)) for dtype, arrays in joined.items()}
    found = []
    for value, own in zip(like, single, strict=True):
        if own:
            found.append(Value.of_known(next(singles)))
        elif not _is_joined(value):
            found.append(Value.of_whole(next(large)))
        else:
            own_components = list(itertools.islice(components[str(value.dtype)], value.size))
            found.append(Value.of_parts(taken_apart(own_components, value.shape), value.dtype))
    return found


def _is_joined(value: Value) -> bool:
    return value.size <= MAX_PARTS and not jnp.issubdtype(value.dtype, jax.dtypes.extended)


def _cond(equation: Any, size: int, index: Value, *operands: Value) -> Any:
    branches = equation.params["branches"]
    if index.known is not None:
        return run(branches[int(np.clip(int(index.known), 0, len(branches) - 1))], size, operands)

    def branch(program: ClosedJaxpr) -> Callable[[], list[jax.Array]]:
        return lambda: [value.whole(size) for value in run(program, size, operands)]

    if index.is_single:
        _take_apart(operands)
        return [Value.of_whole(x) for x in lax.switch(index.single(), [branch(program) for program in branches])]
    which = jnp.clip(index.whole(size).astype(jnp.int32), 0, len(branches) - 1)  # all are done, one is taken
    results = zip(*(branch(program)() for program in branches), strict=True)
    return [Value.of_whole(lax.select_n(jnp.broadcast_to(which, cases[0].shape), *cases)) for cases in results]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("jit", "closed_call", "custom_jvp_call"), _call),
    "cond": _cond,
    "scan": _scan,
}
