"""Random keys where users give them: raw ones do as typed ones do, and what cannot be used is refused in one line."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
import toys

import rpo_jax
from rpo_jax import Evaluation, Hyperparams, SettingsError, evaluate, init, record
from rpo_jax.execution.sweep import as_runs
from rpo_jax.settings.grid import seeds

RAW, TYPED = jax.random.PRNGKey(3), jax.random.key(3)


def policy() -> rpo_jax.Policy:
    agent = toys.tiny_agent()
    return init(agent, Hyperparams(), seeds(0, 1)[0]).policy


def reset_on_host(keys: Any) -> Any:
    env = toys.host_env()
    ticket, obs = env.reset(keys)
    env.close(ticket)
    return ticket.seed, obs


SINGLE: dict[str, Callable[[Any], Any]] = {
    "init": lambda key: init(toys.tiny_agent(), Hyperparams(), key).params,
    "evaluate": lambda key: evaluate(toys.tiny_agent(), policy(), key, 2),
    "evaluate with samples": lambda key: evaluate(toys.tiny_agent(), policy(), key, 2, sample=True),
    "record": lambda key: record(toys.tiny_agent(), policy(), key, 4).obs,
    "Evaluation": lambda key: jax.random.key_data(Evaluation(1, 4, key).key),
}
SEVERAL: dict[str, Callable[[Any], Any]] = {
    "sweep": lambda keys: jax.random.key_data(as_runs(Hyperparams(), keys).keys),
    "reset": lambda keys: toys.reaching_env().reset(keys),
    "reset on the host": reset_on_host,
    "step": lambda keys: toys.reaching_env().step(
        keys, *[toys.reaching_env().reset(seeds(0, 2))[0], np.zeros((2, 1)), toys.reaching_env().reset(seeds(0, 2))]
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_raw_key_is_the_typed_key_of_its_seed(name):
    jax.tree.map(np.testing.assert_array_equal, SINGLE[name](RAW), SINGLE[name](TYPED))


@pytest.mark.parametrize("name", SEVERAL)
def test_raw_keys_are_the_typed_keys_of_their_seeds(name):
    raw, typed = jax.random.split(RAW, 2), jax.random.split(TYPED, 2)
    jax.tree.map(np.testing.assert_array_equal, SEVERAL[name](raw), SEVERAL[name](typed))


def test_a_raw_key_is_taken_in_other_programs_too():
    run = partial(init, toys.tiny_agent(), Hyperparams())
    found = jax.jit(jax.vmap(lambda key: run(key).params))(jax.random.split(RAW, 2))
    expected = jax.jit(jax.vmap(lambda key: run(key).params))(jax.random.split(TYPED, 2))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


WRONG_SINGLE = {
    "a number": (7, "key must be a random key, such as jax.random.key"),
    "an array": (np.zeros(2, np.float32), r"float32\[2\]"),
    "several": (seeds(0, 2), r"\[2\]"),
    "a list": ([0, 1], "a list"),
    "rbg": (jax.random.key(0, impl="rbg"), "rbg, whose numbers under vmap depend on the other keys"),
    "unsafe_rbg": (jax.random.key(0, impl="unsafe_rbg"), "impl='threefry2x32'"),
}
WRONG_SEVERAL = {
    "numbers": ([0, 1], "keys must be random keys .* such as seeds.* and not a list"),
    "an array": (np.arange(4), r"int64\[4\]|int32\[4\]"),
    "a single key": (TYPED, r"key<fry>\[\]"),
    "a single raw key": (RAW, r"key<fry>\[\]"),
    "raw keys of two axes": (jax.random.split(RAW, (2, 2)), r"key<fry>\[2, 2\]"),
    "rbg": (jax.random.split(jax.random.key(0, impl="rbg"), 2), "rbg, whose numbers under vmap"),
}


@pytest.mark.parametrize("wrong", WRONG_SINGLE)
@pytest.mark.parametrize("name", SINGLE)
def test_what_is_no_key_is_refused_in_one_line(name, wrong):
    key, words = WRONG_SINGLE[wrong]
    if isinstance(key, int | list) and name.partition(" ")[0] in ("evaluate", "record"):
        words = "key must be a random key"  # it has become an array, or a list of arrays
    with pytest.raises(SettingsError, match=words) as caught:
        SINGLE[name](key)
    assert "\n" not in caught.value.args[0].partition("\n---")[0]


@pytest.mark.parametrize("wrong", WRONG_SEVERAL)
@pytest.mark.parametrize("name", SEVERAL)
def test_what_are_no_keys_is_refused_in_one_line(name, wrong):
    keys, words = WRONG_SEVERAL[wrong]
    with pytest.raises(SettingsError, match=words):
        SEVERAL[name](keys)


@pytest.mark.parametrize("call", [rpo_jax.sweep, rpo_jax.fit])
def test_a_sweep_and_a_fit_refuse_them_before_they_compile(call):
    for wrong, words in WRONG_SEVERAL.values():
        with pytest.raises(SettingsError, match=words):
            call(toys.tiny_agent(), Hyperparams(), wrong)
