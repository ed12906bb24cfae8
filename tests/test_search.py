"""Search of hyperparameters: its plan, its stages against training without them, stops, and what it says."""

import csv
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import optuna
import pytest
from rich.console import Console

import rpo_jax
from rpo_jax import SettingsError, choice, fit, loguniform, read_table, seeds, uniform
from rpo_jax.analysis.sensitivity import explained_by_chance, explained_shares, explaining
from rpo_jax.cli.main import main
from rpo_jax.runs.session import Session
from rpo_jax.search import answer, halving, pieces
from rpo_jax.search import plan as plan_of_search
from rpo_jax.search.asking import propose
from rpo_jax.search.halving import Found, ranked, resume_search, search_to_folder
from rpo_jax.search.plan import Plan, Rung, choose_settings, draw_specs, preset_spec
from rpo_jax.settings.grid import settings_list

pytestmark = pytest.mark.usefixtures("shared_agents")

SIZES = {"num_envs": 4, "num_steps": 50, "num_minibatches": 2, "num_epochs": 1, "hidden_sizes": (8,)}
OPTIONS = {
    "env": "gymnax/Pendulum-v1",
    "total_timesteps": 1600,
    **SIZES,
}  # an episode ends in every fourth of 8 updates
SPACE = {"rpo_alpha": uniform(0.0, 1.0), "learning_rate": uniform(0.001, 0.1)}
PLAN = Plan(num_settings=6, num_seeds=2, halvings=1, finalists=2, final_seeds=3)
BATCHES = PLAN._replace(batches=2)
COMBINED = Plan(num_seeds=3, halvings=0, finalists=1, final_seeds=6)  # with as many runs in a call as others have
QUIET = Session(Console(quiet=True))


def search(
    path: Path, session: Session = QUIET, plan: Plan = PLAN, static=None, shard: int | None = None
) -> Found | None:
    static = static or {}
    default = preset_spec(plan, **OPTIONS)
    parts = draw_specs(plan, default, SPACE, static, **OPTIONS)
    return search_to_folder(plan, parts, default, {**dict.fromkeys(static), **SPACE}, path, session, shard)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("search") / "whole"


@pytest.fixture(scope="module")
def found(folder) -> Found:
    result = search(folder)
    assert result is not None
    answer.write_answer(folder, result)
    return result


def assert_same(one: Found | None, other: Found, amplified: float = 1e-5) -> None:
    """Up to rounding, as training has `amplified` it, where jobs share a search: fewer runs are trained in one call."""
    assert one is not None
    rtol = 0 if one.plan.shards == 1 else amplified
    assert one.plan._replace(shards=1) == other.plan
    assert (one.searched, one.diverged) == (other.searched, other.diverged)
    for returns, others in zip([*one.returns, one.final], [*other.returns, other.final], strict=True):
        assert list(returns) == list(others)
        for setting, expected in others.items():
            np.testing.assert_allclose(returns[setting], expected, rtol=rtol)
    np.testing.assert_allclose(one.default, other.default, rtol=rtol)


# The plan


def test_a_plan_halves_settings_and_counts_steps() -> None:
    plan = Plan(num_settings=12, num_seeds=3, halvings=2, finalists=3, final_seeds=5)
    assert plan.rungs == [Rung(0.25, 12), Rung(0.5, 6), Rung(1.0, 3)]
    assert plan.share_of_training == 3 * (12 / 4 + 6 / 4 + 3 / 2) + (3 + 1) * 5
    assert Plan(num_settings=5, halvings=1).rungs == [Rung(0.5, 5), Rung(1.0, 3)]


@pytest.mark.parametrize("budget", [35_000, 38_000, 50_123, 1_000_000])
def test_a_budget_buys_as_many_settings_as_it_can(budget: int) -> None:
    plan = Plan(num_seeds=3, halvings=2, finalists=3, final_seeds=5).within(budget, 1000)
    assert plan.share_of_training * 1000 <= budget
    assert plan._replace(num_settings=plan.num_settings + 1).share_of_training * 1000 > budget


@pytest.mark.parametrize(
    ("plan", "match"),
    [
        (PLAN._replace(num_settings=3, finalists=3), "3 settings halved 1 times leave 2, fewer than 3 finalists"),
        (PLAN._replace(num_settings=0), "number of settings is 0"),
        (PLAN._replace(num_seeds=0), "num_seeds=0 is out of range"),
        (PLAN._replace(final_seeds=2), "final_seeds=2 is out of range: it must be 3 or more"),
        (PLAN._replace(halvings=-1), "halvings=-1 is out of range"),
        (PLAN._replace(halvings=99), "halvings=99 is out of range"),
        (PLAN._replace(finalists=0), "finalists=0 is out of range"),
        (PLAN._replace(first_seed=-1), "seeds -1 ... 3 are out of range"),
    ],
)
def test_a_plan_that_cannot_be_is_one_clear_error(plan: Plan, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        plan.check()


def test_a_small_budget_says_what_is_needed() -> None:
    with pytest.raises(SettingsError, match=r"a budget of 34,999 steps is too small: .* need 35,000 steps"):
        Plan(num_seeds=3, halvings=2, finalists=3, final_seeds=5).within(34_999, 1000)


# The stages


def test_settings_of_each_stage_are_the_better_half_and_go_on_as_if_never_stopped(found: Found, folder: Path) -> None:
    first, last = found.returns
    assert len(first) == 6
    assert set(last) == set(sorted(first, key=lambda one: -first[one])[:3])
    assert list(found.final) == sorted(last, key=lambda one: -last[one])[:2]
    chosen = choose_settings(found.parts[0], [setting for _, setting in sorted(last)])
    whole = fit(chosen.agent(), chosen.hyperparams, seeds(0, 2)).metrics
    with (folder / "rung-2" / "part-1" / "metrics.csv").open() as file:
        entropy = np.array([float(row["entropy"]) for row in csv.DictReader(file)]).reshape(whole["entropy"].shape)
    np.testing.assert_allclose(entropy, whole["entropy"], rtol=1e-6)


def test_finalists_are_trained_on_seeds_that_chose_nothing(found: Found) -> None:
    spec = choose_settings(found.parts[0], [setting for _, setting in found.final], range(2, 5))
    metrics = fit(spec.agent(), spec.hyperparams, seeds(2, 3)).metrics
    for returns, rows in zip(found.final.values(), metrics["episode_return"], strict=True):
        np.testing.assert_allclose(returns, rows[:, -1], rtol=1e-6)
    default = preset_spec(PLAN, **OPTIONS)
    assert default.seeds == [2, 3, 4]
    metrics = fit(default.agent(), default.hyperparams, seeds(2, 3)).metrics
    np.testing.assert_allclose(found.default, metrics["episode_return"][0, :, -1], rtol=1e-6)


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_search_that_is_stopped_goes_on_and_finds_the_same(after: int, found: Found, tmp_path: Path) -> None:
    calls = iter(range(1, 100))

    def stop(progress) -> None:
        if next(calls) == 2 * after - 1:
            signal.raise_signal(signal.SIGINT)

    assert search(tmp_path / "run", QUIET._replace(on_progress=stop)) is None
    assert_same(resume_search(tmp_path / "run", QUIET), found)


def test_what_was_cut_while_a_stage_was_set_up_is_set_up_again(found: Found, tmp_path: Path, monkeypatch) -> None:
    from rpo_jax.execution.checkpoints import Checkpoints

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Checkpoints, "begin_from", killed)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "run")
    assert_same(resume_search(tmp_path / "run", QUIET), found)


def test_static_settings_are_searched_in_parts_that_compete(tmp_path: Path) -> None:
    plan = COMBINED._replace(num_settings=4)
    found = search(tmp_path / "run", plan=plan, static={"activation": ["tanh", "relu"]})
    assert found is not None
    assert [len(settings_list(spec.hyperparams)) for spec in found.parts] == [2, 2]
    assert [spec.config.activation for spec in found.parts] == ["tanh", "relu"]
    (returns,) = found.returns
    assert list(found.final) == [max(returns, key=lambda one: returns[one])]
    answer.write_answer(tmp_path / "run", found)
    with (tmp_path / "run" / "search.csv").open() as file:
        assert [row["activation"] for row in csv.DictReader(file)] == ["tanh"] * 2 + ["relu"] * 2


# Jobs that share a search

SHARED = PLAN._replace(shards=2)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*") if (path / "summary.json").exists())


def test_jobs_that_share_a_search_find_what_one_finds(found: Found, tmp_path: Path, monkeypatch) -> None:
    folder, trained = tmp_path / "run", []

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    def other_job(progress) -> None:
        if not trained:
            trained.append(1)
            monkeypatch.setattr(pieces.time, "sleep", stop)
            with pytest.raises(KeyboardInterrupt):
                search(folder, plan=SHARED, shard=2)
            monkeypatch.undo()
            trained.extend(names_in(folder))

    assert_same(search(folder, QUIET._replace(on_progress=other_job), SHARED, shard=1), found)
    assert trained[1:] == ["rung-1/part-1-shard-2"]  # all that a job can do while the other one trains its own
    assert_same(search(folder, plan=SHARED, shard=2), found)
    assert_same(resume_search(folder, QUIET), found)
    runs = [f"{stage}/part-1-shard-{number}" for stage in ("final", "rung-1", "rung-2") for number in (1, 2)]
    assert names_in(folder) == sorted([*runs, "final/preset"])


@pytest.mark.parametrize("after", [1, 3])
def test_a_job_goes_on_with_what_another_has_left(after: int, found: Found, tmp_path: Path) -> None:
    calls = iter(range(1, 100))

    def stop(progress) -> None:
        if next(calls) == 2 * after - 1:
            signal.raise_signal(signal.SIGINT)

    assert search(tmp_path / "run", QUIET._replace(on_progress=stop), SHARED, shard=1) is None
    assert_same(search(tmp_path / "run", plan=SHARED, shard=2), found)


def test_making_a_stage_exchanges_nothing(tmp_path: Path, monkeypatch) -> None:
    """Of several processes only the first makes the folders of a stage; the others wait for what it announces."""
    from rpo_jax.execution import processes

    begin_from, made = pieces.begin_from, []

    def watched(*arguments) -> None:
        with monkeypatch.context() as watching:
            watching.setattr(processes, "are_several", lambda: True)
            watching.setattr(processes, "_gather", lambda numbers: pytest.fail("it waits for the others"))
            begin_from(*arguments)
        made.append(arguments)

    monkeypatch.setattr(halving, "begin_from", watched)
    assert search(tmp_path / "run")
    assert len(made) == 1


def test_combinations_and_batches_are_shared_too(tmp_path: Path) -> None:
    static, plan = {"activation": ["tanh", "relu"]}, COMBINED._replace(num_settings=8, batches=2)
    alone = search(tmp_path / "alone", plan=plan, static=static)
    assert alone
    shared = search(tmp_path / "run", plan=plan._replace(shards=3), static=static, shard=3)
    assert_same(shared, alone, amplified=1e-3)  # proposals of the second batch are rounded, too
    names = [f"part-{part}{batch}-shard-{n}" for part in (1, 2) for batch in ("", "-batch-2") for n in (1, 2)]
    assert {path.name for path in (tmp_path / "run" / "rung-1").iterdir()} == {*names}


def test_jobs_of_another_search_are_refused(tmp_path: Path, monkeypatch) -> None:
    session = QUIET._replace(on_progress=lambda progress: signal.raise_signal(signal.SIGINT))
    assert search(tmp_path / "run", session, SHARED, shard=1) is None
    with pytest.raises(SettingsError, match="holds another search, of other num_seeds, shards; all jobs need the same"):
        search(tmp_path / "run", QUIET, PLAN._replace(shards=3, num_seeds=3), shard=2)
    monkeypatch.setitem(OPTIONS, "total_timesteps", 3200)
    with pytest.raises(SettingsError, match="holds another search, of other settings"):
        search(tmp_path / "run", QUIET, SHARED, shard=2)


# Optuna


def test_optuna_is_asked_and_told_in_batches(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    trials, settings = rpo_jax.ask_settings(study, 4, gamma=choice(0.9, 0.99), learning_rate=loguniform(1e-4, 1e-2))
    np.testing.assert_allclose(settings.learning_rate, [trial.params["learning_rate"] for trial in trials], rtol=1e-6)
    np.testing.assert_allclose(settings.gamma, [trial.params["gamma"] for trial in trials], rtol=1e-6)
    np.testing.assert_array_equal(settings.rpo_alpha, np.full(4, np.float32(rpo_jax.Hyperparams().rpo_alpha)))
    rpo_jax.tell_returns(study, trials, [[1.0, 3.0], [np.nan, 9.0], [5.0, 7.0], [0.0, 0.0]])
    assert [trial.value for trial in study.trials] == [2.0, None, 6.0, 0.0]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "COMPLETE", "COMPLETE"]
    assert study.best_params == trials[2].params


def test_optuna_may_ask_for_the_same_again() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    trials, settings = rpo_jax.ask_settings(study, 6, gamma=choice(*np.array([0.5, 0.75], np.float32)))
    assert sorted({*np.asarray(settings.gamma).tolist()}) == [0.5, 0.75]
    rpo_jax.tell_returns(study, trials, np.arange(6.0))
    assert study.best_trial.number == 5


def test_optuna_looks_where_returns_were_good() -> None:
    space = {"gamma": uniform(0.0, 1.0), "learning_rate": loguniform(1e-4, 1.0)}
    known = settings_list(rpo_jax.sample_settings(32, jax.random.key(0), **space))
    x, rates = (np.array([row[name] for row in known], float) for name in space)
    means = (-abs(x - 0.8) - abs(np.log10(rates) + 3) / 4).tolist()
    rows = propose(space, known, means, [], 16, seed=1)
    assert rows == propose(space, known, means, [], 16, seed=1)
    few = 8  # as the first of the four batches that are the default
    assert propose(space, known[:few], means[:few], [], 4, 1) != propose(
        space, known[:few], means[:few][::-1], [], 4, 1
    )
    near = np.mean([abs(row["gamma"] - 0.8) < 0.2 for row in rows])
    assert near > 0.6  # 0.4 of the range
    assert np.mean([1e-4 < row["learning_rate"] < 1e-2 for row in rows]) > 0.7  # half of it


def test_what_optuna_repeats_is_asked_of_the_draw() -> None:
    space = {"gamma": choice(0.1, 0.2), "rpo_alpha": choice(0.0, 0.3)}
    rows = [{"gamma": gamma, "rpo_alpha": alpha} for gamma in (0.1, 0.2) for alpha in (0.0, 0.3)]
    known = [{name: float(np.float32(x)) for name, x in rows[0].items()}]
    assert sorted(map(str, propose(space, known, [np.nan], rows, 3, seed=0))) == sorted(map(str, rows[1:]))


@pytest.fixture(scope="module")
def found_in_batches(tmp_path_factory) -> tuple[Found, Path]:
    folder = tmp_path_factory.mktemp("batches") / "whole"
    found = search(folder, plan=BATCHES)
    assert found is not None
    return found, folder


def test_batches_compete_and_go_on_together(found_in_batches: tuple[Found, Path], found: Found) -> None:
    result, folder = found_in_batches
    first, last = result.returns
    assert sorted(path.name for path in folder.glob("rung-*/*")) == ["part-1", "part-1", "part-1-batch-2"]
    drawn, others = (settings_list(one.parts[0].hyperparams) for one in (result, found))
    assert drawn[:3] == others[:3]
    assert drawn[3:] != others[3:]
    assert set(last) == set(sorted(first, key=lambda one: -first[one])[:3])
    assert 0 < sum(setting < 3 for _, setting in last) < 3  # so that both checkpoints are gone on from
    chosen = choose_settings(result.parts[0], [setting for _, setting in sorted(last)])
    whole = fit(chosen.agent(), chosen.hyperparams, seeds(0, 2)).metrics
    with (folder / "rung-2" / "part-1" / "metrics.csv").open() as file:
        entropy = np.array([float(row["entropy"]) for row in csv.DictReader(file)]).reshape(whole["entropy"].shape)
    np.testing.assert_allclose(entropy, whole["entropy"], rtol=1e-6)


@pytest.mark.parametrize("after", [1, 2])
def test_a_search_in_batches_that_is_stopped_finds_the_same(
    after: int, found_in_batches: tuple[Found, Path], tmp_path: Path
) -> None:
    calls = iter(range(1, 100))

    def stop(progress) -> None:
        if next(calls) == 2 * after - 1:
            signal.raise_signal(signal.SIGINT)

    assert search(tmp_path / "run", QUIET._replace(on_progress=stop), BATCHES) is None
    assert_same(resume_search(tmp_path / "run", QUIET), found_in_batches[0])


def test_what_optuna_cannot_be_asked_is_one_clear_error(monkeypatch) -> None:
    smallest = optuna.create_study()
    with pytest.raises(SettingsError, match="does not maximise one number"):
        rpo_jax.ask_settings(smallest, 2, gamma=uniform(0.0, 1.0))
    study = optuna.create_study(direction="maximize")
    with pytest.raises(SettingsError, match="is no study of Optuna"):
        rpo_jax.ask_settings("study", 2, gamma=uniform(0.0, 1.0))  # pyright: ignore[reportArgumentType]
    with pytest.raises(SettingsError, match="no range is given"):
        rpo_jax.ask_settings(study, 2)
    with pytest.raises(SettingsError, match=r"gamma=2.0 is out of range"):
        rpo_jax.ask_settings(study, 2, gamma=uniform(0.0, 2.0))
    assert study.trials == []
    trials, _ = rpo_jax.ask_settings(study, 2, gamma=uniform(0.0, 1.0))
    for returns in ([1.0, 2.0, 3.0], np.zeros((2, 0)), ["a", "b"], [[1.0], [1.0, 2.0]]):
        with pytest.raises(SettingsError, match=r"do not fit 2 trials|no array of numbers"):
            rpo_jax.tell_returns(study, trials, returns)
    with pytest.raises(SettingsError, match="is no trial of the study"):
        rpo_jax.tell_returns(study, study.trials, [1.0, 2.0])  # pyright: ignore[reportArgumentType]
    with pytest.raises(SettingsError, match="the number of settings is '2'; it must be a whole number"):
        rpo_jax.ask_settings(study, "2", gamma=uniform(0.0, 1.0))  # pyright: ignore[reportArgumentType]
    with pytest.raises(SettingsError, match=r"proposes no settings of these ranges: .*different distribution kind"):
        rpo_jax.ask_settings(study, 2, gamma=choice(0.9, 0.99))
    assert [trial.state.name for trial in study.trials[2:]] == ["FAIL"]
    rpo_jax.tell_returns(study, trials, [1.0, 2.0])
    with pytest.raises(SettingsError, match="trial 0 was told before"):
        rpo_jax.tell_returns(study, trials, [1.0, 2.0])
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SettingsError, match=r"pip install 'rpo_jax\[optuna\]'"):
        rpo_jax.ask_settings(study, 2, gamma=uniform(0.0, 1.0))


def test_settings_that_diverge_are_last() -> None:
    assert ranked({(0, 0): np.nan, (0, 1): -5.0, (0, 2): 3.0, (1, 0): 3.0}) == [(0, 2), (1, 0), (0, 1), (0, 0)]


# What it says


def test_the_table_and_the_setting_are_what_was_found(found: Found, folder: Path) -> None:
    with (folder / "search.csv").open() as file:
        rows = list(csv.DictReader(file))
    drawn = settings_list(found.parts[0].hyperparams)
    assert [float(row["rpo_alpha"]) for row in rows] == pytest.approx([row["rpo_alpha"] for row in drawn], rel=1e-5)
    assert [row["return_at_1"] != "" for row in rows] == [(0, index) in found.returns[1] for index in range(6)]
    (_, best), *_ = found.final
    assert float(rows[best]["fresh_return"]) == pytest.approx(found.final[0, best].mean(), rel=1e-5)
    (setting,) = read_table(folder / "settings.csv")
    assert setting == pytest.approx({name: drawn[best][name] for name in SPACE}, rel=1e-6)


@pytest.mark.pictures
def test_what_was_found_is_drawn(found: Found, tmp_path: Path) -> None:
    answer.write_answer(tmp_path, found)
    assert (tmp_path / "search.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("shift", "said"),
    [(500.0, "found something better"), (-500.0, "preset's settings are better"), (0.0, "found nothing that these")],
)
def test_it_says_whether_it_found_anything_better(shift: float, said: str, found: Found) -> None:
    final = {one: np.array([-200.0, -180.0, -190.0]) + shift for one in found.final}
    told = answer.sentences(found._replace(final=final, default=np.array([-190.0, -195.0, -185.0])))
    assert said in " ".join(told)
    lost = {one: np.array([np.nan, -180.0, -190.0]) for one in found.final}
    assert "not decided" in " ".join(answer.sentences(found._replace(final=lost)))
    lost = {one: np.array([np.nan, *np.arange(5.0)]) for one in found.final}  # better, but for the run that is lost
    told = " ".join(answer.sentences(found._replace(final=lost, default=np.arange(6.0) - 100)))
    assert "not decided: the difference is" in told


def test_explained_shares_are_those_of_a_sum() -> None:
    values = np.array([(a, b, c) for a in range(4) for b in range(4) for c in range(4)] * 50, float)
    scores = 4 * values[:, 0] + values[:, 1]  # equally spaced, and so are its ranks: 16/17 and 1/17 of the variance
    shares = explained_shares(values, scores)
    np.testing.assert_allclose(shares, [16 / 17, 1 / 17, 0], atol=0.002)
    assert explained_shares(values[:, :1], np.exp(scores))[0] == pytest.approx(shares[0])  # ranks count
    assert explaining(shares) == 2
    assert explaining(np.array([0.96, 0.04, 0.0])) == 1
    assert explaining(np.zeros(3)) == 0
    ranges = np.random.default_rng(0).uniform(size=(4000, 2))
    np.testing.assert_allclose(explained_shares(ranges, ranges[:, 0], classes=40), [1, 0], atol=0.01)
    assert explained_shares(values[:20], np.full(20, np.nan)).tolist() == [0, 0, 0]


def test_noise_is_not_called_influence() -> None:
    values = np.random.default_rng(1).uniform(size=(64, 5))
    noise = np.random.default_rng(2).normal(size=64)
    assert explained_shares(values, noise).max() < explained_by_chance(values, noise) < 0.4
    assert explained_shares(values, values[:, 2])[2] > explained_by_chance(values, values[:, 2])


def test_parts_cover_the_ranges_each() -> None:
    plan, static = PLAN._replace(num_settings=32), {"activation": ["tanh", "relu"], "std": ["shared", "state"]}
    specs = draw_specs(plan, preset_spec(plan, **OPTIONS), SPACE, static, **OPTIONS)
    assert len({row["rpo_alpha"] for spec in specs for row in settings_list(spec.hyperparams)}) == 32
    for spec in specs:
        rows = settings_list(spec.hyperparams)
        assert len(rows) == 8
        for name, ranged in SPACE.items():
            middle = float(ranged.at(np.array(0.5)))
            assert sum(float(row[name] or 0) < middle for row in rows) == 4


def test_settings_of_choices_differ() -> None:
    space = {"gamma": choice(0.9, 0.95, 0.99), "rpo_alpha": choice(0.0, 0.5)}
    (spec,) = draw_specs(PLAN, preset_spec(PLAN, **OPTIONS), space, {}, **OPTIONS)
    drawn = {(row["gamma"], row["rpo_alpha"]) for row in settings_list(spec.hyperparams)}
    assert len(drawn) == 6
    with pytest.raises(SettingsError, match="the choices make 2 settings, fewer than the 6 asked for"):
        draw_specs(PLAN, preset_spec(PLAN, **OPTIONS), {"rpo_alpha": choice(0.0, 0.5)}, {}, **OPTIONS)


# The command

COMMAND = [
    *("search", "gymnax/Pendulum-v1", "--num-settings", "4", "--num-seeds", "3", "--halvings", "1", "--finalists", "1"),
    *("--final-seeds", "3", "--num-envs", "4", "--num-steps", "50", "--num-minibatches", "2", "--num-epochs", "1"),
    *("--hidden-sizes", "8", "--total-timesteps", "1600", "--no-compilation-cache"),
]


def test_the_command_searches_and_its_setting_is_trained(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "found"
    assert main([*COMMAND, "--over", "learning_rate", "gamma=0.9,0.99", "--out", str(folder)]) == 0
    output = capsys.readouterr()
    assert "4 until 0.5, 2 until 1" in " ".join(output.err.split())
    line = next(line for line in output.out.splitlines() if line.startswith("to train it: rpo-jax "))
    command = [*line.partition("rpo-jax ")[2].split(), "--num-seeds", "3", "--no-compilation-cache"]
    assert main([*command, "--out", str(tmp_path / "trained")]) == 0
    assert main(["resume", str(folder)]) == 0  # says again what was found
    assert line in capsys.readouterr().out


def test_what_is_worse_than_the_preset_is_not_recommended(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rpo_jax.search import answer

    monkeypatch.setattr(answer, "verdict_of", lambda found: answer.Verdict(None, (0, 0), -1, -1))
    assert main([*COMMAND, "--over", "learning_rate", "--out", str(tmp_path / "found")]) == 0
    assert "to train it all the same: rpo-jax " in capsys.readouterr().out


def test_the_command_shares_a_search(tmp_path: Path, capsys) -> None:
    command = [*COMMAND, "--over", "learning_rate", "--out", str(tmp_path / "found")]
    for shard in ("2/2", "1/2"):  # the second one finds all trained
        assert main([*command, "--shard", shard]) == 0
        output = capsys.readouterr()
        assert "2 jobs share each stage" in " ".join(output.err.split())
        assert "to train it: rpo-jax " in output.out
    assert main([*COMMAND, "--shard", "1/2"]) == 2
    assert "--shard needs --out, the same folder for all jobs that share the search" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--over", "gama"], "did you mean gamma"),
        (["--shard", "4/3"], "--shard 4/3 is out of range"),
        (["--over", "gamma=1:0"], "needs two finite numbers"),
        (["--over", "gamma=0.9:1.5"], "gamma=1.5 is out of range"),
        (["--over", "adam_epsilon=log:1e-46:1e-3"], "adam_epsilon=1e-46 is beyond the numbers of float32"),
        (["--over", "gamma=x"], "--over gamma=x is not understood"),
        (["--over", "gamma=0:1:2"], "--over gamma=0:1:2 is not understood"),
        (["--over", "gamma=log:0.9"], "is not understood"),
        (["--over", "gamma", "gamma"], "--over names gamma twice"),
        (["--over", "num_envs"], "--over num_envs needs values"),
        (["--over", "num_envs=4,x"], "num_envs='x' is not a whole number"),
        (["--over", "num_envs=4,8"], "num_envs is given, and searched too"),
        (["--over", "clip_epsilon", "--clip-epsilon", "0.1"], "clip_epsilon is given, and searched too"),
        (["--variant", "ppo", "--over", "rpo_alpha"], "unknown setting to search"),
        (["--over", "gamma", "--learning-rate", "0.1", "0.2"], "a hyperparameter has several values"),
        (["--over", "shuffle=samples,environments"], "4 settings do not fit 2 combinations"),
        (["--budget", "1e3"], "a budget of 1,000 steps is too small"),
        (["--budget", "nan"], "budget='nan' is not a whole number"),
        (["--budget", "1e31", "--halvings", "2000"], "halvings=2000 is out of range"),
        (["--over", "gamma="], "--over gamma= lacks a range"),
        (["--num-evaluations", "3"], "search takes none of"),
        (["--sampler", "tqe"], "did you mean tpe"),
        (["--batches", "2"], "--batches is for --sampler tpe"),
        (["--sampler", "tpe", "--batches", "5", "--over", "gamma"], "5 batches need 5 settings or more; there are 4"),
        (["--sampler", "tpe", "--num-settings", "2", "--over", "shuffle=samples,environments"], "tpe needs"),
        (["--sampler", "tpe", "--batches", "0", "--over", "gamma"], "batches=0 is out of range"),
        (["--halvings", "4"], "4 settings halved 4 times leave 1"),
    ],
)
def test_what_cannot_be_searched_is_one_line(words: list[str], said: str, tmp_path: Path, capsys) -> None:
    plan = ["--finalists", "2"] if "--halvings" in words else []
    assert main([*COMMAND, *plan, *words, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error
    assert not (tmp_path / "run").exists()


def test_a_command_halves_as_often_as_episodes_allow(capsys) -> None:
    place = COMMAND.index("--halvings")
    words = [*COMMAND[:place], *COMMAND[place + 2 :], "--dry-run"]
    assert main(words) == 0
    assert "4 until 0.5, 2 until 1" in " ".join(capsys.readouterr().err.split())
    assert main([*words, "--total-timesteps", "12800"]) == 0  # 3200 steps of each environment
    assert "4 until 0.125, 2 until 0.25" in " ".join(capsys.readouterr().err.split())


def test_a_search_of_few_choices_takes_all(capsys) -> None:
    place = COMMAND.index("--num-settings")
    words = [*COMMAND[:place], *COMMAND[place + 2 :], "--over", "gamma=0.9,0.95,0.99", "shuffle=samples,environments"]
    assert main([*words, "--dry-run"]) == 0
    assert "6 until 0.5, 3 until 1" in " ".join(capsys.readouterr().err.split())


def test_settings_without_an_episode_are_not_ranked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        plan_of_search, "_check_first_stage", lambda *arguments: None
    )  # as of a task without a time limit
    with pytest.raises(SettingsError, match=r"in some runs no episode has ended after 0.25 of training"):
        search(tmp_path / "a", plan=PLAN._replace(halvings=2))


def test_no_episode_that_ends_is_told_and_a_damaged_plan_refused(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "run"
    assert main([*COMMAND, "--total-timesteps", "1000", "--over", "gae_lambda", "--out", str(folder)]) == 2
    assert "ask for 0 halvings, or for training of 1,600 steps or more" in capsys.readouterr().err
    folder.mkdir(exist_ok=True)
    (folder / "search.json").write_text("{}")
    assert main(["resume", str(folder)]) == 2
    assert "search.json is damaged" in capsys.readouterr().err
