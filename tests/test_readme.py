"""What README.md says works."""

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
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


# One process imports once; what must come before JAX starts is run first.
RUN_ALL = """
import json, os, sys, traceback
programs, errors = json.load(sys.stdin), {}
for number in sorted(range(len(programs)), key=lambda number: "use_cpu_cores" not in programs[number]):
    os.mkdir(str(number))
    os.chdir(str(number))
    try:
        exec(programs[number], {"__name__": "__main__"})
    except BaseException:
        errors[number] = traceback.format_exc()
    os.chdir("..")
json.dump(errors, open("errors.json", "w"))
"""


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of the programs that failed, by number."""
    folder, environment = tmp_path_factory.mktemp("programs"), os.environ | {"XLA_FLAGS": toys.flags(toys.LEARNING)}
    command = [sys.executable, "-c", RUN_ALL]
    subprocess.run(command, env=environment, input=json.dumps(PROGRAMS), text=True, cwd=folder, check=True)
    return json.loads((folder / "errors.json").read_text())


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_python_code_runs(number: int, errors: dict[str, str]) -> None:
    assert str(number) not in errors, errors[str(number)]


def test_ci_passes_the_tests_by_the_command_of_the_readme() -> None:
    command = next(line for line in README.splitlines() if "python -m pytest" in line)
    assert command in (ROOT / ".ci" / "run").read_text()


def test_its_files_exist() -> None:
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_its_command_lines_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rpo_jax.cli import options
    from rpo_jax.cli.commands import COMMANDS
    from rpo_jax.cli.parse import parse

    toys.forget_names(monkeypatch)
    monkeypatch.setattr(options, "_KINDS", dict(options._KINDS))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(next(program for program in PROGRAMS if "register(" in program))
    lines = [line.split("#")[0].split() for line in README.splitlines() if line.startswith("rpo-jax ")]
    assert len(lines) > 5
    for line in lines:
        assert isinstance(parse(line[1:]), COMMANDS)
