"""Public names have docstrings; those of exported names describe parameters, fields, results and errors."""

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rpo_jax

PACKAGE = Path(rpo_jax.__file__).parent
STUB = ast.parse((PACKAGE / "__init__.pyi").read_text())
EXPORTED = [alias.name for node in STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names]
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def undocumented(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Public functions and classes of a module, and their public methods, without a docstring."""
    for node in body:
        if isinstance(node, DEFINITIONS) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield f"{prefix}{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from undocumented(node.body, f"{prefix}{node.name}.")


def sections(doc: str) -> dict[str, dict[str, str]]:
    """The sections of a docstring in Google style: their entries by name, and the text as entry ""."""
    found: dict[str, dict[str, str]] = {}
    for name, text in re.findall(r"^([A-Z]\w+):\n((?:    .*\n|\n)+)", inspect.cleandoc(doc) + "\n", re.MULTILINE):
        found[name] = {"": text} | dict(re.findall(r"^    \*{0,2}([\w.]+): (\S.*)", text, re.MULTILINE))
    return found


def raised(function: ast.AST) -> Iterator[str]:
    """The names after `raise` in a function, without those of the functions inside it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.Raise) and node.exc:
            yield ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)
        elif not isinstance(node, (*DEFINITIONS, ast.Lambda)):
            yield from raised(node)


def faults(exported: Any) -> Iterator[str]:
    """What the docstring of an exported object lacks."""
    if not isinstance(exported, type) and not callable(exported):
        exported = type(exported)  # a constant is described by its class
    doc = exported.__doc__ or ""
    if not doc or doc.startswith(f"{exported.__name__}("):  # as dataclasses and NamedTuples make by themselves
        yield "a docstring"
        return
    found = sections(doc)
    if isinstance(exported, type):
        fields = dataclasses.fields(exported) if dataclasses.is_dataclass(exported) else ()
        described = {field.name for field in fields if field.metadata.get("doc")} | set(found.get("Attributes", ()))
        names = [field.name for field in fields] or getattr(exported, "_fields", ())
        yield from (f"Attributes: {name}" for name in names if name not in described)
        return
    function = inspect.unwrap(exported)
    signature = inspect.signature(function)
    yield from (f"Args: {name}" for name in signature.parameters if name not in found.get("Args", ()))
    if signature.return_annotation not in (None, "None") and not {"Returns", "Yields"} & found.keys():
        yield "Returns"
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    for error in raised(definition):
        if "Raises" not in found or (error.endswith("Error") and error not in found["Raises"]):
            yield f"Raises: {error}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_functions_classes_and_methods_have_docstrings(path: Path) -> None:
    assert list(undocumented(ast.parse(path.read_text()).body)) == []


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_names_are_described_completely(name: str) -> None:
    assert list(faults(getattr(rpo_jax, name))) == []


# That faults are found


def complete(x: int, *rest: int, **more: int) -> int:
    """Adds.

    Args:
        x: first term.
        *rest: other terms.
        **more: named terms.

    Returns:
        The sum.

    Raises:
        ValueError: if it is odd.
    """
    if x % 2:
        raise ValueError
    return x


def incomplete(x: int, y: int) -> int:
    """Adds.

    Args:
        x: first term.
        y:

    Raises:
        TypeError: never.
    """
    if x > y:
        raise ValueError("x")

    def inner() -> None:
        raise KeyError

    return x + y


class Bare:
    def method(self) -> None: ...


@dataclasses.dataclass
class Partial:
    """A record.

    Attributes:
        x: a field.
    """

    x: int
    y: int
    z: int = dataclasses.field(default=0, metadata={"doc": "documented in its metadata"})


@dataclasses.dataclass
class Automatic:
    x: int


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (complete, []),
        (incomplete, ["Args: y", "Returns", "Raises: ValueError"]),
        (Bare, ["a docstring"]),
        (Partial, ["Attributes: y"]),
        (Automatic, ["a docstring"]),
        (Partial(1, 2), ["Attributes: y"]),
    ],
)
def test_what_is_missing_is_found(named: Any, expected: list[str]) -> None:
    assert list(faults(named)) == expected


def test_what_has_no_docstring_is_found() -> None:
    source = 'class A:\n  "a"\n  def f(self): ...\n  def _g(self): ...\ndef h(): ...\nclass _B: ...'
    assert list(undocumented(ast.parse(source).body)) == ["A.f", "h"]
