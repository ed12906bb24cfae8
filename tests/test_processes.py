"""Several processes that train together give what one gives, stop together and end together."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
import toys
from in_processes import COMMAND, Found, everything, known_by_name, many_runs, runs_on_the_host, shared_run

import rpo_jax
from rpo_jax.cli import job
from rpo_jax.cli.main import main
from rpo_jax.errors import SettingsError
from rpo_jax.runs.results import read_metrics

pytestmark = pytest.mark.usefixtures("known")
SCRIPT = Path(__file__).parent / "in_processes.py"


def run_job(count: int, folder: Path) -> list[tuple[int, str]]:
    """Exit code and output of each process."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, str(SCRIPT)]
    processes = [
        subprocess.Popen(
            [*command, str(number), str(count), port, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=toys.environment_of_programs(),
        )
        for number in range(count)
    ]
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    return [(process.returncode, output) for process, output in zip(processes, outputs, strict=True)]


@pytest.fixture(scope="module")
def known() -> Iterator[None]:
    with known_by_name():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def of_three(folder: Path) -> list[Found]:
    """What each of three processes found."""
    for code, output in run_job(3, folder):
        assert code == 0, output
    return [dict(np.load(folder / f"3-{number}.npz")) for number in range(3)]


@pytest.fixture(scope="module")
def outputs(folder: Path, of_three: list[Found]) -> list[str]:
    """What two processes printed, of which one was killed at the end."""
    (code, output), (killed, other) = run_job(2, folder)
    assert code == 0, output
    assert killed == -9, other
    return [output, other]


@pytest.fixture(scope="module")
def of_two(folder: Path, outputs: list[str]) -> list[Found]:
    """What each of them found."""
    return [dict(np.load(folder / f"2-{number}.npz")) for number in range(2)]


def part(found: Found, name: str) -> Found:
    return {key.partition("/")[2]: x for key, x in found.items() if key.startswith(f"{name}/")}


def content_of(path: Path) -> Found:
    spec, _, policy = rpo_jax.load_run(path)
    return {**read_metrics(path, spec), **{str(n): x for n, x in enumerate(jax.tree.leaves(policy))}}


def assert_close(found: Found, expected: Found) -> None:
    """Up to the order in which numbers are added."""
    assert found
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=2e-3, atol=2e-5, err_msg=name)


def test_processes_train_the_runs_that_one_trains(of_two: list[Found]) -> None:
    expected = everything(many_runs(num_seeds=2))
    for found in of_two:
        assert_close(part(found, "runs"), {name: x[:, :1] for name, x in expected.items()})
        assert_close(part(found, "sweep"), {name: x[:2] for name, x in expected.items()})


def test_simulators_run_in_every_process(of_two: list[Found]) -> None:
    assert_close(part(of_two[0], "host"), everything(runs_on_the_host()))


def test_a_run_that_three_share_is_resumed_by_two_and_by_one(
    folder: Path, of_three: list[Found], of_two: list[Found], tmp_path: Path
) -> None:
    whole, rest = everything(shared_run(tmp_path)), shared_run(folder)
    stages = part(of_three[0], "stopped"), part(of_two[0], "resumed")
    updates = [stage["entropy"].shape[-1] for stage in stages]
    assert 1 <= updates[0] < updates[1] < 6
    assert [int(of_two[0]["from"]), rest.resumed_from] == updates
    for stage, count in zip(stages, updates, strict=True):
        assert_close({name: stage[name] for name in rest.metrics}, {n: whole[n][..., :count] for n in rest.metrics})
    assert_close(everything(rest), whole)


def test_an_error_of_one_stops_all(of_two: list[Found]) -> None:
    assert [str(found["failed"]) for found in of_two] == ["process 1 of the job stopped; it says why", ""]


def test_other_settings_and_processes_without_work_are_refused(of_three: list[Found], of_two: list[Found]) -> None:
    assert all("were given other settings: hyperparameters" in str(found["others"]) for found in of_two)
    assert all("only 2 of 3 processes would train" in str(found["idle"]) for found in of_three)


def test_a_process_that_is_killed_ends_the_others(of_two: list[Found]) -> None:
    assert "another process of the job has ended; start the job again" in str(of_two[0]["lost"])


def test_a_command_in_two_processes_writes_what_one_writes(folder: Path, outputs: list[str], tmp_path: Path) -> None:
    assert main([*COMMAND, "--out", str(tmp_path / "run")]) == 0
    one, two = (content_of(path / "run") for path in (tmp_path, folder))
    assert_close(two, one)
    assert "results:" in outputs[0]
    assert "rpo" not in outputs[1]


def test_a_value_is_found_or_given() -> None:
    assert job.complete(["train", "--distributed", "--num-envs", "4"])[2] == "auto"
    assert job.complete(["train", "--distributed"]) == ["train", "--distributed", "auto"]
    explicit = ["resume", "run", "--distributed", "node-1:9876,4,0"]
    assert job.complete(explicit) == explicit
    assert not job.join(["train"])
    with pytest.raises(SettingsError, match="NUMBER goes from 0 to COUNT - 1"):
        job.join(["train", "--distributed", "node-1:9876,4,4"])
    with pytest.raises(SettingsError, match="there is no port 98765"):
        job.join(["train", "--distributed", "node-1:98765,4,0"])
    with pytest.raises(SettingsError, match="give nothing, or HOST:PORT,COUNT,NUMBER"):
        job.join(["train", "--distributed", "node-1:9876,4"])
    assert not job.join(["evaluate", "run", "--distributed"])
    with pytest.raises(SettingsError, match="give nothing, or HOST:PORT,COUNT,NUMBER"):
        job.join(["train", "--distributed=node-1"])
