"""The files that start training on clusters are understood: by the shell, as YAML, and by rpo-jax."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rpo_jax.cli.commands import Compare, Merge, Resume, Train
from rpo_jax.cli.parse import parse

FOLDER = Path(__file__).parent.parent / "benchmarks" / "launch"
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".sh", ".yaml"))
VALUES = {"$count": "2", "$number": "0", "$out": "runs/x", "$first": "node", "${PORT:-9876}": "9876"}
VALUES |= {"$SKYPILOT_NUM_NODES": "4", "$SKYPILOT_NODE_RANK": "1", "$JOB_COMPLETION_INDEX": "1"}


def commands_of(path: Path) -> list[list[str]]:
    """The words after each `rpo-jax` of a file, whose variables have values."""
    text = path.read_text().replace("\\\n", " ")
    for name, value in VALUES.items():
        text = text.replace(name, value)
    lines = re.findall(r"\brpo-jax ((?:train|resume|merge|compare)\b[^\n);'&]*)", text)
    return [shlex.split(line) for line in lines]


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_commands_are_understood(path: Path) -> None:
    commands = commands_of(path)
    assert commands
    for words in commands:
        assert isinstance(parse(words), Train | Compare | Resume | Merge)


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".sh"], ids=lambda path: path.name)
def test_the_shell_understands_it(path: Path) -> None:
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


def test_a_pod_for_each_shard() -> None:
    (job,) = documents("kubernetes_shards.yaml")
    (script,) = job["spec"]["template"]["spec"]["containers"][0]["args"]
    count = job["spec"]["completions"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert f"--shard auto/{count}" in script
    assert f"shard-%02d-of-{count}" in script


def test_pods_of_one_job_find_the_first() -> None:
    service, job = documents("kubernetes_nodes.yaml")
    pod, count = job["spec"]["template"]["spec"], job["spec"]["completions"]
    name = job["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert job["spec"]["parallelism"] == count
    assert f"{name}-0.{pod['subdomain']}:9876,{count},$JOB_COMPLETION_INDEX" in pod["containers"][0]["args"][0]


def test_every_file_is_in_the_table() -> None:
    page = (FOLDER / "README.md").read_text()
    assert {path.name for path in FILES} == set(re.findall(r"\| \[`[^`]*`\]\(([^)]*)\)", page))
