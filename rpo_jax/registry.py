"""Names that a user gives to environments, variants, heads and networks, so that the command and run folders know them.

A module that registers names is imported only if the user names it (`rpo-jax ... --import my_module`), or installed it
as an entry point of the group `rpo_jax`.
"""

import importlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from rpo_jax.errors import SettingsError, unknown_name

GROUP = "rpo_jax"  # of entry points
Thing = TypeVar("Thing")
_importing: list[str] = []  # modules whose import is under way


class Registry(Mapping[str, Thing], Generic[Thing]):
    """Things by name: those of rpo_jax, and those that users register."""

    def __init__(self, kind: str, own: Mapping[str, Thing]):
        """A registry of things of a kind, such as "variant", which begins with rpo_jax's own."""
        self.kind = kind
        self._own = dict(own)
        self._registered: dict[str, Thing] = {}
        self._origins: dict[str, str] = {}

    def add(self, name: str, thing: Thing, pattern: str = r"[\w.-]+") -> None:
        """Registers a user's thing; a name that the user registered before is replaced.

        Raises:
            SettingsError: if the name is one of rpo_jax's own, or does not match the pattern.
        """
        if name in self._own:
            raise SettingsError(f"{self.kind} {name!r} belongs to rpo_jax; choose another name")
        if not isinstance(name, str) or not re.fullmatch(pattern, name):
            raise SettingsError(f"{name!r} cannot be the name of a {self.kind}: it must match {pattern}")
        self._registered[name] = thing
        self._origins.pop(name, None)
        if _importing:
            self._origins[name] = _importing[0]

    def knows(self, name: str) -> bool:
        """Whether there is such a name, those of installed entry points included."""
        if name not in self:
            _import_entry_points()
        return name in self

    def find(self, name: str) -> Thing:
        """The thing of that name.

        Raises:
            SettingsError: if there is none.
        """
        if not self.knows(name):
            raise unknown_name(self.kind, name, self)
        return self[name]

    def origin(self, name: str) -> str | None:
        """The module whose import registered that name; None if there was none."""
        return self._origins.get(name)

    @property
    def registered(self) -> tuple[str, ...]:
        """Names that users registered."""
        return tuple(self._registered)

    def __getitem__(self, name: str) -> Thing:
        return self._registered[name] if name in self._registered else self._own[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._own, **self._registered})

    def __len__(self) -> int:
        return len(self._own) + len(self._registered)


def import_modules(names: tuple[str, ...]) -> None:
    """Imports modules that register names; they are looked for in the current folder too, as by `python -m`.

    Args:
        names: such as "my_module" or "my_package.methods".

    Raises:
        SettingsError: if one is not found, or its import fails.
    """
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        _importing.append(name)
        try:
            importlib.import_module(name)
        except SettingsError as error:
            raise SettingsError(f"--import {name}: {error}") from None
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                raise SettingsError(
                    f"--import {name}: there is no module of that name, neither installed nor in {os.getcwd()}; "
                    "give a name such as my_module, without .py"
                ) from None
            raise SettingsError(f"--import {name} failed: {_where(error)}") from None
        except Exception as error:  # whatever a user's module raises
            raise SettingsError(f"--import {name} failed: {_where(error)}") from None
        finally:
            _importing.pop()


def _where(error: Exception) -> str:
    """An exception, and the file and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


@lru_cache
def _import_entry_points() -> None:
    for point in entry_points(group=GROUP):
        try:
            _importing.append(point.value)
            point.load()
        except Exception as error:  # one broken package does not take the others away
            logging.getLogger("rpo_jax").warning(f"entry point {point.name} of {GROUP} failed: {_where(error)}")
        finally:
            _importing.pop()
