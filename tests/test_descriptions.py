"""Docstrings of all public functions, methods and records of the package say what these take, give and raise.

In sections, which those of exported names have (`test_docstrings.py`), or in sentences they describe

- every argument, that of `__init__`, and every field of a record, by its name;
- the result, unless it is None: by a section, or by a verb such as "returns" or "computes"; a property is described as
  what it is;
- a `SettingsError` that the function itself raises, by a section, or as "Raises a SettingsError if ...";
- the shape of every `jax.Array`, in square brackets. (One random key, called `key`, has none.)
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_docstrings import PACKAGE, raised, sections

SHAPE = re.compile(r"\[[^\]]*\]")
# Annotations of options, which carry their documentation; those that several commands share have names.
COMMANDS = ast.parse((PACKAGE / "cli" / "commands.py").read_text()).body
SHARED = [
    node for node in COMMANDS if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Annotated[")
]
OPTIONS = ["Annotated", *(ast.unparse(node.targets[0]) for node in SHARED)]
GIVES = re.compile(
    r"^(Averages|Computes|Concatenates|Creates|Describes|Draws|Finds|Flattens|Interpolates|Maps|Measures|Parses|Reads|"
    r"Rebuilds|Returns) |\breturns "
)


def arguments_of(function: ast.FunctionDef) -> dict[str, str]:
    """The annotations of a function's arguments by name, without `self` and `cls`."""
    own = function.args
    every = [*own.posonlyargs, *own.args, *own.kwonlyargs, *filter(None, (own.vararg, own.kwarg))]
    return {one.arg: annotation(one.annotation) for one in every if one.arg not in ("self", "cls", "_")}


def annotation(node: ast.expr | None) -> str:
    """Its text, without the arrays that a function takes or gives, and without documentation."""
    text = ast.unparse(node) if node else "None"
    return "Annotated" if text.startswith("Annotated[") else re.sub(r"Callable\[.*\]", "Callable", text)


def unnamed(names: dict[str, str], doc: str, section: str) -> Iterator[str]:
    """The names, and the arrays' shapes, that are neither in a section of a docstring nor, without it, in its text."""
    listed = sections(doc).get(section)
    for name, kind in names.items():
        text = doc if listed is None else listed.get(name, "")
        if not re.search(rf"\b{name}\b", doc) or not text:
            yield f"{section}: {name}"
        elif "jax.Array" in kind and name != "key" and not SHAPE.search(text):
            yield f"shape of {name}"


def gaps(function: ast.FunctionDef) -> Iterator[str]:
    """What the docstring of a public function or method lacks."""
    doc, result = ast.get_docstring(function) or "", annotation(function.returns)
    found, decorators = sections(doc), [ast.unparse(decorator) for decorator in function.decorator_list]
    yield from unnamed(arguments_of(function), doc, "Args")
    given = {"Returns", "Yields"} & found.keys() or "property" in decorators or GIVES.search(doc)
    if not given and result not in ("None", "Iterator[None]"):
        yield "Returns"
    if "jax.Array" in result and not SHAPE.search(doc):
        yield "shape of the result"
    refuses = [name for name in raised(function) if re.fullmatch(r"SettingsError|unknown_name|_\w+", name)]
    if refuses and "SettingsError" not in found.get("Raises", {}) and not doc.startswith("Raises a SettingsError if"):
        yield "Raises: SettingsError"


def fields_of(record: ast.ClassDef) -> dict[str, str]:
    """The annotations of the fields of a record by name, without those that carry their documentation."""
    kinds = " ".join(map(ast.unparse, (*record.bases, *record.decorator_list)))
    if not re.search(r"NamedTuple|nn\.Module|PyTreeNode|dataclass|RunOptions", kinds):
        return {}
    fields = [field for field in record.body if isinstance(field, ast.AnnAssign)]
    texts = {ast.unparse(field.target): (annotation(field.annotation), ast.unparse(field)) for field in fields}
    return {name: kind for name, (kind, text) in texts.items() if kind not in OPTIONS and " = setting(" not in text}


def gaps_of(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """What the docstrings of public functions, methods and classes lack."""
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield from (f"{prefix}{node.name}: {gap}" for gap in gaps(node))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            doc = ast.get_docstring(node) or ""
            found = [*unnamed(fields_of(node), doc, "Attributes")]
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    found += unnamed(arguments_of(method), ast.get_docstring(method) or doc, "Args")
            yield from (f"{prefix}{node.name}: {gap}" for gap in found)
            yield from gaps_of(node.body, f"{node.name}.")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_functions_methods_and_records_are_described(path: Path) -> None:
    assert list(gaps_of(ast.parse(path.read_text()).body)) == []


# That gaps are found

SOURCE = """
def whole(x: jax.Array, key: jax.Array) -> jax.Array:
    'Returns `x` [...] with noise by `key`.'

def partly(x: jax.Array, y: int) -> jax.Array:
    'Doubles x.'

def listed(x: jax.Array, y: int) -> int:
    '''Returns the number.

    Args:
        x: numbers [B], without y.
    '''
    raise SettingsError("never")

class Record(NamedTuple):
    'A record.'
    x: jax.Array

class Made:
    'A thing.'
    def __init__(self, size: int): ...
    @property
    def width(self) -> jax.Array:
        'Its width.'
"""
GAPS = [
    "partly: shape of x", "partly: Args: y", "partly: Returns", "partly: shape of the result",
    "listed: Args: y", "listed: Raises: SettingsError",
    "Record: Attributes: x", "Made: Args: size", "Made.width: shape of the result",
]  # fmt: skip


def test_gaps_are_found() -> None:
    assert list(gaps_of(ast.parse(SOURCE).body)) == GAPS
