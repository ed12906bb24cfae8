"""What README.md says works."""

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


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_python_code_runs(program: str, tmp_path: Path) -> None:
    environment = os.environ | {"XLA_FLAGS": toys.flags(toys.LEARNING)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


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
