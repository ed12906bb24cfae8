"""The pages of the paper's experiments say what the results say, however many parts there are."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import report
from experiments import EXPERIMENTS, PENDULUM, Part, parts
from pages import paper, paper_noise_floor, paper_protocol, paper_rest, paper_time_limits
from pages.paper_runs import collect, difference, seeds_told
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
        ([[1.0, 2.0, np.nan], [3.0, 2.0, 1.0]], "**rpo** against ppo: too few seeds to say on Pendulum-v1"),
    ],
)
def test_the_finding_follows_from_the_numbers(returns: Any, sentence: str) -> None:
    (part,) = parts("ppo-vs-rpo", [PENDULUM], 3, 20_480)
    (found,) = paper.findings(collect([recorded(part, returns)]), "ppo")
    assert found.startswith(sentence)


@pytest.mark.parametrize(
    ("bootstrapped", "sentence"),
    [
        ([[1.0, 2.0, 3.0], [51.0, 52.0, 53.0]], "50% of the advantage is left"),
        ([[1.0, 2.0, 3.0], [-9.0, -8.0, -7.0]], "-10% of the advantage is left"),
    ],
)
def test_the_share_of_the_advantage_that_bootstrapping_leaves(bootstrapped: Any, sentence: str) -> None:
    first, second, *_ = parts("time-limits", [PENDULUM], 3, 20_480)
    groups = paper_time_limits.PAGE.groups([recorded(first, RPO_WINS), recorded(second, bootstrapped)])
    (told,) = paper_time_limits.advantages(groups)
    assert sentence in told
    backwards = paper_time_limits.PAGE.groups([recorded(first, RPO_WINS[::-1]), recorded(second, bootstrapped)])
    (told,) = paper_time_limits.advantages(backwards)
    assert "with terminations RPO is worse" in told


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
    found = difference(methods["rpo"], methods["ppo"])
    assert found
    assert found.value == pytest.approx(32 / 3 - 4)


def test_published_values_stand_beside_ours() -> None:
    assert published("WalkerRun-v1", "rad") == "141 +- 34.8 (Table 1)"
    assert published("Reacher-v4", "rpo, alpha 0.01") == "-3.9 +- 0.2 (CleanRL)"
    assert "Fig 7" in published("Pendulum-v1", "rpo", "laplace")
    assert published("Pendulum-v1", "rpo", "bootstrap") == ""


@pytest.mark.parametrize(("factor", "sentence"), [(1.1, "Most runs are within"), (3.0, "Most runs are not within")])
def test_observed_sigma_is_held_against_the_law(factor: float, sentence: str) -> None:
    base, *others = parts("noise-floor", [PENDULUM], 2, 20_480)
    rows = [recorded(part) for part in (base, *others) if part is base or "law, 10" in part.label]
    expected = [alpha / 3**0.5 / epsilon for epsilon in (0.1, 0.2, 0.4) for alpha in (0.1, 0.5, 2.0)]
    rows[1]["final_scale"] = [[factor * sigma] * 2 for sigma in expected]
    for one in paper_noise_floor.observed(rows):
        assert one.ratio == pytest.approx([factor] * 2)
    assert sentence in " ".join(paper_noise_floor.render(rows).split())


def test_the_rest_is_what_was_not_recorded() -> None:
    everything = paper_rest.render({})
    done = {part.label for part in parts("alpha")}
    rest = paper_rest.render({"alpha": done})
    assert f"| `python benchmarks/paper.py alpha` | {len(done)} | {len(done)} |" in everything
    assert f"| `python benchmarks/paper.py alpha` | 0 | {len(done)} | 0 | 0.0 |" in rest
