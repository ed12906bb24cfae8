"""The ball on a plate of the benchmarks: its physics against closed forms, and that it can be learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ball_balance
from ball_balance import GRAVITY, MAX_TILT, NAME, RADIUS, SERVO, STEP, State
from rpo_jax import fit, make_env, make_spec, seeds

advance = jax.jit(ball_balance.step)


def state(**values: list[float]) -> State:
    nothing = State(jnp.zeros(2), jnp.zeros(2), jnp.zeros(2), jnp.zeros(2), jnp.zeros((), jnp.int32))
    return nothing._replace(**{name: jnp.array(value) for name, value in values.items()})


def test_a_ball_on_a_fixed_plate_rolls_as_on_an_incline() -> None:
    tilt = np.array([0.1, -0.05])
    ball = state(tilt=tilt.tolist(), velocity=[0.05, 0.0])
    ball, successor = advance(jax.random.key(0), ball, jnp.array(tilt / MAX_TILT))
    for _ in range(19):
        ball, successor = advance(jax.random.key(0), ball, jnp.array(tilt / MAX_TILT))
    seconds, acceleration = 20 * STEP, -5 / 7 * GRAVITY * np.sin(tilt)
    np.testing.assert_allclose(ball.tilt, tilt, rtol=1e-5)
    np.testing.assert_allclose(ball.velocity, [0.05, 0.0] + acceleration * seconds, rtol=1e-4)
    expected = np.array([0.05, 0.0]) * seconds + acceleration * seconds**2 / 2
    np.testing.assert_allclose(ball.position, expected, rtol=1e-4)
    np.testing.assert_allclose(successor.reward, 1 - np.linalg.norm(expected) / RADIUS, rtol=1e-4)
    np.testing.assert_allclose(successor.obs, np.concatenate(ball[:4]))


def test_a_turning_plate_throws_the_ball_outwards() -> None:
    """For small steps: 5/7 of the centrifugal acceleration, w^2 p - w (w . p) with w across the tilt."""
    position, rate = np.array([0.1, 0.2]), np.array([0.7, -0.4])
    ball = ball_balance.integrate(state(position=position.tolist(), rate=rate.tolist()), jnp.zeros(2), 1e-3)
    across = np.array([-rate[1], rate[0], 0.0])
    expected = 5 / 7 * -np.cross(across, np.cross(across, [*position, 0.0]))[:2]
    np.testing.assert_allclose(ball.velocity / 1e-3, expected, rtol=1e-4)


def test_servos_go_to_what_they_are_told_and_not_beyond() -> None:
    ball, tilts = state(), []
    for _ in range(30):
        ball, _ = advance(jax.random.key(0), ball, jnp.array([1.0, 0.0]))
        tilts.append(ball.tilt)
    passed = SERVO * STEP * np.arange(1, 31)
    expected = MAX_TILT * (1 - (1 + passed) * np.exp(-passed))  # critically damped
    np.testing.assert_allclose(np.array(tilts)[:, 0], expected, atol=0.02 * MAX_TILT)
    assert np.max(tilts) <= MAX_TILT * (1 + 1e-5)
    assert not np.array(tilts)[:, 1].any()


def test_the_task_ends_at_the_edge_and_at_the_time_limit() -> None:
    _, off = advance(jax.random.key(0), state(position=[0.0, 0.99 * RADIUS], velocity=[0.0, 1.0]), jnp.zeros(2))
    assert off.terminated
    assert not off.truncated
    assert off.reward == 0.0
    last = state()._replace(time=jnp.array(ball_balance.TIME_LIMIT - 1))
    _, still = advance(jax.random.key(0), last, jnp.zeros(2))
    assert still.truncated
    assert not still.terminated
    assert still.reward == 1.0
    assert make_env(NAME).time_limit == ball_balance.TIME_LIMIT


def test_training_keeps_the_ball_on_the_plate() -> None:
    spec = make_spec(
        NAME, num_seeds=2, num_envs=64, num_steps=64, num_epochs=2, total_timesteps=163_840, learning_rate=2e-3
    )
    returns = fit(spec.agent(), spec.hyperparams, seeds(0, 2)).metrics["episode_return"]
    first, last = (np.nanmean(returns[..., part]) for part in (slice(5), slice(-5, None)))
    assert first < 60
    assert last > 2 * first


@pytest.mark.parametrize("axis", [0, 1])
def test_both_axes_are_alike(axis: int) -> None:
    values = {"position": [0.1, 0.02], "velocity": [-0.1, 0.2], "tilt": [0.05, -0.1], "rate": [1.0, 0.3]}
    action = [0.4, -0.8]
    turned = {name: value[::-1] if axis else value for name, value in values.items()}
    ball, _ = advance(jax.random.key(0), state(**turned), jnp.array(action[::-1] if axis else action))
    straight, _ = advance(jax.random.key(0), state(**values), jnp.array(action))
    np.testing.assert_allclose(ball.position, straight.position[::-1] if axis else straight.position, rtol=1e-5)
