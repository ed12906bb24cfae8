"""Notebooks can be read as they are committed, and what is wrong in one is noticed."""

import ast
import json
import runpy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from matplotlib.figure import Figure

import rpo_jax
from rpo_jax import analysis

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CHECK = runpy.run_path(str(FOLDER / "check.py"), run_name="check")


def outputs_of(path: Path) -> list[Any]:
    cells = json.loads(path.read_text())["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_there_are_six() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_its_outputs_and_says_what_to_change_for_a_gpu(path: Path) -> None:
    outputs, cells = outputs_of(path), json.loads(path.read_text())["cells"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert not any(output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs)
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert "*On a GPU:*" in "".join(cells[0]["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_only_public_names(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in ["".join(cell["source"]), "\n"]]
    tree = ast.parse("".join(lines).replace("%matplotlib inline", ""))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rpo_jax"):
            assert node.module == "rpo_jax.analysis"
            assert {alias.name for alias in node.names} <= set(dir(analysis))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rpo_jax":
            assert node.attr in dir(rpo_jax)
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("rpo_jax.") for alias in node.names)


def test_a_figure_that_shows_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Figure, "draw", Figure.draw)
    exec(CHECK["BEFORE"], {})
    figure = Figure()
    figure.subplots().plot([1, 2], [float("nan")] * 2)
    with pytest.raises(ValueError, match="show nothing"):
        figure.draw_without_rendering()
    figure.axes[0].plot([1, 2], [3, 4])
    figure.draw_without_rendering()


def test_warnings_of_ours_are_complaints_and_others_are_not() -> None:
    def found(**output: Any) -> list[str]:
        return CHECK["COMPLAINT"].findall(CHECK["text_of"](nbformat.from_dict(output)))

    assert found(name="stderr", text="a\nwarning of rpo_jax: slow\n") == ["warning of rpo_jax: slow"]
    assert found(name="stderr", text="/site/rpo_jax/envs/host.py:3: UserWarning: odd\n")
    assert found(name="stderr", text="ValueError: axes 'a' of a figure show nothing")
    assert found(data={"text/plain": "<Figure size 600x300 with 1 Axes>"})
    assert not found(name="stderr", text="/site/brax/contact.py:39: DeprecationWarning: old")
    assert not found(name="stdout", text="warning of rpo_jax: slow")
    assert not found(data={"text/plain": "<Figure size 600x300 with 1 Axes>", "image/png": "..."})


def test_a_badge_opens_the_notebook_of_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title")])
    monkeypatch.setitem(CHECK["set_badge"].__globals__, "REPOSITORY", "owner/name")
    for _ in range(2):  # the second time replaces the first
        CHECK["set_badge"](notebook, "01.ipynb")
        assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "markdown"]
    assert "/github/owner/name/blob/main/notebooks/01.ipynb)" in notebook.cells[0].source
    assert "https://github.com/owner/name" in notebook.cells[1].source
    monkeypatch.setitem(CHECK["set_badge"].__globals__, "REPOSITORY", "")
    CHECK["set_badge"](notebook, "01.ipynb")
    assert [cell.source for cell in notebook.cells] == ["# Title"]
