"""Operations that `vmap_components` does by NumPy, against JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.core import Tracer

from rpo_jax.envs.components import vmap_components
from rpo_jax.envs.components.known import MOVES, NUMBERS, by_numpy, computed_now

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
EACH = np.array([[1, 0], [2, 3], [0, 3]], np.int32)  # two columns of each row


def one_of(name):
    return lambda *arrays: getattr(lax, name)(*arrays)


# An operation by JAX's name, and arrays that it takes.
CASES = [
    *(
        (one_of(name), (X, Y))
        for name in ("add", "div", "eq", "ge", "gt", "le", "lt", "max", "min", "mul", "ne", "sub")
    ),
    *((one_of(name), (X > 0, Y > 0)) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")),
    *((one_of(name), (X,)) for name in ("abs", "is_finite", "neg")),
    (lax.bitwise_not, (X > 0,)),
    (lax.bitwise_not, (EACH,)),
    (lambda x: lax.convert_element_type(x, jnp.float32), (EACH,)),
    (lambda x: lax.convert_element_type(x, jnp.int32), (X > 0,)),
    (lambda x: lax.reduce_or(x, (0, 1)), (X > 1,)),
    (lambda x: lax.reduce_and(x, (1,)), (X > -1,)),
    (lax.select_n, (X > 0, X, Y)),
    (lax.select_n, (np.array(True), X, Y)),
    (lambda x: lax.broadcast_in_dim(x, (2, 3, 5, 4), (1, 3)), (X,)),
    (lambda x, y: lax.concatenate([x, y], 1), (X, Y)),
    (lambda x: lax.reshape(x, (2, 6)), (X,)),
    (lambda x: lax.rev(x, (0, 1)), (X,)),
    (lambda x: lax.slice(x, (0, 1), (3, 4), (2, 1)), (X,)),
    (lambda x: lax.split(x, (1, 3), axis=1), (X,)),
    (lambda x: lax.squeeze(x, (0,)), (X[:1],)),
    (lambda x: lax.transpose(x, (1, 0)), (X,)),
    (lambda x: x[jnp.array([2, 0])], (X,)),
    (lambda x: x[:, jnp.array([[2, 0], [1, 1]])], (X,)),
    (lambda x: jnp.stack([x, x + 1, 2 * x])[jnp.array([2, 0])], (X,)),
    (lambda x: x[jnp.array([2, 0]), jnp.array([3, 1])], (X,)),
    (lambda x: jax.vmap(lambda row, index: row[index])(x, EACH), (X,)),
    (lambda x: jax.vmap(lambda column, index: column[index], (1, 1), 1)(x, EACH[:2].repeat(2, 1)), (X,)),
    (lambda x: lax.dynamic_slice(x, (1, 0), (2, 3)), (X,)),
    (lambda x, y: jnp.stack([x, y], 1), (X, Y)),
    (lambda x: jnp.tile(x, (2, 1, 3)), (X,)),
    (lambda x: jnp.unstack(x, axis=1), (X,)),
    (lambda x: x + lax.broadcasted_iota(jnp.float32, (3, 4), 1), (X,)),
]


def equations_of(function, arrays):
    """Each operation of a program, with the arrays it takes and gives."""
    known = {}

    def interpret(program, consts, args):
        known.update(zip((*program.constvars, *program.invars), (*consts, *args), strict=True))
        for equation in program.eqns:
            values = [np.asarray(atom.val if hasattr(atom, "val") else known[atom]) for atom in equation.invars]
            results = equation.primitive.bind(*values, **equation.primitive.get_bind_params(equation.params))
            results = list(results) if equation.primitive.multiple_results else [results]
            known.update(zip(equation.outvars, results, strict=True))
            yield equation, values, results

    program = jax.make_jaxpr(function)(*arrays)
    return interpret(program.jaxpr, program.consts, arrays)


def test_numpy_gives_what_jax_gives_wherever_it_answers():
    tried = set()
    for function, arrays in CASES:
        for equation, values, expected in equations_of(function, arrays):
            found = by_numpy(equation, values)
            if found is None:
                continue
            tried.add(equation.primitive.name)
            for one, other in zip(found, expected, strict=True):
                assert (np.shape(one), one.dtype) == (other.shape, other.dtype), equation
                np.testing.assert_array_equal(one, other, err_msg=str(equation))
    assert {*MOVES, *NUMBERS} - tried <= {"copy", "stack", "tile", "unstack"}  # by some versions of JAX only


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (lambda x: lax.convert_element_type(x, jnp.int32), np.array([np.nan, np.inf], np.float32)),
        (lambda x: lax.div(x, -x), np.array([-7], np.int32)),
        (lambda x: x[jnp.array([7])], X),  # filled or moved into bounds
        (lambda x: lax.select_n(np.array([2, 0]), x, x, x), X[0, :2]),
        (lambda x: lax.select_n(np.array(False), x), X),
        (lambda x: x[jnp.zeros(5000, int)], X),  # it would take long
    ],
)
def test_what_numpy_does_otherwise_is_left_to_jax(function, x):
    *_, (equation, values, _) = equations_of(function, (x,))
    assert by_numpy(equation, values) is None


def test_what_is_computed_while_tracing_is_computed_at_once_on_the_cpu():
    found = []

    @jax.jit
    def program(x):
        with computed_now():
            found.append(jnp.ones(3) + 1)
        return x + found[0]

    program(1.0)
    assert not isinstance(found[0], Tracer)
    with computed_now():
        assert jax.config.jax_default_device == jax.local_devices(backend="cpu")[0]  # pyright: ignore[reportAttributeAccessIssue]


def test_what_depends_on_known_arrays_alone_is_no_part_of_the_program():
    @jax.jit
    def table(x):
        return jnp.tril(x) + jnp.diag(jnp.linspace(0.0, 1.0, 4)) + jax.nn.one_hot(jnp.array([1, 0, 2, 3]), 4)

    program = jax.make_jaxpr(vmap_components(lambda x: x + table(jnp.ones((4, 4)))[0, 1]))(jnp.ones(5))
    names = {equation.primitive.name for equation in program.eqns}
    of_x_and_of_what_is_added = {"add", "broadcast_in_dim", "reshape", "squeeze", "unstack"}
    assert names <= of_x_and_of_what_is_added


@pytest.mark.parametrize("within", [jax.jit, lambda function: function])
def test_a_random_key_may_be_known(within):
    noise = within(lambda seed: jax.random.normal(jax.random.key(seed), (3,)))
    found = vmap_components(lambda x: x + noise(0))(jnp.zeros((3, 5)))
    np.testing.assert_allclose(found, np.repeat(noise(0)[:, None], 5, 1), rtol=1e-6)


def test_a_vector_is_taken_apart_to_numbers():
    found = vmap_components(lambda x: sum(jnp.unstack(jnp.sin(x))))(X)
    np.testing.assert_allclose(found, np.sin(X).sum(0), rtol=1e-5)


def test_numbers_of_64_bits_are_scattered():
    with jax.enable_x64(True):
        x = np.float64(X)
        found = vmap_components(lambda x: x.at[jnp.array([2, 0])].add(1.0))(x)
        np.testing.assert_array_equal(found, x + np.array([1.0, 0.0, 1.0])[:, None])
