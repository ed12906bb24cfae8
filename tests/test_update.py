"""The learning half of a round: shuffles, epochs, rates and the optimiser."""

import dataclasses
from functools import cache, partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import toys
from scipy import stats

from rpo_jax import PPO, RPO, Hyperparams, TrainConfig, TrainingState, get_variant
from rpo_jax.algorithm import optimization, update
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.losses import LossNoise
from rpo_jax.algorithm.normalization import initial_moments
from rpo_jax.algorithm.optimization import flatten, join_small, make_optimizer
from rpo_jax.algorithm.permutation import _order, _order_by_digits, permutation
from rpo_jax.algorithm.sharing import Share
from rpo_jax.algorithm.types import Batch
from rpo_jax.algorithm.update import rows_of, shuffle, take, taker, update_policy

SHUFFLES = ["samples", "environments"]


@partial(jax.jit, static_argnums=2)
def shuffled(key: jax.Array, batch: Batch, config: TrainConfig) -> Batch:
    """The minibatches [M, B, ...]."""
    return take(rows_of(batch, config), shuffle(key, config))


def numbered_batch(steps: int, envs: int) -> Batch:
    """Each sample's leaves carry its number, t * N + n."""
    number = np.arange(steps * envs, dtype=np.float32).reshape(steps, envs)
    leaves = np.stack([number, -number], -1), number[..., None], 2 * number, 3 * number, 4 * number, 5 * number
    return Batch(*map(jnp.asarray, leaves))


@pytest.mark.parametrize("how", SHUFFLES)
def test_rows_joined_to_one_array_give_the_same_samples(how: Any) -> None:
    config = TrainConfig(num_envs=6, num_steps=4, num_minibatches=3, shuffle=how)
    rows = rows_of(numbered_batch(4, 6), config)._replace(advantage=None)
    for indices in shuffle(jax.random.key(0), config):
        jax.tree.map(np.testing.assert_array_equal, taker(rows, joined=True)(indices), take(rows, indices))


def start(agent: Agent, hyperparams: Hyperparams, done: int = 0) -> TrainingState:
    """A state after `done` rounds, with random parameters."""
    params = toys.random_params(agent)
    state = TrainingState(
        params=params,
        opt_state=make_optimizer(hyperparams).init(flatten(params)[0]),
        obs_moments=initial_moments((2,)),
        return_moments=initial_moments(),
        discounted_return=jnp.zeros(agent.config.num_envs),
        env_state=None,
        obs=jnp.zeros((agent.config.num_envs, 2)),
        update=jnp.zeros((), jnp.int32),
        fault=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
    )
    return state.replace(update=jnp.asarray(done))


@cache
def updater(agent: Agent) -> Any:
    """`update_policy` of this agent, compiled once."""
    return jax.jit(partial(update_policy, agent))


def improve(agent: Agent, hyperparams: Hyperparams, done: int = 0, seed: int = 0) -> Any:
    """Parameters before and after one update on a random round, and the metrics."""
    state = start(agent, hyperparams, done)
    batch = toys.random_batch((agent.config.num_steps, agent.config.num_envs))
    after, metrics = updater(agent)(state, batch, jax.random.key(seed), hyperparams)
    return jax.device_get((state.params["params"], after.params["params"], metrics))


@pytest.mark.parametrize("how", SHUFFLES)
def test_an_epoch_visits_each_sample_once(how: str) -> None:
    config = toys.tiny_config(num_envs=6, num_steps=5, num_minibatches=3, shuffle=how)
    minibatches = shuffled(jax.random.key(0), numbered_batch(5, 6), config)
    assert minibatches.obs.shape == (3, 10, 2)
    number = np.asarray(minibatches.action[..., 0])
    np.testing.assert_array_equal(np.sort(number.ravel()), np.arange(30))
    assert (number.ravel() != np.arange(30)).any()
    # All leaves move alike.
    np.testing.assert_array_equal(minibatches.obs, np.stack([number, -number], -1))
    for factor, leaf in zip((2, 3, 4, 5), minibatches[2:], strict=True):
        np.testing.assert_array_equal(leaf, factor * number)


def test_a_minibatch_of_environments_holds_all_their_steps() -> None:
    config = toys.tiny_config(num_envs=6, num_steps=5, num_minibatches=3, shuffle="environments")
    number = np.asarray(shuffled(jax.random.key(0), numbered_batch(5, 6), config).action[..., 0])
    for minibatch in number:
        envs, times = minibatch % 6, minibatch // 6
        assert len(np.unique(envs)) == 2
        assert sorted(times) == sorted([*range(5)] * 2)


@pytest.mark.parametrize(("how", "same"), [("minibatch", True), ("none", False)])
def test_normalised_minibatches_do_not_see_the_scale_of_advantages(how: str, same: bool) -> None:
    agent = toys.tiny_agent(num_minibatches=4, normalize_advantages=how)
    batch = toys.random_batch((8, 4))
    state = start(agent, Hyperparams())
    params = [
        updater(agent)(state, batch._replace(advantage=advantage), jax.random.key(0), Hyperparams())[0].params
        for advantage in (batch.advantage, 3 * batch.advantage + 7)
    ]
    close = jax.tree.map(lambda x, y: np.allclose(x, y, atol=1e-5), *params)
    assert all(jax.tree.leaves(close)) == same


def test_a_permutation_is_one_and_each_order_is_as_likely() -> None:
    keys = jax.random.split(jax.random.key(0), 4800)
    orders = np.asarray(jax.vmap(lambda key: permutation(key, 4))(keys))
    np.testing.assert_array_equal(np.sort(orders, -1), np.broadcast_to(np.arange(4), orders.shape))
    _, counts = np.unique(orders @ [64, 16, 4, 1], return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("size", [1, 2, 3, 64, 1000, 2**16 + 1])
def test_a_permutation_is_the_same_whatever_sorts_it(size: int) -> None:
    rng = np.random.default_rng(size)
    for numbers in (rng.integers(0, 2**32, (2, size), np.uint32), rng.integers(0, 3, (2, size), np.uint32) << 30):
        expected = np.argsort(numbers, axis=-1, kind="stable")
        for order in (_order, _order_by_digits):
            np.testing.assert_array_equal(jax.jit(jax.vmap(order))(numbers), expected)


@pytest.mark.parametrize("how", SHUFFLES)
def test_every_epoch_learns_from_all_samples_in_an_order_and_with_noise_of_its_own(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = toys.tiny_agent(RPO, num_epochs=3, num_steps=4, num_minibatches=2, shuffle=how)
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def see(number: jax.Array, location: jax.Array) -> None:
        seen.append((np.asarray(number), np.asarray(location)))

    def loss(params: Any, agent: Agent, batch: Batch, noise: LossNoise, hyperparams: Hyperparams) -> Any:
        jax.debug.callback(see, batch.action[:, 0], noise.location, ordered=True)
        return oracles.loss(params, batch, noise.location, hyperparams, agent.config, xp=jnp)

    monkeypatch.setattr(update, "minibatch_loss", loss)
    learn = jax.jit(partial(update_policy, agent))
    learn(start(agent, Hyperparams()), numbered_batch(4, 4), jax.random.key(0), Hyperparams())
    jax.effects_barrier()
    numbers, offsets = (np.stack(x) for x in zip(*seen, strict=True))
    assert numbers.shape == (6, 8)
    epochs = numbers.reshape(3, 16)
    np.testing.assert_array_equal(np.sort(epochs, -1), np.broadcast_to(np.arange(16), (3, 16)))
    assert len(np.unique(epochs, axis=0)) == 3
    assert len(np.unique(offsets)) == offsets.size == 48
    assert 0.5 < np.abs(offsets).max() <= 1


def test_target_kl_ends_the_epochs_without_a_retrace() -> None:
    agent = toys.tiny_agent(RPO, num_epochs=5)
    batch = toys.random_batch((8, 4))
    state = start(agent, Hyperparams())

    @jax.jit
    @chex.assert_max_traces(n=1)
    def epochs(targets: jax.Array) -> tuple[jax.Array, Any]:
        def one(target: jax.Array):
            hyperparams = dataclasses.replace(Hyperparams(learning_rate=1e-3), target_kl=target)
            after, metrics = update_policy(agent, state, batch, jax.random.key(0), hyperparams)
            return metrics["epochs"], after.params

        return jax.vmap(one)(targets)

    chex.clear_trace_counter()
    done, params = epochs(jnp.asarray([1e-9, np.inf]))
    np.testing.assert_array_equal(done, [1, 5])
    assert all((leaf[0] != leaf[1]).any() for leaf in map(np.asarray, jax.tree.leaves(params)))
    np.testing.assert_array_equal(epochs(jnp.asarray([1e9, 1e-8]))[0], [5, 1])


def test_metrics_are_means_over_the_epochs_that_were_done() -> None:
    """A rate of 0 makes all epochs alike, so stopping after the first must not change a mean."""
    agent = toys.tiny_agent(PPO, num_epochs=4, normalize_advantages="none", hidden_sizes=(8, 8))
    hyperparams = Hyperparams(learning_rate=0.0)
    _, _, metrics = improve(agent, hyperparams)
    _, _, stopped = improve(agent, dataclasses.replace(hyperparams, target_kl=1e-6))
    assert (metrics["epochs"], stopped["epochs"]) == (4, 1)
    batch, params = oracles.float64((toys.random_batch((8, 4)), toys.random_params(agent)))
    batch = Batch(*(x.reshape(32, *x.shape[2:]) for x in batch))
    _, expected = oracles.loss(params, batch, 0.0, hyperparams, agent.config)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(stopped[name], value, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize(("frozen", "moves"), [("value", "policy"), ("policy", "value")])
def test_a_rate_of_0_freezes_its_network_alone(frozen: str, moves: str) -> None:
    rates = {"learning_rate": 1e-2, "value_learning_rate": 1e-2}
    rates["value_learning_rate" if frozen == "value" else "learning_rate"] = 0.0
    before, after, _ = improve(toys.tiny_agent(), Hyperparams(**rates))
    jax.tree.map(np.testing.assert_array_equal, before[frozen], after[frozen])
    assert all((x != y).all() for x, y in zip(*map(jax.tree.leaves, (before[moves], after[moves])), strict=True))
    assert (before["log_scale"] == after["log_scale"]).all() == (frozen == "policy")


def test_the_value_learns_at_the_policy_s_rate_unless_it_has_its_own() -> None:
    shared = improve(toys.tiny_agent(), Hyperparams(learning_rate=1e-2))[1]
    same = improve(toys.tiny_agent(), Hyperparams(learning_rate=1e-2, value_learning_rate=1e-2))[1]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), shared, same)


@partial(jax.jit, static_argnums=3)
def gradient(params: Any, batch: Batch, hyperparams: Hyperparams, config: TrainConfig) -> Any:
    return jax.grad(oracles.loss, has_aux=True)(params, batch, 0.0, hyperparams, config, xp=jnp)[0]


@pytest.mark.parametrize(
    ("schedule", "own_rate", "max_norm", "epsilon"),
    [("linear", None, np.inf, 1e-8), ("linear", 3e-3, np.inf, 1e-2), ("constant", None, 0.01, 1e-2)],
)
def test_two_updates_are_adam_at_the_annealed_rates(
    schedule: str, own_rate: float | None, max_norm: float, epsilon: float
) -> None:
    config = {"updates": 5, "num_epochs": 1, "num_minibatches": 1, "learning_rate_schedule": schedule}
    agent = toys.tiny_agent(**config)
    rate = 1e-2
    hyperparams = Hyperparams(
        learning_rate=rate, value_learning_rate=own_rate, max_grad_norm=max_norm, adam_epsilon=epsilon
    )
    state = start(agent, hyperparams, done=2)
    adam = oracles.Adam(state.params, epsilon, max_norm)
    for done in (2, 3):
        batch = toys.random_batch((8, 4), seed=done)
        flat = jax.tree.map(lambda x: x.reshape(32, *x.shape[2:]), batch)
        left = 1 - done / 5 if schedule == "linear" else 1.0
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), adam.params)
        grads = gradient(params, flat, hyperparams, agent.config)
        value_rate = rate if own_rate is None else own_rate
        adam.step(grads, {"policy": rate * left, "log_scale": rate * left, "value": value_rate * left})
        state, metrics = updater(agent)(state, batch, jax.random.key(0), hyperparams)
        norm = np.sqrt(sum((np.asarray(g, np.float64) ** 2).sum() for g in jax.tree.leaves(grads)))
        np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-4)
    assert state.update == 4
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5), state.params, adam.params)


def test_the_last_round_of_a_linear_schedule_still_learns_and_one_after_it_would_not() -> None:
    agent = toys.tiny_agent(updates=5)
    moved = []
    for done in (4, 5):
        before, after, _ = improve(agent, Hyperparams(), done)
        changes = jax.tree.map(lambda x, y: np.abs(x - y).max(), before, after)
        moved.append(max(jax.tree.leaves(changes)))
    assert moved[0] > 0
    assert moved[1] == 0


def test_the_norm_of_the_gradient_is_scaled_down_to_its_maximum() -> None:
    """With a huge epsilon Adam's first step is gradient / epsilon, so that its norm shows the clipped one's."""
    agent = toys.tiny_agent(num_epochs=1, num_minibatches=1, learning_rate_schedule="constant")
    norms = {}
    for maximum in (np.inf, 1.0, 0.1):
        hyperparams = Hyperparams(learning_rate=1e3, adam_epsilon=1e3, max_grad_norm=maximum)
        before, after, metrics = improve(agent, hyperparams)
        moved = zip(*map(jax.tree.leaves, (before, after)), strict=True)
        norms[maximum] = np.sqrt(sum(np.square(x - y).sum() for x, y in moved))
        np.testing.assert_allclose(norms[maximum], min(maximum, float(metrics["grad_norm"])), rtol=5e-3)
    assert norms[np.inf] > 1.0


@pytest.mark.parametrize("how", SHUFFLES)
def test_gradients_in_chunks_are_the_gradients(how: str) -> None:
    agent = toys.tiny_agent(num_envs=12, num_steps=10, num_minibatches=2, shuffle=how)
    whole, chunked = (
        improve(dataclasses.replace(agent, share=Share(chunk_size=size)), Hyperparams()) for size in (None, 20)
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), whole, chunked)


@pytest.mark.parametrize(("samples", "at_once"), [(10, 10), (30, 10), (24, 8), (22, 22), (31, 31)])
def test_chunks_are_large_or_there_are_none(samples: int, at_once: int) -> None:
    sizes = set()
    mean = Share(chunk_size=10).mean_of(lambda x: sizes.add(len(x)) or x.mean(), (jnp.arange(samples),))
    assert sizes == {at_once}
    assert mean == np.arange(samples).mean()


def learn_from_two_states(agent: Agent) -> TrainingState:
    """States after an update of each [2]."""
    batch = toys.random_batch((agent.config.num_steps, agent.config.num_envs))

    def improve(*states: TrainingState) -> TrainingState:
        both = jax.tree.map(lambda *x: jnp.stack(x), *states)
        return jax.vmap(lambda state: update_policy(agent, state, batch, jax.random.key(0), Hyperparams())[0])(both)

    return jax.jit(improve)(*(start(agent, Hyperparams(), done) for done in (0, 1)))


joined_states = cache(learn_from_two_states)


@pytest.mark.parametrize("variant", ["rpo", "ppo-min-std"])
@pytest.mark.parametrize("large", [1, 16])
def test_arrays_that_stay_by_themselves_learn_as_one_vector_does(
    variant: str, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = toys.tiny_agent(get_variant(variant))
    joined = joined_states(agent)
    monkeypatch.setattr(optimization, "LARGE", large)
    apart = learn_from_two_states(agent)
    chex.assert_trees_all_equal_shapes_and_dtypes(apart.opt_state, joined.opt_state)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), apart.opt_state, joined.opt_state)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), apart.params, joined.params)


def test_arrays_of_several_types_are_one_vector_and_have_their_types_again() -> None:
    params = {"a": jnp.ones((4, 4), jnp.bfloat16), "b": jnp.arange(3.0)}
    weights, as_params = join_small(params, large=4)
    assert [(x.shape, x.dtype) for x in weights] == [((19,), jnp.float32)]
    chex.assert_trees_all_equal(as_params(weights), params)
    chex.assert_trees_all_equal_dtypes(as_params(weights), params)
    alone, as_params = join_small({"a": params["b"], "b": jnp.ones((2, 3))}, large=4)
    assert [x.shape for x in alone] == [(3,), (2, 3)]
    assert as_params(alone)["b"].shape == (2, 3)
