"""What survives? Each fault is injected many times at random moments, and what is resumed is compared with a whole run.

A run is a sweep of two settings and two seeds on Pendulum with four evaluations, in a process of its own; checkpoints
are half a second apart. The full disk is a tmpfs, which needs root. Survived means: bit for bit the results of an
undisturbed run, or, for damaged files, an error that says so.
"""

import dataclasses
import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from rpo_jax import RPO, Dynamics, SettingsError, Successor, TrainConfig, fit, grid, make_agent, seeds, vectorize
from rpo_jax.envs.host import Outcome, host_environment
from rpo_jax.execution import checkpoints
from rpo_jax.runs import launch
from rpo_jax.runs.folder import SETTINGS
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.runs.summary import is_finished
from rpo_jax.settings.spec import RunSpec, make_spec
from study import RESULTS, command, machine, write
from throughput import check_known

SECONDS = 0.5  # between checkpoints
SILENT = Console(quiet=True)
RESULT_FILES = ("metrics.csv", "policies.npz", "evaluations.csv", "best.npz")


def spec() -> RunSpec:
    """The run that is disturbed."""
    settings: dict[str, Any] = {"num_envs": 64, "num_steps": 16, "total_timesteps": 64 * 16 * 300}
    return make_spec("gymnax/Pendulum-v1", num_seeds=2, rpo_alpha=[0.1, 0.5], num_evaluations=4, **settings)


def child(path: Path) -> None:
    """Trains into a folder, and says after every segment how many updates are done."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a benchmark in the background ignores it
    shown = ProgressBar.__call__

    def tell(self: ProgressBar, progress: Any) -> None:
        shown(self, progress)
        print(progress.updates, flush=True)

    ProgressBar.__call__ = tell  # pyright: ignore[reportAttributeAccessIssue]
    launch.run_to_folder(spec(), path, SILENT)


class Process:
    """A child on its way."""

    def __init__(self, path: Path):
        self._output = path.parent / "output"
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child", str(path)], stdout=self._output.open("w"), stderr=subprocess.PIPE
        )

    def wait(self, inject: Callable[[], Any] | None = None, when: Callable[[], bool] = lambda: True) -> bool:
        """Waits for its end, and does something as soon as it is time; whether it was still there then."""
        while inject and not when() and self._process.poll() is None:
            time.sleep(0.001)
        alive = self._process.poll() is None
        if inject and alive:
            inject()
        self.complaint = self._process.communicate()[1].decode()
        return alive

    def lasts(self, seconds: float) -> Callable[[], bool]:
        """What tells whether it began so long ago."""
        return lambda: time.monotonic() - self._began >= seconds

    def send(self, number: int) -> Callable[[], None]:
        """What sends it a signal."""
        return lambda: self._process.send_signal(number)

    @property
    def updates(self) -> int:
        """Updates that it says it has done."""
        lines = self._output.read_text().split()
        return int(lines[-1]) if lines else 0


class Whole:
    """An undisturbed run: what a disturbed one is compared with."""

    def __init__(self, scratch: Path):
        self.path = scratch / "whole" / "run"
        self.path.parent.mkdir()
        for _ in range(2):  # the second finds its program compiled
            shutil.rmtree(self.path, ignore_errors=True)
            began = time.monotonic()
            Process(self.path).wait()
            self.seconds = time.monotonic() - began

    def equals(self, path: Path) -> bool:
        """Whether a folder is finished and holds the same results, bit for bit."""
        same = all(_content(path / name) == _content(self.path / name) for name in RESULT_FILES)
        return same and is_finished(path)


def _content(path: Path) -> Any:
    if path.suffix == ".csv":
        return path.read_bytes()
    with np.load(path) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


def go_on(path: Path) -> int:
    """Resumes a run, or begins it where it had not begun; the update it goes on from."""
    if not (path / SETTINGS).exists():
        launch.run_to_folder(spec(), path, SILENT)
        return 0
    updates, latest = 0, checkpoints.Checkpoints.latest

    def noted(self: checkpoints.Checkpoints, settings: str) -> checkpoints.Stored | None:
        nonlocal updates
        stored = latest(self, settings)
        updates = stored.arrays[".metrics['entropy']"].shape[-1] if stored else 0
        return stored

    with unittest.mock.patch.object(checkpoints.Checkpoints, "latest", noted):
        launch.resume(launch.unfinished(path), path, SILENT)
    return updates


def signalled(number: int, count: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """Runs that get a signal at a random moment between start and end."""
    whole = Whole(scratch)
    for index in itertools.count():
        path = scratch / str(index) / "run"
        path.parent.mkdir()
        process = Process(path)
        alive = process.wait(process.send(number), process.lasts(random.uniform(0.2, 1.0) * whole.seconds))
        if alive and not is_finished(path):
            lost = process.updates - go_on(path)
            yield {"survived": whole.equals(path), "lost": max(lost, 0)}
            count -= 1
        shutil.rmtree(path.parent)
        if not count:
            return


def full_disk(count: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """Runs on a disk that something else fills at a random moment, up to a random number of bytes."""
    whole = Whole(scratch)
    disk = scratch / "disk"
    disk.mkdir()
    needed = sum(file.stat().st_size for file in whole.path.rglob("*") if file.is_file())
    while count:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], check=True)
        try:
            path, filling = disk / "run", disk / "filling"

            def fill(filling: Path = filling) -> None:
                filling.write_bytes(bytes(max(shutil.disk_usage(disk).free - random.randrange(needed), 0)))

            process = Process(path)
            process.wait(fill, process.lasts(random.uniform(0.2, 1.0) * whole.seconds))
            if not is_finished(path):
                filling.unlink()
                told = "No space left" in process.complaint or "on disk" in process.complaint
                lost = process.updates - go_on(path)
                yield {"survived": told and whole.equals(path), "lost": max(lost, 0)}
                count -= 1
        finally:
            subprocess.run(["umount", disk], check=True)


def damaged(damage: Callable[[bytearray], bytes], count: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """Runs that were stopped, with damage in a random file of their folder."""
    whole = Whole(scratch)
    stopped = scratch / "stopped" / "run"
    stopped.parent.mkdir()
    process = Process(stopped)
    process.wait(process.send(signal.SIGTERM), lambda: process.updates >= spec().config.num_updates / 2)
    if len(list((stopped / checkpoints.FOLDER).iterdir())) < 2 or is_finished(stopped):
        raise SystemExit("the run had too few checkpoints, or was at its end: try again on a quieter machine")
    for index in range(count):
        path = scratch / str(index) / "run"
        shutil.copytree(stopped, path)
        files = [file for file in path.rglob("*") if file.is_file() and file.stat().st_size]
        file = random.choice(files)
        file.write_bytes(damage(bytearray(file.read_bytes())))
        outcome = "other results"
        try:
            lost = process.updates - go_on(path)
            outcome = "the same results" if whole.equals(path) else outcome
        except SettingsError:
            outcome, lost = "a clear error", 0
        name = str(file.relative_to(path))
        yield {"survived": outcome != "other results", "outcome": outcome, "file": name, "lost": max(lost, 0)}
        shutil.rmtree(path.parent)


def cut(content: bytearray) -> bytes:
    """The beginning of it."""
    return bytes(content[: random.randrange(len(content))])


def flip(content: bytearray) -> bytes:
    """With one bit flipped."""
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(content)


CONFIG = TrainConfig(num_envs=8, num_steps=16, total_timesteps=8 * 16 * 20, num_minibatches=4, hidden_sizes=(8, 8))
BOUNDS = {"observation_size": 1, "low": -np.ones(1, np.float32), "high": np.ones(1, np.float32)}


def not_a_number(count: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """A simulator that gives NaN or infinity at random steps, in observation or reward; and how many are counted."""

    def init(key: jax.Array):
        return jnp.zeros((), jnp.int32), jnp.zeros(1)

    for _ in range(count):
        when, bad = random.randint(2, 40), random.choice([np.nan, np.inf, -np.inf])
        in_obs = random.random() < 0.5

        def step(key: jax.Array, state: Any, action: jax.Array, when=when, bad=bad, in_obs=in_obs):
            given = jnp.where(state + 1 == when, bad, action[0])
            obs, reward = (given, action[0]) if in_obs else (action[0], given)
            return state + 1, Successor(obs[None], reward, jnp.bool_(False), jnp.bool_(False))

        env = vectorize(Dynamics(init, step), name="breaking", **BOUNDS)
        result = fit(make_agent(env, RPO, CONFIG), grid(), seeds(0, 2))
        steps = CONFIG.num_steps * CONFIG.num_updates
        counted = result.metrics["broken_episodes"].sum(-1)
        sound = all(np.isfinite(x).all() for x in jax.tree.leaves(result.state.policy))
        right = (counted == CONFIG.num_envs * (steps // when)).all()
        yield {"survived": bool(sound and right and np.isfinite(result.metrics["policy_loss"]).all()), "lost": 0}


def diverging(count: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """A learning rate of 1e6 among sane ones, which must not notice."""
    agent = make_agent(vectorize(_sliding(), name="slide", **BOUNDS), RPO, CONFIG)
    for _ in range(count):
        rates = [10 ** random.uniform(-4, -2) for _ in range(4)]
        where, first_seed = random.randrange(4), random.randrange(1000)
        sane = fit(agent, grid(learning_rate=rates), seeds(first_seed, 2))
        mixed = [1e6 if index == where else rate for index, rate in enumerate(rates)]
        result = fit(agent, grid(learning_rate=mixed), seeds(first_seed, 2))
        others = [index for index in range(4) if index != where]
        same = all(
            np.array_equal(result.metrics[name][others], x[others], equal_nan=True) for name, x in sane.metrics.items()
        )
        held = (np.asarray(result.state.fault)[where] > 0).all() and not np.asarray(result.state.fault)[others].any()
        yield {"survived": bool(same and held), "lost": 0}


def _sliding() -> Dynamics:
    def init(key: jax.Array):
        x = jax.random.uniform(key, (1,))
        return (x, 0), x

    def step(key: jax.Array, state: Any, action: jax.Array):
        x, time = state[0] + 0.1 * action, state[1] + 1
        return (x, time), Successor(x, -jnp.abs(x[0]), jnp.bool_(False), time >= 20)

    return Dynamics(init, step)


class Throwing:
    """A pool one of whose environments throws at some step, once."""

    left = 0

    def __init__(self, given: Any):
        self._count = len(given)

    def reset(self) -> np.ndarray:
        """Zeros."""
        return np.zeros((self._count, 1), np.float32)

    def step(self, action: np.ndarray) -> Outcome:
        """Its action, until it throws."""
        Throwing.left -= 1
        if Throwing.left == 0:
            raise RuntimeError("the leg came off")
        none = np.zeros(self._count, bool)
        return Outcome(action, -(action[:, 0] ** 2), none, none, action)

    def close(self) -> None:
        """Nothing to free."""


def throwing(count: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """An environment on the host that throws at a random step; what was done before is kept and gone on with."""
    for index in range(count):
        agent = make_agent(host_environment(Throwing, name="throwing", **BOUNDS), RPO, CONFIG)
        Throwing.left = when = random.randint(CONFIG.num_steps + 1, CONFIG.num_steps * CONFIG.num_updates)
        kept = checkpoints.Checkpoints(scratch / str(index), "these", {})
        first = fit(agent, grid(), seeds(0, 2), devices=jax.devices()[:1], checkpoints=kept)
        done = first.metrics["entropy"].shape[-1]
        rest = fit(agent, grid(), seeds(0, 2), devices=jax.devices()[:1], checkpoints=kept)
        entropy = rest.metrics["entropy"]
        same = np.array_equal(entropy[..., :done], first.metrics["entropy"])
        told = first.failure is not None and "the leg came off" in first.failure.message
        whole = entropy.shape[-1] == CONFIG.num_updates and bool(np.isfinite(entropy).all())
        yield {"survived": bool(told and same and whole), "lost": (when - 1) // CONFIG.num_steps - done}


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is injected how often."""

    inject: Callable[[int, Path], Iterator[dict[str, Any]]]
    count: int


def _signalled(number: int) -> Callable[[int, Path], Iterator[dict[str, Any]]]:
    return lambda count, scratch: signalled(number, count, scratch)


def _damaged(damage: Callable[[bytearray], bytes]) -> Callable[[int, Path], Iterator[dict[str, Any]]]:
    return lambda count, scratch: damaged(damage, count, scratch)


FAULTS = {
    "SIGINT": Fault(_signalled(signal.SIGINT), 20),
    "SIGTERM": Fault(_signalled(signal.SIGTERM), 20),
    "kill -9": Fault(_signalled(signal.SIGKILL), 40),
    "full disk": Fault(full_disk, 20),
    "file cut": Fault(_damaged(cut), 30),
    "bit flipped": Fault(_damaged(flip), 30),
    "NaN or infinity from a simulator": Fault(not_a_number, 15),
    "learning rate of 1e6": Fault(diverging, 15),
    "environment on the host throws": Fault(throwing, 15),
}


def main() -> None:
    """Injects the faults named on the command line, or all, and writes each into `results/faults.json`."""
    check_known("fault", sys.argv[1:], FAULTS)
    path = RESULTS / "faults.json"
    for name in sys.argv[1:] or FAULTS:
        random.seed(name)
        outcomes = []
        with tempfile.TemporaryDirectory() as scratch:
            for outcome in FAULTS[name].inject(FAULTS[name].count, Path(scratch)):
                outcomes.append(outcome)
                jax.clear_caches()  # a process can map so many programs only
                Console(stderr=True).print(f"{name}, {len(outcomes)} of {FAULTS[name].count}: {outcome}")
        row = {
            "fault": name,
            "command": command(),
            "machine": machine(),
            "injected": len(outcomes),
            "survived": sum(outcome["survived"] for outcome in outcomes),
            "refused": sum(outcome.get("outcome") == "a clear error" for outcome in outcomes),
            "most_lost": max(outcome["lost"] for outcome in outcomes),
            "mean_lost": sum(outcome["lost"] for outcome in outcomes) / len(outcomes),
        }
        before = json.loads(path.read_text())["runs"] if path.exists() else []
        runs = {run["fault"]: run for run in [*before, row]}
        write(path.stem, [runs[fault] for fault in FAULTS if fault in runs])


if __name__ == "__main__":
    checkpoints.LEAST_SECONDS, checkpoints.SHARE = SECONDS, 1.0
    jax.config.update("jax_compilation_cache_dir", f"{tempfile.gettempdir()}/rpo_jax_faults")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]))
    else:
        main()
