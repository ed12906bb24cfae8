"""Runs every notebook from a fresh kernel, in a scratch folder: in full with `--write`, which keeps the new outputs.

Without it RPO_JAX_SHORT is set, for which notebooks train less.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main() -> None:
    """Runs them in order of name; an exception in a cell ends it."""
    if "--write" not in sys.argv:
        os.environ["RPO_JAX_SHORT"] = "1"
    for path in sorted(Path(__file__).parent.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as scratch:
            resources = {"metadata": {"path": scratch}}
            NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
        if "--write" in sys.argv:
            for cell in notebook.cells:
                cell.metadata.pop("execution", None)
            nbformat.write(notebook, path)
        print(f"{path.name}: ran")


if __name__ == "__main__":
    main()
