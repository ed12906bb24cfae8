"""Among how many cores of a CPU one run is divided."""

import jax
import jax.numpy as jnp
import pytest
import toys

import rpo_jax
from rpo_jax.algorithm.networks import make_mlp
from rpo_jax.execution.devices import spread_runs
from rpo_jax.execution.division import count_elements, count_useful_cores


def simulator_of(num_substeps: int) -> rpo_jax.Environment:
    """A toy whose step takes so many steps of 64 numbers."""

    def init(key):
        return jax.random.normal(key, (64,)), jnp.zeros(2)

    def step(key, state, action):
        state = jax.lax.fori_loop(0, num_substeps, lambda _, x: x * 0.9 + action[0], state)
        return state, rpo_jax.Successor(state[:2], state[0], jnp.array(False), jnp.array(False))

    dynamics = rpo_jax.Dynamics(init, step)
    return rpo_jax.vectorize(dynamics, name="toy/substeps", observation_size=2, **toys.bounds(-1.0, 1.0))


def test_numbers_of_loops_and_of_functions_within_are_counted():
    def program(x):
        def body(carry, _):
            return jax.jit(lambda x: x + 1)(carry) * 2, None  # 3 and 3 numbers

        return jax.lax.scan(body, x, length=5)[0].sum()  # 1

    assert count_elements(jax.make_jaxpr(program)(jnp.ones(3)).jaxpr) == 5 * 6 + 1


def test_numbers_are_counted_where_an_operation_has_a_program_for_two_of_them():
    def scatter(x):
        return jax.lax.scatter_add(x, jnp.zeros((1, 1), int), jnp.ones(1), numbers)

    numbers = jax.lax.ScatterDimensionNumbers((), (0,), (0,))
    assert count_elements(jax.make_jaxpr(scatter)(jnp.ones(1000)).jaxpr) >= 1000


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (8, 8), (1000, 244)])
def test_a_large_run_is_divided_among_cores_that_are_busy(cores, expected):
    # A minibatch has 64 * 48 / 2 samples, with 6 operations for each of 2 * (2 * 256 + 256 * 256 + 256) weights.
    agent = toys.tiny_agent(hidden_sizes=(256, 256), num_envs=64, num_steps=48, num_minibatches=2)
    assert count_useful_cores(agent, cores) == expected


def test_a_small_run_takes_one_core_unless_its_simulator_is_slow():
    fast, slow = (toys.tiny_agent(rpo_jax.RPO, simulator_of(steps), num_envs=16, num_steps=8) for steps in (1, 10_000))
    assert count_useful_cores(fast, 4) == 1
    assert count_useful_cores(slow, 4) == 4


def test_the_networks_count_that_an_agent_has():
    env, config = toys.reaching_env(), toys.tiny_config(num_envs=64, num_steps=48)
    wide = make_mlp(env, toys.tiny_config(hidden_sizes=(512, 512)))
    assert count_useful_cores(rpo_jax.make_agent(env, rpo_jax.RPO, config), 16) == 1
    assert count_useful_cores(rpo_jax.make_agent(env, rpo_jax.RPO, config, network=wide), 16) == 16


def test_a_step_that_cannot_be_traced_alone_divides_no_run_and_stops_none():
    def fails(*args):
        raise ValueError("outside of training")

    agent = toys.new_agent(rpo_jax.RPO, simulator_of(10_000)._replace(step=fails), num_envs=16, num_steps=8)
    assert count_useful_cores(agent, 4) == 1


def test_cores_that_do_not_help_are_left_to_others():
    four = jax.devices("cpu") * 4
    assert len(spread_runs(toys.tiny_agent(), 1, four).devices) == 1
    assert len(spread_runs(toys.tiny_agent(), 3, four).devices) == 3
    assert len(spread_runs(toys.tiny_agent(env=toys.host_env()), 1, four).devices) == 4
