"""What training would launch on an accelerator, counted without one: nobody adds launches unseen."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from peers.hlo import Exchange, exchanges_in, loops_of, started_in

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "benchmarks" / "peers" / "compiled_program.py"
PLUGIN = os.environ.get("RPO_JAX_CUDA_PLUGIN", "")  # a folder with jax-cuda13-plugin, if it is not installed

# As XLA writes programs for a TPU: loops without their length, arrays in tiles, one number in scalar memory.
ON_TPU = """HloModule update
%condition (state: (s32[], f32[4096])) -> pred[] {
  %limit = s32[]{:T(128)} constant(16)
  %state = (s32[]{:T(128)}, f32[4096]{0:T(1024)S(1)}) parameter(0)
  %count = s32[]{:T(128)} get-tuple-element(%state), index=0
  ROOT %more = pred[]{:T(512)} compare(%count, %limit), direction=LT
}

%body (state: (s32[], f32[4096])) -> (s32[], f32[4096]) {
  %next = s32[]{:T(128)S(6)} add(%count, %one)
  %key = u32[1]{0:T(128)S(6)} xor(%high, %low)
  %buffer = f32[4096]{0:T(1024)S(1)} custom-call(), custom_call_target="AllocateBuffer"
  %begun = (f32[64]{0:T(128)}, f32[64]{0:T(128)S(1)}, u32[]{:S(2)}) copy-start(%weights)
  %fetched = f32[64]{0:T(128)S(1)} copy-done(%begun)
  %moved = f32[4096]{0:T(1024)S(1)} fusion(%state, %fetched), kind=kLoop, calls=%fused
  %total = f32[]{:T(128)S(6)} reduce(%moved, %zero), dimensions={0}, to_apply=%sum
  ROOT %result = (s32[]{:T(128)}, f32[4096]{0:T(1024)S(1)}) tuple(%next, %moved)
}

ENTRY %main (state: (s32[], f32[4096])) -> (s32[], f32[4096]) {
  ROOT %loop = (s32[]{:T(128)}, /*index=1*/f32[4096]{0:T(1024)S(1)}) while(%state), condition=%condition, body=%body
}
"""
ON_GPU = """HloModule update
%short (array: f32[64]) -> f32[64] {
  ROOT %zeros = f32[64]{0} broadcast(%zero), dimensions={}
}

%long (array: f32[64]) -> f32[64] {
  %first = f32[64]{0} fusion(%array), kind=kLoop, calls=%fused
  ROOT %second = f32[64]{0} fusion(%first), kind=kLoop, calls=%fused
}

ENTRY %main (array: f32[64]) -> f32[64] {
  %count = s32[] add(%one, %one)
  ROOT %either = f32[64]{0} conditional(%which, %array, %array), true_computation=%short, false_computation=%long
}
"""
# Sums over devices, in a loop of eight trips and in a fusion, and a gathering that is begun before it is needed.
OF_DEVICES = """HloModule update
%fused (part: f32[8]) -> f32[2] {
  %whole = f32[8]{0} all-reduce(%part), channel_id=3, to_apply=%sum
  ROOT %own = f32[2]{0} dynamic-slice(%whole, %first), dynamic_slice_sizes={2}
}

%body (weights: f32[64]) -> f32[64] {
  ROOT %gradients = (f32[64]{0:T(128)S(1)}, bf16[2,3]{1,0:T(2,128)}) all-reduce(%weights, %losses), to_apply=%sum
}

ENTRY %main (batch: f32[16]) -> f32[64] {
  %begun = ((pred[16]{0}), pred[64]{0}) all-gather-start(%batch), channel_id=2, dimensions={0}
  %whole = pred[64]{0} all-gather-done(%begun), metadata={op_name="all_gather"}
  %part = f32[2]{0} fusion(%batch), kind=kCustom, calls=%fused
  ROOT %loop = f32[64]{0} while(%whole), condition=%more, body=%body, backend_config={"known_trip_count":{"n":"8"}}
}
"""

needs_plugin = pytest.mark.skipif(
    not PLUGIN and find_spec("jax_cuda13_plugin") is None,
    reason="needs jax-cuda13-plugin, jax-cuda13-pjrt and nvidia-cuda-nvcc, installed or in RPO_JAX_CUDA_PLUGIN",
)


def test_operations_on_arrays_are_counted_on_a_tpu() -> None:
    program = loops_of(ON_TPU)
    assert program.operations == {}
    [loop] = program.inner
    assert (loop.trips, loop.operations) == (16, {"copy-start": 1, "fusion": 1, "reduce": 1})
    assert started_in(program, 1) == 16 * 3


def test_the_longer_side_of_a_branch_is_counted() -> None:
    assert loops_of(ON_GPU).operations == {"add": 1, "fusion": 2}


def test_exchanges_of_devices_are_found_with_their_sizes_and_loops() -> None:
    assert list(exchanges_in(loops_of(OF_DEVICES))) == [
        (Exchange("all-gather", ["pred[64]"], 64), ()),
        (Exchange("all-reduce", ["f32[8]"], 32), ()),
        (Exchange("all-reduce", ["f32[64]", "bf16[2,3]"], 4 * 64 + 2 * 6), (8,)),
    ]
    assert not list(exchanges_in(loops_of(ON_TPU)))


@needs_plugin
@pytest.mark.timeout(600)
def test_a_small_work_launches_few_kernels_and_takes_little_memory() -> None:
    work = {"env": "gymnax/Pendulum-v1", "seeds": 1, "num_envs": 2048, "num_steps": 16, "updates": 10}
    work |= {"num_epochs": 4, "num_minibatches": 4, "shuffle": "environments", "width": 64}
    surroundings = os.environ | {"PYTHONPATH": f"{ROOT}:{PLUGIN}", "XLA_FLAGS": ""}
    command = [sys.executable, str(PROGRAM), "rpo_jax", "H100", json.dumps(work)]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["collectives"] == {}
    step = next(loop for loop in found["loops"]["loops"] if loop["trips"] == 16)
    minibatch = next(inner for loop in found["loops"]["loops"] for inner in loop.get("loops", []))
    assert step["operations"] <= 9
    assert minibatch["operations"] <= 22
    assert found["update"] <= 649
    assert found["mebibytes"] <= 14.0
