"""What other packages add to rung's tables through entry points; read when a table is first asked, never when rung is imported.

A plug-in is code that the user installed. A task file names entries of the tables; it cannot install or import anything.
https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from rung.errors import PluginError

T = TypeVar("T")

NAME = re.compile(r"[a-z0-9][a-z0-9_-]+")
"""How an entry may be called. `:`, `+`, `@` and `.` mean something else where entries are named."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry that an installed package adds to a table."""

    group: str
    name: str
    package: str
    version: str
    value: str
    """Where it is: `module:attribute`."""

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


@dataclass(frozen=True, eq=False)
class Table(Generic[T]):
    """A table of rung's own entries and of those that installed packages add."""

    group: str
    """The entry points' group: `rung.methods`."""
    what: str
    """One entry in words: `method`."""
    own: Mapping[str, T]
    accept: Callable[[str, Any], T]
    """What a package gave under a name, as an entry. ValueError, saying what is wrong, where it is none."""

    def names(self) -> list[str]:
        """All names, rung's own first. Nothing is imported."""
        return [*self.own, *(name for name in _listed(self.group) if name not in self.own)]

    def get(self, name: str) -> T | None:
        """The entry of a name; None where there is none.

        PluginError where two packages claim the name, or where the package that adds it cannot be imported or adds
        something else. Other names are not affected.
        """
        added = _listed(self.group).get(name, ())
        claims = [*(["rung"] if name in self.own else []), *map(str, added)]
        if len(claims) > 1:
            raise PluginError(
                f"the {self.what} {name!r} is claimed by {' and by '.join(claims)}.",
                where=self.group,
                remedy=f"Uninstall one: pip uninstall {added[-1].package}.",
            )
        return self._added(added[0]) if added else self.own.get(name)

    def added(self, name: str) -> bool:
        """Whether an installed package adds this name and rung does not have it."""
        return name not in self.own and name in _listed(self.group)

    def origin(self, name: str) -> str:
        """Package and version that add a name, for keys and records; empty for rung's own. Nothing is imported."""
        return " and ".join(map(str, _listed(self.group)[name])) if self.added(name) else ""

    def origins(self) -> list[str]:
        """Packages and versions that add anything to this table."""
        return sorted({str(one) for several in _listed(self.group).values() for one in several})

    def _added(self, plugin: Plugin) -> T:
        loaded = _load(plugin)
        try:
            if not NAME.fullmatch(plugin.name):
                raise ValueError("names have lower-case letters, digits, - and _, at least two of them")
            return self.accept(plugin.name, loaded)
        except ValueError as error:
            raise PluginError(
                f"{plugin} adds {plugin.name!r} ({plugin.value}), which is no {self.what}: {error}.",
                where=self.group,
                remedy=_remedy(plugin),
            ) from error


def origin(value: object) -> str:
    """Package and version whose plug-in brought the class of a value; empty for rung's own classes."""
    kind = type(value)
    if kind.__module__.partition(".")[0] == "rung":
        return ""
    return next((str(plugin) for plugin, loaded in _LOADED.items() if kind in (loaded, type(loaded))), "")


def forget() -> None:
    """Read the entry points anew when next asked: for a notebook that has just installed a plug-in."""
    _all.cache_clear()
    _LOADED.clear()


_LOADED: dict[Plugin, Any] = {}
"""What has been imported, so that each is imported once."""


@cache
def _all() -> dict[str, dict[str, tuple[Plugin, ...]]]:
    """The plug-ins of all groups by name; several of one name where packages clash.

    A package that lies in the working directory is none: `python -m rung.cli` puts it on the path, and it may be a task folder
    that somebody sent.
    """
    from importlib.metadata import distributions

    found: dict[str, dict[str, list[Plugin]]] = {}
    here, seen = Path.cwd().resolve(), set()
    for package in distributions():
        entries = [entry for entry in package.entry_points if entry.group.startswith("rung.")]
        if not entries or Path(str(package.locate_file(""))).resolve() == here or package.name in seen:
            continue
        seen.add(package.name)  # of one that is on the path twice, Python imports the first
        for entry in entries:
            plugin = Plugin(entry.group, entry.name, package.name, package.version, entry.value)
            found.setdefault(entry.group, {}).setdefault(entry.name, []).append(plugin)
    return {group: {name: tuple(several) for name, several in sorted(names.items())} for group, names in found.items()}


def _listed(group: str) -> dict[str, tuple[Plugin, ...]]:
    return _all().get(group, {})


def _load(plugin: Plugin) -> Any:
    from importlib.metadata import EntryPoint

    if plugin not in _LOADED:
        try:
            _LOADED[plugin] = EntryPoint(plugin.name, plugin.value, plugin.group).load()
        except Exception as error:  # a package may raise anything while it is imported
            raise PluginError(
                f"{plugin.name!r} comes from {plugin}, which cannot be imported: {type(error).__name__}: {error}.",
                where=plugin.group,
                remedy=_remedy(plugin),
            ) from error
    return _LOADED[plugin]


def _remedy(plugin: Plugin) -> str:
    return f"Update it (pip install --upgrade {plugin.package}) or uninstall it (pip uninstall {plugin.package})."
