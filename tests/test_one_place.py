"""What README.md says of adding a setting, a method, a head, a preset and a suite is done to a copy of the package."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import toys

import rpo_jax

PACKAGE = Path(rpo_jax.__file__).parent
OLD = Path(__file__).parent / "data" / "folders_0.1.0_format_3.zip"

# File, a line of it, and what is added before that line.
ADDED = [
    (
        "algorithm/config.py",
        "    def __post_init__(self) -> None:\n        check_hyperparams(self)",
        '    my_number: Scalar = setting(0.25, "a number of mine", low=0)\n\n',
    ),
    (
        "algorithm/variants.py",
        "            PPO,\n",
        '            Variant("mine", width=lambda own, scale, half: own.my_number, hyperparams=("my_number",)),\n',
    ),
    ("algorithm/heads.py", '        "normal": Head(', '        "mine": Head(distrax.Logistic),\n'),
    (
        "settings/presets.py",
        "\n\ndef get_preset(",
        'PRESETS["mine"] = Preset(TrainConfig(64, 4, 8, num_minibatches=2), Hyperparams(), "mine")\n',
    ),
    ("envs/__init__.py", "from rpo_jax.envs.wrappers", "from rpo_jax.envs.suites import toy\n"),
    (
        "envs/__init__.py",
        '    "gymnax": Suite(',
        '    "toy": Suite(toy.make, lambda: toy.TASKS, "numpy", ("pytest",), included=True),\n',
    ),
]
SUITE = """
import jax.numpy as jnp
import numpy as np
from rpo_jax.envs.batching import vectorize
from rpo_jax.envs.protocol import Dynamics, Successor

TASKS = {"stay": (1, 1)}

def make(name):
    start = jnp.zeros(1)
    step = lambda key, time, action: (time + 1, Successor(start, -action[0] ** 2, jnp.bool_(False), time >= 5))
    dynamics = Dynamics(lambda key: (0, start), step)
    return vectorize(dynamics, name=f"toy/{name}", observation_size=1, low=-np.ones(1), high=np.ones(1))
"""
PROGRAM = """
import contextlib, io, json, pathlib
from rpo_jax.cli.main import main
from rpo_jax.cli.parse import parse
from rpo_jax.envs import environment_names
from rpo_jax.runs.settings import load_spec

names = ["--variant", "mine", "--preset", "mine", "--my-number", "0.3", "0.5"]
assert main(["train", "toy/stay", *names, "--num-seeds", "1", "--out", "run"]) == 0
spec = load_spec(pathlib.Path("run"))
assert (spec.head, spec.hyperparams.my_number.tolist()) == ("mine", [float.fromhex("0x1.333334p-2"), 0.5])
assert json.loads(pathlib.Path("run/summary.json").read_text())["versions"]["pytest"]
assert main(["evaluate", "run", "--num-episodes", "2"]) == 0
assert main(["train", "toy/stay", "--preset", "mine", "--my-number", "0.3"]) == 2  # it is of another method
assert load_spec(pathlib.Path("finished")).hyperparams.my_number.tolist() == [0.25] * 2
assert environment_names()["toy"] == ["toy/stay"]
help = io.StringIO()
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(help):
    parse(["train", "--help"])
text = " ".join(help.getvalue().replace("│", " ").split())
assert "a number of mine" in text and "seed-notes, fast, mine" in text
"""


def test_each_is_added_in_the_place_that_the_readme_names(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "rpo_jax", ignore=shutil.ignore_patterns("__pycache__"))
    for name, line, text in ADDED:
        path = tmp_path / "rpo_jax" / name
        before, found, after = path.read_text().partition(line)
        assert found, line
        path.write_text(before + text + found + after)
    (tmp_path / "rpo_jax" / "envs" / "suites" / "toy.py").write_text(SUITE)
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path)
    environment = toys.environment_of_programs() | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--my-number has no effect on variant rpo" in done.stderr.replace("my_number", "--my-number")
