"""What training would launch on a GPU, counted without one: nobody adds launches unseen."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "benchmarks" / "peers" / "compiled_program.py"
PLUGIN = os.environ.get("RPO_JAX_CUDA_PLUGIN", "")  # a folder with jax-cuda13-plugin, if it is not installed

needs_plugin = pytest.mark.skipif(
    not PLUGIN and find_spec("jax_cuda13_plugin") is None,
    reason="needs jax-cuda13-plugin, jax-cuda13-pjrt and nvidia-cuda-nvcc, installed or in RPO_JAX_CUDA_PLUGIN",
)


@needs_plugin
@pytest.mark.timeout(600)
def test_a_small_work_launches_few_kernels() -> None:
    work = {"env": "gymnax/Pendulum-v1", "seeds": 1, "num_envs": 256, "num_steps": 16, "updates": 10}
    work |= {"num_epochs": 4, "num_minibatches": 4, "shuffle": "environments", "width": 64}
    surroundings = os.environ | {"PYTHONPATH": f"{ROOT}:{PLUGIN}", "XLA_FLAGS": ""}
    command = [sys.executable, str(PROGRAM), "rpo_jax", "H100", json.dumps(work)]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["collectives"] == {}
    step = next(loop for loop in found["loops"]["loops"] if loop["trips"] == 16)
    minibatch = next(inner for loop in found["loops"]["loops"] for inner in loop.get("loops", []))
    assert step["operations"] <= 10
    assert minibatch["operations"] <= 27
    assert found["update"] <= 770
