"""Registries of environments, variants, heads and networks, in which users register their own by name.

A module that registers names is imported if it is given to the command (`rpo-jax ... --import my_module`), or if an
installed package lists it as an entry point of the group `rpo_jax`.
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

from rpo_jax.errors import SettingsError, described, unknown_name

GROUP = "rpo_jax"  # of entry points
Thing = TypeVar("Thing")
_importing: list[str] = []  # modules that are being imported, outermost first


class Registry(Mapping[str, Thing], Generic[Thing]):
    """Objects of one kind by name: those of rpo_jax, and those that users register.

    Attributes:
        kind: name of the kind, such as "variant".
    """

    def __init__(self, kind: str, own: Mapping[str, Thing]):
        """Creates a registry without objects of users.

        Args:
            kind: name of the kind, such as "variant".
            own: objects of rpo_jax by name; their names cannot be registered again.
        """
        self.kind = kind
        self._own = dict(own)
        self._registered: dict[str, Thing] = {}
        self._origins: dict[str, str] = {}

    def add(self, name: str, thing: Thing, pattern: str = r"[\w.-]+") -> None:
        """Registers an object of a user. It replaces an object that was registered before with the same name.

        Args:
            name: its name.
            thing: the object.
            pattern: regular expression that the whole name must match.

        Raises:
            SettingsError: if the name belongs to rpo_jax, or does not match the pattern.
        """
        if name in self._own:
            raise SettingsError(f"{self.kind} {name!r} belongs to rpo_jax; choose another name")
        if not isinstance(name, str) or not re.fullmatch(pattern, name):
            raise SettingsError(
                f"{name!r} cannot be the name of a registered {self.kind}: it must be letters, digits and . _ - (of an "
                "environment: suite/id)"
            )
        self._registered[name] = thing
        self._origins.pop(name, None)
        if _importing:
            self._origins[name] = _importing[0]

    def knows(self, name: str) -> bool:
        """Returns whether a name is known; imports the entry points of installed packages if necessary.

        Args:
            name: name of an object.
        """
        if name not in self:
            _import_entry_points()
        return name in self

    def import_all(self) -> None:
        """Imports the entry points of all installed packages."""
        _import_entry_points()

    def find(self, name: str) -> Thing:
        """Returns the object of a name; imports the entry points of installed packages if necessary.

        Args:
            name: name of an object.

        Raises:
            SettingsError: if the name is unknown.
        """
        if not self.knows(name):
            raise SettingsError(f"{unknown_name(self.kind, name, self)}; --import MODULE imports your own")
        return self[name]

    def own_name(self, thing: Thing) -> str | None:
        """Returns the name of an object of rpo_jax; None for an object of a user.

        Args:
            thing: the object.
        """
        return next((name for name, own in self._own.items() if own == thing), None)

    def origin(self, name: str) -> str | None:
        """Returns the module whose import registered a name; None if no import did.

        Args:
            name: name of an object.
        """
        return self._origins.get(name)

    @property
    def registered(self) -> tuple[str, ...]:
        """The names that users registered."""
        return tuple(self._registered)

    def __getitem__(self, name: str) -> Thing:
        return self._registered[name] if name in self._registered else self._own[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._own, **self._registered})

    def __len__(self) -> int:
        return len(self._own) + len(self._registered)


def import_modules(names: tuple[str, ...]) -> None:
    """Imports modules that register names. The current folder is searched too, as by `python -m`.

    Args:
        names: names of modules, such as "my_module" or "my_package.methods".

    Raises:
        SettingsError: if a module is not found, or its import fails.
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
        except Exception as error:  # the module of a user can raise any error
            raise SettingsError(f"--import {name} failed: {_where(error)}") from None
        finally:
            _importing.pop()


def _where(error: Exception) -> str:
    """Describes an error with the file and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{described(error)}{place}"


@lru_cache
def _import_entry_points() -> None:
    for point in entry_points(group=GROUP):
        try:
            _importing.append(point.value)
            point.load()
        except Exception as error:  # other packages are still imported
            logging.getLogger("rpo_jax").warning(f"entry point {point.name} of {GROUP} failed: {_where(error)}")
        finally:
            _importing.pop()
