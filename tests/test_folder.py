"""The files of a run folder: exact contents, and what is made of damage."""

import atexit
import functools
import hashlib
import json
import math
import re
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from rpo_jax import SettingsError
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.algorithm.rpo import init
from rpo_jax.execution.fit import Fit
from rpo_jax.execution.snapshot import precision_hint
from rpo_jax.execution.sweep import as_runs, by_setting_and_seed
from rpo_jax.files import DIGEST, digest_of, plain, write_json
from rpo_jax.runs.folder import SETTINGS
from rpo_jax.runs.policies import read_policies
from rpo_jax.runs.results import load_run, write_results
from rpo_jax.runs.settings import load_spec, write_settings
from rpo_jax.runs.summary import final_values
from rpo_jax.settings.grid import seeds, settings_list
from rpo_jax.settings.spec import RunSpec, make_spec

pytestmark = pytest.mark.usefixtures("shared_agents")

H, S, U = 2, 3, 4


@functools.cache
def untrained() -> tuple[RunSpec, Fit]:
    """A run that has trained nothing: states as at the beginning, and made-up metrics."""
    spec = make_spec(
        "gymnax/Pendulum-v1",
        "rpo",
        "paper",
        num_seeds=S,
        first_seed=7,
        rpo_alpha=[0.1, 0.5],
        max_grad_norm=math.inf,
        hidden_sizes=(4, 3),
        num_steps=64,
        total_timesteps=64 * U,
    )
    runs = as_runs(spec.hyperparams, seeds(7, S))
    state = by_setting_and_seed(jax.jit(jax.vmap(functools.partial(init, spec.agent())))(*runs.arrays), S)
    metrics: dict[str, np.ndarray] = {
        name: np.full((H, S, U), index + 0.5, np.float32) for index, name in enumerate(METRICS)
    }
    metrics["entropy"] = np.arange(H * S * U, dtype=np.float32).reshape(H, S, U)
    metrics["episode_return"] = np.full((H, S, U), np.nan, np.float32)
    metrics["episode_return"][0, 1, 1] = -1234.5678
    metrics["approx_kl"][1, 2, 3] = np.inf
    return spec, Fit(
        state, metrics, compile_seconds=1.25, train_seconds=2.0, bytes_per_run=5, runs_at_once=6, interrupted=False
    )


@pytest.fixture
def path(tmp_path) -> Path:
    spec, result = untrained()
    write_settings(tmp_path, spec)
    write_results(tmp_path, spec, result)
    return tmp_path


def strict_json(path: Path):
    """JSON as the standard has it: neither NaN nor Infinity."""

    def refuse(constant):
        raise AssertionError(f"{path.name} holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


# final_values


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 130)),
        elements=st.floats(-1000, 1000, width=32) | st.just(math.nan),
    )
)
@settings(deadline=None, max_examples=60)
def test_final_values_are_means_over_the_last_twentieth(rows):
    count = -(-rows.shape[-1] // 20)
    final = final_values(rows, rows.shape[-1])
    assert final.shape == rows.shape[:-1]
    for index in np.ndindex(final.shape):
        recent, known = rows[index][-count:], rows[index][~np.isnan(rows[index])]
        if not np.isnan(recent).all():
            assert final[index] == pytest.approx(np.nanmean(recent), rel=1e-4, abs=1e-3)
        elif known.size:
            assert final[index] == known[-1]
        else:
            assert np.isnan(final[index])


@pytest.mark.parametrize(("num_updates", "expected"), [(1, 0), (20, 19), (21, 19.5), (40, 38.5), (100, 97), (140, 136)])
def test_the_last_twentieth_is_rounded_up(num_updates, expected):
    rows = np.arange(num_updates, dtype=np.float32)[None, None]
    assert final_values(rows, num_updates).tolist() == [[expected]]


def test_final_values_skip_what_is_unknown():
    rows = np.arange(40, dtype=np.float32)
    rows[39] = np.nan
    assert final_values(rows, 40) == 38
    rows[38] = np.nan
    assert final_values(rows, 40) == 37
    assert math.isnan(final_values(np.full((40,), np.nan), 40))


def test_final_values_of_no_update_are_unknown():
    final = final_values(np.zeros((2, 3, 0)), 0)
    assert final.shape == (2, 3)
    assert np.isnan(final).all()


# What is written


def test_json_has_a_word_for_infinity_and_null_for_unknown(path):
    described, summary = strict_json(path / "settings.json"), strict_json(path / "summary.json")
    for row in (*described["hyperparams"], *summary["settings"]):
        assert (row["max_grad_norm"], row["target_kl"], row["value_learning_rate"]) == ("inf", "inf", None)
        assert row["learning_rate"] == 0.0003
    assert summary["final_return"] == [[None, pytest.approx(-1234.5678), None], [None] * 3]
    assert summary["final_entropy"] == [[3, 7, 11], [15, 19, 23]]


def test_settings_say_everything_about_the_run(path):
    described = strict_json(path / "settings.json")
    assert (described["format"], described["env"], described["variant"]) == (3, "gymnax/Pendulum-v1", "rpo")
    assert (described["preset"], described["head"], described["time_limit"]) == ("paper", "normal", "terminate")
    assert described["seeds"] == [7, 8, 9]
    assert described["config"]["hidden_sizes"] == [4, 3]
    assert [row["rpo_alpha"] for row in described["hyperparams"]] == [0.1, 0.5]


def test_the_summary_counts_steps_and_speed_over_all_runs(path):
    summary = strict_json(path / "summary.json")
    assert summary["total_timesteps"] == 64 * U
    assert summary["env_steps_per_second"] == 64 * U * H * S / 2.0
    assert (summary["compile_seconds"], summary["train_seconds"], summary["interrupted"]) == (1.25, 2.0, False)
    assert summary["devices"] == ["cpu: cpu"] or jax.default_backend() != "cpu"
    assert {"python", "jax", "gymnax", "brax", "numpy"} <= set(summary["versions"])


def test_metrics_have_a_row_per_setting_seed_and_update(path):
    lines = (path / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert list(rows[0]) == ["setting", "seed", "update", "step", "rpo_alpha", *METRICS]
    where = [tuple(int(row[name]) for name in ("setting", "seed", "update", "step")) for row in rows]
    assert where == [(h, s, u, 64 * u) for h in range(H) for s in (7, 8, 9) for u in range(1, U + 1)]
    assert [float(row["entropy"]) for row in rows] == list(range(H * S * U))
    assert [row["episode_return"] for row in rows] == ["-1234.568" if row == U + 1 else "" for row in range(H * S * U)]
    assert rows[-1]["approx_kl"] == "inf"


def test_metrics_of_no_update_are_a_header(tmp_path):
    spec, result = untrained()
    result = result._replace(metrics={name: rows[..., :0] for name, rows in result.metrics.items()}, interrupted=True)
    summary = write_results(tmp_path, spec, result)
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1
    assert summary["total_timesteps"] == 0
    assert strict_json(tmp_path / "summary.json")["final_entropy"] == [[None] * 3] * 2


def test_a_run_comes_back_as_it_was(path):
    spec, result = untrained()
    run = load_run(path)
    assert run.spec.config == spec.config
    assert settings_list(run.spec.hyperparams) == settings_list(spec.hyperparams)
    for name in ("env", "variant", "preset", "head", "time_limit", "backend", "seeds"):
        assert getattr(run.spec, name) == getattr(spec, name)
    expected = jax.tree.leaves_with_path(result.state.policy)
    loaded = jax.tree.leaves_with_path(run.policy)
    assert len(loaded) == len(expected) > 10
    for (path_one, one), (path_two, two) in zip(loaded, expected, strict=True):
        assert path_one == path_two
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)


# What cannot be read


def refusal(path: Path) -> str:
    """The message of `load_run`, where the digests are right, so that the rest is looked at."""
    summary = json.loads((path / "summary.json").read_text()) if (path / "summary.json").exists() else {}
    for name in summary.get("files", {}):
        if (path / name).exists():
            summary["files"][name] = hashlib.sha256((path / name).read_bytes()).hexdigest()
            write_json(path / "summary.json", summary | {"digest": digest_of(summary)})
    with pytest.raises(SettingsError) as caught:
        load_run(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edited(path: Path, **changes) -> Path:
    return rewritten(path, json.loads((path / "settings.json").read_text()) | changes)


def rewritten(path: Path, described: dict) -> Path:
    """With a digest that is right, so that the rest is looked at."""
    (path / "settings.json").write_text(json.dumps(described | {"digest": digest_of(described)}))
    return path


def test_what_was_changed_by_hand_is_told(path):
    text = (path / "settings.json").read_text()
    (path / "settings.json").write_text(text.replace('"gamma": 0.99', '"gamma": 0.98'))
    assert "changed after it was written" in refusal(path)


@pytest.mark.parametrize("name", ["rpo_alpha_end", "drac_coefficient", "log_std"])
def test_a_number_that_an_older_version_did_not_know_has_its_default(path, name):
    spec, _ = untrained()
    described = strict_json(path / SETTINGS)
    for row in described["hyperparams"]:
        del row[name]
    write_json(path / SETTINGS, described | {DIGEST: digest_of(described)})
    assert plain(settings_list(load_spec(path).hyperparams)) == plain(settings_list(spec.hyperparams))


def test_a_number_that_this_version_does_not_know_is_refused(path):
    described = strict_json(path / SETTINGS)
    for row in described["hyperparams"]:
        row["mystery"] = 1.0
    write_json(path / SETTINGS, described | {DIGEST: digest_of(described)})
    with pytest.raises(SettingsError, match="has no mystery any more, or yet"):
        load_spec(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"[1, 2]", b'"text"', b"1", b"null", b"{}", b"\xff\xfe\x00", b'{"format": 3}', b"[" * 100_000],
    ids=lambda content: repr(content[:14]),
)
def test_settings_that_are_something_else_are_damaged(path, content):
    (path / "settings.json").write_bytes(content)
    assert "settings.json is damaged" in refusal(path)


@given(st.integers(0, 10**6), st.booleans())
@settings(deadline=None, max_examples=25)
def test_truncated_settings_are_damaged(position, keep_brace):
    text = written_text()
    cut = text[: position % (len(text) - 3)] + ("}" if keep_brace else "")
    with_folder(lambda path: (path / "settings.json").write_text(cut), "settings.json is damaged")


@functools.cache
def written_text() -> str:
    return (copy_for_damage() / "settings.json").read_text()


@functools.cache
def copy_for_damage() -> Path:
    path = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    spec, result = untrained()
    write_settings(path, spec)
    write_results(path, spec, result)
    return path


def with_folder(damage, words: str) -> None:
    """Damages a run folder, checks that reading it is refused in these words, and mends it."""
    path = copy_for_damage()
    kept = {name: (path / name).read_bytes() for name in ("settings.json", "policies.npz", "summary.json")}
    try:
        damage(path)
        assert words in refusal(path)
    finally:
        for name, content in kept.items():
            (path / name).write_bytes(content)


INCOMPLETE = {"learning_rate": 0.1}


@pytest.mark.parametrize(
    "changes",
    [
        {"config": []},
        {"config": "text"},
        {"config": 5},
        {"config": None},
        {"config": {"num_env": 4}},
        {"config": {"num_envs": "4"}},
        {"config": {"num_envs": 3, "num_steps": 1, "num_minibatches": 2}},
        {"config": {"hidden_sizes": "64"}},
        {"config": {"hidden_sizes": [[64]]}},
        {"hyperparams": []},
        {"hyperparams": {}},
        {"hyperparams": None},
        {"hyperparams": 5},
        {"hyperparams": "text"},
        {"hyperparams": [[]]},
        {"hyperparams": [{}]},
        {"hyperparams": [INCOMPLETE]},
        {"hyperparams": [{"gama": 0.9}]},
        {"hyperparams": [INCOMPLETE, {}]},
        {"hyperparams": [{"learning_rate": "fast"}]},
        {"hyperparams": [{"learning_rate": []}]},
        {"seeds": 5},
        {"seeds": None},
        {"env": 5},
        {"env": None},
        {"env": ["gymnax/Pendulum-v1"]},
        {"env": "gymnax/Pendulun-v1"},
        {"head": 5},
        {"head": []},
        {"head": None},
        {"head": "norml"},
        {"variant": {}},
        {"variant": None},
        {"time_limit": 5},
        {"time_limit": None},
        {"backend": 5},
    ],
    ids=lambda changes: json.dumps(changes),
)
def test_settings_of_the_wrong_kind_are_refused(path, changes):
    refusal(edited(path, **changes))


@pytest.mark.parametrize("value", [None, "nan", -5, "text", []])
@pytest.mark.parametrize("name", ["observation_clip", "gamma"])
def test_hyperparameters_out_of_range_are_refused(path, name, value):
    rows = json.loads((path / "settings.json").read_text())["hyperparams"]
    refusal(edited(path, hyperparams=[{**row, name: value} for row in rows]))


@pytest.mark.parametrize("seeds", ["abc", [1.5, 2, 3], [None] * 3, [-1, 0, 1]])
def test_seeds_that_are_none_are_refused(path, seeds):
    refusal(edited(path, seeds=seeds))


# With what folders without them have.
ADDED_LATER = {"network": "mlp", "init_from": None, "imports": None, "env_args": {}, "shard": None}


def test_an_entry_that_an_older_version_did_not_write_has_its_default(path):
    described = strict_json(path / SETTINGS)
    spec = load_spec(rewritten(path, {name: x for name, x in described.items() if name not in ADDED_LATER}))
    assert (spec.network, spec.init_from, spec.env_args) == ("mlp", None, {})


@pytest.mark.parametrize("wrong", [["g"], "g=5", 7, None])
def test_arguments_of_an_environment_that_are_none_are_refused(path, wrong):
    assert "its content['env_args'] is not an object" in refusal(edited(path, env_args=wrong))
    assert "unknown parameter of gymnax/Pendulum-v1 'gg'" in refusal(edited(path, env_args={"gg": 5.0}))


def test_a_missing_entry_is_named(path):
    described = json.loads((path / "settings.json").read_text())
    for name in set(described) - {"format", "version", "digest", *ADDED_LATER}:
        assert name in refusal(rewritten(path, {key: x for key, x in described.items() if key != name}))


@pytest.mark.parametrize("written", [4, 99, "3", None])
def test_a_later_format_tells_which_version_to_install(path, written):
    message = refusal(edited(path, format=written, version="9.8"))
    assert re.search(rf"rpo_jax 9.8 in format {written}.* reads format 3; install that version", message)


@pytest.mark.parametrize("written", [0, 2])
def test_an_earlier_format_is_refused_as_such(path, written):
    assert f"in format {written}, before" in refusal(edited(path, format=written))


def test_a_setting_of_a_later_version_is_named(path):
    config = strict_json(path / SETTINGS)["config"]
    message = refusal(edited(path, config=config | {"mystery": 1}, version="9.8"))
    assert "does not know mystery; rpo_jax 9.8 wrote it" in message


def test_a_folder_without_a_run_says_so(tmp_path):
    assert "holds no run" in refusal(tmp_path)
    assert "holds no run" in refusal(tmp_path / "missing")


def test_a_run_without_policies_says_that_it_did_not_finish(path):
    (path / "policies.npz").unlink()
    assert "did not finish" in refusal(path)


def policies(path: Path) -> dict[str, np.ndarray]:
    with np.load(path / "policies.npz") as stored:
        return dict(stored)


def test_policies_of_another_shape_are_refused(path):
    leaves = policies(path)
    for name, leaf in leaves.items():
        for other in (leaf[:1], leaf[..., None], leaf[:, :, :0] if leaf.ndim > 2 else leaf[:0]):
            np.savez(path / "policies.npz", **{**leaves, name: other})  # pyright: ignore
            assert "arrays are not those of" in refusal(path)
        np.savez(path / "policies.npz", **{key: x for key, x in leaves.items() if key != name})  # pyright: ignore
        assert "arrays are not those of" in refusal(path)
    np.savez(path / "policies.npz", **leaves, extra=np.zeros(3))  # pyright: ignore
    assert "arrays are not those of" in refusal(path)


@pytest.mark.parametrize("kind", ["U4", "f2", "i4", "c8", "bool"])
def test_policies_of_another_type_are_refused(path, kind):
    leaves = policies(path)
    name = max(leaves, key=lambda name: leaves[name].size)
    np.savez(path / "policies.npz", **{**leaves, name: leaves[name].astype(kind)})  # pyright: ignore
    assert "policies.npz is damaged" in refusal(path)


class Bomb:
    """Shows whether it was unpickled."""

    def __setstate__(self, state):
        raise AssertionError("unpickled")


def test_pickled_policies_are_refused_and_not_run(path):
    leaves = policies(path)
    name = next(iter(leaves))
    objects = np.empty(leaves[name].shape, object)
    objects.fill(Bomb())
    np.savez(path / "policies.npz", **{**leaves, name: objects})  # pyright: ignore
    assert "policies.npz is damaged" in refusal(path)
    np.array([Bomb()], object).dump(path / "policies.npz")
    assert "policies.npz is damaged" in refusal(path)


def test_a_single_array_is_not_policies(path):
    with (path / "policies.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    assert "policies.npz is damaged" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04", b"text", bytes(1000), b"\x93NUMPY"])
def test_policies_that_are_something_else_are_damaged(path, content):
    (path / "policies.npz").write_bytes(content)
    assert "policies.npz is damaged" in refusal(path)


@functools.cache
def policy_reader():
    spec, _ = untrained()
    return spec, spec.agent()


def reads_or_refuses(content: bytes) -> None:
    """Reading it raises nothing but a SettingsError, and what it reads is the policy."""
    _, agent = policy_reader()
    path = copy_for_damage()
    kept = (path / "policies.npz").read_bytes()
    try:
        (path / "policies.npz").write_bytes(content)
        try:
            policy = read_policies(path, agent, (H, S))
        except SettingsError:
            return
    finally:
        (path / "policies.npz").write_bytes(kept)
    for one, two in zip(jax.tree.leaves(policy), jax.tree.leaves(untrained()[1].state.policy), strict=True):
        np.testing.assert_array_equal(one, two)


@given(st.floats(0, 1, exclude_max=True))
@settings(deadline=None, max_examples=30)
def test_truncated_policies_are_never_read(fraction):
    content = (copy_for_damage() / "policies.npz").read_bytes()
    with_folder(
        lambda path: (path / "policies.npz").write_bytes(content[: int(fraction * len(content))]), "npz is damaged"
    )


def test_policies_of_the_other_precision_are_named_so(tmp_path):
    _, agent = policy_reader()
    path = tmp_path / "policies.npz"
    with np.load(copy_for_damage() / "policies.npz") as stored:
        leaves = {name: stored[name] for name in stored.files}
    doubled = {name: leaf.astype(float) if name.startswith("obs_moments") else leaf for name, leaf in leaves.items()}
    np.savez(path, **doubled)  # pyright: ignore[reportArgumentType]
    with pytest.raises(SettingsError, match="was written with JAX_ENABLE_X64=1, which is not set here"):
        read_policies(path, agent, (H, S))
    assert precision_hint([np.dtype("float32")], [np.dtype("float64")]).endswith("JAX_ENABLE_X64, which is set here")


@functools.cache
def headers() -> list[int]:
    """Positions in policies.npz of what is not the arrays' own data: of the zip's and of the arrays' headers."""
    content = (copy_for_damage() / "policies.npz").read_bytes()
    near = set()
    for mark, reach in ((b"PK\x03\x04", 90), (b"\x93NUMPY", 128), (b"PK\x01\x02", 90), (b"PK\x05\x06", 22)):
        for found in re.finditer(re.escape(mark), content):
            near.update(range(found.start(), min(found.start() + reach, len(content))))
    return sorted(near)


def test_policies_marked_as_encrypted_are_damaged():
    content = bytearray((copy_for_damage() / "policies.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] ^= 1
    reads_or_refuses(bytes(content))


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255), st.booleans()), min_size=1, max_size=3))
@settings(deadline=None, max_examples=60)
def test_policies_with_flipped_bytes_are_refused_or_harmless(flips):
    content = bytearray((copy_for_damage() / "policies.npz").read_bytes())
    for position, flip, in_header in flips:
        position = headers()[position % len(headers())] if in_header else position % len(content)
        content[position] ^= flip
    reads_or_refuses(bytes(content))
