"""The paper's experiments: parts that fit together, are done once, and are resumed."""

import csv
import itertools
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ball_balance
import experiments
import noise_floor
import paper
import recording
from experiments import EXPERIMENTS, PENDULUM, Part, call_of, hours, hours_of, num_runs, parts, standing
from pages.published import PUBLISHED
from rpo_jax.runs.ownership import lock_folder
from rpo_jax.settings.spec import make_spec

pytestmark = pytest.mark.usefixtures("shared_agents")

TINY = {
    "preset": "paper",
    "num_steps": 64,
    "num_epochs": 1,
    "num_minibatches": 2,
    "hidden_sizes": (4,),
    "total_timesteps": 192,
    "num_seeds": 2,
}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results of its own."""
    monkeypatch.setattr(recording, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paper, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(paper, "use_cpu_cores", lambda: None)  # JAX has started
    monkeypatch.setattr("sys.argv", ["benchmarks/paper.py", "alpha"])
    return tmp_path / "results"


def tiny(label: str = "tiny", experiment: str = "alpha", **settings: Any) -> Part:
    return Part(experiment, label, {"env": PENDULUM, **TINY, "rpo_alpha": [0.0, 0.5], **settings})


def test_every_part_is_accepted_and_has_a_label_of_its_own() -> None:
    listed = list(standing())
    assert len({(part.experiment, part.label) for part in listed}) == len(listed)
    assert {part.experiment for part in listed} == set(EXPERIMENTS)
    for part in listed:
        if part.settings and part.settings["env"] in (
            PENDULUM,
            ball_balance.NAME,
        ):  # other suites take seconds to import
            settings: dict[str, Any] = {
                name: 0.1 if callable(value) else value for name, value in part.settings.items() if name != "program"
            }
            make_spec(**settings)


def test_the_standing_list_is_what_the_experiments_have() -> None:
    assert set(map(str, standing())) == {str(part) for name in EXPERIMENTS for part in parts(name)}


def test_parts_are_short_or_a_single_seed() -> None:
    for part in standing():
        assert hours(part) <= 40 / 60 or part.settings["num_seeds"] == 1


def test_parts_cover_the_seeds_once() -> None:
    for experiment, env, seeds in (("alpha", "envpool/WalkerRun-v1", 7), ("entropy", PENDULUM, 3)):
        found: dict[str, list[int]] = {}
        for part in parts(experiment, [env], seeds, 2_000_000):
            first = part.settings["first_seed"]
            call = str({name: part.settings[name] for name in part.settings if "seed" not in name})
            found.setdefault(call, []).extend(range(first, first + part.settings["num_seeds"]))
        assert list(found.values()) == [list(range(seeds))] * len(EXPERIMENTS[experiment].calls)


def test_what_was_begun_keeps_its_label_and_settings() -> None:
    """Their checkpoints and results are found by these."""
    part = next(part for part in parts("ppo-vs-rpo") if "WalkerRun" in part.label)
    assert part.label == "envpool/WalkerRun-v1, seeds 0 ... 0"
    (recorded,) = (row for row in recording.records("paper-ppo-vs-rpo") if row["label"] == part.label)
    assert recorded["summary"]["total_timesteps"] // 2048 == part.settings["total_timesteps"] // 2048
    assert [row["rpo_alpha"] for row in recorded["summary"]["settings"]] == part.settings["rpo_alpha"]
    assert recorded["summary"]["seeds"] == [0]


def test_full_is_the_published_scale() -> None:
    (part,) = parts("ppo-vs-rpo", ["envpool/WalkerRun-v1"], full=True)
    assert num_runs(part) == 20
    assert part.settings["total_timesteps"] == 8_000_000
    tasks = {part.settings["env"] for part in parts("ppo-vs-rpo", full=True)}
    of_table = {row["task"] for row in csv.DictReader(PUBLISHED.open()) if row["source"] == "Table 1"}
    assert len(of_table) == 11
    assert {f"envpool/{task}" for task in (*of_table, "HopperHop-v1")} <= tasks


def test_calls_that_differ_have_labels_that_differ() -> None:
    found: dict[tuple[str, str], str] = {}
    for name, experiment in EXPERIMENTS.items():
        for steps in {None, experiment.scale.timesteps, experiment.full_scale.timesteps}:
            for part in itertools.chain.from_iterable(
                parts(name, timesteps=steps, full=full) for full in (True, False)
            ):
                call = call_of(part.settings)
                assert found.setdefault((name, part.label), call) == call, part.label


def test_the_standing_list_keeps_its_labels() -> None:
    """Of what is recorded, and of two that have checkpoints."""
    labels = {(part.experiment, part.label) for part in standing()}
    for name in EXPERIMENTS:
        assert {(name, row["label"]) for row in recording.records(f"paper-{name}")} <= labels
    assert ("at-scale", "own/BallBalance, 8,192,000 steps, seeds 0 ... 9") in labels
    assert ("alpha", "envpool/HopperHop-v1, others, 2,000,000 steps, seeds 4 ... 4") in labels


def test_the_standing_list_begins_with_pendulum_and_what_is_needed_comes_first() -> None:
    listed = [part for part in standing() if part.settings]
    of_pendulum = [part.settings["env"] == PENDULUM for part in listed]
    assert of_pendulum == sorted(of_pendulum, reverse=True)
    for env in EXPERIMENTS["noise-floor"].envs:  # whose later calls need the results of earlier ones
        in_order = [part.label for part in parts("noise-floor", [env]) if "law" not in part.label]
        assert [
            part.label for part in listed if part.experiment == "noise-floor" and part.label in in_order
        ] == in_order


def test_what_two_experiments_share_counts_once() -> None:
    shared = [part for name in ("alpha", "entropy") for part in parts(name, [PENDULUM])]
    base = next(iter(parts("alpha", [PENDULUM])))
    assert hours_of(shared) == pytest.approx(sum(map(hours, shared)) - hours(base))
    recorded = json.loads(json.dumps(base.settings))
    assert hours_of(shared, [recorded]) == pytest.approx(sum(map(hours, shared)) - 2 * hours(base))


def test_a_part_is_recorded_and_neither_trained_again_nor_for_another_experiment(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = [tiny(), tiny("bonus", "entropy"), tiny("faster", learning_rate=0.01)]
    monkeypatch.setattr(paper, "standing", lambda: iter(todo))
    trained = []
    monkeypatch.setattr(
        paper, "train", lambda spec, *args, _train=paper.train, **kw: trained.append(spec) or _train(spec, *args, **kw)
    )
    paper.main(only_next=True)
    assert [row["label"] for row in recording.records("paper-entropy")] == ["bonus"]  # of the same call
    paper.main(only_next=True)
    paper.main()
    usual = np.asarray(make_spec(**tiny().settings).hyperparams.learning_rate)
    rates = np.asarray([spec.hyperparams.learning_rate for spec in trained])
    np.testing.assert_allclose(rates, np.stack([usual, np.full(2, 0.01)]), rtol=1e-6)
    (alone,) = recording.records("paper-entropy")
    assert alone["label"] == "bonus"
    first, _ = recording.records("paper-alpha")
    assert first["action_size"] == 1
    for entropy, scale in zip(first["summary"]["final_entropy"], first["final_scale"], strict=True):
        assert len(scale) == 2
        # The entropy is that during the last update, and the scale that after it.
        expected = [0.5 * math.log(2 * math.pi * math.e * sigma**2) for sigma in scale]
        assert entropy == pytest.approx(expected, abs=0.02)


def test_a_part_goes_on_from_its_checkpoint(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tiny("resumed")

    def interrupted(spec: Any, checkpoints: Any, hint: str) -> Any:
        import rpo_jax

        keys = rpo_jax.seeds(0, 2)
        rpo_jax.fit(spec.agent(), spec.hyperparams, keys, lambda progress: False, checkpoints=checkpoints)
        raise SystemExit(hint)

    with monkeypatch.context() as patch:
        patch.setattr(paper, "train", interrupted)
        with pytest.raises(SystemExit, match="same command"):
            paper.do(part)
    assert not recording.records("paper-alpha")
    paper.do(part)
    (row,) = recording.records("paper-alpha")
    assert row["summary"]["resumed_from"] > 0


def test_processes_at_once_do_different_parts(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    todo = [tiny(label, learning_rate=rate) for label, rate in (("first", 1e-3), ("second", 2e-3), ("third", 3e-3))]
    done = []

    def train(part: Part) -> None:
        assert not paper.do(part)  # as another process would that has found it left
        done.append(part.label)
        recording.add(f"paper-{part.experiment}", {"label": part.label}, "label")

    monkeypatch.setattr(paper, "standing", lambda: iter(todo))
    monkeypatch.setattr(paper, "_do", train)
    with lock_folder(paper.lock_of(todo[0])):
        paper.main(only_next=True)
        with lock_folder(paper.lock_of(todo[2])), pytest.raises(SystemExit, match="the 2 parts that are left"):
            paper.main()
    assert done == ["second"]
    assert paper.do(todo[1])  # it has been recorded since, and is not trained again
    paper.main()
    assert done == ["second", "first", "third"]
    assert [row["label"] for row in recording.records("paper-alpha")] == done
    assert not list((paper.CHECKPOINTS / ".locks").iterdir())


def test_a_part_waits_for_those_that_it_depends_on(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = list(parts("noise-floor", [PENDULUM], 2, 192))
    base, floor, bonus = (next(part for part in listed if name in part.label) for name in ("ppo, rpo", "floor", "by a"))
    (choice,) = (part for part in listed if "choice" in part.label)
    choices = [
        part._replace(label=f"{part.label}, {seed}", settings={**part.settings, "first_seed": seed})
        for part, seed in ((choice, 100), (choice, 101))
    ]
    monkeypatch.setattr(paper, "standing", lambda: iter([floor, base, bonus, *choices]))
    done = []

    def train(part: Part) -> None:
        done.append(part)
        recording.add(f"paper-{part.experiment}", {"label": part.label}, "label")

    monkeypatch.setattr(paper, "_do", train)
    with lock_folder(paper.lock_of(base)):
        with lock_folder(paper.lock_of(choices[1])), pytest.raises(SystemExit, match="4 parts that are left, or what"):
            paper.main()
        assert done == choices[:1]
        with pytest.raises(SystemExit, match="3 parts that are left, or what they depend"):
            paper.main()
    paper.main()
    assert done == [*choices, base, floor, bonus]


def test_the_same_call_of_two_experiments_is_trained_by_one_process(results: Path) -> None:
    part, other = tiny("first"), tiny("other", "entropy")
    with lock_folder(paper.lock_of(part)):
        assert not paper.do(other)
    assert paper.do(part)
    assert paper.do(other)
    (row,) = recording.records("paper-entropy")
    assert row["summary"] == recording.records("paper-alpha")[0]["summary"]


def test_parts_need_those_whose_results_their_functions_read() -> None:
    listed = [part for part in standing() if part.experiment == "noise-floor" and part.settings["env"] == PENDULUM]
    found = {part.label.split(", ", 1)[1].split(", 1,000")[0]: len(paper.needed(part, listed)) for part in listed}
    expected = {"RPO's sigma throughout": 1, "RPO's sigma as a floor": 1, "RPO's entropy by a bonus": 2}
    assert {call: count for call, count in found.items() if count} == expected


def test_rows_that_are_added_at_once_are_all_kept(results: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda label: recording.add("together", {"label": label}, "label"), range(24)))
    assert sorted(row["label"] for row in recording.records("together")) == list(range(24))
    assert [path.name for path in results.iterdir()] == ["together.json"]


def test_the_list_says_what_is_left(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = parts("alpha", [PENDULUM])
    recording.write("paper-alpha", [{"label": first.label, "command": "c", "machine": "m"}])
    paper.main(("alpha",), envs=(PENDULUM,), only_list=True)
    lines = capsys.readouterr().out.splitlines()
    assert "done" in lines[0]
    assert lines[-2].endswith("alpha: 1 parts, 80 runs")
    assert lines[-1].startswith("1 of 2 parts are left")
    first_call = json.loads(json.dumps(first.settings))
    recording.write("paper-alpha", [{"label": first.label, "command": "c", "machine": "m", "call": first_call}])
    paper.main(("entropy",), envs=(PENDULUM,), only_list=True)
    assert capsys.readouterr().out.startswith(" 0.0 h  entropy")
    assert not recording.records("paper-entropy")  # listing writes nothing


def test_what_another_experiment_recorded_is_not_trained(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = tiny("same", "entropy")
    call = json.loads(json.dumps(same.settings))
    recording.write("paper-alpha", [{"label": "its own", "command": "c", "machine": "m", "call": call}])
    monkeypatch.setattr(paper, "standing", lambda: iter([same]))
    monkeypatch.setattr(paper, "do", lambda part: pytest.fail(f"{part} is trained"))
    paper.main(only_next=True)
    (row,) = recording.records("paper-entropy")
    assert row["label"] == "same"


@pytest.mark.parametrize(
    ("env", "told"),
    [("envpool/WalkerRun-v1", "protocol: the published program has gymnax's tasks only"), ("gymnax/No", "protocol: ")],
)
def test_what_cannot_be_trained_is_told_in_a_line(results: Path, env: str, told: str) -> None:
    with pytest.raises(SystemExit, match=told) as error:
        paper.main(("protocol",), envs=(env,))
    assert "\n" not in str(error.value)


def test_predicted_sigma() -> None:
    assert noise_floor.predicted_sigma(0.5, 6) == pytest.approx(0.5 * math.sqrt(6) / (math.sqrt(3) * 0.2))
    assert noise_floor.predicted_sigma(0.5, 1) == pytest.approx(1.443, abs=1e-3)
    assert noise_floor.suggested_range({"env": PENDULUM}) == pytest.approx(0.104, abs=1e-3)  # 0.3 * 0.2 * sqrt(3)


def test_rivals_have_the_sigma_and_the_entropy_of_rpo(results: Path) -> None:
    def row(label: str, entropy: list[list[float]], **call: Any) -> dict[str, Any]:
        return {
            "label": label,
            "call": {"env": "e", "total_timesteps": 1, **call},
            "final_scale": [[0.1, 0.2], [1.0, 3.0]],
            "summary": {"final_entropy": entropy},
            "command": "c",
            "machine": "m",
        }

    rows = [
        row("base", [[-1.0, -1.0], [1.9, 2.1]], rpo_alpha=[0.0, 0.5]),
        row("law", [[9.0, 9.0], [9.0, 9.0]], rpo_alpha=[0.1, 0.5, 2.0]),
        row("choice", [[1.0, 1.2], [2.3, 2.2]], entropy_coefficient=[0.01, 0.1]),
        row("more of it", [[1.1], [2.4]], entropy_coefficient=[0.01, 0.1]),
        row("elsewhere", [[0.0, 0.0], [0.0, 0.0]], rpo_alpha=[0.0, 0.5], total_timesteps=2),
    ]
    recording.write("paper-noise-floor", rows)
    settings = {"env": "e", "total_timesteps": 1}
    assert noise_floor.log_std_of_rpo(settings) == pytest.approx(math.log(2.0), abs=1e-3)
    assert noise_floor.coefficient_of_rpo(settings) == 0.1


def test_the_perturbed_density_is_that_of_what_is_drawn() -> None:
    from density import density

    row = density()
    for drawn, perturbed in zip(row["drawn"], row["perturbed"], strict=True):
        assert drawn == pytest.approx(perturbed, abs=3e-3)
    assert row["drawn_std"] == pytest.approx(math.sqrt(1 + row["alpha"] ** 2 / 3), rel=1e-2)


def test_settings_fit_into_json() -> None:
    for part in standing():
        numbers = {name: value for name, value in part.settings.items() if not callable(value)}
        assert json.loads(json.dumps(numbers)) == numbers
    assert min(experiments.SPEEDS.values()) >= experiments.SLOW
