"""Runs every notebook; fails on an exception, on a warning of rpo_jax, and on a figure without anything in it.

Without options in short: RPO_JAX_SHORT is set, for which notebooks train less, and one kernel runs all, which compiles
quickly. With `--write` in full, each from a fresh kernel; that keeps the outputs, and prints a table.
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
REPOSITORY = ""  # on GitHub, such as "owner/rpo_jax": without it the notebooks have no badges
QUICK = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1"
    # The older emitters of loops, which later versions do not have, take less time.
    + (" --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else "")
)

# In the kernel: figures are checked when they are drawn, and warnings say whose they are.
BEFORE = """
import logging
import time
import numpy as np
from matplotlib.figure import Figure

def _check(self, *args, _draw=Figure.draw, **kwargs):
    for axes in self.axes:
        if axes.axison and not np.isfinite(axes.dataLim.get_points()).all():
            raise ValueError(f"axes {axes.get_title()!r} of a figure show nothing")
    return _draw(self, *args, **kwargs)

_BEFORE = time.process_time() if Figure.draw.__name__ == "_check" else 0.0
if Figure.draw.__name__ != "_check":
    Figure.draw = _check
logging.basicConfig(format="warning of %(name)s: %(message)s")
"""
MEASURED = """
import json, resource, time
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, time.process_time() - _BEFORE]))
"""
COMPLAINT = re.compile(r"warning of rpo_jax.*|.*rpo_jax/.*Warning.*|.*of a figure show nothing.*")


class Cost(NamedTuple):
    """What a notebook took.

    Attributes:
        seconds: wall time from the start of the kernel.
        pictures: number of pictures that it shows.
        megabytes: peak memory, in MiB; of its kernel.
        processor: processor time of its kernel, in seconds.
    """

    seconds: float
    pictures: int
    megabytes: float
    processor: float


def main() -> None:
    """Runs them in order of name; the first that fails ends it."""
    paths, write = sorted(HERE.glob("*.ipynb")), "--write" in sys.argv
    if chosen := [word for word in sys.argv[1:] if word != "--write"]:
        if unknown := [word for word in chosen if not any(path.name.startswith(word) for path in paths)]:
            sys.exit(f"no notebook begins with {unknown[0]}")
        paths = [path for path in paths if any(path.name.startswith(word) for word in chosen)]
    if not write:
        os.environ["RPO_JAX_SHORT"] = "1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}"
    costs = {}
    for together in [[path] for path in paths] if write else [paths]:
        with kernel() as manager:
            costs |= {path.name: run(path, manager, write) for path in together}
    print("| notebook | time | of a processor | pictures | peak memory |\n| --- | --- | --- | --- | --- |")
    for name, cost in costs.items():
        told = f"{cost.seconds:.0f} s | {cost.processor:.0f} s | {cost.pictures} | {cost.megabytes:,.0f} MiB"
        print(f"| {name} | {told} |")


@contextmanager
def kernel() -> Iterator[KernelManager]:
    """A kernel in a scratch folder, beside which lie the benchmarks, as beside the notebooks."""
    manager = KernelManager(kernel_name="python3")
    with tempfile.TemporaryDirectory() as folder:
        (place := Path(folder) / "notebooks").mkdir()
        (Path(folder) / "benchmarks").symlink_to(HERE.parent / "benchmarks")
        try:
            manager.start_kernel(cwd=str(place))
            yield manager
        finally:
            manager.shutdown_kernel(now=True)


def run(path: Path, manager: KernelManager, write: bool) -> Cost:
    """Runs a notebook in a kernel, checks what it shows, and keeps that if asked to.

    Args:
        path: the notebook.
        manager: of the kernel.
        write: whether to keep the outputs.
    """
    began = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    set_badge(notebook, path.name)
    cells = notebook.cells
    before, after = (nbformat.v4.new_code_cell(source) for source in ("%reset -f\n" + BEFORE, MEASURED))
    whole = nbformat.from_dict({**notebook, "cells": [before, *cells, after]})
    client = NotebookClient(whole, km=manager, timeout=600)
    client.execute()
    seconds = time.perf_counter() - began
    _, *ran, last = client.nb.cells
    outputs = [output for cell in ran for output in cell.get("outputs", [])]
    if complaints := [found for output in outputs for found in COMPLAINT.findall(text_of(output))]:
        sys.exit(f"{path.name}: {complaints[0]}")
    notebook.cells = ran
    if write:
        tidy(ran)
        nbformat.write(notebook, path)
    megabytes, processor = json.loads(last.outputs[0]["text"])
    pictures = sum("image/png" in output.get("data", {}) or "text/html" in output.get("data", {}) for output in outputs)
    print(f"{path.name}: ran in {seconds:.0f} s", flush=True)
    return Cost(seconds, pictures, megabytes, processor)


def tidy(cells: list[NotebookNode]) -> None:
    """Leaves out when cells ran, and counts them as if nothing had run before."""
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), 1):
        cell.metadata.pop("execution", None)
        for counted in (cell, *(output for output in cell.outputs if "execution_count" in output)):
            counted.execution_count = count


def text_of(output: NotebookNode) -> str:
    """What an output wrote to stderr, and a figure that was not drawn."""
    text: Any = output.get("text", "") if output.get("name") == "stderr" else ""
    shown = output.get("data", {})
    if "image/png" not in shown and shown.get("text/plain", "").startswith("<Figure"):
        text += "what is in place of a figure show nothing"
    return text


def set_badge(notebook: NotebookNode, name: str) -> None:
    """Puts a badge and the cell that installs rpo_jax in Colab at the beginning, if there is a repository.

    Args:
        notebook: to change.
        name: of its file.
    """
    notebook.cells = [cell for cell in notebook.cells if not cell.metadata.get("colab")]
    if not REPOSITORY:
        return
    address = f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks/{name}"
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})"
    install = (
        'import sys\n\nif "google.colab" in sys.modules:\n'
        f"    %cd -q /content\n    !git clone -q --depth 1 https://github.com/{REPOSITORY} rpo_jax\n"
        "    %pip install -q ./rpo_jax[gymnasium,export]\n    %cd -q rpo_jax/notebooks"
    )
    new = nbformat.v4.new_markdown_cell(badge), nbformat.v4.new_code_cell(install)
    for index, cell in enumerate(new):
        cell.id = f"colab-{index}"
        cell.metadata["colab"] = True
    notebook.cells = [*new, *notebook.cells]


if __name__ == "__main__":
    main()
