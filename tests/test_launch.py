"""The files that start training on clusters, each run with stand-ins for what it starts."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from rpo_jax.cli.commands import Merge, Resume, Search, Train
from rpo_jax.cli.job import complete
from rpo_jax.cli.parse import parse

FOLDER = Path(__file__).parent.parent / "benchmarks" / "launch"
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".sh", ".yaml"))
ARGUMENTS = {"local.sh": "2 rpo-jax train brax/ant", "tpu_pod.sh": "rpo-jax train brax/ant --distributed"}
PLACES = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "70", "SLURM_JOB_ID": "72", "JOB_COMPLETION_INDEX": "2"}
PLACES |= {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "4", "SKYPILOT_NODE_RANK": "2"}
SHARDS, SEARCH = ("slurm_shards.sh", "kubernetes_shards.yaml"), "slurm_search.sh"
ARRAYS = (*SHARDS, SEARCH)
SLURM = ("slurm_shards.sh", "slurm_nodes.sh", SEARCH)
RESUMING = (*SHARDS, "slurm_nodes.sh", "kubernetes_nodes.yaml", "skypilot.yaml")

STAND_INS = {
    "rpo-jax": 'printf "%s\\n" "rpo-jax $*" >> "$LOG"; exit "$CODE"',
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": 'echo "scontrol $*" >> "$LOG"',
    "gcloud": 'exec bash -c "${@: -1}"',  # one host of the slice
}


class Recipe(NamedTuple):
    """A recipe that can be run in a folder."""

    name: str
    home: Path

    def run(self, code: int = 0) -> tuple[int, list[str]]:
        """Runs it; training ends with a `code`. Returns the exit code and the commands that it started."""
        (self.home / "log").write_text("")
        variables = PLACES | {"CODE": str(code), "LOG": str(self.home / "log"), "HOME": str(self.home)}
        variables |= {"OUT": str(self.out), "PATH": f"{self.home}:{os.environ['PATH']}"}
        words = shlex.split(ARGUMENTS.get(self.name, ""))
        ended = subprocess.run(["bash", "-c", script(self.name, self.home), "bash", *words], env=variables, check=False)
        return ended.returncode, (self.home / "log").read_text().splitlines()

    @property
    def out(self) -> Path:
        return self.home / ("sweep" if self.name in SHARDS else "large")


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def script(name: str, home: Path) -> str:
    """The shell script of a recipe; a volume lies at `home`."""
    if name.endswith(".sh"):
        return (FOLDER / name).read_text()
    last = documents(name)[-1]
    if "run" in last:
        return last["run"]
    (container,) = last["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["bash", "-c"]
    return container["args"][0].replace("/results", str(home))


def parsed(line: str) -> Any:
    return parse(complete(shlex.split(line.removeprefix("rpo-jax "))))


@pytest.fixture
def recipe(request: pytest.FixtureRequest, tmp_path: Path) -> Recipe:
    for name, body in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    return Recipe(request.param, tmp_path)


@pytest.mark.parametrize("recipe", FILES, indirect=True, ids=str)
def test_it_trains_by_a_command_that_is_understood(recipe: Recipe) -> None:
    code, lines = recipe.run()
    assert code == 0
    assert len(lines) == (2 if recipe.name == "local.sh" else 1)
    for command in map(parsed, lines):
        assert isinstance(command, Search if recipe.name == SEARCH else Train)
        assert bool(command.distributed) == (recipe.name not in ARRAYS)


@pytest.mark.parametrize("recipe", RESUMING, indirect=True, ids=str)
@pytest.mark.parametrize("left", ["settings.json", "comparison.json"])
def test_what_was_begun_is_resumed(recipe: Recipe, left: str) -> None:
    folder = recipe.out / ("shard-03-of-16" if recipe.name in SHARDS else "")
    folder.mkdir(parents=True)
    (folder / left).touch()
    (command,) = map(parsed, recipe.run()[1])
    assert isinstance(command, Resume)
    assert command.folder == folder


@pytest.mark.parametrize("recipe", SLURM, indirect=True, ids=str)
@pytest.mark.parametrize("code", [0, 1, 2, 130, 137])
def test_only_a_stop_with_a_checkpoint_is_queued_again(recipe: Recipe, code: int) -> None:
    ended, (_, *after) = recipe.run(code)
    assert ended == code
    assert after == ([f"scontrol requeue {'70_3' if recipe.name in ARRAYS else 72}"] if code == 130 else [])


@pytest.mark.parametrize("recipe", ["local.sh"], indirect=True, ids=str)
def test_ctrl_c_stops_all_local_processes(recipe: Recipe) -> None:
    log = recipe.home / "log"
    log.touch()
    body = 'trap \'echo stopped >> "$LOG"; exit 130\' TERM; echo started >> "$LOG"; while :; do sleep 0.05; done'
    (recipe.home / "rpo-jax").write_text(f"#!/usr/bin/env bash\n{body}\n")
    command = ["bash", str(FOLDER / recipe.name), "2", str(recipe.home / "rpo-jax"), "train", "brax/ant"]
    with subprocess.Popen(command, env=os.environ | {"LOG": str(log)}, start_new_session=True) as process:
        try:
            while log.read_text().count("started") < 2:
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            assert process.wait(10) > 128
            assert log.read_text().count("stopped") == 2  # both, before the command ends
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("name", SLURM)
def test_gpus_of_tasks_come_with_tasks(name: str) -> None:
    options = set(re.findall(r"^#SBATCH --([a-z-]+)", (FOLDER / name).read_text(), re.MULTILINE))
    assert "gpus-per-task" not in options or "ntasks" in options  # else sbatch refuses the file


@pytest.mark.parametrize("name", SLURM)
def test_the_shell_is_not_told_of_the_time(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert re.search(r"^#SBATCH --signal=TERM@\d+$", text, re.MULTILINE)  # not B:, so that only scancel ends the shell
    assert "trap" not in text


@pytest.mark.parametrize("recipe", ARRAYS, indirect=True, ids=str)
def test_a_job_trains_its_shard(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    from rpo_jax.cli.shards import parse_shard

    monkeypatch.setenv("JOB_COMPLETION_INDEX", PLACES["JOB_COMPLETION_INDEX"])
    (command,) = map(parsed, recipe.run()[1])
    assert parse_shard(command.shard) == (3, 8 if recipe.name == SEARCH else 16)


def test_as_many_jobs_as_shards() -> None:
    (job,) = documents("kubernetes_shards.yaml")
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", 16)
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"  # as limits for each index ask
    assert "\n#SBATCH --array=1-16%" in (FOLDER / "slurm_shards.sh").read_text()
    assert "\n#SBATCH --array=1-8\n" in (FOLDER / SEARCH).read_text()


@pytest.mark.parametrize("name", FILES)
def test_the_commands_of_its_comments_are_understood(name: str) -> None:
    for line in re.findall(r"^#.*?'?rpo-jax ((?:train|merge) [^'\n]*?)(?:'|, |$)", (FOLDER / name).read_text(), re.M):
        assert isinstance(parsed(line), Train | Merge)


def test_pods_of_one_job_find_the_first() -> None:
    service, job = documents("kubernetes_nodes.yaml")
    pod, count = job["spec"]["template"]["spec"], job["spec"]["completions"]
    name = job["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert (job["spec"]["completionMode"], job["spec"]["parallelism"]) == ("Indexed", count)
    assert f"{name}-0.{pod['subdomain']}:9876,{count},$JOB_COMPLETION_INDEX" in pod["containers"][0]["args"][0]


def test_every_file_is_in_the_table() -> None:
    page = (FOLDER / "README.md").read_text()
    assert set(FILES) == set(re.findall(r"\| \[`[^`]*`\]\(([^)]*)\)", page))
