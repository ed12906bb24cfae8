"""`vmap_last` and `vmap_components` against `jax.vmap`: every rule, what has none, and environments of suites."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import primitives

from rpo_jax import SettingsError
from rpo_jax.diagnosis.stepping import QUICK
from rpo_jax.envs.components import vmap_components
from rpo_jax.envs.suites import brax, gymnax
from rpo_jax.envs.vmap_last import RULES, interpret, vmap_last
from rpo_jax.envs.vmap_last.products import MAX_RESULT

N = 5
X = np.random.default_rng(0).normal(size=(3, 4, N)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(3, 4, N)).astype(np.float32)
FIXED = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)  # the same for all of the batch
LARGE = np.random.default_rng(3).normal(size=(20, N)).astype(np.float32)
ORDER = np.array([2, 0])


def scan_with_a_counter(x):
    def step(carry, row):
        count, total, latest = carry
        return (count + 1, total + count * row, row), (count, row * latest)

    return lax.scan(step, (0, jnp.zeros(4), jnp.zeros(4)), x)


def scan_whose_carry_is_batched_late(x):
    def step(carry, _):
        first, second, third = carry
        return (second, third, third + x.sum()), first

    return lax.scan(step, (0.0, 0.0, 0.0), length=5, reverse=True)


def scan_whose_counter_is_chosen(x):
    """What each branch, and each step of the loop within, gives is the same for all of the batch."""

    def step(carry, row):
        count, other, total = carry
        other, _ = lax.scan(lambda inner, _: (inner + count, ()), other, length=2)
        return (lax.cond(count > 1, lambda: count - 1, lambda: count + 2), other, total + count * row), other

    return lax.scan(step, (1, 0, jnp.zeros(4)), x)


def scan_that_carries_much(x, y):
    """More components than `vmap_components` carries as one array."""

    def step(carry, _):
        first, second, third, few = carry
        return (second, third - few[0, 0], jnp.roll(first, 1, axis=0) + few.sum(), 0.5 * few + second[0, 1]), ()

    many = jnp.outer(x, y)
    return lax.scan(step, (many, many + 1, 2 * many, x), length=3)


def scan_that_carries_nothing(x):
    """Nothing of one dtype, that is."""
    nothing = x[:0].astype(int)
    return lax.scan(lambda carry, _: ((carry[0] + 1, 2 * carry[1]), ()), (x, nothing), length=3)


def while_loop(x):
    return lax.while_loop(lambda carry: carry.sum() < 10, lambda carry: carry + 1.0, x)


@jax.custom_jvp
def cube(x):
    return x**3


cube.defjvp(lambda primals, tangents: (primals[0] ** 3, 3 * primals[0] ** 2 * tangents[0]))


@jax.custom_vjp
def fourth(x):
    return x**4


fourth.defvjp(lambda x: (x**4, x), lambda x, cotangent: (4 * x**3 * cotangent,))


FUNCTIONS = {
    "elementwise": lambda x, y: jnp.arctan2(x, y) * jnp.where(x > y, jnp.sin(x), 2.0) ** 2,
    "with the same for all": lambda x, y: (x + FIXED) * jnp.float32(2),
    "clamp": lambda x, y: lax.clamp(jnp.float32(-0.5), x, jnp.float32(0.5)) + jnp.clip(y, x - 1, x + 1),
    "select by a single condition": lambda x, y: jnp.where(x[0, 0] > 0, x, y),
    "select of many": lambda x, y: lax.select_n(jnp.array(1), x, y),
    "integers": lambda x, y: (x * 8).astype(jnp.int32) // 3 ^ (y > 0),
    "not": lambda x, y: ~(x > y),
    "sums": lambda x, y: (x.sum(), x.mean(0), y.max(1), y.min(), (x > 0).any(), (x > y).all(1), x.prod()),
    "argmax": lambda x, y: (x.argmax(1), y.argmin()),
    "cumulative": lambda x, y: (jnp.cumsum(x, 0), lax.cummax(y, 1, reverse=True), lax.cummin(x), jnp.cumprod(y, 1)),
    "slices": lambda x, y: (x[1:, ::2], y[2], x[:, 1], x[::-1]),
    "indices": lambda x, y: (x[ORDER], y[:, ORDER], x[jnp.array(1)], jnp.take(x, ORDER, axis=1)),
    "an index of each": lambda x, y: x[jnp.int32(x[0, 0] > 0)],
    "updates": lambda x, y: (x.at[1].set(y[0]), x.at[ORDER].add(2.0), jnp.zeros(3).at[ORDER].mul(y[:2, 0])),
    "functions of some": lambda x, y: (
        x.at[ORDER].apply(jnp.sin),
        x.at[1, 1:].apply(lambda x: 3 * x),
        x.at[jnp.array([1, 1])].apply(lambda x: x + 1),
        jnp.asarray(FIXED).at[0].apply(jnp.cos) + y,
    ),
    "other updates": lambda x, y: (
        *(getattr(x.at[ORDER], name)(y[:2]) for name in ("subtract", "divide", "min", "max")),
        x.at[1, ORDER].multiply(y[0, ORDER]),
        jnp.abs(x).at[ORDER].power(y[:2]),
        x.at[jnp.array([0, 7])].get(mode="fill", fill_value=3.0),
        x.at[jnp.array([0, 7])].set(y[:2], mode="drop"),
    ),
    "updates of the same": lambda x, y: jnp.asarray(FIXED).at[0, 1].add(x[0, 0]),
    "an update at an index of each": lambda x, y: x.at[jnp.int32(y[0, 0] > 0)].set(0.0),
    "shapes": lambda x, y: (x.reshape(2, 6), x.T, jnp.tile(x, (2, 1)), x[None], jnp.broadcast_to(y, (2, 3, 4))),
    "mixed stacks": lambda x, y: (
        jnp.stack([x, y]),
        jnp.concatenate([x, FIXED], 1),
        jnp.roll(x, 1, 0),
        jnp.hstack([x, y]),
    ),
    "pads": lambda x, y: (jnp.pad(x, ((1, 0), (0, 2))), lax.pad(x, y[0, 0], ((0, 1, 0), (0, 0, 1)))),
    "products": lambda x, y: (x @ y.T, jnp.dot(x[0], y[1]), x @ FIXED.T, FIXED.T @ x, jnp.outer(x[0], y[:, 0])),
    "products of several": lambda x, y: (jnp.einsum("ij,ik->ijk", x, y), jnp.einsum("ij,ij->j", x, y)),
    "cross products": lambda x, y: jnp.cross(x[:, :3], y[:, :3]),
    "norms": lambda x, y: jnp.linalg.norm(x, axis=1),
    "a linear system": lambda x, y: jnp.linalg.solve(x[:, :3] @ x[:, :3].T + jnp.eye(3), y[:, 0]),
    "jit": lambda x, y: jax.jit(lambda x: x * 2)(x) + jax.nn.relu(y) + jax.nn.softplus(x),
    "custom derivatives": lambda x, y: cube(x) + y,
    "gradients": lambda x, y: jax.grad(lambda x: jnp.sum(jnp.tanh(x) * y))(x),
    "vmap": lambda x, y: jax.vmap(lambda row, other: row * other.sum())(x, y),
    "scan": lambda x, y: scan_with_a_counter(x),
    "scan of a chosen counter": lambda x, y: scan_whose_counter_is_chosen(x),
    "scan of much": scan_that_carries_much,
    "scan of nothing": lambda x, y: scan_that_carries_nothing(x),
    "scan batched late": lambda x, y: scan_whose_carry_is_batched_late(x),
    "scan of the same": lambda x, y: lax.scan(lambda c, row: (c + row @ x[0], row * c), 0.0, FIXED),
    "for": lambda x, y: lax.fori_loop(0, 3, lambda i, total: total + x[i], y[0]),
    "while": lambda x, y: while_loop(x),
    "cond of the same": lambda x, y: lax.cond(FIXED.sum() > 0, lambda: x, lambda: y),
    "cond of each": lambda x, y: lax.cond(x[0, 0] > 0, lambda: x, lambda: y),
    "switch": lambda x, y: lax.switch(jnp.int32(FIXED[0, 0] > 0), [lambda x: x, lambda x: x + FIXED], x),
    "switch of each": lambda x, y: lax.switch(
        jnp.int32(4 * x[0, 0]), [lambda x: (x, 1), lambda x: (y, 2), lambda x: (2 * x, 3)], x
    ),
    "casts of bits": lambda x, y: (lax.bitcast_convert_type(x, jnp.int32), lax.bitcast_convert_type(x, jnp.uint8)),
    "the other order": lambda x, y: (x.reshape(2, 6, order="F"), y.ravel("F")),
    "dynamic slices": lambda x, y: (
        lax.dynamic_slice(x, (1, jnp.int32(FIXED[0, 0])), (2, 3)),
        lax.dynamic_slice(x, (jnp.int32(-4), jnp.int32(7)), (2, 3)),
        lax.dynamic_update_slice(x, y[:1], (2, 0)),
        lax.dynamic_update_slice(jnp.asarray(FIXED), y[:1], (0, 0)),
        lax.dynamic_slice(x, (jnp.int32(y[0, 0] > 0), 0), (2, 3)),
        lax.dynamic_update_slice(x, y[:1], (jnp.int32(y[0, 0] > 0), 0)),
    ),
    "extremes at indices": lambda x, y: (x.at[ORDER].max(y[:2]), x.at[0].min(0.0), x.at[1].subtract(y[0])),
    "vmap of indices": lambda x, y: jax.vmap(lambda row, index: row[index])(x, jnp.array([2, 0, 1])),
    "sorts": lambda x, y: (jnp.sort(x, axis=0), jnp.argsort(y, axis=1), lax.top_k(x, 2)[0]),
    "splits": lambda x, y: jnp.split(x, 2, axis=1),
    "stacks": lambda x, y: (jnp.stack([x[0], FIXED[0], x[1]]), jnp.stack([x, x], axis=-1), *jnp.unstack(y, axis=1)),
    "integer products": lambda x, y: (x * 8).astype(jnp.int32) @ (y * 8).astype(jnp.int32).T,
    "custom vjp": lambda x, y: fourth(x) + jax.grad(lambda x: fourth(x).sum())(y),
    "remat": lambda x, y: jax.checkpoint(lambda x: jnp.sin(x) * 2)(x) + y,
    "other numbers": lambda x, y: (
        lax.reduce_precision(x, 8, 7),
        lax.clz(jnp.int32(y)),
        lax.population_count(jnp.int32(x)),
    ),
    "constants": lambda x, y: (jnp.arange(3), 1.0, x, jnp.asarray(FIXED)),
}


# fmt: off
UNARY = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "ceil", "cos", "cosh", "erf", "erf_inv", "erfc",
    "exp", "exp2", "expm1", "floor", "is_finite", "log", "log1p", "logistic", "neg", "round", "rsqrt", "sign", "sin",
    "sinh", "sqrt", "square", "tan", "tanh",
)
BINARY = (
    "add", "atan2", "div", "eq", "ge", "gt", "le", "lt", "max", "min", "mul", "ne", "nextafter", "pow", "rem", "sub",
)
BITWISE = (
    "bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right_arithmetic", "shift_right_logical",
)
# fmt: on


def assert_same(function, *args, exact=False):
    ways = (jax.vmap(function, in_axes=-1, out_axes=-1), vmap_last(function), vmap_components(function))
    expected, *results = jax.jit(lambda *args: [way(*args) for way in ways])(*args)
    for result in results:
        assert jax.tree.structure(result) == jax.tree.structure(expected)
        for ours, theirs in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            np.testing.assert_allclose(ours, theirs, rtol=0 if exact else 2e-5, atol=0 if exact else 2e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_vmap_with_the_batch_last(name):
    assert_same(FUNCTIONS[name], X, Y)


def test_matrix_products_of_many_terms_are_products():
    weights = np.random.default_rng(4).normal(size=(20, 6)).astype(np.float32)
    assert_same(lambda x: x @ weights, LARGE)
    assert "dot_general" in str(jax.make_jaxpr(vmap_last(lambda x: x @ weights))(LARGE))
    assert "dot_general" not in str(jax.make_jaxpr(vmap_last(lambda x: x[:16] @ weights[:16]))(LARGE))


def test_products_of_a_large_result_are_products():
    rows, columns = np.ones((64, 2), np.float32), np.ones((2, 65), np.float32)
    assert rows.shape[0] * 64 == MAX_RESULT
    for few, isnt in ((columns[:, :64], True), (columns, False)):
        program = jax.make_jaxpr(vmap_last(lambda x, few=few: (x[0] * rows) @ few))(LARGE)
        assert ("dot_general" not in str(program)) is isnt
    assert_same(lambda x: (x[:2] * rows) @ columns, LARGE)


def test_each_operation_is_done_under_the_settings_it_was_written_under():
    def draw(key):
        with jax.threefry_partitionable(False):
            inner = jax.random.bits(key, (3,))
        return inner, jax.random.bits(key, (3,))

    keys = jax.random.split(jax.random.key(3), N)
    assert_same(draw, keys, exact=True)
    assert_same(lambda key: jax.jit(draw)(key), keys, exact=True)
    assert (np.asarray(draw(keys[0])[0]) != np.asarray(draw(keys[0])[1])).any()


def test_names_of_scopes_and_lines_stay_with_the_operations():
    def named(x):
        with jax.named_scope("outer"):
            return lax.scan(lambda total, row: (total + jnp.sin(row), ()), jnp.zeros(4), x)[0]

    def first(x):
        with jax.named_scope("inner"):
            return named(x) @ FIXED[0]

    equations = jax.make_jaxpr(vmap_last(first))(X).jaxpr.eqns
    stacks = {equation.primitive.name: str(equation.source_info.name_stack) for equation in equations}
    assert stacks["scan"] == "inner/outer"
    assert stacks["reduce_sum"] == "inner"
    scan = next(equation for equation in equations if equation.primitive.name == "scan")
    assert "named" in str(scan.source_info.traceback)


def test_a_product_in_another_type_is_of_that_type():
    assert_same(
        lambda x: lax.dot(x[0].astype(jnp.bfloat16), x[1].astype(jnp.bfloat16), preferred_element_type=X.dtype), X
    )


def test_a_branch_of_each_is_taken_in_64_bits():
    with jax.enable_x64(True):
        assert_same(lambda x: lax.cond(x[0, 0] > 0, lambda: x, lambda: -x), np.asarray(X, np.float64))


def test_keys_are_drawn_from_as_by_vmap():
    def draw(key):
        key, other = jax.random.split(key)
        return jax.random.normal(key, (3, 2)), jax.random.uniform(other), jax.random.randint(other, (2,), 0, 9)

    keys = jax.random.split(jax.random.key(3), N)
    assert_same(draw, keys, exact=True)
    expected = jax.vmap(jax.random.split, out_axes=-1)(keys)
    np.testing.assert_array_equal(jax.random.key_data(vmap_last(jax.random.split)(keys)), jax.random.key_data(expected))


def test_dictionaries_and_scalars_go_in_and_out():
    result = vmap_last(lambda tree, y: {"sum": tree["x"] + y, "none": None})({"x": np.arange(4.0)}, np.ones((2, 4)))
    np.testing.assert_array_equal(result["sum"], np.arange(4.0) + np.ones((2, 4)))
    assert result["none"] is None


def test_every_rule_is_of_an_operation_that_exists():
    known = {value.name for value in vars(primitives).values() if hasattr(value, "bind")}
    assert set(RULES) <= known | {
        "closed_call",
        "jit",
        "scatter-sub",
        "split",
        "stack",
        "tile",
        "unstack",
    }  # which JAX does not list


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number(name):
    assert_same(getattr(lax, name), np.abs(X) / 4 + (1 if name == "acosh" else 0))


@pytest.mark.parametrize("name", [*BINARY, *BITWISE])
def test_functions_of_two_numbers(name):
    x, y = (X, Y) if name in BINARY else ((9 * X).astype(np.int32), (9 * np.abs(Y)).astype(np.int32))
    x = np.abs(x) if name == "pow" else x
    function, same = getattr(lax, name), y[..., 0]
    assert_same(lambda x, y: (function(x, y), function(x, same)), x, y)


def test_every_rule_is_tried_here(monkeypatch):
    tried = set()

    def watch(name, rule):
        def watched(*args):
            tried.add(name)
            return rule(*args)

        return watched

    monkeypatch.setattr(interpret, "RULES", {name: watch(name, rule) for name, rule in RULES.items()})
    functions = [
        *((function, (X, Y)) for function in FUNCTIONS.values()),
        *((getattr(lax, name), (np.abs(X),)) for name in UNARY),
        *((getattr(lax, name), (X, Y)) for name in BINARY),
        *((getattr(lax, name), (X.astype(np.int32), Y.astype(np.int32))) for name in BITWISE),
    ]
    for function, args in functions:
        jax.eval_shape(vmap_last(function), *args)
    assert set(RULES) - tried <= {"add_any", "closed_call", "copy"}  # by some versions of JAX only


def test_batches_of_different_sizes_are_an_error_that_tells_the_shapes():
    with pytest.raises(ValueError, match=r"last axis of every array is that of the batch.*\(3, 4\), \(3, 5\)"):
        vmap_last(jnp.add)(np.ones((3, 4)), np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"these are \(\)"):
        vmap_last(jnp.sin)(np.float32(1))


@pytest.mark.parametrize(
    "name", ["cross products", "norms", "slices", "updates", "products of several", "scan", "mixed stacks"]
)
def test_the_batch_stays_last_in_between(name):
    program = str(jax.make_jaxpr(vmap_last(FUNCTIONS[name]))(X, Y))
    for order in re.findall(r"transpose\[permutation=\(([\d, ]+)\)", program):
        axes = [int(axis) for axis in order.split(",")]
        assert axes[-1] == len(axes) - 1


def test_what_is_joined_is_computed_once_on_a_cpu():
    """Each cross product joins three numbers, and is read several times."""

    def cross(x, y):
        return jnp.array([x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]])

    def several(x, y):
        a = cross(x, y)
        b = cross(y, a)
        c = cross(a, b)
        return a[0] * b[1], jnp.concatenate([c, a]).sum(), b.sum() * c, jnp.dot(a, b)

    lowered = jax.jit(vmap_last(several)).lower(X[:, 0], Y[:, 0])
    written = lowered.as_text().count("stablehlo.multiply")
    computed = str(lowered.compile().as_text()).count(" multiply(")
    assert written <= computed < 1.5 * written  # 2.6 times as many if XLA may compute them anew
    results = (of(X[:, 0], Y[:, 0]) for of in (vmap_last(several), jax.vmap(several, -1, -1)))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["products", "scan", "updates", "pads", "indices"])
def test_without_rules_it_is_the_same(name, monkeypatch):
    monkeypatch.setattr(interpret, "RULES", {})
    assert_same(FUNCTIONS[name], X, Y)


# All environments of all suites: `python benchmarks/batching.py values`. Brax's other backends and Playground are
# compared with `jax.vmap` of the suites' own functions in their tests.
ENVIRONMENTS = {
    **{f"gymnax/{name}": partial(gymnax.make, name) for name in gymnax.TASKS},
    "brax/inverted_pendulum": partial(brax.make, "inverted_pendulum"),
    "brax/fast": partial(brax.make, "fast"),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_step_of_an_environment_is_the_same_with_the_batch_last_and_first(name):
    last, first = (ENVIRONMENTS[name](batching=batching) for batching in ("last", "first"))
    quick = partial(jax.jit, compiler_options=QUICK)
    keys = jax.random.split(jax.random.key(0), 3)
    actions = np.random.default_rng(0).uniform(-1, 1, (3, first.action_size)).astype(np.float32)
    state, _ = initial = quick(first.reset)(keys)
    found, expected = (quick(env.step)(keys, state, actions, initial) for env in (last, first))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert {leaf.shape[-1] for leaf in jax.tree.leaves(found[0])} == {3}  # the state is [..., N] either way
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        if jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_another_batching_is_refused():
    with pytest.raises(SettingsError, match=r"did you mean .*last"):
        gymnax.make("Pendulum-v1", batching="lasts")  # pyright: ignore[reportArgumentType]
