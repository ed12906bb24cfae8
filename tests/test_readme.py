"""What README.md and the pages beside the code say works."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import toys

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PATHS = [ROOT / "README.md", *sorted((ROOT / "rpo_jax").rglob("README.md"))]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in PATHS}
PROGRAMS = [program for page in PAGES.values() for program in re.findall(r"```python\n(.*?)```", page, re.DOTALL)]
COMMAND_LINES = [line for page in PAGES.values() for line in page.splitlines() if line.startswith("rpo-jax ")]
LINKED = [*PAGES, "benchmarks/README.md", "benchmarks/peers/README.md"]


# One process imports once; what must come before JAX starts is run first, and trains for longer than it compiles.
RUN_ALL = """
import json, os, sys, toys, traceback
programs, errors = json.load(sys.stdin), {}
for number in sorted(range(len(programs)), key=lambda number: "use_cpu_cores" not in programs[number]):
    os.mkdir(str(number))
    os.chdir(str(number))
    try:
        with toys.compiled_with(toys.LEARNING if "use_cpu_cores" in programs[number] else toys.QUICK):
            exec(programs[number], {"__name__": "__main__"})
    except BaseException:
        errors[number] = traceback.format_exc()
    os.chdir("..")
json.dump(errors, open("errors.json", "w"))
"""


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of the programs that failed, by number."""
    folder, search = tmp_path_factory.mktemp("programs"), [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(search)}
    command = [sys.executable, "-c", RUN_ALL]
    subprocess.run(command, env=environment, input=json.dumps(PROGRAMS), text=True, cwd=folder, check=True)
    return json.loads((folder / "errors.json").read_text())


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_python_code_runs(number: int, errors: dict[str, str]) -> None:
    assert str(number) not in errors, errors[str(number)]


def test_ci_passes_the_tests_by_the_command_of_the_readme() -> None:
    command = next(line for line in README.splitlines() if "python -m pytest" in line)
    assert command in (ROOT / ".ci" / "run").read_text()


def anchors(path: Path) -> set[str]:
    """The anchors of the headings of a page, as they are made of them where such pages are shown."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED)
def test_its_links_lead_somewhere(page: str) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#\s]*)(?:#([^)]*))?\)", (ROOT / page).read_text()):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), anchor


def test_its_command_lines_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rpo_jax.cli import options
    from rpo_jax.cli.commands import COMMANDS
    from rpo_jax.cli.parse import parse

    toys.forget_names(monkeypatch)
    monkeypatch.setattr(options, "_KINDS", dict(options._KINDS))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(next(program for program in PROGRAMS if "register(" in program))
    lines = [line.split("#")[0].split() for line in COMMAND_LINES]
    assert len(lines) > 15
    for line in lines:
        assert isinstance(parse(line[1:]), COMMANDS)


@pytest.mark.parametrize("line", [line for line in COMMAND_LINES if line.startswith("rpo-jax search")])
def test_its_searches_can_begin(line: str) -> None:
    from rpo_jax.cli.main import main

    assert main([*line.split("#")[0].split()[1:], "--dry-run"]) == 0


def test_its_options_exist(capsys: pytest.CaptureFixture[str]) -> None:
    from rpo_jax.cli.parse import parse

    for command in ("train", "search", "resume", "evaluate", "play", "export", "check"):
        with contextlib.suppress(SystemExit):
            parse([command, "--help"])
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    told = {option for page in PAGES.values() for option in re.findall(r"`(--[a-z-]+)", page)}
    assert len(told) > 10
    assert told <= known


def test_its_settings_are_those_of_the_presets() -> None:
    import rpo_jax
    from rpo_jax.analysis.intervals import FEWEST

    paper, pendulum, brax = (
        rpo_jax.get_preset(*names)
        for names in (("paper", "gymnax/Pendulum-v1"), ("fast", "gymnax/Pendulum-v1"), ("fast", "brax/hopper"))
    )
    text, config = " ".join(README.split()), paper.config
    for told in (
        f"the paper's {paper.hyperparams.rpo_alpha:g}",
        f"takes {pendulum.hyperparams.rpo_alpha:g} for Pendulum and {brax.hyperparams.rpo_alpha:g} for Brax",
        f"{config.num_envs} environment a seed, {config.num_steps} steps, {config.num_epochs} epochs, "
        f"{config.num_minibatches} minibatches, time limits as terminations",
        f"`fast` has {pendulum.config.num_envs} environments a seed in JAX",
        f"version = {{{rpo_jax.__version__}}}",
    ):
        assert told in text
    assert (paper.time_limit, pendulum.time_limit) == ("terminate", "bootstrap")
    assert len(rpo_jax.make_spec("gymnax/Pendulum-v1").seeds) == 8  # "Eight by default"
    assert FEWEST == 3  # "from three on"


def test_where_rpo_is_worse_it_was_published_so() -> None:
    from pages.published import published

    tasks = re.findall(r"\w+-v4", README.partition("it does")[0])
    assert len(tasks) == 3
    for task in tasks:
        ppo, rpo = (float(published(task, method).partition(" ")[0].replace(",", "")) for method in ("ppo", "rpo"))
        assert rpo < ppo
