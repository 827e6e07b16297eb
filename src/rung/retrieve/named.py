"""Findings of `rung check` about the rows' sources: unknown, ambiguous or restricted documents."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Literal

from rung.data.finding import Finding, Parts, first_places
from rung.retrieve.access import label
from rung.retrieve.knowledge import is_open, named
from rung.sources import Documents, ResolvedSource
from rung.types import Example, Texts

MAX_SOURCES = 5
"""Most different sources in one finding."""

State = Literal["none", "unknown", "ambiguous", "closed", "open"]


def findings(parts: Parts, texts: Texts) -> list[Finding]:
    """Findings over all splits. Spellings are shown only for train and dev, since the test rows are sealed."""
    rows = [row for name in parts for row in parts[name]]
    shown = [row for name in parts if name != "test" for row in parts[name]]
    by_state: dict[State, list[Example]] = {}
    for row in rows:
        by_state.setdefault(_state(row, texts), []).append(row)
    guarded = any(name for _, name in texts.access)
    out = []
    if found := by_state.get("unknown"):
        what = _problem("names no document", found, len(rows), _spelt(found, shown, texts), guarded)
        out.append(
            Finding("unknown-source", "block", what, _remedy(guarded), first_places(row.where for row in found), len(found))
        )
    if found := by_state.get("ambiguous"):
        what = _problem("can mean several documents", found, len(rows), _spelt(found, shown, texts), guarded)
        out.append(
            Finding("ambiguous-source", "block", what, _remedy(guarded), first_places(row.where for row in found), len(found))
        )
    seen = {id(row) for row in shown}
    if guarded and (found := [row for row in by_state.get("closed", []) if id(row) in seen]):
        out.append(_closed(found, len(shown)))
    if guarded and (found := by_state.get("none")):
        out.append(_unnamed(found, len(rows)))
    return out


def _state(row: Example, texts: Texts) -> State:
    found = named(texts).find(row.source)
    if not found:
        return "none"
    if not all(one.may for one in found):
        return "unknown"
    if not all(one.path for one in found) or any(_is_both(one, texts) for one in found):
        return "ambiguous"
    return "open" if is_open(row.source, texts) else "closed"


def _is_both(one: ResolvedSource, texts: Texts) -> bool:
    """Whether it names an open document in a spelling that may also mean a restricted one."""
    return not label(texts.access, one.path) and any(label(texts.access, path) for path in one.may)


def _spelt(found: Sequence[Example], shown: Sequence[Example], texts: Texts) -> list[str]:
    """The first few different sources of these rows, each with the documents it may mean."""
    known, seen = named(texts), {id(row) for row in shown}
    wrong = (one for row in found if id(row) in seen for one in known.find(row.source) if len(one.may) != 1 or not one.path)
    return list(islice(dict.fromkeys(f"{one.given!r} ({_meant(one, known)})" for one in wrong), MAX_SOURCES))


def _meant(one: ResolvedSource, known: Documents) -> str:
    if one.may:
        return "may be " + " or ".join(one.may[:MAX_SOURCES])
    near = known.nearest(one.given)
    return f"nearest: {', '.join(near)}" if near else "nothing is like it"


def _problem(what: str, rows: Sequence[Example], of: int, spelt: Sequence[str], guarded: bool) -> str:
    return f"{len(rows)} of {of} rows have a source that {what}{_listed(spelt)}.{_until(guarded)}"


def _listed(spelt: Sequence[str]) -> str:
    return f": {'; '.join(spelt)}" if spelt else ""


def _until(guarded: bool) -> str:
    return " Until then they count as closed: nothing is learnt from them." if guarded else ""


def _remedy(guarded: bool) -> str:
    """An empty cell would open the row, so it is not a remedy if documents are restricted."""
    way = "Write the path as citations show it, with its folders and ending"
    return f"{way}." if guarded else f"{way}; or leave the cell empty where no document answers."


def _closed(rows: Sequence[Example], of: int) -> Finding:
    """A climb has no access labels, so it can neither train on such rows nor answer them."""
    return Finding(
        "closed-source",
        "note",
        f"{len(rows)} of {of} rows of train and dev have their answer in a document with a label. Nothing is learnt"
        " from them, since it would be told to everyone, and those of dev are asked as by someone without labels.",
        "Take them out, so that the score is of questions that may be answered.",
        first_places(row.where for row in rows),
        len(rows),
    )


def _unnamed(rows: Sequence[Example], of: int) -> Finding:
    return Finding(
        "no-source",
        "warn",
        f"{len(rows)} of {of} rows name no source, and data.access closes some documents. These rows are taken for open: they"
        " are learnt from and shown to everyone.",
        "Name their documents in the column of data.source, or take out the rows that give closed ones away.",
        first_places(row.where for row in rows),
        len(rows),
    )
