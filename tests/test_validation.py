"""Environments of users: what is plain is taken for what it means, and what is wrong is named when it first shows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from rpo_jax import Dynamics, Environment, Hyperparams, SettingsError, Successor, train, vectorize
from rpo_jax.envs.bounds import action_bounds
from rpo_jax.envs.host import host_environment
from rpo_jax.settings.grid import seeds

OBS = (1.0, 3.0)


def make(
    obs: Callable[[Any], Any] = lambda t: jnp.asarray(OBS),
    reward: Callable[[Any], Any] = lambda t: -2.0,
    terminated: Callable[[Any], Any] = lambda t: t >= 2,
    truncated: Callable[[Any], Any] = lambda t: False,
    tick: Callable[[Any], Any] = lambda t: t + 1,
    first: Callable[[Any], Any] | None = None,
    start: Callable[[], Any] = lambda: 0,
    **attributes: Any,
) -> Environment:
    """An environment that gives these, of a time `t` that the second step makes 2, when the episode terminates."""

    def init(key: jax.Array):
        return start(), (first or obs)(start())

    def step(key: jax.Array, state: Any, action: jax.Array):
        t = tick(state)
        return t, Successor(obs(t), reward(t), terminated(t), truncated(t))

    attributes = {"observation_size": 2, **toys.bounds(-1.0, 1.0)} | attributes
    return vectorize(Dynamics(init, step), name="mine/own", **attributes)


def trained(env: Environment) -> Any:
    """Traces a run, and compiles nothing."""
    agent = toys.new_agent(env=env)
    return jax.eval_shape(partial(train, agent, Hyperparams()), seeds(0, 1)[0])


PLAIN: dict[str, Any] = {
    "float32": {},
    "int32": {"obs": lambda t: jnp.asarray(OBS, jnp.int32)},
    "int32 at the start": {"first": lambda t: jnp.asarray(OBS, jnp.int32)},
    "int32 later": {"first": lambda t: jnp.asarray(OBS), "obs": lambda t: jnp.asarray(OBS, jnp.int32)},
    "uint8": {"obs": lambda t: jnp.asarray(OBS, jnp.uint8)},
    "float16": {"obs": lambda t: jnp.asarray(OBS, jnp.float16)},
    "numpy's float64": {"obs": lambda t: np.array(OBS)},
    "a list": {"obs": lambda t: [1.0, 3 * jnp.ones(())]},
    "two axes": {"obs": lambda t: jnp.asarray([OBS])},
    "reward of int": {"reward": lambda t: jnp.int32(-2)},
    "reward [1]": {"reward": lambda t: jnp.full(1, -2.0)},
    "flags of float": {"terminated": lambda t: (t >= 2) * 1.0, "truncated": lambda t: 0.0},
    "flags of int": {"terminated": lambda t: (t >= 2) * 1, "truncated": lambda t: 0},
    "flags [1]": {"terminated": lambda t: jnp.atleast_1d(t >= 2), "truncated": lambda t: np.zeros(1, bool)},
    "bounds of int": {"low": [-1], "high": [1]},
    "a state that is promoted": {"start": lambda: jnp.zeros(()), "tick": lambda t: jnp.int32(t) + 1},
}


@pytest.mark.parametrize("batching", ["last", "first"])
@pytest.mark.parametrize("case", PLAIN)
def test_what_is_plain_is_taken_for_what_it_means(case, batching):
    env = make(**PLAIN[case], batching=batching)
    keys = seeds(0, 3)
    state, obs = initial = env.reset(keys)
    np.testing.assert_array_equal(obs, [OBS] * 3)
    assert (obs.dtype, env.low.dtype, env.high.dtype) == (np.float32,) * 3
    for ends in (False, True):
        state, timestep = env.step(keys, state, jnp.zeros((3, 1)), initial)
        np.testing.assert_array_equal(timestep.final_obs, [OBS] * 3)
        np.testing.assert_array_equal(timestep.reward, [-2] * 3)
        np.testing.assert_array_equal([timestep.terminated, timestep.truncated], [[ends] * 3, [False] * 3])
        assert (timestep.final_obs.dtype, timestep.obs.dtype, timestep.reward.dtype) == (np.float32,) * 3
        assert (timestep.terminated.dtype, timestep.truncated.dtype) == (np.bool_,) * 2
    assert jax.tree.map(jnp.result_type, state) == jax.tree.map(jnp.result_type, initial[0])


def test_whatever_is_plain_trains():
    trained(make(**PLAIN["int32"], reward=PLAIN["reward [1]"]["reward"], **PLAIN["flags of float"]))


AT_ONCE: dict[str, Any] = {
    "a dictionary": ({"obs": lambda t: {"x": jnp.zeros(2)}}, "init of mine/own returns obs as a dict"),
    "a size too large": ({"observation_size": 5}, r"obs of shape \[2\], and must be a vector of 5 real numbers"),
    "a size too small": ({"observation_size": 1}, r"obs of shape \[2\], and must be a vector of 1 real"),
    "a size of 0": ({"observation_size": 0}, "observation_size=0; it must be a whole number, 1 or more"),
    "a size of a float": ({"observation_size": 2.0}, r"observation_size=2\.0; it must be a whole"),
    "a time limit of 0": ({"time_limit": 0}, "time_limit=0; it must be a whole number, 1 or more"),
    "complex numbers": ({"obs": lambda t: jnp.zeros(2, complex)}, "obs of type complex64"),
    "a state of text": ({"start": lambda: {"name": "x"}, "first": lambda t: jnp.zeros(2)}, r"state\['name'\] as a str"),
    "scalar bounds": ({"low": -1.0, "high": 1.0}, r"low=-1\.0; it must be a vector with the lowest value"),
    "inverted bounds": ({"low": [1.0], "high": [-1.0]}, "low=1 and high=-1 of dimension 0; low must be"),
    "bounds of NaN": ({"low": [-1.0, np.nan], "high": [1.0, 1.0]}, "low=nan and high=1 of dimension 1"),
    "a bound of infinity": ({"low": [np.inf], "high": [np.inf]}, "low=inf and high=inf"),
    "bounds of two sizes": ({"low": [-1.0, -1.0]}, "2 lower and 1 upper action bounds"),
    "no actions": ({"low": [], "high": []}, "0 lower and 0 upper action bounds"),
    "bounds of text": ({"low": ["a"]}, r"low=\['a'\]; it must be a vector"),
    "bounds between which there is nothing": ({"low": [0.1], "high": [0.1]}, r"no number of float32.* is between"),
}


@pytest.mark.parametrize("case", AT_ONCE)
def test_what_is_wrong_is_named_by_vectorize(case):
    attributes, words = AT_ONCE[case]
    with pytest.raises(SettingsError, match=words):
        make(**attributes)


WRONG_STEPS: dict[str, Any] = {
    "a reward of two": ({"reward": lambda t: jnp.zeros(2)}, r"step of mine/own returns reward of shape \[2\]"),
    "no reward": ({"reward": lambda t: None}, "returns reward as a NoneType, and must be a single number or bool"),
    "flags of two": ({"terminated": lambda t: jnp.zeros(2, bool)}, r"terminated of shape \[2\]"),
    "a flag of text": ({"truncated": lambda t: "no"}, "returns truncated as a str"),
    "observations of three": (
        {"first": lambda t: jnp.zeros(2), "obs": lambda t: jnp.zeros(3)},
        r"step of mine/own returns obs of shape \[3\]",
    ),
    "a state of another type": ({"tick": lambda t: t + 1.0}, r"state is int32\[\] from init and float32\[\] from step"),
    "a state of another shape": (
        {"start": lambda: {"t": 0}, "tick": lambda s: {"t": jnp.ones(1)}, "terminated": lambda s: False},
        r"state\['t'\] is int32\[\] from init and float32\[1\]",
    ),
    "a state with more": (
        {"start": lambda: {"t": 0}, "tick": lambda s: {**s, "u": 1}, "terminated": lambda s: False},
        r"state\['u'\] is absent from init and int32\[\]",
    ),
    "a state of another structure": (
        {"start": lambda: (0,), "tick": list, "terminated": lambda s: False},
        "changes: init returns PyTreeDef",
    ),
}


@pytest.mark.parametrize("case", WRONG_STEPS)
def test_what_is_wrong_with_a_step_is_named_before_a_run_compiles(case):
    attributes, words = WRONG_STEPS[case]
    with pytest.raises(SettingsError, match=words):
        trained(make(**attributes))


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ((0, jnp.zeros(2), 1.0), r"3 values, and must return \(state, Successor\)"),
        (jnp.zeros(2), r"must return \(state, Successor\)"),
        ((0, (jnp.zeros(2), 0.0, False)), r"3 values, and must return \(obs, reward, terminated, truncated\)"),
        ((0, {"obs": jnp.zeros(2)}), r"a dict, and must return \(obs"),
    ],
)
def test_a_step_of_other_results_is_refused(result, words):
    dynamics: Any = Dynamics(lambda key: (0, jnp.zeros(2)), lambda key, state, action: result)
    env = vectorize(dynamics, name="mine/own", observation_size=2, **toys.bounds(-1.0, 1.0))
    with pytest.raises(SettingsError, match=words):
        trained(env)


def test_an_environment_on_the_host_is_checked_too():
    sound: dict[str, Any] = {"observation_size": 2, **toys.bounds(-1.0, 1.0)}
    wrong: list[dict[str, Any]] = [{"low": [1.0], "high": [0.0]}, {"observation_size": 0}, {"time_limit": -1}]
    for attributes in wrong:
        with pytest.raises(SettingsError, match=r"mine/pool has "):
            host_environment(toys.CountingPool, name="mine/pool", **sound | attributes)


def test_bounds_are_rounded_to_the_inside():
    random = np.random.default_rng(0)
    low = random.normal(size=1000) * 10.0 ** random.integers(-6, 6, 1000)
    high = low + np.abs(low) * random.uniform(1e-3, 2, 1000)
    lower, upper = action_bounds(low, high, "any")
    assert (lower >= low).all()
    assert (upper <= high).all()
    np.testing.assert_allclose(lower, low, rtol=2e-7)
    np.testing.assert_allclose(upper, high, rtol=2e-7)
    for exact in (lower, upper):  # those of float32 stay
        np.testing.assert_array_equal(action_bounds(exact, exact, "any"), [exact, exact])
    lower, upper = action_bounds([-1.7e308, -np.inf], [1.7e308, np.inf], "any")
    largest = np.finfo(np.float32).max
    np.testing.assert_array_equal([lower, upper], [[-largest, -np.inf], [largest, np.inf]])
