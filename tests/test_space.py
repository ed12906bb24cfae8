"""Settings that are drawn from ranges, joined from a list, and read from a table."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import rpo_jax
from rpo_jax import Hyperparams, SettingsError, choice, loguniform, read_table, sample_settings, settings_from, uniform
from rpo_jax.settings.grid import settings_list
from rpo_jax.settings.space import DEFAULT_RANGES, check_space
from rpo_jax.settings.table import write_table

KEY = jax.random.key(3)
ROWS = [{"learning_rate": 1e-3, "rpo_alpha": 0.5}, {"learning_rate": 3e-3, "rpo_alpha": 0.1}]


@pytest.mark.parametrize("count", [8, 64])
def test_settings_cover_every_range_evenly(count: int) -> None:
    space = {"learning_rate": loguniform(1e-4, 1e-2), "rpo_alpha": uniform(0.2, 1.0), "gamma": choice(0.9, 0.95)}
    drawn = sample_settings(count, KEY, **space)
    assert np.shape(drawn.clip_epsilon) == (count,)
    shares = (
        np.log(np.asarray(drawn.learning_rate, float) / 1e-4) / np.log(100),
        (np.asarray(drawn.rpo_alpha) - 0.2) / 0.8,
    )
    for share in shares:  # one in each of as many equal parts, in contrast to independent draws
        np.testing.assert_array_equal(np.sort(np.floor(share * count + 1e-4)), np.arange(count))
    assert sorted(np.unique(drawn.gamma, return_counts=True)[1]) == [count // 2] * 2


def test_the_first_settings_are_the_same_however_many_are_drawn_and_keys_draw_others() -> None:
    space = {"learning_rate": loguniform(1e-4, 1e-2), "rpo_alpha": uniform(0.2, 1.0)}
    few, many = sample_settings(5, KEY, **space), sample_settings(60, KEY, **space)
    np.testing.assert_array_equal(few.rpo_alpha, np.asarray(many.rpo_alpha)[:5])
    np.testing.assert_array_equal(sample_settings(5, KEY, **space).learning_rate, few.learning_rate)
    others = sample_settings(5, jax.random.key(4), **space)
    assert not np.isin(others.rpo_alpha, few.rpo_alpha).any()


def test_other_hyperparameters_are_those_of_the_base() -> None:
    drawn = sample_settings(2, KEY, Hyperparams(gamma=0.9), value_learning_rate=uniform(0, 1))
    np.testing.assert_allclose(drawn.gamma, [0.9, 0.9])
    assert drawn.value_learning_rate is not None
    assert np.shape(drawn.value_learning_rate) == (2,)
    assert drawn.rpo_alpha_end is None


def test_every_default_range_can_be_drawn() -> None:
    check_space(Hyperparams(), DEFAULT_RANGES)
    drawn = sample_settings(64, KEY, **DEFAULT_RANGES)
    for name, ranged in DEFAULT_RANGES.items():
        low, high = float(ranged.at(np.array(0.0))), float(ranged.at(np.array(1.0)))
        values = np.asarray(getattr(drawn, name), float)
        assert low * (1 - 1e-6) <= values.min() < values.max() <= high * (1 + 1e-6)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: uniform(1, 1), r"uniform\(1, 1\) needs two finite numbers, the smaller one first"),
        (lambda: uniform(0, float("inf")), "needs two finite numbers"),
        (lambda: uniform("0", 1), "needs two finite numbers"),  # pyright: ignore[reportArgumentType]
        (lambda: loguniform(0, 1), r"loguniform\(0, 1\) needs numbers above 0"),
        (lambda: choice(), "needs one number, or several that differ"),
        (lambda: choice([0.9]), "needs one number, or several that differ"),  # pyright: ignore
        (lambda: choice(1, 1), "needs one number, or several that differ"),
        (lambda: sample_settings(4, KEY), "no range is given"),
        (lambda: sample_settings(0, KEY, gamma=uniform(0, 1)), "number of settings is 0"),
        (lambda: sample_settings(4, KEY, gama=uniform(0, 1)), "did you mean gamma"),
        (lambda: sample_settings(4, KEY, gamma=uniform(0.9, 1.1)), r"gamma=1\.1 is out of range"),
        (lambda: sample_settings(4, KEY, gamma=choice(0.9, -1)), r"gamma=-1 is out of range"),
        (lambda: sample_settings(4, KEY, gamma=0.9), "gamma=0.9 is no range"),  # pyright: ignore[reportArgumentType]
        (lambda: sample_settings(4, 7, gamma=uniform(0, 1)), "key must be a random key"),  # pyright: ignore
        (lambda: settings_from([]), "number of settings is 0"),
        (lambda: settings_from([{}]), "setting 1 is {}"),
        (lambda: settings_from([*ROWS, {"gamma": 0.9}]), "setting 3 is {'gamma': 0.9}; each must give a number for"),
        (lambda: settings_from([*ROWS, ROWS[0]]), "of 3 settings only 2 differ"),
        (lambda: settings_from([{"gamma": "x"}]), "gamma='x' is not a number"),  # pyright: ignore
        (lambda: settings_from([{"gamma": 2}]), "gamma=2 is out of range"),
        (lambda: settings_from([{"gama": 0.5}]), "did you mean gamma"),
    ],
)
def test_what_is_no_range_or_setting_is_one_clear_error(make, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        make()


def test_a_table_is_read_as_it_was_written_and_trained_as_a_sweep(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", ROWS)
    assert read_table(tmp_path / "a.csv") == ROWS
    spec = rpo_jax.make_spec("gymnax/Pendulum-v1", rows=read_table(tmp_path / "a.csv"), gamma=0.9)
    assert [(row["learning_rate"], row["rpo_alpha"], row["gamma"]) for row in settings_list(spec.hyperparams)] == [
        (1e-3, 0.5, 0.9),
        (3e-3, 0.1, 0.9),
    ]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no table of settings"),
        (b"gamma\n", "no table of settings"),
        (b"gamma,gamma\n1,2\n", "no table of settings"),
        (b"1,2\n3,4\n", "no table of settings"),
        (b"gamma,rpo_alpha\n0.9\n", "line 2 of .* is '0.9'; it needs 2 numbers, of gamma, rpo_alpha"),
        (b"gamma\n0.9\nx\n", "line 3 of .* is 'x'; it needs one number, of gamma"),
        (b"\xff\xfe\x00", "is no CSV file of text"),
    ],
)
def test_what_is_no_table_is_one_clear_error(content: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(SettingsError, match=match):
        read_table(tmp_path / "a.csv")
    with pytest.raises(SettingsError, match=r"cannot read settings from .*: No such file"):
        read_table(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rpo_alpha": 0.3}, "rpo_alpha is given beside the settings"),
        ({"gamma": [0.9, 0.95]}, "gamma is given beside the settings"),
        ({"variant": "ppo"}, "rpo_alpha has no effect on variant ppo"),
    ],
)
def test_what_is_given_twice_is_an_error(changes, match: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(match)):
        rpo_jax.make_spec("gymnax/Pendulum-v1", rows=ROWS, **changes)
