"""The pages of the paper's experiments say what the results say, however many parts there are."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import report
from experiments import EXPERIMENTS, PENDULUM, Part, hours, hours_of, parts
from pages import (
    paper,
    paper_alpha,
    paper_failures,
    paper_noise_floor,
    paper_ppo_vs_rpo,
    paper_protocol,
    paper_rest,
    paper_time_limits,
)
from pages.paper_runs import collect, compare, improvement, seeds_told
from pages.published import published
from rpo_jax.settings.grid import settings_list
from rpo_jax.settings.spec import make_spec

STEPS = [2048, 4096, 6144]
TRAINED = [name for name in EXPERIMENTS if name != "density"]


def recorded(part: Part, returns: Any = None, scale: float = 1.0) -> dict[str, Any]:
    """What a part records; returns are [setting][seed]."""
    call: dict[str, Any] = {name: 0.05 if callable(value) else value for name, value in part.settings.items()}
    spec = make_spec(**{name: value for name, value in call.items() if name != "program"})
    shape = len(settings_list(spec.hyperparams)), len(spec.seeds)
    rows = np.arange(np.prod(shape), dtype=float).reshape(shape) if returns is None else np.array(returns, float)
    curves = np.broadcast_to(rows[..., None], (*shape, len(STEPS))).tolist()
    return {
        "label": part.label,
        "call": call,
        "command": "python benchmarks/paper.py --next",
        "machine": "a machine",
        "summary": {
            **{name: getattr(spec, name) for name in ("env", "variant", "head", "time_limit", "seeds")},
            "settings": settings_list(spec.hyperparams),
            "config": dataclasses.asdict(spec.config),
            "total_timesteps": spec.config.num_updates * 2048,
            "final_return": rows.tolist(),
            "final_entropy": np.ones(shape).tolist(),
        },
        "steps": STEPS,
        "curves": {"episode_return": curves, "entropy": curves},
        "final_scale": np.full(shape, scale).tolist(),
        "action_size": 1,
    }


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    content = {"command": "python benchmarks/paper.py --next", "machine": "a machine", "runs": rows}
    (folder / f"paper-{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("name", TRAINED)
def test_a_page_tells_the_seeds_that_there_are(name: str, seeds: int, tmp_path: Path) -> None:
    listed = list(parts(name, [PENDULUM], seeds, 20_480))
    for count in {1, len(listed)}:
        rows = [recorded(part) for part in listed[:count]]
        write(tmp_path, name, rows)
        text = report.page(tmp_path)
        assert EXPERIMENTS[name].question in text
        assert f"so far with {seeds} seeds" in " ".join(text.split())
        assert ("too few seeds" in text) == (seeds < 3 and "against" in text)
        (section,) = (section for section in report.SECTIONS if section.name == f"paper-{name}")
        assert section.draw
        section.draw(rows).draw_without_rendering()


def test_the_density_is_told(tmp_path: Path) -> None:
    from density import density

    write(tmp_path, "density", [density()])
    assert "2.00" in report.page(tmp_path)
    (section,) = (section for section in report.SECTIONS if section.name == "paper-density")
    assert section.draw
    assert section.draw([density()]).axes


RPO_WINS = [[1.0, 2.0, 3.0], [101.0, 102.0, 103.0]]


@pytest.mark.parametrize(
    ("returns", "sentence"),
    [
        (RPO_WINS, "**rpo** against ppo: better on Pendulum-v1, 0.02M steps (+100 [97.7, 102])."),
        (RPO_WINS[::-1], "**rpo** against ppo: worse on Pendulum-v1, 0.02M steps (-100 [-102, -97.7])."),
        ([[1.0, 2.0, 3.0], [2.0, 1.0, 6.0]], "**rpo** against ppo: not decided with these seeds on Pendulum-v1"),
        (
            [[1.0, 2.0, np.nan], [3.0, 2.0, 1.0]],
            "**rpo** against ppo: too few seeds to say on Pendulum-v1, 0.02M steps (1 of 3 runs of ppo diverged).",
        ),
        (
            [[1.0, 2.0, 3.0, np.nan], [101.0, 102.0, 103.0, 102.0]],
            "**rpo** against ppo: better on Pendulum-v1, 0.02M steps (+100 [98.0, 102]; 1 of 4 runs of ppo diverged).",
        ),
        (
            [[1.0, 2.0, 3.0, 2.0], [101.0, 102.0, 103.0, np.nan]],
            "**rpo** against ppo: no verdict, since the one with the higher mean lost runs, on Pendulum-v1, 0.02M "
            "steps (+100 [98.0, 102]; 1 of 4 runs of rpo diverged).",
        ),
        (
            [[1.0, 2.0, 3.0, 2.0], [2.0, 1.0, 6.0, np.nan]],
            "**rpo** against ppo: not decided with these seeds on Pendulum-v1, 0.02M steps "
            "(+1.0 [-5.0, 7.0]; 1 of 4 runs of rpo diverged).",
        ),
    ],
)
def test_the_finding_follows_from_the_numbers(returns: Any, sentence: str) -> None:
    (part,) = parts("ppo-vs-rpo", [PENDULUM], len(returns[0]), 20_480)
    (found,) = paper.findings(collect([recorded(part, returns)]), "ppo")
    assert found.startswith(sentence)


@pytest.mark.parametrize(
    ("bootstrapped", "sentence"),
    [
        ([[1.0, 2.0, 3.0], [51.0, 52.0, 53.0]], "50% [48%, 52%] of the advantage is left"),
        ([[1.0, 2.0, 3.0], [-9.0, -8.0, -7.0]], "-10% [-12%, -8%] of the advantage is left"),
        ([[1.0, 2.0, 3.0, 2.0], [1.0, 2.0, 3.0, np.nan]], "(1 of 4 runs of rpo diverged with bootstrapping)"),
    ],
)
def test_the_share_of_the_advantage_that_bootstrapping_leaves(bootstrapped: Any, sentence: str) -> None:
    first, *_ = parts("time-limits", [PENDULUM], 3, 20_480)
    _, second, *_ = parts("time-limits", [PENDULUM], len(bootstrapped[0]), 20_480)
    groups = paper_time_limits.PAGE.groups([recorded(first, RPO_WINS), recorded(second, bootstrapped)])
    (told,) = paper_time_limits.advantages(groups)
    assert sentence in told
    backwards = paper_time_limits.PAGE.groups([recorded(first, RPO_WINS[::-1]), recorded(second, bootstrapped)])
    (told,) = paper_time_limits.advantages(backwards)
    assert "with terminations RPO is worse" in told


def test_what_bootstrapping_changes_is_told() -> None:
    ended, bootstrapped, *_ = parts("time-limits", [PENDULUM], 3, 20_480)
    higher = [[11.0, 12.0, 13.0], np.array(RPO_WINS[1]) + 20]
    (told,) = paper_time_limits.advantages(
        paper_time_limits.PAGE.groups([recorded(ended, RPO_WINS), recorded(bootstrapped, higher)])
    )
    by_10, by_20 = "+10.0 [7.7, 12.3]", "+20.0 [17.7, 22.3]"
    assert told.endswith(f"Bootstrapping changes PPO's mean return by {by_10} and RPO's by {by_20}.")
    (told,) = paper_time_limits.advantages(
        paper_time_limits.PAGE.groups([recorded(ended, RPO_WINS), recorded(bootstrapped, RPO_WINS)])
    )
    assert told.endswith("every run is the same with bootstrapping, since no episode reaches its time limit.")


@pytest.mark.parametrize(
    ("published", "sentence"),
    [
        (10.0, "is -10.0 [-12.3, -7.7], 10% of what lies between RPO and PPO there: they differ."),
        (1.0, "is -1.0 [-3.3, 1.3], 1% of what lies between RPO and PPO there: with these seeds no difference"),
    ],
)
def test_both_programs_are_compared(published: float, sentence: str) -> None:
    ours, theirs = parts("protocol", [PENDULUM], 3, 20_480)
    rows = [recorded(ours, RPO_WINS), recorded(theirs, np.array(RPO_WINS) + published)]
    told = list(paper_protocol.differences(paper_protocol.PAGE.groups(rows)))
    assert len(told) == 2
    assert all(sentence in one for one in told)
    assert not list(paper_protocol.differences(paper_protocol.PAGE.groups(rows[:1])))


def test_parts_of_a_task_are_put_together_by_seed() -> None:
    first, second, third = (
        recorded(part._replace(settings={**part.settings, "first_seed": begin}), [[begin], [10 + begin]])
        for part in parts("ppo-vs-rpo", ["envpool/WalkerRun-v1"], 1)
        for begin in (0, 1, 5)
    )
    again = json.loads(json.dumps(second))
    again["summary"]["final_return"] = [[7.0], [7.0]]
    groups = collect([third, first, second, again])
    ((group, methods),) = groups.items()
    assert str(group) == "WalkerRun-v1, 8M steps"
    assert methods["ppo"].returns.tolist() == [0.0, 7.0, 5.0]
    assert methods["rpo"].returns.tolist() == [10.0, 7.0, 15.0]
    assert seeds_told(groups) == "3 seeds"
    found = compare(methods, "rpo", "ppo").difference
    assert found
    assert found.value == pytest.approx(32 / 3 - 4)


def test_published_values_stand_beside_ours() -> None:
    assert published("WalkerRun-v1", "rad") == "141 +- 34.8 (Table 1)"
    assert published("Reacher-v4", "rpo, alpha 0.01") == "-3.9 +- 0.2 (CleanRL)"
    assert "Fig 7" in published("Pendulum-v1", "rpo", "laplace")
    assert published("Pendulum-v1", "rpo", "bootstrap") == ""
    (at_scale,) = (page for page in paper.COMPARISONS if page.experiment == "at-scale")
    assert "IsaacGym Cartpole: PPO 105 (Fig 5, 100M, read off), RPO 475" in at_scale.remark


def test_the_share_of_runs_that_are_better_counts_those_that_diverged() -> None:
    """By hand: of the first task 1 in 4 pairs is won and 1 a tie, of the second all; a run that diverged loses."""
    task, other = (
        collect([recorded(part, returns)])
        for part, returns in (
            (next(parts("ppo-vs-rpo", [PENDULUM], 2, 20_480)), [[1.0, 3.0], [np.nan, 3.0]]),
            (next(parts("ppo-vs-rpo", [PENDULUM], 2, 20_480)), [[np.nan, 3.0], [4.0, 5.0]]),
        )
    )
    pairs = [(methods["rpo"], methods["ppo"]) for groups in (task, other) for methods in groups.values()]
    found = improvement(pairs)
    assert found.value == pytest.approx(((1 + 0.5) / 4 + 1) / 2)
    assert found.low < found.value < found.high


def test_what_several_tasks_say_together_is_told_and_drawn() -> None:
    tasks = ("envpool/WalkerRun-v1", "envpool/HopperHop-v1")
    rows = [recorded(part) for env in tasks for part in parts("ppo-vs-rpo", [env], 3)]
    for row in rows:
        row["summary"]["final_return"] = [[seed] for seed in (1.0, 3.0)]
    rows[0]["summary"]["final_return"] = [[None], [5.0]]
    (methods, other) = paper_ppo_vs_rpo.complete(rows)
    np.testing.assert_array_equal(paper_ppo_vs_rpo.scaled(methods, methods["ppo"].returns), [0, 0, 0])
    np.testing.assert_array_equal(paper_ppo_vs_rpo.scaled(methods, methods["rpo"].returns), [1, 0.5, 0.5])
    np.testing.assert_array_equal(paper_ppo_vs_rpo.scaled(other, other["rpo"].returns), [1, 1, 1])
    assert "over the 2 tasks with 8M steps" in " ".join(paper_ppo_vs_rpo.render(rows).split())
    efficiency, profile = paper_ppo_vs_rpo.draw(rows).axes[4:6]
    _, rpo = (np.asarray(line.get_ydata()) for line in profile.lines)
    assert rpo[0] == 1
    assert rpo[40] == pytest.approx((1 / 3 + 1) / 2)  # scaled returns above 0.8
    assert len(efficiency.lines) == 2
    assert len(paper_ppo_vs_rpo.draw(rows[:2]).axes) == 2


@pytest.mark.parametrize(
    ("returns", "told"),
    [
        ([101.0, 102.0, 103.0], "on none it is decided to be worse, and no run diverged."),
        ([51.0, 52.0, 53.0], "worse on Pendulum-v1, 0.02M steps (than rpo)."),
        ([-51.0, -52.0, -53.0], "(than ppo) and Pendulum-v1, 0.02M steps (than rpo)."),
        ([101.0, 102.0, 103.0, np.nan], "on 1 tasks: lost runs on Pendulum-v1, 0.02M steps."),
        ([101.0, 102.0], None),
    ],
)
def test_a_rule_works_where_it_is_worse_nowhere(returns: list[float], told: str | None) -> None:
    base, *_ = parts("failures", [PENDULUM], 3, 20_480)
    (law,) = (part for part in parts("failures", [PENDULUM], len(returns), 20_480) if "law" in part.label)
    found = list(paper_failures.rules(paper_failures.PAGE.groups([recorded(base, RPO_WINS), recorded(law, [returns])])))
    assert [sentence.endswith(str(told)) for sentence in found] == [True] * (told is not None)
    assert all(paper_failures.BY_LAW in sentence for sentence in found)


def test_the_sensitivity_to_alpha_is_told_of_several_tasks() -> None:
    base, others = parts("alpha", [PENDULUM], 3, 20_480)
    rows = [recorded(base, np.zeros((2, 3))), recorded(others, np.arange(8.0).repeat(3).reshape(8, 3))]
    one = paper_alpha.render(rows)
    twice = json.loads(json.dumps(rows))
    for row in twice:
        row["summary"]["env"] = "gymnax/Another-v1"
        row["summary"]["final_return"].reverse()
    both = " ".join(paper_alpha.render(rows + twice).split())
    assert "sensitivity" not in one
    assert "The difference is the sensitivity" in both
    few = [recorded(part) for part in parts("alpha", [PENDULUM], 2, 20_480)]
    for row in few:
        row["summary"]["env"] = "gymnax/Another-v1"
    assert "sensitivity" not in paper_alpha.render(rows + few)


@pytest.mark.parametrize(("factor", "sentence"), [(1.1, "Most runs are within"), (3.0, "Most runs are not within")])
def test_observed_sigma_is_held_against_the_law(factor: float, sentence: str) -> None:
    base, *others = parts("noise-floor", [PENDULUM], 2, 20_480)
    rows = [recorded(part) for part in (base, *others) if part is base or "law, 10" in part.label]
    expected = [alpha / 3**0.5 / epsilon for epsilon in (0.1, 0.2, 0.4) for alpha in (0.1, 0.5, 2.0)]
    rows[1]["final_scale"] = [[factor * sigma] * 2 for sigma in expected]
    for one in paper_noise_floor.observed(rows):
        assert one.ratio == pytest.approx([factor] * 2)
    assert sentence in " ".join(paper_noise_floor.render(rows).split())
    rows[1]["final_scale"][0] = [factor * expected[0], np.nan]
    told = " ".join(paper_noise_floor.render(rows).split())
    assert "1 of 18 runs diverged and are left out. Over 17 runs of 9 settings" in told
    assert f"has a median of {factor:.2f}" in told
    assert "| 2, 1 diverged | 0.577 |" in told


def test_the_rest_is_what_was_not_recorded() -> None:
    everything = paper_rest.render({})
    done = [recorded(part) for part in parts("alpha", [PENDULUM])]
    for row in done:
        row["summary"]["train_seconds"] = 3600.0
    rest = " ".join(paper_rest.render({"alpha": done}).split())
    count, base = len(list(parts("alpha"))), next(parts("entropy", [PENDULUM]))
    assert f"| `python benchmarks/paper.py alpha` | {count} | {count} |" in everything
    assert f"| `python benchmarks/paper.py alpha` | {count - len(done)} | {count} |" in rest
    assert f"The {len(done)} calls that were trained took {len(done):.1f} hours" in rest
    expected = hours_of(parts("entropy")) - hours(base)  # alpha has recorded its runs of ppo and rpo
    assert f"| `python benchmarks/paper.py entropy` | {len(list(parts('entropy')))}" in rest
    assert f" {expected:.1f} |" in rest.split("paper.py entropy`")[1].split("`python")[0]
