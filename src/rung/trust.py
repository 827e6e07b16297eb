"""Accepts a `.rung` folder written by another user, machine or version, by signing it with this user's key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rung import files, predictor, signed
from rung.errors import RungError
from rung.lm.remote.calls import LEDGER, FileCalls
from rung.lm.remote.ledger import signed_text, verified
from rung.retrieve.ours import claim
from rung.store import OWN, Store

LINES = ("records.jsonl", "predictions/*.jsonl", "marks/*.jsonl")
VALUES = ("decision.json", "claims.json", "test.json", "index.json", "precision.json", "samples.json", "*/*.json")
"""`*/*.json`: latency, ability, attack, tune and unfinished fits. Finished fits have a manifest."""


@dataclass(frozen=True, slots=True)
class TrustSummary:
    """Counts of newly signed content."""

    lines: int = 0
    files: int = 0
    fits: int = 0
    answers: int = 0
    """API answers in the ledger."""
    indexes: int = 0
    left: tuple[str, ...] = ()
    """What could not be accepted, and why."""


def trust(store: Store) -> TrustSummary:
    """Sign all content of a `.rung` folder except damaged parts. Paths that lead out of it are never accepted."""
    left: list[str] = []
    with store.locked():
        for path in _found(store.folder, ("work/*",)):
            if path.is_dir():
                store.write(f"work/{path.name}{OWN}", {"key": path.name})
        return TrustSummary(
            sum(_lines(store.folder, path, left.append) for path in _found(store.folder, LINES)),
            sum(_value(store.folder, path, left.append) for path in _found(store.folder, VALUES)),
            sum(_fit(path, left.append) for path in _found(store.folder, ("fits/*",))),
            _api_answers(store.folder),
            sum(map(claim, _found(store.folder, ("index", "index-*")))),
            tuple(left),
        )


def _found(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted(path for pattern in patterns for path in folder.glob(pattern) if not path.is_symlink())


def _lines(folder: Path, path: Path, tell: Callable[[str], None]) -> int:
    name = path.relative_to(folder).as_posix()
    kept, new = [], 0
    for number, text in files.lines(path):
        value, why = signed.opened(name, text)
        if value is None:
            tell(f"{path}, line {number}: it {why}, and is left out.")
            continue
        new += bool(why)
        kept.append(signed.seal(name, signed.dumps(value)) + "\n" if why else text + "\n")
    files.write_text(path, "".join(kept))
    return new


def _value(folder: Path, path: Path, tell: Callable[[str], None]) -> int:
    name = path.relative_to(folder).as_posix()
    value, why = signed.opened(name, path.read_text(encoding="utf-8", errors="replace"))
    if value is None:
        tell(f"{path}: it {why}, and is left as it is.")
    elif why:
        files.write_text(path, signed.seal(name, signed.dumps(value, indent=1)))
    return bool(value is not None and why)


def _fit(folder: Path, tell: Callable[[str], None]) -> int:
    name = f"fits/{folder.name}"
    if folder.name.endswith(files.PART) or not signed.fault(name, folder):
        return 0
    try:
        if strange := files.links(folder):
            raise RungError("it is a link or a special file.", where=str(strange[0]))
        predictor.load(folder)
        signed.seal_folder(name, folder)
    except RungError as error:
        tell(f"{error} The fit is left as it is.")
        return 0
    return 1


def _api_answers(folder: Path) -> int:
    """Number of newly signed API answers."""
    path = folder / LEDGER
    if not path.is_file() or path.is_symlink():
        return 0
    calls = FileCalls(folder)
    with calls.alone():
        checked = [(key, *verified(key, content)) for key, content in calls.answers().items()]
        new = [(key, value) for key, value, why in checked if value and why]
        for key, value in new:
            calls.keep(key, signed_text(key, value))
    return len(new)
