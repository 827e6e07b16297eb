"""The `.rung` folder beside a task: fits, predictions and records, append-only and keyed by content.

lock                       one climb at a time
records.jsonl              one Record a line
fits/<key>/                a saved Predictor and fit.json (seconds, notes)
work/<key>/                a fit under way; its checkpoints survive a killed process
work/<key>.json            how often it was begun without getting any further
trackers/<key>/            what experiment trackers wrote of it
predictions/<digest>.jsonl answers of one Predictor, one row a line
latency/<digest>.json      its latency
marks/<digest>.jsonl       what a judging model has said, one question a line
ability/<digest>.json      general ability of one model, untouched or fitted
tune/<key>.json            a race of settings
test.json                  each look at the sealed rows, with its score
decision.json              the last decision

What is kept is signed (`rung.signed`) under its name in the folder, and is as good as absent where the signature does not
hold: said, and made anew. `trust` signs what is there.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from rung import files, signed
from rung import predictor as predictors
from rung.errors import BusyError, RungError
from rung.predictor import Predictor
from rung.types import (
    Comparison,
    Cost,
    Decision,
    Forgetting,
    Interval,
    Latency,
    Prediction,
    Record,
    RungVerdict,
    Scores,
    Source,
    Unscored,
)

T = TypeVar("T")

NAME = ".rung"
OWN = ".own"
"""How the signed mark beside a workplace ends: what lies in there was made by this user."""
TRIES = 3
"""Times that a fit is begun which is killed without getting any further."""


LOST = {
    "records.jsonl": "What they say is measured again.",
    "predictions": "Those rows are asked again.",
    "marks": "The judge is asked again.",
    "test.json": "How often the sealed rows were looked at is no longer known.",
    "decision.json": "Climb again; what was measured is kept in records.jsonl.",
    "fits": "It is fitted again.",
    "work": "The fit begins anew.",
}
"""What becomes of what cannot be believed or read, by the first part of its name."""
ANEW = "It is measured again."


class Store:
    """Reads and writes one task's `.rung` folder. A line cut short by a killed process is dropped and asked again."""

    def __init__(self, task_folder: Path, say: Callable[[str], object] = warnings.warn):
        """`say`: told once of each thing that is not used, and why."""
        self.folder, self._say = task_folder / NAME, say
        self._told: set[str] = set()
        self._whole: set[str] = set()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one climb. A second one is told so at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        inside(self.folder)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BusyError(
                "another rung process is at work in this task.",
                where=str(self.folder),
                remedy="Wait for it to end, or copy the task to another folder.",
            ) from None
        try:
            for name in ("", "fits", "predictions", "latency", "ability", "attack", "tune", "work"):
                files.sweep(self.folder / name)
            yield
        finally:
            lock.release()

    # --- fits -------------------------------------------------------------------------------------------------

    def fitted(self, key: str) -> Predictor | None:
        """The Predictor saved under a key; None where there is none that can be believed."""
        folder, name = self.folder / "fits" / key, f"fits/{key}"
        if not folder.is_dir():
            return None
        if name not in self._whole:
            if why := signed.fault(name, folder):
                self._tell(name, why)
                return None
            self._whole.add(name)
        return predictors.load(folder)

    def fit_notes(self, key: str) -> dict[str, Any]:
        """What was noted of a fit that `fitted` gave."""
        path = self.folder / "fits" / key / "fit.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def workplace(self, key: str) -> Path:
        """A fit's own folder, empty but for the checkpoints of an earlier try of this user's."""
        folder, mark = self.folder / "work" / key, f"work/{key}{OWN}"
        folder.mkdir(parents=True, exist_ok=True)
        begun = (folder / "work").exists()
        ours = begun and bool(self.read(mark))
        if begun and not (self.folder / mark).exists():
            self._tell(f"work/{key}", signed.UNSIGNED)
        for left in folder.iterdir():
            if not (ours and left.name == "work"):
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        if not ours:
            self.write(mark, {"key": key})
        return folder

    @contextmanager
    def trying(self, key: str) -> Iterator[None]:
        """A fit under way. RungError where it was cut off at the same point so often that another try would be, too.

        What Python can tell of is no such end; a killed process is, and systems short of memory kill.
        """
        mark = self.folder / "work" / f"{key}.json"
        at = sorted(path.name for path in (self.folder / "work" / key / "work").rglob("checkpoint-*"))
        before = self.read(f"work/{key}.json")
        tries = before["tries"] + 1 if before and before["at"] == at else 1
        if tries > TRIES:
            raise RungError(
                f"this fit was begun {TRIES} times and the process was killed each time, most likely for want of memory.",
                where=str(mark),
                remedy="Lower the method's option tokens, take a smaller base, or delete the file to try again.",
            )
        self.write(f"work/{key}.json", {"tries": tries, "at": at})
        try:
            yield
        except SystemExit:  # one of several processes was killed, and took this one along
            raise
        except BaseException:
            mark.unlink(missing_ok=True)
            raise
        mark.unlink(missing_ok=True)

    def keep_fit(self, key: str, fitted: Predictor, notes: dict[str, Any]) -> Predictor:
        """Save a fit under its key and clear its workplace; the Predictor returned uses the saved files."""
        folder, name = self.folder / "fits" / key, f"fits/{key}"
        beside = {"fit.json": json.dumps(notes, indent=1, default=str)}
        predictors.save(fitted, folder, beside, partial(signed.seal_folder, name))
        self._whole.add(name)
        shutil.rmtree(self.folder / "work" / key, ignore_errors=True)
        (self.folder / "work" / f"{key}{OWN}").unlink(missing_ok=True)
        return predictors.load(folder)

    # --- predictions ------------------------------------------------------------------------------------------

    def predictions(self, digest: str) -> dict[str, Prediction]:
        """Answers of a Predictor by row; the last one of a row counts."""
        return {one.id: one for one in self._lines(f"predictions/{digest}.jsonl", prediction, lambda row: row.get("id"))}

    def keep_predictions(self, digest: str, predictions: Iterable[Prediction]) -> None:
        self._append(f"predictions/{digest}.jsonl", map(asdict, predictions))

    def marks(self, judge: str) -> dict[str, str]:
        """What a judge that runs here has said, by the content of what it was asked."""
        return dict(self._lines(f"marks/{judge}.jsonl", lambda row: (row["id"], row["mark"]), lambda row: row.get("id")))

    def keep_marks(self, judge: str, marks: Mapping[str, str]) -> None:
        self._append(f"marks/{judge}.jsonl", ({"id": name, "mark": mark} for name, mark in marks.items()))

    def latency(self, digest: str) -> Latency | None:
        found = self.read(f"latency/{digest}.json")
        return Latency(Interval(**found["p50"]), Interval(**found["p95"])) if found else None

    def keep_latency(self, digest: str, latency: Latency) -> None:
        self.write(f"latency/{digest}.json", asdict(latency))

    # --- records ----------------------------------------------------------------------------------------------

    def records(self) -> list[Record]:
        def key(row: dict[str, Any]) -> Any:
            return (row.get("provenance") or {}).get("key")

        return list(self._lines("records.jsonl", record, key))

    def keep_record(self, record: Record) -> None:
        self._append("records.jsonl", [asdict(record)])

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; empty where there is none that can be believed."""
        path = self.folder / name
        if not path.is_file():
            return {}
        value, why = signed.opened(name, path.read_text(encoding="utf-8", errors="replace"))
        if why:
            self._tell(name, why)
        return value if value and not why else {}

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """A JSON file of the folder."""
        files.write_text(self.folder / name, signed.seal(name, signed.dumps(value, indent=1)))

    def _append(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        files.append(self.folder / name, "".join(signed.seal(name, signed.dumps(row)) + "\n" for row in rows))

    def _lines(self, name: str, made: Callable[[dict[str, Any]], T], same: Callable[[dict[str, Any]], Any]) -> list[T]:
        """What the lines of a file say. Said of the others: which lines, and why; not where a later line makes up for one.

        `same`: what two lines have in common of which the later counts.
        """
        found, known, faults = [], set(), []
        for number, text in files.lines(self.folder / name):
            value, why = signed.opened(name, text)
            if value is not None and not why:
                try:
                    found.append(made(value))
                except (TypeError, KeyError, ValueError, AttributeError):
                    why = "is damaged: it does not hold what such a line holds"
                else:
                    known.add(same(value))
            if why:
                faults.append((number, why, same(value) if value else None))
        self._tell_lines(name, [(number, why) for number, why, what in faults if what is None or what not in known])
        return found

    # --- what is not used -------------------------------------------------------------------------------------

    def _tell_lines(self, name: str, faults: list[tuple[int, str]]) -> None:
        for why in dict.fromkeys(why for _, why in faults):
            numbers = [number for number, told in faults if told == why]
            shown = ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
            self._tell(name, why, f"line {shown}: ")

    def _tell(self, name: str, why: str, which: str = "") -> None:
        lost = LOST.get(name.partition("/")[0], ANEW)
        remedy = "" if "damaged" in why else f" {signed.TRUST}"
        told = f"{self.folder / name}: {which}it {why}. {lost}{remedy}"
        if told not in self._told:
            self._told.add(told)
            self._say(told)


def inside(folder: Path) -> None:
    """RungError where something of a `.rung` folder is a link: what is written to it would land somewhere else.

    The folder itself may be one, to where there is room, if it leads to such a folder or to an empty one.
    """
    if folder.is_symlink() and not (folder / "lock").exists() and any(folder.iterdir()):
        raise RungError("it is a link to a folder that is none of rung's.", where=str(folder), remedy="Delete the link.")
    for path in (*folder.iterdir(), *folder.glob("[!i]*/*")):
        if path.is_symlink():
            raise RungError("it is a link, and what is kept here is not written elsewhere.", where=str(path), remedy="Delete it.")


def decision(content: dict[str, Any]) -> Decision:
    """A Decision from its JSON."""
    return Decision(
        content["verdict"],
        content["chosen"],
        content["why"],
        tuple(RungVerdict(**v) for v in content["rungs"]),
        tuple(Comparison(**{**c, "difference": Interval(**c["difference"])}) for c in content["comparisons"]),
    )


def record(content: dict[str, Any]) -> Record:
    """A Record from its JSON."""

    def made(kind: Any, name: str) -> Any:
        return None if content[name] is None else kind(content[name])

    return Record(
        **{
            **content,
            "scores": made(scores, "scores"),
            "quote": made(lambda c: Cost(**c), "quote"),
            "cost": made(lambda c: Cost(**c), "cost"),
            "latency": made(lambda c: Latency(Interval(**c["p50"]), Interval(**c["p95"])), "latency"),
            "forgetting": made(forgetting, "forgetting"),
        }
    )


def forgetting(content: dict[str, Any]) -> Forgetting:
    """Forgetting from its JSON."""
    return Forgetting(
        Interval(**content["loss"]),
        Interval(**content["accuracy"]),
        content["unit"],
        tuple(content["rises"]),
        tuple(content["tokens"]),
    )


def prediction(content: dict[str, Any]) -> Prediction:
    """A Prediction from its JSON."""
    return Prediction(**{**content, "sources": tuple(_source(source) for source in content.get("sources", ()))})


def scores(content: dict[str, Any]) -> Scores:
    """Scores from their JSON."""
    return Scores(
        content["metric"],
        content["split"],
        Interval(**content["overall"]),
        tuple(content["ids"]),
        tuple(content["per_row"]),
        tuple(content["outputs"]),
        {name: Interval(**found) for name, found in content["others"].items()},
        tuple(Unscored(**row) for row in content.get("unscored", ())),
    )


def _source(content: dict[str, Any]) -> Source:
    return Source(**{**content, "left_out": tuple(content.get("left_out", ()))})
