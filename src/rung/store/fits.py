"""Fits: saved Predictors under their keys, and the folders of fits under way."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rung import predictor as predictors
from rung import signed
from rung.errors import RungError
from rung.predictor import Predictor
from rung.store.signed_folder import SignedFolder

OWN = ".own"
"""How the signed mark beside a workplace ends: what lies in there was made by this user."""
TRIES = 3
"""Times that a fit is begun which is killed without getting any further."""


class Fits(SignedFolder):
    """The fits of one task."""

    def __init__(self, folder: Path, say: Callable[[str], object] = warnings.warn):
        super().__init__(folder, say)
        self._whole: set[str] = set()

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
