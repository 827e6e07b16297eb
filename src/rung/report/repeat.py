"""How to reproduce a climb: the task as run, code, packages, machine, rows, and each rung's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from rung.report.numbers import money
from rung.report.report_data import ReportData
from rung.types import Record

SHARED = {
    "revision": "Git revision of the task folder",
    "packages": "Packages",
    "machine": "Machine",
    "base": "Base model, digest",
    "train": "Training rows, digest",
    "dev": "Dev rows, digest",
    "test": "Test rows, digest",
    "seed": "Seed",
}
"""Values that most rungs share, listed once; a rung lists its own if they differ."""
CURVES = ("losses", "held")
EMPTY: tuple[Any, ...] = (None, "", {}, [], [{}], ())


@dataclass(frozen=True, slots=True)
class RungRecipe:
    rung: str
    text: str
    """YAML."""
    traceback: str


@dataclass(frozen=True, slots=True)
class Recipe:
    task: str
    """rung.yaml as run, with defaults."""
    shared: tuple[tuple[str, str], ...]
    rungs: tuple[RungRecipe, ...]


def recipe(found: ReportData) -> Recipe:
    """The task, what the rungs share, and each rung's own values."""
    measured = [record.provenance.to_json() for record in found.measured]
    common = measured[0] if measured else {}
    shared = tuple((title, _plain(key, common[key])) for key, title in SHARED.items() if key in common)
    return Recipe(as_yaml(given(found.task)), shared, tuple(_rung(record, common) for record in found.records))


def given(task: Mapping[str, Any]) -> dict[str, Any]:
    """The task without empty keys, usable as rung.yaml."""
    kept = {key: given(value) if isinstance(value, Mapping) and key != "labels" else value for key, value in task.items()}
    return {key: value for key, value in kept.items() if value not in EMPTY}


def as_yaml(value: Any) -> str:
    """Plain values as YAML, keys in order."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _without_curves(notes: Mapping[str, Any]) -> dict[str, Any]:
    """The notes of a fit, and of the parts that it trained beside, without the curves that the page draws."""
    return {k: _without_curves(v) if isinstance(v, Mapping) else v for k, v in notes.items() if k not in CURVES}


def _rung(record: Record, common: Mapping[str, Any]) -> RungRecipe:
    own = {key: value for key, value in record.provenance.to_json().items() if key not in SHARED or value != common.get(key)}
    own.pop("uncommitted", None)  # shown with the revision
    traceback = own.pop("traceback", "")
    own["notes"] = [_without_curves(note) for note in own.get("notes", ())]
    quote = {"fit_seconds": record.quote.fit_seconds, "row_seconds": record.quote.row_seconds} if record.quote else None
    content = {"status": record.status, "predictor": record.predictor, "quote": quote, **own}
    filled = {key: value for key, value in content.items() if value not in EMPTY}
    return RungRecipe(record.rung, as_yaml(filled), traceback)


def _plain(key: str, value: Any) -> str:
    if key == "revision":
        return _revision(value)
    if key == "packages":
        return ", ".join(f"{name} {version}" for name, version in value.items())
    if key == "machine":
        return (
            f"{value['name']}; {value['memory_bytes'] / 2**30:.0f} GiB; {value['device']}, {value['dtype']};"
            f" {money(value['usd_per_hour'])} an hour"
        )
    return str(value)


def _revision(value: str) -> str:
    if not value:
        return "none: the task folder is not in a git repository"
    if value.endswith("+"):  # older versions asked git
        return f"{value.removesuffix('+')}, with uncommitted changes"
    return f"{value}; uncommitted changes are not detected"
