"""What the wheel and the source distribution hold; `.ci/package` installs and runs them."""

import importlib
import re
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "rpo_jax").rglob("*")
    if path.suffix in (".py", ".pyi", ".typed", ".md")
}
DATA = {"rpo_jax/py.typed", "rpo_jax/__init__.pyi", "rpo_jax/analysis/__init__.pyi", "rpo_jax/settings/presets.py"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source distribution, as an installer has them built."""
    backend = importlib.import_module(PYPROJECT["build-system"]["build-backend"])
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / backend.build_wheel(str(folder)), folder / backend.build_sdist(str(folder))


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[0]).namelist())
    assert DATA <= SOURCES
    assert {name for name in names if ".dist-info/" not in name} == SOURCES


def test_the_source_distribution_holds_what_a_wheel_is_built_from(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names == SOURCES | {"pyproject.toml", "README.md", "PKG-INFO"}


def metadata(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(archive.read(name).decode())


def test_its_metadata_are_those_of_the_project(built: tuple[Path, Path]) -> None:
    import rpo_jax

    found, project = metadata(built[0]), PYPROJECT["project"]
    assert found["Version"] == rpo_jax.__version__
    assert found["Requires-Python"] == project["requires-python"]
    assert set(found.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert str(found.get_payload()).rstrip() == (ROOT / "README.md").read_text().rstrip()


def test_its_command_is_the_one_of_the_readme(built: tuple[Path, Path]) -> None:
    archive = zipfile.ZipFile(built[0])
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
    command, module, function = re.findall(r"^(\S+)\s*=\s*(\S+):(\S+)$", archive.read(name).decode(), re.MULTILINE)[0]
    assert command == "rpo-jax"
    assert callable(getattr(importlib.import_module(module), function))
