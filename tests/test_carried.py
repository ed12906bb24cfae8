"""Programs carry of a simulator's state what steps read and pictures show, if it changes; results are the same."""

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
from rpo_jax.envs.carried import Absent, carry, find_absent, restore
from rpo_jax.execution.evaluations import Evaluated
from rpo_jax.execution.snapshot import Snapshot, flatten, unflatten

State = dict[str, Any]

MASS, ENDS = np.array([1.5, 2.0], np.float32), np.array([True, False])
# Whether it is carried: whether later observations, rewards or ends depend on it, and it differs from state to state.
FIELDS = {
    "position": True,
    "velocity": True,  # by the position
    "pushed": True,  # by the velocity, and so by the position two steps later
    "spring": True,  # in a loop; the same in an episode
    "brake": True,  # in one branch
    "speed": False,  # told, and computed anew
    "steps": False,  # counts itself
    "rng": False,  # a random key that becomes another
    "shared": False,  # becomes what another unread field is
    "shown": False,
    "nothing": False,  # an empty array
    "mass": False,  # the same always
    "ends": False,  # the same always, passed on by a function in a loop
    "left": True,  # becomes another, though both are the same always
    "right": True,
    "until": True,  # becomes another in a loop
}


def init(key: jax.Array) -> tuple[State, jax.Array]:
    state = {name: jnp.ones(()) for name in FIELDS} | {"nothing": jnp.zeros((0,)), "rng": key}
    state |= {"mass": 0.5 * jnp.array(2 * MASS), "ends": jnp.array(ENDS), "right": 2.0}
    state["position"], state["spring"], state["brake"] = jax.random.uniform(key, (3,))
    return state, state["position"][None]


def step(key: jax.Array, state: State, action: jax.Array) -> tuple[State, Successor]:
    stretched = jax.lax.fori_loop(0, 2, lambda _, x: x * (1 - 0.1 * state["spring"]), state["position"])
    _, ends, until = jax.lax.fori_loop(
        0,
        2,
        lambda _, x: (x[1].sum() * x[0], jax.jit(lambda x: x)(x[1]), x[2] - 0.1),
        (stretched, state["ends"], state["until"]),
    )
    position = stretched + 0.1 * state["velocity"] / state["mass"][1] + 0.01 * until * ends[0] + 0.01 * state["left"]
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
        "ends": ends,
        "left": state["right"],
        "right": state["left"],
        "until": until,
    }
    return following, Successor(position[None] + state["nothing"].sum(), velocity, abs(velocity) > 2, jnp.array(False))


def environment(**options: Any) -> Environment:
    return batch_dynamics(
        Dynamics(init, step), name="toy/carried", observation_size=1, **toys.bounds(-1.0, 1.0), **options
    )


@pytest.mark.parametrize("shown", [False, True])
def test_what_later_steps_depend_on_is_found(shown: bool) -> None:
    absent = find_absent(Dynamics(init, step), 1, lambda state: state["shown"] if shown else ())
    found = dict(zip(sorted(FIELDS), absent, strict=True))
    assert {name: stands is None for name, stands in found.items()} == FIELDS | {"shown": shown}
    constants = {name: stands for name, stands in found.items() if stands and stands.content is not None}
    assert constants.keys() == {"mass", "ends", "nothing"}
    np.testing.assert_array_equal(constants["mass"].array(), MASS, strict=True)
    np.testing.assert_array_equal(constants["ends"].array(), ENDS, strict=True)


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
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found, expected)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    assert len(jax.tree.leaves(state)) == sum(FIELDS.values()) + 1  # the shown one
    assert len(jax.tree.leaves(whole)) == len(FIELDS) - 1
    np.testing.assert_allclose(state["shown"], whole["shown"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "is_carried"), [(100, False), (100_000, True)])
def test_a_large_constant_is_carried(size: int, is_carried: bool) -> None:
    def move(key: jax.Array, state: jax.Array, action: jax.Array) -> tuple[jax.Array, Successor]:
        return state, Successor(state[:1], state.sum(), jnp.array(False), jnp.array(False))

    (stands,) = find_absent(Dynamics(lambda key: (jnp.ones(size), jnp.ones(1)), move), 1, lambda state: state)
    assert (stands is None) == is_carried


def test_what_is_not_carried_comes_back() -> None:
    state = {"a": jnp.ones((2, 5)), "b": jnp.arange(5), "c": jnp.zeros((0, 5)), "d": 1.0 * jnp.ones(5)}
    state["e"] = jnp.arange(6.0).reshape((2, 3))
    constant = Absent((2, 3), np.dtype("float32"), np.arange(6, dtype=np.float32).tobytes())
    carried = carry(state, [None, Absent((5,), np.dtype("int32")), None, None, constant])
    assert len(jax.tree.leaves(carried)) == 2
    back = restore(carried)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), back) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    jax.tree.map(np.testing.assert_array_equal, back, state | {"b": np.zeros(5)})


@pytest.mark.parametrize("backend", ["spring", "generalized"])
def test_brax_carries_less_and_what_its_page_shows(backend: str) -> None:
    env = make_env("brax/inverted_pendulum", backend=backend)
    state, _ = jax.eval_shape(env.reset, jax.random.split(jax.random.key(0), 2))
    simulation, *_ = state
    assert simulation.x.pos.shape == (2, 3, 2)  # bodies, coordinates, environments
    assert simulation.q.shape == (2, 2)
    assert not jax.tree.leaves(simulation.xd)  # only told
    if backend == "spring":
        assert not jax.tree.leaves(simulation.mass)  # the same always
        assert restore(simulation.mass).all()


def test_a_checkpoint_of_a_version_that_carried_more_is_read() -> None:
    def snapshot(env_state: Any) -> Snapshot:
        state = TrainingState(*[None] * 5, env_state, *[None] * 4)  # pyright: ignore[reportArgumentType,reportCallIssue]
        evaluated = Evaluated(np.zeros(0), np.zeros((1, 1, 0, 2)), Policy(None, None), np.zeros((1, 1)))  # pyright: ignore[reportArgumentType]
        return Snapshot(state, {"x": np.zeros((1, 1, 0))}, evaluated, *[None] * 4)  # pyright: ignore[reportArgumentType,reportCallIssue]

    like = snapshot({"a": np.ones(2), "b": carry({"x": jnp.ones(2)}, [Absent((2,), np.dtype("float32"))])})
    before = flatten(snapshot({"a": np.full(2, 5.0), "b": {"x": np.ones(2)}}))
    assert sum("env_state" in name for name in before) == 2
    np.testing.assert_array_equal(unflatten(before, like).state.env_state["a"], np.full(2, 5.0))
    with pytest.raises(ValueError, match="do not match"):
        unflatten({name: x for name, x in before.items() if "'a'" not in name}, like)
