"""Programs carry of a simulator's state what steps read and pictures show, and nothing changes."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from rpo_jax import Policy, TrainingState, make_env
from rpo_jax.envs import Dynamics, Environment, Successor
from rpo_jax.envs.batching import batch_dynamics
from rpo_jax.envs.carried import carry, find_read, restore
from rpo_jax.execution.evaluations import Evaluated
from rpo_jax.execution.snapshot import Snapshot, flatten, unflatten

State = dict[str, jax.Array]

# Whether later observations, rewards or ends depend on it.
FIELDS = {
    "position": True,
    "velocity": True,  # by the position
    "pushed": True,  # by the velocity, and so by the position two steps later
    "spring": True,  # in a loop
    "brake": True,  # in one branch
    "speed": False,  # told, and computed anew
    "steps": False,  # counts itself
    "rng": False,  # a random key that becomes another
    "shared": False,  # becomes what another unread field is
    "shown": False,
    "nothing": True,  # an empty array, by the observation
}


def init(key: jax.Array) -> tuple[State, jax.Array]:
    state = {name: jnp.ones(()) for name in FIELDS} | {"nothing": jnp.zeros((0,)), "rng": key}
    state["position"] = jax.random.uniform(key)
    return state, state["position"][None]


def step(key: jax.Array, state: State, action: jax.Array) -> tuple[State, Successor]:
    stretched = jax.lax.fori_loop(0, 2, lambda _, x: x * (1 - 0.1 * state["spring"]), state["position"])
    position = stretched + 0.1 * state["velocity"]
    velocity = jax.lax.cond(position > 1, lambda: state["velocity"] - state["brake"], lambda: state["velocity"])
    following = state | {
        "position": position,
        "velocity": velocity + state["pushed"],
        "pushed": action[0],
        "speed": jnp.abs(velocity),
        "steps": state["steps"] + 1,
        "rng": jax.random.split(state["rng"])[0],
        "shared": state["steps"],
        "shown": 2 * position,
    }
    return following, Successor(position[None] + state["nothing"].sum(), velocity, abs(velocity) > 2, jnp.array(False))


def environment(**options: Any) -> Environment:
    return batch_dynamics(
        Dynamics(init, step), name="toy/carried", observation_size=1, **toys.bounds(-1.0, 1.0), **options
    )


@pytest.mark.parametrize("shown", [False, True])
def test_what_later_steps_depend_on_is_found(shown: bool) -> None:
    read = find_read(Dynamics(init, step), 1, lambda state: state["shown"] if shown else ())
    assert dict(zip(sorted(FIELDS), read, strict=True)) == FIELDS | {"shown": shown}


@pytest.mark.parametrize("batching", ["last", "first", "components"])
def test_steps_are_those_with_the_whole_state(batching: str) -> None:
    def play(env: Environment) -> Any:
        keys = jax.random.split(jax.random.key(0), 3)
        actions = jax.random.uniform(jax.random.key(1), (60, 3, 1), minval=-1.0)
        episodes = env.reset(keys)

        def move(state: Any, action: jax.Array) -> Any:
            return env.step(keys, state, action, episodes)

        return jax.lax.scan(move, episodes[0], actions)

    state, found = jax.jit(partial(play, environment(batching=batching, shown=lambda state: state["shown"])))()
    whole, expected = jax.jit(partial(play, environment(batching=batching)))()
    assert expected.terminated.any()
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), found, expected)
    assert len(jax.tree.leaves(state)) == sum(FIELDS.values())  # the shown one instead of the empty one
    assert len(jax.tree.leaves(whole)) == len(FIELDS) - 1
    np.testing.assert_allclose(state["shown"], whole["shown"], rtol=1e-6)


def test_what_is_not_carried_comes_back_as_zeros() -> None:
    state = {"a": jnp.ones((2, 5)), "b": jnp.arange(5), "c": jnp.zeros((0, 5)), "d": 1.0 * jnp.ones(5)}
    carried = carry(state, [True, False, True, True])
    assert len(jax.tree.leaves(carried)) == 2
    back = restore(carried, 5)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), back) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    np.testing.assert_array_equal(back["a"], state["a"])
    np.testing.assert_array_equal(back["b"], np.zeros(5))


@pytest.mark.parametrize("backend", ["spring", "generalized"])
def test_brax_carries_less_and_what_its_page_shows(backend: str) -> None:
    env = make_env("brax/inverted_pendulum", backend=backend)
    state, _ = jax.eval_shape(env.reset, jax.random.split(jax.random.key(0), 2))
    simulation, *_ = state
    assert simulation.x.pos.shape == (2, 3, 2)  # bodies, coordinates, environments
    assert simulation.q.shape == (2, 2)
    assert not jax.tree.leaves(simulation.xd)  # only told


def test_a_checkpoint_of_a_version_that_carried_more_is_read() -> None:
    def snapshot(env_state: Any) -> Snapshot:
        state = TrainingState(*[None] * 5, env_state, *[None] * 4)  # pyright: ignore[reportArgumentType,reportCallIssue]
        evaluated = Evaluated(np.zeros(0), np.zeros((1, 1, 0, 2)), Policy(None, None), np.zeros((1, 1)))  # pyright: ignore[reportArgumentType]
        return Snapshot(state, {"x": np.zeros((1, 1, 0))}, evaluated, *[None] * 4)  # pyright: ignore[reportArgumentType,reportCallIssue]

    like = snapshot({"a": np.ones(2), "b": carry({"x": jnp.ones(2)}, [False])})
    before = flatten(snapshot({"a": np.full(2, 5.0), "b": {"x": np.ones(2)}}))
    assert sum("env_state" in name for name in before) == 2
    np.testing.assert_array_equal(unflatten(before, like).state.env_state["a"], np.full(2, 5.0))
    with pytest.raises(ValueError, match="do not match"):
        unflatten({name: x for name, x in before.items() if "'a'" not in name}, like)
