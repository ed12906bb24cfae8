"""A fit goes on from its own checkpoints only, and says what differs."""

import contextlib
import dataclasses
import io
import linecache
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import distrax
import flax.linen as nn
import jax
import numpy as np
import pytest
import toys

from rpo_jax import (
    PPO,
    RPO,
    Agent,
    Checkpoints,
    Evaluation,
    Head,
    Hyperparams,
    SettingsError,
    TrainConfig,
    get_variant,
    grid,
    init,
    seeds,
)
from rpo_jax.algorithm.networks import ActorCritic
from rpo_jax.algorithm.variants import VARIANTS
from rpo_jax.execution import identity
from rpo_jax.execution.checkpoints import Stored
from rpo_jax.execution.identity import describe, identify


class Linear(nn.Module):
    """A network of one layer."""

    scale: float = 1.0

    def setup(self) -> None:
        self.loc, self.value = nn.Dense(1), nn.Dense(1)

    def act(self, obs: jax.Array) -> Any:
        return self.scale * self.loc(obs), np.zeros(1, np.float32)

    def evaluate(self, obs: jax.Array) -> Any:
        return self.value(obs)[..., 0]


def scaled(factor: float) -> Any:
    def noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return factor * jax.random.normal(key, shape)

    return noise


class Doubled(ActorCritic):
    """The usual network, with other values."""

    def evaluate(self, obs: jax.Array) -> Any:
        return 2 * super().evaluate(obs)


AGENT = toys.new_agent(RPO)
SETTINGS = grid(rpo_alpha=[0.1, 0.5])
EPISODES = Evaluation(2, 4, jax.random.key(9))
OTHERS: dict[str, list[dict[str, Any]]] = {
    "environment": [{"env": toys.reaching_env(time_limit=7)}],
    "head": [{"head": "laplace"}],
    "variant": [
        {"variant": PPO},
        {"variant": dataclasses.replace(RPO, noise=scaled(1.0))},
        {"variant": dataclasses.replace(RPO, noise=scaled(2.0))},  # what it closes over differs, not its text
    ],
    "network": [
        {"network": Linear()},
        {"network": Linear(2.0)},
        {"network": Doubled(1)},
        {"network": ActorCritic(1)},
        {"network": ActorCritic(1, activation="relu")},
    ],
    "configuration": [{"num_epochs": 3}],
}


def other_agent(network: nn.Module | None = None, **change: Any) -> Agent:
    agent = toys.new_agent(**{"variant": RPO, **change})
    return dataclasses.replace(agent, network=network or agent.network)


def identity_of(agent: Any = AGENT, settings: Any = SETTINGS, keys: Any = None, **more: Any) -> dict[str, str]:
    keys = seeds(0, 2) if keys is None else keys
    return identify(agent, settings, keys, more.get("evaluation"), more.get("initial"))


def changed(found: dict[str, str]) -> set[str]:
    own = identity_of()
    return {name for name in own if own[name] != found[name]}


@pytest.mark.parametrize("part", OTHERS)
def test_a_change_of_the_agent_changes_its_part_and_no_other(part):
    found = [identity_of(other_agent(**change)) for change in OTHERS[part]]
    assert all(changed(one) == {part} for one in found)
    assert len({one[part] for one in found}) == len(found)


def test_a_change_of_the_rest_changes_its_part_and_no_other():
    policy = init(AGENT, Hyperparams(), jax.random.key(0)).policy
    assert changed(identity_of(settings=grid(rpo_alpha=[0.1, 0.4]))) == {"hyperparameters"}
    assert changed(identity_of(keys=seeds(1, 2))) == {"seeds"}
    assert changed(identity_of(evaluation=EPISODES)) == {"evaluation"}
    assert changed(identity_of(initial=policy)) == {"initial policy"}
    assert identity_of() == identity_of(toys.new_agent(RPO))


def test_a_setting_that_is_added_later_changes_nothing(monkeypatch):
    """As one whose default is what the runs have."""
    before = identity_of()
    for kind in (TrainConfig, Hyperparams):
        fields = [field for field in dataclasses.fields(kind) if field.name not in ("std", "log_std")]
        known = dataclasses.fields

        def without(record: Any, kind: Any = kind, fields: Any = fields, known: Any = known) -> Any:
            return fields if isinstance(record, kind) else known(record)

        monkeypatch.setattr(identity.dataclasses, "fields", without)
    assert identity_of() == before


def test_a_sweep_of_a_setting_that_has_no_value_by_default_counts():
    one, same, other = (identity_of(settings=grid(rpo_alpha_end=x)) for x in ([0.1, 0.2], [0.1, 0.2], [0.1, 0.3]))
    assert one == same
    assert changed(one) == {"hyperparameters"}
    assert one["hyperparameters"] != other["hyperparameters"]


def test_a_field_that_is_added_later_changes_nothing(monkeypatch):
    """To records that describe the method of a user, a head and the evaluations."""
    parts = [
        dataclasses.replace(RPO, noise=scaled(1.0)),
        Head(distrax.Logistic),
        EPISODES,
        ActorCritic(1),
    ]
    before = [describe(part) for part in parts]
    known = dataclasses.fields
    added = ("augment_loss", "std")  # as if these had not been there
    monkeypatch.setattr(identity.dataclasses, "fields", lambda x: [f for f in known(x) if f.name not in added])
    monkeypatch.setattr(Head, "_fields", ("family", "to_env"))
    assert [describe(part) for part in parts] == before


def test_methods_of_rpo_jax_are_known_by_name():
    """Whatever its functions are called in a later version."""
    renamed = dataclasses.replace(AGENT, variant=get_variant("rpo-range"))
    assert changed(identity_of(renamed)) == {"variant"}
    assert VARIANTS.own_name(dataclasses.replace(RPO)) == "rpo"
    assert VARIANTS.own_name(dataclasses.replace(RPO, noise=scaled(1.0))) is None


def test_what_a_users_function_refers_to_counts(tmp_path, monkeypatch):
    text = """
import functools, jax
GAIN, CACHE, TABLE = 1.0, {}, (1, {3, 2})
def double(x):
    return 2 * x
def inner(x):
    return outer(x - 1) if x > 0 else double(x)
@functools.wraps(double)
def outer(key, shape=()):
    CACHE[shape] = [GAIN * x for x in TABLE]
    return (lambda x: inner(GAIN * x))(key)
def make(function):
    return lambda key, shape: function(key)
class Base:
    def act(self):
        return GAIN
class Own(Base):
    def __call__(self):
        return double(1)
made = make(inner)
jitted = jax.jit(inner)
instance = Own()
"""

    def descriptions(text: str) -> dict[str, str]:
        (tmp_path / "changing.py").write_text(text)
        module: dict[str, Any] = {"__name__": "changing", "__file__": str(tmp_path / "changing.py")}
        linecache.checkcache()
        exec(compile(text, module["__file__"], "exec"), module)
        monkeypatch.setitem(sys.modules, "changing", SimpleNamespace(**module))
        return {name: describe(module[name]) for name in ("inner", "outer", "made", "jitted", "Own", "instance")}

    before = descriptions(text)
    assert descriptions(text.replace("{}", "{1: 2}")) == before  # what can change while it runs
    gain, body = (
        descriptions(text.replace("GAIN, CACHE, TABLE = 1.0", "GAIN, CACHE, TABLE = 3.0")),
        descriptions(text.replace("2 * x", "3 * x")),
    )
    for name in before:
        assert gain[name] != before[name] != body[name], name


def test_a_description_is_the_same_in_another_process(monkeypatch):
    folder = Path(__file__).parent / "data"
    program = (
        "import dataclasses, own_names, rpo_jax; from rpo_jax.execution.identity import describe; "
        "variant = rpo_jax.get_variant('gaussian'); print(describe([variant, own_names.Shared(2), object()]))"
    )
    toys.forget_names(monkeypatch)
    monkeypatch.syspath_prepend(folder)
    with contextlib.redirect_stdout(io.StringIO()) as here:
        exec(program, {})
    del sys.modules["own_names"]
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == here.getvalue()
    assert "random.normal" in done.stdout  # the text of the user's function


def test_an_object_without_a_description_of_its_own_shows_no_address():
    assert describe(object()) == describe(object())


def test_what_differs_is_named(tmp_path):
    checkpoints = Checkpoints(tmp_path, "these")
    stored = Stored({}, {"settings": {"variant": "a", "network": "b"}, "versions": {}})
    checkpoints._check(stored, {"variant": "a", "network": "b", "added later": "c"})
    with pytest.raises(SettingsError, match=r"other settings than those of the run: variant$"):
        checkpoints._check(stored, {"variant": "x", "network": "b"})


def test_a_checkpoint_of_an_older_version_is_known_by_its_folder_alone(tmp_path):
    stored = Stored({}, {"settings": "these 123", "versions": {}})
    Checkpoints(tmp_path, "these")._check(stored, {"variant": "x"})
    with pytest.raises(SettingsError, match="other settings"):
        Checkpoints(tmp_path, "those")._check(stored, {"variant": "x"})
    with pytest.raises(SettingsError, match="older version"):
        Checkpoints(tmp_path)._check(stored, {"variant": "x"})
