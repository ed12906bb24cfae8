"""Where each kernel costs a launch, arrays are kept together and products joined: the results are the same."""

import dataclasses
import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from rpo_jax import Hyperparams, TrainConfig, make_agent, make_env
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.networks import ActorCritic, init_params
from rpo_jax.algorithm.packing import packed
from rpo_jax.algorithm.rpo import train
from rpo_jax.algorithm.sharing import Share
from rpo_jax.algorithm.stacked import act_and_evaluate
from rpo_jax.envs import Dynamics, Environment, Successor, vectorize
from rpo_jax.execution.devices import _share_of_accelerator
from rpo_jax.typing import PyTree

NETWORKS = {
    "shared": {},
    "state": {"std": "state"},
    "scaled": {"policy_scale": (1.0, 2.0, 3.0), "activation": "relu"},
    "no hidden layer": {"hidden_sizes": ()},
    "one hidden layer": {"hidden_sizes": (5,), "precision": "highest", "weight_init": "uniform"},
}


@pytest.mark.parametrize(
    ("options", "action_size"),
    [*((options, 4) for options in NETWORKS.values()), ({}, 1)],
    ids=[*NETWORKS, "one action"],
)
def test_both_networks_at_once_are_the_two(options: dict[str, Any], action_size: int) -> None:
    network = ActorCritic(action_size, **{"hidden_sizes": (8, 6), **options})
    random = np.random.default_rng(0)
    obs = jnp.asarray(random.normal(size=(3 * 128, 3)), jnp.float32)  # gradients are summed in three parts
    shapes = jax.eval_shape(partial(init_params, network), jax.random.key(0), obs)
    params = jax.tree.map(lambda x: 0.5 * random.normal(size=x.shape).astype(np.float32), shapes)

    def apart(params: PyTree, obs: jax.Array) -> tuple[jax.Array, ...]:
        apply: Any = partial(network.apply, params, obs)
        loc, log_scale = apply(method="act")
        return loc, jnp.broadcast_to(log_scale, loc.shape), apply(method="evaluate")

    def results(of: Any, params: PyTree, obs: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        found = of(params, obs)
        return sum(jnp.sin(x).mean() for x in found), found  # pyright: ignore[reportReturnType]

    @jax.jit
    def both(params: PyTree, obs: jax.Array) -> list[Any]:
        together = partial(act_and_evaluate, network, parts=3)
        return [jax.grad(partial(results, of), (0, 1), has_aux=True)(params, obs) for of in (together, apart)]

    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), *both(params, obs))


class Doubled(ActorCritic):
    """A network of a user, whose values are twice as large."""

    def evaluate(self, obs: jax.Array) -> jax.Array:
        return 2 * super().evaluate(obs)


def test_a_network_of_ones_own_computes_what_it_says() -> None:
    agent = make_agent(toys.reaching_env(), network=Doubled(1, hidden_sizes=(4,)))
    few, obs = dataclasses.replace(agent, share=Share(few_kernels=True)), jnp.ones((3, 2))
    params = agent.init_params(jax.random.key(0), obs, Hyperparams())
    np.testing.assert_array_equal(few.act_and_value(params, obs)[2], agent.value(params, obs))


def outputs(step: jax.Array) -> dict[str, Any]:
    """Of three environments."""
    return {
        "float": jnp.where(step == 2, jnp.nan, jnp.asarray([[1.5, -0.0], [jnp.inf, 1e-42], [3e38, 0.1]])),
        "int": jnp.asarray([-1, 2**31 - 1, 7]) + step * 0,
        "bool": jnp.asarray([True, False, True]),
        "none": None,
    }


def test_what_is_packed_comes_back_bit_by_bit() -> None:
    def step(carry: jax.Array, x: jax.Array) -> tuple[jax.Array, PyTree]:
        return carry + 1, outputs(x)

    packed_step, unpack = packed(step)
    _, rows = jax.lax.scan(packed_step, jnp.zeros(()), jnp.arange(4))
    assert (rows.shape, rows.dtype) == ((4, 3, 4), jnp.uint32)
    _, expected = jax.lax.scan(step, jnp.zeros(()), jnp.arange(4))
    for found, right in zip(jax.tree.leaves(unpack(rows)), jax.tree.leaves(expected), strict=True):
        assert found.dtype == right.dtype
        np.testing.assert_array_equal(np.asarray(found).view(np.uint8), np.asarray(right).view(np.uint8))


def test_numbers_of_64_bits_are_left_as_they_are() -> None:
    with jax.enable_x64(True):
        packed_step, unpack = packed(lambda carry, x: (carry, {"x": jnp.full(3, x, jnp.float64)}))
        _, rows = jax.lax.scan(packed_step, jnp.zeros(()), jnp.arange(4))
        assert unpack(rows)["x"].dtype == np.float64


FEW_KERNELS = Share(few_kernels=True, in_stages=True, values_at_once=16)
LITTLE_MEMORY = Share(in_stages=True, chunk_size=12, joined_rows=True)


@pytest.mark.parametrize(("variant", "share"), [("rpo", FEW_KERNELS), ("drac", FEW_KERNELS), ("drac", LITTLE_MEMORY)])
def test_training_is_the_same(variant: str, share: Share) -> None:
    config = TrainConfig(
        num_envs=8,
        num_steps=6,
        num_minibatches=2,
        num_epochs=2,
        total_timesteps=5 * 48,
        hidden_sizes=(8,),
        shuffle="environments" if share.joined_rows else "samples",
    )
    agent = make_agent(toys.reaching_env(), variant, config)

    def trained(agent: Agent) -> tuple[PyTree, PyTree]:
        state, metrics = jax.jit(partial(train, agent))(Hyperparams(), jax.random.key(0))
        return state.params, metrics

    found, expected = (trained(dataclasses.replace(agent, share=own)) for own in (share, Share()))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5), found, expected)


@pytest.mark.parametrize(("platform", "few"), [("gpu", True), ("tpu", False)])
def test_kernels_are_saved_on_the_device_that_launches_them(platform: str, few: bool) -> None:
    share = _share_of_accelerator(1, 4, TrainConfig(), platform)
    assert share.few_kernels == few
    assert share.in_stages


@pytest.mark.parametrize("shuffle", ["samples", "environments"])
def test_layers_of_many_runs_are_kept_small_on_a_tpu(shuffle: Any) -> None:
    config = TrainConfig(num_envs=4096, num_steps=32, num_minibatches=8, hidden_sizes=(64, 64), shuffle=shuffle)
    few, many, most = (_share_of_accelerator(1, runs, config, "tpu") for runs in (1, 16, 1024))
    assert (few.chunk_size, few.joined_rows) == (None, False)
    assert many.joined_rows == (shuffle == "environments")
    assert (many.chunk_size, most.chunk_size) == (2**24 // (16 * 64 * 4), 512)  # products of fewer rows are slow
    assert _share_of_accelerator(1, 16, config, "gpu").chunk_size is None


def test_values_are_computed_in_parts_that_need_not_be_equal() -> None:
    share, obs = Share(values_at_once=8), jnp.arange(7 * 4 * 2.0).reshape(7, 4, 2)
    np.testing.assert_array_equal(share.map_values(lambda x: x.sum(-1), obs), obs.sum(-1))
    program = str(jax.make_jaxpr(partial(share.map_values, lambda x: jnp.tanh(x).sum(-1)))(obs))
    assert re.findall(r"f32\[(\d),4,2\] = tanh", program) == ["2", "1"]  # three times two steps, and the last


def test_an_environment_is_stepped_in_few_kernels_where_they_count() -> None:
    env = make_env("gymnax/Pendulum-v1", time_limit="terminate")
    agent = make_agent(env, "rpo", toys.tiny_config(updates=3, hidden_sizes=()))
    assert agent.env.for_accelerator
    few = dataclasses.replace(agent, env=agent.env.for_accelerator, share=Share(few_kernels=True))
    found, expected = (jax.jit(partial(train, of))(Hyperparams(), jax.random.key(0))[0].params for of in (few, agent))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5), found, expected)


def with_products(**options: Any) -> Environment:
    """Its step multiplies matrices that are too large for sums of vectors."""
    weights = np.ones((40, 40), np.float32)

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> tuple[jax.Array, Successor]:
        state = 0.01 * (state @ weights)
        return state, Successor(state, state[0], jnp.array(False), jnp.array(False))

    def init(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = jax.random.uniform(key, (40,)) @ weights
        return state, state

    dynamics = Dynamics(init, step)
    return vectorize(dynamics, name="toy/products", observation_size=40, **toys.bounds(-1.0, 1.0), **options)


def program_of(env: Environment, num_envs: int = 3) -> str:
    keys, actions = jax.random.split(jax.random.key(0), num_envs), jnp.zeros((num_envs, 1))
    initial = jax.eval_shape(env.reset, keys)
    return str(jax.make_jaxpr(env.step)(keys, initial[0], actions, initial))


def test_physics_is_of_full_precision_on_an_accelerator() -> None:
    env = with_products()
    assert env.for_accelerator
    assert "HIGHEST" in str(jax.make_jaxpr(env.for_accelerator.reset)(jax.random.split(jax.random.key(0), 3)))
    assert "HIGHEST" in program_of(env.for_accelerator)
    assert "HIGHEST" not in program_of(env)  # the only one of a CPU
    with jax.default_matmul_precision("default"):  # as the user says
        assert "HIGHEST" not in program_of(with_products().for_accelerator or env)


@pytest.mark.parametrize(
    ("options", "few"), [({}, True), ({"batching": "last"}, False), ({"backend": "generalized"}, False)]
)
def test_which_environments_are_taken_apart(options: dict[str, str], few: bool) -> None:
    env = make_env("brax/inverted_pendulum", **options)
    assert env.for_accelerator
    assert ("reduce_sum" not in program_of(env.for_accelerator)) is few
