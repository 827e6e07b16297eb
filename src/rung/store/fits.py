"""Fits: saved Predictors under their keys, and the folders of unfinished fits."""

from __future__ import annotations

import json
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from rung import files, signed
from rung import predictor as predictors
from rung.errors import RungError
from rung.predictor import Predictor
from rung.store.leased import LeasedRows
from rung.store.objects import Objects
from rung.store.rows import FolderRows, Rows

OWN = ".own"
"""Suffix of the signed file beside a workplace that shows that this user made its content."""
TRIES = 3
"""Attempts at a fit that is killed without progress."""


class Fits(LeasedRows):
    """The fits of one task. They are worked on in a folder of this machine, whatever the store."""

    def __init__(
        self,
        folder: Path,
        rows: Rows | None = None,
        objects: Objects | None = None,
        say: Callable[[str], object] = warnings.warn,
    ):
        """`objects`: where the files of fits are besides the folder; None if they are in the folder alone."""
        super().__init__(rows or FolderRows(folder), say)
        self.folder, self.objects = folder, objects
        self._whole: set[str] = set()
        self._workplaces: dict[str, Path] = {}

    def fitted(self, key: str) -> Predictor | None:
        """The Predictor saved under a key; None if there is none with a valid signature."""
        folder, name = self.folder / "fits" / key, f"fits/{key}"
        if not folder.is_dir() and not self._fetched(key):
            return None
        if name not in self._whole:
            if why := signed.fault(name, folder):
                self._report(name, why)
                return None
            self._whole.add(name)
        return predictors.load(folder)

    def fit_notes(self, key: str) -> dict[str, Any]:
        """The notes of a fit that `fitted` returned."""
        path = self.folder / "fits" / key / "fit.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def workplace(self, key: str) -> Path:
        """A fit's own folder, empty except for checkpoints of this user's earlier attempt. For who has the lease of `fits/KEY`.

        Once the lease was taken from a process that may still run, the folder is another one for each later attempt, with a
        copy of the newest checkpoints.
        """
        folder, mark = self.folder / "work" / key, f"work/{key}{OWN}"
        others = [path for path in folder.parent.glob(f"{key}-*") if not path.name.endswith(files.PART)]
        begun = any((path / "work").exists() for path in (folder, *others))
        ours = begun and bool(self.read(mark))
        if begun and not self.rows.stamp(mark):
            self._report(f"work/{key}", signed.UNSIGNED)
        if not ours:  # or they would pass for this user's as soon as the mark is written
            for left in others:
                shutil.rmtree(left)
        if self.taken_over(f"fits/{key}") or (ours and others):
            newest = max((folder, *others), key=_newest) if ours else None
            folder = _moved(newest, folder.with_name(f"{key}-{secrets.token_hex(8)}"))
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            if not (ours and left.name == "work"):
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        if not ours:
            self.write(mark, {"key": key})
        self._workplaces[key] = folder
        return folder

    @contextmanager
    def trying(self, key: str) -> Iterator[None]:
        """Counts attempts at a fit. RungError after `TRIES` attempts that were killed at the same point.

        A Python exception resets the count; a killed process does not, and systems short of memory kill.
        """
        mark = self.folder / "work" / f"{key}.json"
        folder = self._workplaces.get(key, self.folder / "work" / key)
        work = folder / "work"
        points = (*work.rglob("checkpoint-*"), *work.glob(f"*{files.DONE}"))
        at = sorted(path.relative_to(work).as_posix() for path in points)
        before = self.read(f"work/{key}.json")
        tries = before["tries"] + 1 if before and before["at"] == at else 1
        if tries > TRIES:
            raise RungError(
                f"this fit was started {TRIES} times and the process was killed each time, most likely for lack of memory.",
                where=str(mark),
                remedy="Lower the method's option tokens, use a smaller base, or delete the file to try again.",
            )
        self.write(f"work/{key}.json", {"tries": tries, "at": at})
        try:
            yield
        except SystemExit:  # another process of this fit was killed and ended this one
            raise
        except BaseException:
            mark.unlink(missing_ok=True)
            raise
        mark.unlink(missing_ok=True)

    def keep_fit(self, key: str, fitted: Predictor, notes: dict[str, Any]) -> Predictor:
        """Save a fit under its key and clear its workplace; the Predictor returned uses the saved files.

        LeaseLostError if this process had the lease of `fits/KEY` and has lost it.
        """
        folder, name = self.folder / "fits" / key, f"fits/{key}"
        beside = {"fit.json": json.dumps(notes, indent=1, default=str)}
        predictors.save(fitted, folder, beside, partial(signed.seal_folder, name), self.under_lease(name))
        self.publish(key)
        self._whole.add(name)
        self._workplaces.pop(key, None)
        for left in (self.folder / "work" / key, *(self.folder / "work").glob(f"{key}-*")):
            shutil.rmtree(left, ignore_errors=True)
        (self.folder / "work" / f"{key}{OWN}").unlink(missing_ok=True)
        return predictors.load(folder)

    # --- fits that other machines see -------------------------------------------------------------------------

    def fit_keys(self) -> list[str]:
        """The keys of all fits, here and elsewhere."""
        here = [path.name for path in (self.folder / "fits").glob("*") if not path.name.endswith(files.PART)]
        there = [name[5:-5] for name in self.rows.names() if name.startswith("fits/")] if self.objects else []
        return sorted({*here, *there})

    def publish(self, key: str) -> None:
        """Copy a fit of the folder to where other machines find it: its files first, then the text that names them."""
        if self.objects is None:
            return
        folder = self.folder / "fits" / key
        manifest = (folder / signed.MANIFEST).read_text(encoding="utf-8")
        for path, name in json.loads(manifest)["files"].items():
            self.objects.put(folder / path, name)
        with self.under_lease(f"fits/{key}"):
            self.rows.write(f"fits/{key}.json", manifest)

    def take_fit(self, key: str, folder: Path) -> None:
        """Take a fit with its signed manifest from the folder of another store."""
        mine = self.folder / "fits" / key
        if folder != mine:
            with files.whole_folder(mine) as part:
                shutil.copytree(folder, part, dirs_exist_ok=True)
        self.publish(key)

    def _fetched(self, key: str) -> bool:
        """Whether a fit that another machine made is now in the folder, each file as its signed manifest says."""
        text = self.rows.read(f"fits/{key}.json") if self.objects else None
        if self.objects is None or text is None:
            return False
        value, why = signed.opened(f"fits/{key}", text)
        if why or value is None:
            self._report(f"fits/{key}.json", why)
            return False
        with suppress(_AbsentError), files.whole_folder(self.folder / "fits" / key) as part:
            for path, name in value["files"].items():
                if not self.objects.fetch(name, part / path):
                    self._report(f"fits/{key}.json", f"is damaged: {path} is not at {self.objects.place} as it was written")
                    raise _AbsentError
            files.write_text(part / signed.MANIFEST, text)
            return True
        return False


class _AbsentError(Exception):
    """A file of a fit is absent or changed."""


def _newest(place: Path) -> int:
    """When a file of a workplace's checkpoints was last written, in nanoseconds since 1970; 0 without one."""
    return max((path.lstat().st_mtime_ns for path in (place / "work").rglob("*")), default=0)


def _moved(old: Path | None, new: Path) -> Path:
    """Another workplace, with a copy of the old one's checkpoints, if there is an old one."""
    if old:
        with files.whole_folder(new) as part:
            shutil.copytree(old / "work", part / "work", dirs_exist_ok=True)
    return new
