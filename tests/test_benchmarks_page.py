"""The page of benchmarks says what its results say."""

import functools
import importlib
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tyro

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
Runs = list[dict[str, Any]]


def test_the_pages_are_what_the_results_make() -> None:
    import report

    assert {BENCHMARKS / "README.md", BENCHMARKS / "peers" / "README.md", BENCHMARKS.parent / "README.md"} == set(
        report.PAGES
    )
    for path, write in report.PAGES.items():
        assert write() == path.read_text()


def test_expected_returns_are_of_presets_as_they_are() -> None:
    from pages import expected
    from rpo_jax.cli.parse import parse
    from rpo_jax.settings.presets import get_preset, override

    runs = json.loads((BENCHMARKS / "results" / "shuffle.json").read_text())["runs"]
    found = expected.collect(runs)
    assert {what.env for what in found} == {run["summary"]["env"] for run in runs}
    for what, returns in found.items():
        options: Any = parse(what.command(len(returns)).split()[1:])
        assert (options.env, options.preset, options.num_seeds) == (what.env, what.preset, len(returns))
        (kept,) = (
            run["summary"]
            for run in runs
            if run["summary"]["env"] == what.env and run["summary"]["config"]["shuffle"] == "environments"
        )
        assert list(returns.values()) == kept["final_return"][0]
        config = override(get_preset(what.preset, what.env), {"total_timesteps": what.timesteps}).config
        assert config.shuffle == "environments"
        assert config.total_timesteps == kept["config"]["total_timesteps"]


def test_of_two_versions_the_newest_returns_are_expected() -> None:
    from pages import expected

    (old, *_) = json.loads((BENCHMARKS / "results" / "brax_fast.json").read_text())["runs"]
    new = json.loads(json.dumps(old))
    new["summary"]["versions"]["rpo_jax"] = "0.10.0"
    new["summary"]["final_return"][0][0] = 7.0
    for order in ([old, new], [new, old]):
        (returns,) = expected.collect(order).values()
        assert returns[0] == 7.0


def test_the_readme_gives_its_ratios() -> None:
    readme = " ".join((BENCHMARKS.parent / "README.md").read_text().split())
    for name, digits in (("throughput", 1), ("throughput_gpu", 2)):
        found = [run["libraries"] for run in json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())["runs"]]
        ratios = [of["rpo_jax"]["steps_per_second"] / of["Rejax"]["steps_per_second"] for of in found]
        told = f"{min(ratios):.{digits}f} to {max(ratios):.{digits}f} times as fast as Rejax"
        assert told in readme


def test_every_library_is_given_the_sizes_of_a_work() -> None:
    for library in importlib.import_module("libraries").LIBRARIES.values():
        program = (BENCHMARKS / "peers" / library.worker).read_text()
        for size in ("num_envs", "num_steps", "num_epochs", "num_minibatches", "width"):
            assert f'"{size}"' in program, (library.worker, size)


def labelled(runs: Runs, label: str) -> dict[str, Any]:
    return next(run for run in runs if run["label"] == label)


def solve(runs: Runs) -> None:
    labelled(runs, "normal, terminate, ppo")["summary"]["final_return"] = [[-150.0, -151.0, -149.0, -150.0, -152.0]]


def exceed(runs: Runs) -> None:
    labelled(runs, "inverted_pendulum")["summary"]["final_return"][0][0] = 1001.0


def shorten(runs: Runs) -> None:
    runs[0]["libraries"]["SBX"]["timesteps"] *= 2


def slow_down(runs: Runs) -> None:
    labelled(runs, "hopper, environments")["summary"]["train_seconds"] = 1e3


def win(runs: Runs) -> None:
    labelled(runs, "WalkerRun-v1, terminate")["summary"]["final_return"][1] = [390.0, 391.0, 392.0, 393.0, 394.0]


def shift(runs: Runs) -> None:
    scores = next(run for run in runs if run["task"] == "Pendulum-v1")["returns"]["envpool/Pendulum-v1"]
    scores[:] = [[mean - 80, error] for mean, error in scores]


def gain(runs: Runs) -> None:
    next(run for run in runs if run["flags"].endswith("loops=true"))["steps_per_second"] *= 2


def speed_up(runs: Runs) -> None:
    next(run for run in runs if run["work"] == "hopper")["training"] *= 2


def break_a_release(runs: Runs) -> None:
    next(run for run in runs if (run["fault"], run["jax"]) == ("jax 39103", "0.11.2"))["outcome"] = "wrong"


@pytest.mark.parametrize(
    ("name", "falsify", "sentence"),
    [
        ("pendulum_paper", solve, "PPO with a normal head fails"),
        ("brax_fast", exceed, "The greatest possible return"),
        ("throughput", shorten, "only for 1/30 of the rounds"),
        ("gpu_flags", gain, "Other options change it by"),
        ("roofline", speed_up, "the limit itself is"),
        ("shuffle", slow_down, "faster on every task"),
        ("suites_paper", win, "nowhere else"),
        ("suites_transfer", shift, "No difference shows on Pendulum"),
        ("known_faults", break_a_release, "versions are excluded"),
    ],
)
def test_a_result_that_contradicts_a_sentence_is_refused(
    name: str, falsify: Callable[[Runs], None], sentence: str, tmp_path: Path
) -> None:
    import report
    from pages.findings import Falsified

    path = Path(shutil.copy(report.RESULTS / f"{name}.json", tmp_path))
    content = json.loads(path.read_text())
    assert content["runs"]
    report.page(tmp_path)
    falsify(content["runs"])
    path.write_text(json.dumps(content))
    with pytest.raises(Falsified, match=f"section {name}: .*{sentence}"):
        report.page(tmp_path)


@pytest.mark.parametrize(
    ("name", "falsify"),
    [
        ("pendulum_paper", solve),
        ("throughput", lambda runs: runs[0]["libraries"]["Rejax"].update(steps_per_second=1e9)),
        ("faults", lambda runs: runs[0].update(survived=0)),
    ],
)
def test_the_readme_refuses_such_results_too(name: str, falsify: Callable[[Runs], None]) -> None:
    from pages import readme
    from pages.findings import Falsified

    results = {
        path.stem: json.loads(path.read_text())["runs"] for path in sorted((BENCHMARKS / "results").glob("*.json"))
    }
    readme.findings(results)
    falsify(results[name])
    with pytest.raises(Falsified):
        readme.findings(results)


def test_pictures_are_drawn_from_the_results() -> None:
    import report

    for section in report.SECTIONS:
        path = report.RESULTS / f"{section.name}.json"
        if section.draw and path.exists():
            assert section.draw(json.loads(path.read_text())["runs"]).axes
            assert path.with_suffix(".png").exists()


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "results").glob("*.json")), ids=lambda path: path.stem)
def test_recorded_commands_are_understood(path: Path) -> None:
    for command in json.loads(path.read_text())["command"].split(" && "):
        words = shlex.split(command)
        script, *arguments = words[words.index("python") + 1 :]
        main = importlib.import_module(Path(script).stem).main

        @functools.wraps(main)
        def parsed(*_: Any, **__: Any) -> str:
            return "parsed"

        assert tyro.cli(parsed, args=arguments) == "parsed"


def test_the_page_explains_the_faults_that_are_injected() -> None:
    import faults
    from pages.faults import MEANINGS

    assert set(MEANINGS) <= set(faults.FAULTS)
    assert len(faults.FAULTS) >= 20
    assert sum(fault.count for fault in faults.FAULTS.values()) >= 400
