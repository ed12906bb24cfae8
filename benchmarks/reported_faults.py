"""Faults of JAX and XLA that were reported, and what is done about them here.

Each program is a fault in small, written after the report that is named; it prints whether the answer is right.
"""

from typing import NamedTuple


class Fault(NamedTuple):
    """A fault that was reported.

    Attributes:
        where: the platform.
        what: goes wrong.
        done: about it, here.
        program: prints True where the answer is right.
    """

    where: str
    what: str
    done: str
    program: str


FAULTS = {
    "jax 39103": Fault(
        "CPU",
        "the last rows of a batch of small products, squared and summed, are wrong",
        "versions are excluded; probed on every machine",
        """
rows = np.zeros((33_000, 3), np.float32); rows[:, 0] = np.arange(33_000) % 1000
squares = jax.jit(jax.vmap(lambda row: jnp.square(np.eye(3, dtype=np.float32) @ row).sum()))(rows)
print(np.allclose(squares, rows[:, 0] ** 2))""",
    ),
    "jax 39257": Fault(
        "CPU",
        "sums of products of eight axes crash or hang",
        "versions are excluded; `rpo-jax check` looks for it",
        """
x, y = np.full((6, 4, 5), 0.5, np.float32), np.ones((6, 4, 5, 7, 7, 7, 7, 7), np.float32)
f = jax.jit(lambda x, y: jnp.log(jnp.maximum((x.reshape(x.shape + (1,) * 5) * y).sum(2), 1e-16)))
print(np.allclose(f(x, y), np.log(2.5)))""",
    ),
    "jax 40412": Fault(
        "CPU",
        "sums over an axis of arrays of seven, one of them of size 1, crash",
        "versions are excluded; `rpo-jax check` looks for it",
        """
x, y = np.random.default_rng(3).normal(size=(2, 3, 1, 2, 2, 8, 8, 8)).astype(np.float32)
print(np.allclose(jax.jit(lambda x, y: (x * y).sum(3))(x, y), (x * y).sum(3), atol=1e-5))""",
    ),
    "jax 40101": Fault(
        "CPU",
        "a loop's small write into an array copies all of it, so that a long scan takes quadratic time",
        "0.11.1 is excluded",
        """
import time
def seconds(length):
    run = jax.jit(lambda x: jax.lax.scan(lambda x, _: (x * 0.999 + 1, x), x, length=length))
    jax.block_until_ready(run(jnp.zeros(16))); began = time.perf_counter()
    jax.block_until_ready(run(jnp.zeros(16))); return time.perf_counter() - began
print(seconds(32_000) < 9 * seconds(8_000) or seconds(32_000) < 0.05)""",
    ),
    "xla 49176": Fault(
        "CPU",
        "a shift by `x.at[1:].set(x[:-1])` that gains an axis is done in place, over what it still has to read",
        "rpo_jax has no such shift; suites were not searched",
        """
x = np.arange(128, dtype=np.int32).reshape(8, 16)
print(np.array_equal(jax.jit(lambda x: (x + 1).at[1:].set((x + 1)[:-1])[None])(x)[0, 1:], x[:-1] + 1))""",
    ),
    "xla 48717": Fault(
        "CPU",
        "a constant index of unsigned type with its top bit set reads element 0",
        "indices in rpo_jax are int32; suites were not searched",
        """
x = np.arange(300, dtype=np.int32); print(int(jax.jit(lambda x: x[jnp.uint8(200)])(x)) == 200)""",
    ),
    "jax 40849": Fault(
        "CPU, GPU",
        "of two nested slices that begin out of range the second is not clamped",
        "no slice in rpo_jax begins out of range; suites were not searched",
        """
b = np.arange(10.0, dtype=np.float32); s = jax.lax.dynamic_slice
print(float(jax.jit(lambda i, j: s(s(b, (i,), (4,)), (j,), (1,))[0])(0, 5)) == 3.0)""",
    ),
    "xla 48454": Fault(
        "CPU, GPU",
        "a `while_loop` with constant bounds and a step of 2 or more runs too often or too seldom",
        "loops in rpo_jax count by 1; suites were not searched",
        """
run = jax.jit(lambda: jax.lax.while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 2, c[1] + 1), (0, 0)))
print(int(run()[1]) == 1)""",
    ),
    "xla 46628": Fault(
        "CPU, GPU",
        "squares and absolute values of integers that wrap are taken to be positive",
        "no integers in rpo_jax wrap but those of random bits, which are unsigned",
        """
x = np.asarray([46341, 3], np.int32); print(bool(jax.jit(lambda x: x * x < 0)(x)[0]))""",
    ),
    "xla 44705": Fault(
        "CPU, GPU",
        "arctan2 of what the compiler knows to be 0 is NaN",
        "rpo_jax has none; suites were not searched",
        """
t = np.asarray([1, 2, 3], np.int32)
print(np.array_equal(jax.jit(lambda t: jnp.angle(jnp.logical_xor(t, t)))(t), np.zeros(3)))""",
    ),
    "jax 37830": Fault(
        "CPU",
        "`device_put` of a NumPy array may share its memory, so that later writes to it show",
        "what a host environment gives is copied",
        """
def is_shared(size):
    x = np.zeros(size, np.float32); y = jax.block_until_ready(jax.device_put(x)); x[0] = 7; return float(y[0]) == 7
print(not any(is_shared(10_000 + n) for n in range(20)))""",
    ),
    "jax 36886": Fault(
        "several devices",
        "a gradient inside `shard_map` with the default `check_vma` is summed over devices already",
        "`check_vma=False`, and a test on eight devices",
        """
mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,)); w = jnp.asarray([1.0, 2.0])
x = np.asarray([[0.0, 1], [1, 1], [1, 0], [0, 0]], np.float32); part = jax.sharding.PartitionSpec("d")
one = jax.vmap(lambda v: jax.grad(lambda p: jnp.dot(p, v))(w))
print(np.array_equal(jax.jit(jax.shard_map(one, mesh=mesh, in_specs=part, out_specs=part))(x), x))""",
    ),
    "jax 36958": Fault(
        "GPU",
        "a scan over a vmapped affine map that gives the state before the step is wrong (0.10.0, 0.10.1)",
        "probed on every machine; the extras for GPUs need 0.11.2",
        """
W, b = np.asarray([[0, -1], [1, 0]], np.float32), np.asarray([0.1, -0.2], np.float32)
x = start = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
step = lambda x, _: (x + 0.02 * jax.vmap(lambda v: W @ v + b)(x), x)
found = jax.jit(lambda x: jax.lax.scan(step, x, length=50)[0])(start)
for _ in range(50): x = x + 0.02 * (x @ W.T + b)
print(np.allclose(found, x, atol=0.05))""",
    ),
    "jax 39336": Fault(
        "GPU",
        "`scale * (x @ W + b)` becomes `scale * (x @ W) + b`",
        "`rpo-jax check` holds an update against NumPy and environments against a CPU",
        """
r = np.random.default_rng(0); A, X, c = (r.normal(size=s).astype(np.float32) for s in ((32, 15), (100, 15), (32,)))
found = jax.jit(jax.vmap(lambda s, x: s * (A @ x + 100 * c), (None, 0)))(np.float32(0.1), X)
print(np.allclose(found, 0.1 * (X @ A.T + 100 * c), atol=0.05))""",
    ),
    "jax 39625": Fault(
        "GPU",
        "a donated state returned behind three equal results is mixed up with them",
        "states are returned first",
        """
run = jax.jit(lambda state, x: ((x - x,) * 3, state), donate_argnums=0)
zeros, state = run(tuple(jnp.float32(k) for k in (1, 2, 3)), jnp.float32(0))
print([float(x) for x in (*zeros, *state)] == [0, 0, 0, 1, 2, 3])""",
    ),
    "jax 40633": Fault(
        "GPU",
        "on an RTX A6000 operations outside `jit` give stale values (0.11.0, 0.11.1)",
        "probed on every machine",
        """
print(np.array_equal(jnp.ones(4) + 1, [2] * 4) and abs(float(jnp.sqrt(jnp.float32(512))) - 512**0.5) < 1e-3)""",
    ),
}
