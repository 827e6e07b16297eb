"""Signed JSON texts and signed lines of a store. What is unsigned or damaged counts as absent and is reported."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from rung import signed
from rung.store.codec import adapter, from_lines
from rung.store.rows import Rows

T = TypeVar("T")

LOST = {
    "records.jsonl": "Those rungs are measured again.",
    "predictions": "Those rows are asked again.",
    "marks": "The judge is asked again.",
    "test.json": "The number of looks at the test rows is lost.",
    "decision.json": "Climb again; the measurements are in records.jsonl.",
    "fits": "It is fitted again.",
    "work": "The fit starts again.",
    "precision.json": "It is chosen again.",
    "samples.json": "Those rungs are asked four rows again.",
    "store.json": "The folder itself is the store, unless --store names another.",
}
"""What happens after an unsigned or damaged file, by the first part of its name."""
ANEW = "It is measured again."


class SignedRows:
    """Reads and writes signed texts. A line cut short by a killed process is dropped."""

    def __init__(self, rows: Rows, say: Callable[[str], object] = warnings.warn):
        """`say`: receives each text that is not used, once, with the reason."""
        self.rows, self._say = rows, say
        self._reported: set[str] = set()

    def read(self, name: str) -> dict[str, Any]:
        """A JSON text of the store; empty if there is none with a valid signature."""
        text = self.rows.read(name)
        if text is None:
            return {}
        value, why = signed.opened(name, text)
        if why:
            self._report(name, why)
        return value if value and not why else {}

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a JSON text of the store."""
        self.rows.write(name, signed.seal(name, signed.dumps(value, indent=1)))

    def change(self, name: str, how: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Replace a JSON text by what `how` makes of it. Nobody else changes it in between."""
        with self.rows.alone():
            self.write(name, how(self.read(name)))

    def _append(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        self.rows.append(name, "".join(signed.seal(name, signed.dumps(row)) + "\n" for row in rows))

    def _lines(self, name: str, kind: type[T], same: Callable[[T], Any], same_raw: Callable[[dict[str, Any]], Any]) -> list[T]:
        """The values of a text's lines. Other lines are reported with the reason, unless a later line replaces them.

        `same`: the identity of a value, of which the last line counts; `same_raw`: the same for a line's JSON.
        """
        found: list[T] = []
        faults: list[tuple[int, str, Any]] = []
        if not (lines := self.rows.lines(name)):
            return []
        holds = signed.checker(name)
        signed_lines = [holds(line) for line in lines]
        values = iter(from_lines(kind, [line for line, right in zip(lines, signed_lines) if right]))
        for number, (line, right) in enumerate(zip(lines, signed_lines), 1):
            value = next(values) if right else None
            if value is None:
                value, why, what = self._slow(name, kind, line, same_raw)
                if value is None:
                    faults.append((number, why, what))
                    continue
            found.append(value)
        known = set(map(same, found)) if faults else set()
        self._report_lines(name, [(number, why) for number, why, what in faults if what is None or what not in known])
        return found

    def _slow(self, name: str, kind: type[T], line: bytes, same: Callable[[dict[str, Any]], Any]) -> tuple[T | None, str, Any]:
        """A line's value, or why there is none, and the identity by which a later line may replace it."""
        raw, why = signed.opened(name, line.decode("utf-8", "replace"))
        if raw is None or why:
            return None, why, same(raw) if raw else None
        try:
            return adapter(kind).validate_python(raw), "", None
        except ValueError:
            return None, "is damaged: its fields are not those of such a line", same(raw)

    # --- what is not used -------------------------------------------------------------------------------------

    def _report_lines(self, name: str, faults: list[tuple[int, str]]) -> None:
        for why in dict.fromkeys(why for _, why in faults):
            numbers = [number for number, text in faults if text == why]
            shown = ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
            self._report(name, why, f"line {shown}: ")

    def _report(self, name: str, why: str, which: str = "") -> None:
        lost = LOST.get(name.partition("/")[0], ANEW)
        remedy = "" if "damaged" in why else f" {signed.TRUST}"
        self.say_once(f"{self.rows.place(name)}: {which}it {why}. {lost}{remedy}")

    def say_once(self, text: str) -> None:
        """Tell the user, unless it was said before."""
        if text not in self._reported:
            self._reported.add(text)
            self._say(text)
