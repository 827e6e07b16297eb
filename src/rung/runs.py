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
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

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

NAME = ".rung"
BLOCK = 65_536
"""Bytes read at once to find the end of a file's last line."""
TRIES = 3
"""Times that a fit is begun which is killed without getting any further."""


class Store:
    """Reads and writes one task's `.rung` folder. A line cut short by a killed process is dropped and asked again."""

    def __init__(self, task_folder: Path):
        self.folder = task_folder / NAME

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one climb. A second one is told so at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
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
            yield
        finally:
            lock.release()

    # --- fits -------------------------------------------------------------------------------------------------

    def fitted(self, key: str) -> Predictor | None:
        folder = self.folder / "fits" / key
        return predictors.load(folder) if folder.is_dir() else None

    def fit_notes(self, key: str) -> dict[str, Any]:
        path = self.folder / "fits" / key / "fit.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def workplace(self, key: str) -> Path:
        """A fit's own folder, empty but for the checkpoints of an earlier try."""
        folder = self.folder / "work" / key
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            if left.name != "work":
                shutil.rmtree(left) if left.is_dir() else left.unlink()
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
        write(mark, {"tries": tries, "at": at})
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
        folder = self.folder / "fits" / key
        predictors.save(fitted, folder, {"fit.json": json.dumps(notes, indent=1, default=str)})
        shutil.rmtree(self.folder / "work" / key, ignore_errors=True)
        return predictors.load(folder)

    # --- predictions ------------------------------------------------------------------------------------------

    def predictions(self, digest: str) -> dict[str, Prediction]:
        return {line["id"]: prediction(line) for line in _lines(self.folder / "predictions" / f"{digest}.jsonl")}

    def keep_predictions(self, digest: str, predictions: Iterable[Prediction]) -> None:
        _append(self.folder / "predictions" / f"{digest}.jsonl", map(asdict, predictions))

    def marks(self, judge: str) -> dict[str, str]:
        """What a judge that runs here has said, by the content of what it was asked."""
        return {line["id"]: line["mark"] for line in _lines(self.folder / "marks" / f"{judge}.jsonl")}

    def keep_marks(self, judge: str, marks: Mapping[str, str]) -> None:
        _append(self.folder / "marks" / f"{judge}.jsonl", ({"id": name, "mark": mark} for name, mark in marks.items()))

    def latency(self, digest: str) -> Latency | None:
        path = self.folder / "latency" / f"{digest}.json"
        if not path.exists():
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        return Latency(Interval(**found["p50"]), Interval(**found["p95"]))

    def keep_latency(self, digest: str, latency: Latency) -> None:
        write(self.folder / "latency" / f"{digest}.json", asdict(latency))

    # --- records ----------------------------------------------------------------------------------------------

    def records(self) -> list[Record]:
        return [record(line) for line in _lines(self.folder / "records.jsonl")]

    def keep_record(self, record: Record) -> None:
        _append(self.folder / "records.jsonl", [asdict(record)])

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; empty where there is none."""
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def write(self, name: str, value: Any) -> None:
        write(self.folder / name, value)


def write(path: Path, value: Any) -> None:
    """A JSON file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=1, default=str), encoding="utf-8")
    part.replace(path)


def decision(content: dict[str, Any]) -> Decision:
    """A Decision from its JSON."""
    return Decision(
        content["verdict"],
        content["chosen"],
        content["why"],
        tuple(RungVerdict(**v) for v in content["rungs"]),
        tuple(Comparison(**{**c, "difference": Interval(**c["difference"])}) for c in content["comparisons"]),
    )


def _append(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Add whole lines; a half line that a killed process left is cut off first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    with path.open("ab+") as file:
        file.truncate(_whole(file))
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _whole(file: BinaryIO) -> int:
    """Bytes up to the end of the last whole line. Read from the end: a file may be long and is added to row by row."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)


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
    return Prediction(**{**content, "sources": tuple(Source(**source) for source in content.get("sources", ()))})


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
