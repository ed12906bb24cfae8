"""Initial states of the episodes of a rollout, drawn for windows of its steps."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.sharing import fewest_equal_parts
from rpo_jax.envs.protocol import Episodes, where
from rpo_jax.typing import PyTree

MAX_WINDOW = 32  # steps


def scan_windows(
    step: Callable[[Episodes, PyTree, Episodes], tuple[Episodes, PyTree]],
    start: Episodes,
    inputs: PyTree,
    draw: Callable[[jax.Array, int], Episodes],
    key: jax.Array,
    begins: jax.Array,
) -> tuple[Episodes, PyTree]:
    """Scans `step` over T steps of N environments, and supplies the initial states of their episodes.

    The steps are divided into equal windows of at most 32, W (if T is a prime above 32, windows have one step). For
    each window, the suite's own reset creates N + W initial states. Where `begins`, environment i starts from initial
    state i of the first window. If its episode ends at step t of a window, it continues from initial state i + t + 1.
    An environment therefore never uses an initial state twice, and an initial state is independent of when the previous
    episode ended, as after a full reset. Neighbouring environments may start from the same initial state at different
    times. Resets cost (N + W) / (W N) of a full reset per environment step. (Brax's own wrapper reuses one initial
    state per environment.)

    Args:
        step: `(episodes, input, initial) -> (episodes, output)`, one step; where an episode ends, `initial` follows.
        start: episodes before the first step.
        inputs: one for each step, leaves [T, ...].
        draw: `(key, W) -> N + W initial states`.
        key: random key of all initial states.
        begins: whether all environments begin new episodes [] bool.

    Returns:
        The episodes after the last step, and the outputs [T, ...].
    """
    num_envs, num_steps = len(start[1]), len(jax.tree.leaves(inputs)[0])
    num_windows = fewest_equal_parts(num_steps, most=MAX_WINDOW)
    length = num_steps // num_windows

    def window(carry, window_inputs):
        key, begins, *rest = window_inputs
        drawn = draw(key, length)

        def initial(number):
            cut = partial(jax.lax.dynamic_slice_in_dim, start_index=number, slice_size=num_envs)
            return jax.tree.map(partial(cut, axis=-1), drawn[0]), cut(drawn[1])

        def numbered(carry, inputs):
            number, *rest = inputs
            return step(carry, rest, initial(number))

        return jax.lax.scan(numbered, where(begins, initial(0), carry), (jnp.arange(1, length + 1), *rest))

    windows = jax.tree.map(lambda x: x.reshape((num_windows, length, *x.shape[1:])), inputs)
    begins = jnp.zeros(num_windows, bool).at[0].set(begins)
    end, outputs = jax.lax.scan(window, start, (jax.random.split(key, num_windows), begins, *windows))
    return end, jax.tree.map(lambda x: x.reshape((num_steps, *x.shape[2:])), outputs)
