"""Every variant is PPO but for what it says: its loss against NumPy, its constraint, its schedule."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import toys

import rpo_jax
from rpo_jax import (
    RPO,
    Hyperparams,
    SettingsError,
    Variant,
    get_variant,
    init,
    make_agent,
    make_spec,
    train_iteration,
)
from rpo_jax.algorithm.augmentation import drac, scale_amplitude
from rpo_jax.algorithm.heads import HEADS
from rpo_jax.algorithm.losses import LossNoise, minibatch_loss
from rpo_jax.algorithm.types import Batch
from rpo_jax.algorithm.update import draw_noise
from rpo_jax.algorithm.variants import VARIANTS, foreign_hyperparams

HYPERPARAMS = Hyperparams(
    rpo_alpha=0.7,
    augmentation_low=0.5,
    augmentation_high=1.7,
    drac_coefficient=0.3,
    value_coefficient=0.7,
    entropy_coefficient=0.03,
)
LOW, HIGH = -0.25, 1.75  # of actions: half of their range is 1
AUGMENTED = ("rad", "drac", "drac-kl")


def case(name: str) -> tuple[Any, Any, Batch, LossNoise]:
    """Agent, parameters, a minibatch and noise."""
    env = toys.counting_env(LOW, 3 * HIGH, action_size=3)
    agent = toys.tiny_agent(get_variant(name), env=env, normalize_advantages="none", hidden_sizes=(8, 8))
    random = np.random.default_rng(2)
    location, obs = (jnp.asarray(random.uniform(-1, 1, (64, size)), jnp.float32) for size in (3, 2))
    params, batch = toys.random_params(agent, scale=0.3), toys.random_batch((64,), action_size=3)
    return agent, params, batch, LossNoise(location, obs)


def expected_loss(name: str, frozen: Any, params: Any, batch: Batch, noise: Any, config: Any, xp: Any) -> Any:
    """The loss from the papers' formulas; gradients are those with respect to `params`, and not to `frozen`."""
    h, part, still = HYPERPARAMS, params["params"], frozen["params"]
    scale = np.exp(np.asarray(still["log_scale"]))
    widths = {"rpo": 0.7, "rpo-range": 0.7 * (3 * HIGH - LOW) / 2, "rpo-sigma": 0.7 * scale}
    offsets = widths.get(name, 0.0) * noise.location
    augmented = batch.obs * (0.5 + 1.2 * (noise.obs + 1) / 2)
    seen = batch._replace(obs=augmented) if name == "rad" else batch
    total, _ = oracles.loss(params, seen, offsets, h, config, xp)
    if name not in ("drac", "drac-kl"):
        return total
    loc, log_scale = oracles.mlp(part["policy"], augmented, xp), part["log_scale"]
    if name == "drac":
        policy = -oracles.normal_log_prob(batch.action, loc, log_scale, xp).mean()
    else:
        clean = oracles.mlp(still["policy"], batch.obs, xp)
        each = log_scale - np.log(scale) + (scale**2 + (clean - loc) ** 2) / (2 * xp.exp(2 * log_scale)) - 0.5
        policy = each.sum(-1).mean()
    value = (oracles.mlp(still["value"], batch.obs, xp) - oracles.mlp(part["value"], augmented, xp)) ** 2
    return total + 0.3 * (policy + 0.5 * value.mean())


def test_their_page_names_them_all() -> None:
    readme = (Path(__file__).parent.parent / "rpo_jax" / "algorithm" / "README.md").read_text()
    for variant in VARIANTS.values():
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{variant.name}` |"))
        own = row.split("|")[3]
        others = [get_variant(name) for name in ("rpo", "rad", "drac") if f"s `{name}`" in own or f"of `{name}`" in own]
        known = own + "".join(f"`{name}`" for other in others for name in other.hyperparams)
        assert all(f"`{name}`" in known for name in variant.hyperparams)


@functools.cache
def loss_and_gradient(name: str) -> Any:
    agent, params, batch, noise = case(name)
    both = jax.value_and_grad(minibatch_loss, has_aux=True)
    (loss, _), grads = jax.jit(both, static_argnums=1)(params, agent, batch, noise, HYPERPARAMS)
    return loss, grads


@pytest.mark.parametrize("name", VARIANTS)
def test_losses_equal_the_transcription(name: str) -> None:
    agent, params, batch, noise = case(name)
    loss, _ = loss_and_gradient(name)
    params, batch, noise = oracles.float64((params, batch, noise))
    np.testing.assert_allclose(loss, expected_loss(name, params, params, batch, noise, agent.config, np), rtol=2e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_equal_those_of_the_transcription(name: str) -> None:
    agent, params, batch, noise = case(name)
    _, grads = loss_and_gradient(name)
    expected = jax.jit(jax.grad(lambda p: expected_loss(name, params, p, batch, noise, agent.config, jnp)))(params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=3e-6), grads, expected)


@pytest.mark.parametrize("head", HEADS)
def test_drac_kl_is_that_of_samples(head: str) -> None:
    """`E_p[log p - log q]` over many samples of p, the squash included, which changes nothing."""
    own, half = HEADS[head], jnp.ones(1)
    p, q = (jnp.asarray([0.3]), jnp.asarray([-0.2])), (jnp.asarray([-0.4]), jnp.asarray([0.3]))
    x = p[0] + jnp.exp(p[1]) * own.noise(jax.random.key(0), (400_000, 1))
    each = own.log_prob(*p, x, half) - own.log_prob(*q, x, half)
    np.testing.assert_allclose(own.kl(*p, *q), each.mean(), atol=4 * float(each.std()) / 400_000**0.5)


def test_a_hyperparameter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsError, match="unknown hyperparameter of variant mine 'rpo_alhpa'; did you mean rpo_alp"):
        Variant("mine", hyperparams=("rpo_alhpa",))


def test_methods_keep_the_hyperparameters_of_ppo_whatever_others_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VARIANTS, "_registered", {})
    mine = Variant("mine", hyperparams=("entropy_coefficient", "rpo_alpha"))
    rpo_jax.register("variant", "mine", mine)
    assert make_spec("gymnax/Pendulum-v1", "ppo", entropy_coefficient=0.1).variant == "ppo"
    np.testing.assert_allclose(make_spec("gymnax/Pendulum-v1", "mine", rpo_alpha=0.2).hyperparams.rpo_alpha, 0.2)
    with pytest.raises(SettingsError, match="drac_coefficient has no effect on variant mine"):
        make_spec("gymnax/Pendulum-v1", "mine", drac_coefficient=0.2)
    assert foreign_hyperparams(get_variant("ppo"), [get_variant("ppo"), mine]) == {"rpo_alpha"}


def test_a_method_may_augment_the_whole_loss_and_add_a_term() -> None:
    agent, params, batch, noise = case("rad")
    both = dataclasses.replace(agent, variant=dataclasses.replace(agent.variant, term=get_variant("drac").term))
    rad, _ = minibatch_loss(params, agent, batch, noise, HYPERPARAMS)
    loss, _ = minibatch_loss(params, both, batch, noise, HYPERPARAMS)
    assert noise.obs is not None
    augmented = scale_amplitude(HYPERPARAMS, batch.obs, noise.obs)
    np.testing.assert_allclose(loss - rad, drac(params, both, batch, augmented, HYPERPARAMS), rtol=1e-3)


def test_a_method_draws_its_own_noise_of_augmentation() -> None:
    agent, *_ = case("rad")
    variant = dataclasses.replace(agent.variant, augment_noise=lambda key, shape: jnp.full(shape, 3.0))
    noise = draw_noise(dataclasses.replace(agent, variant=variant), jax.random.key(0))
    assert noise.location is None
    np.testing.assert_array_equal(noise.obs, 3.0)


def test_a_method_may_schedule_any_hyperparameter() -> None:
    """Here the value loss counts in the first update only, so that the value network stays still in the second."""

    def schedule(hyperparams: Hyperparams, progress: Any) -> Hyperparams:
        return dataclasses.replace(hyperparams, value_learning_rate=jnp.where(progress > 0, 0.0, 1e-2))

    agent = toys.new_agent(Variant("mine", schedule=schedule))
    begin, train = (jax.jit(functools.partial(do, agent, HYPERPARAMS)) for do in (init, train_iteration))
    states = [begin(jax.random.key(0))]
    for _ in range(2):
        states.append(train(states[-1])[0])
    before, first, second = ([*jax.tree.leaves(state.params["params"]["value"])] for state in states)
    assert any((x != y).any() for x, y in zip(before, first, strict=True))
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y)


def test_drac_kl_refuses_a_head_without_a_kl() -> None:
    class Odd(distrax.Logistic):
        pass

    with pytest.raises(SettingsError, match="drac-kl needs a head whose KL is known"):
        make_agent(toys.counting_env(), get_variant("drac-kl"), toys.tiny_config(), rpo_jax.Head(Odd))


def test_a_part_of_an_infinite_range_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"rpo-range .* is not finite; take variant rpo"):
        make_agent(toys.counting_env(-np.inf, np.inf), get_variant("rpo-range"), toys.tiny_config())


@pytest.mark.parametrize("name", ["drac", "ppo-min-std"])
def test_hyperparameters_of_another_variant_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"rpo_alpha has no effect on variant {name}"):
        make_spec("gymnax/Pendulum-v1", name, rpo_alpha=0.1)


def test_alpha_goes_on_a_line_to_its_end() -> None:
    """With a rate of 0 the policy stays at scale 1, where the KL of a perturbation is alpha^2 / 6."""
    agent = toys.tiny_agent(RPO, num_envs=256, num_steps=16, updates=5, num_epochs=1, hidden_sizes=())
    hyperparams = Hyperparams(rpo_alpha=0.5, rpo_alpha_end=0.1, learning_rate=0.0)
    _, metrics = jax.jit(lambda key: rpo_jax.train(agent, hyperparams, key))(jax.random.key(0))
    alphas = 0.5 + np.arange(5) / 5 * (0.1 - 0.5)
    np.testing.assert_allclose(metrics["approx_kl"], alphas**2 / 6, rtol=0.1)


def test_the_deviation_is_held() -> None:
    log_scale, entropy = deviations("ppo-constant-std", log_std=-0.3)
    np.testing.assert_allclose(log_scale, -0.3, rtol=1e-6)
    np.testing.assert_allclose(entropy, -0.3, rtol=1e-5)


@pytest.mark.parametrize(("bonus", "moves"), [(0.0, False), (1.0, True)])
def test_the_deviation_is_kept_above_its_least_and_free_there(bonus: float, moves: bool) -> None:
    log_scale, entropy = deviations("ppo-min-std", min_log_std=0.4, entropy_coefficient=bonus)
    assert entropy.min() >= 0.4 - 1e-5
    assert (log_scale > 0.5) == moves


@functools.cache
def trainer(name: str) -> Any:
    return jax.jit(functools.partial(rpo_jax.train, toys.tiny_agent(get_variant(name), updates=20, hidden_sizes=())))


def deviations(name: str, **numbers: float) -> tuple[float, np.ndarray]:
    """The log-scale after a run, and its mean in each update [U]."""
    state, metrics = trainer(name)(Hyperparams(learning_rate=0.05, **numbers), jax.random.key(0))
    entropy = np.asarray(metrics["entropy"]) - 0.5 * np.log(2 * np.pi * np.e)
    return float(state.params["params"]["log_scale"][0]), entropy
