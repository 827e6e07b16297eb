"""A store copied into another: texts, lines and fits, with their signatures as they are.

A copy that was interrupted is finished by the next one. What the target has of its own is not written over: two climbs that
have opened sealed rows, or spent error on them, are not one climb.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rung.errors import RungError
from rung.lm.remote.calls import NOTHING, Spent
from rung.store.api_calls import FOLDER, calls_of, has_calls
from rung.store.split import LOCAL
from rung.store.store import Store

LINES = ".jsonl"
OWN_TO_A_STORE = (*LOCAL, "leases/", "fits/", "store.json", "jobs/", FOLDER)
"""How the names of texts begin that are not copied; fits and API calls are, in another way."""


@dataclass(frozen=True, slots=True)
class Copied:
    """Counts of what was not in the target before."""

    texts: int = 0
    lines: int = 0
    fits: int = 0
    api_answers: int = 0
    note: str = ""
    """What the copy leaves out; empty if nothing."""


def copy(source: Store, target: Store) -> Copied:
    """Copy what the target lacks.

    RungError, before anything is copied, if a text of the target is another one, or if it has no place for fits.
    """
    keys = source.fit_keys()
    if keys and not _has_place(target):
        raise RungError(
            "the target has no place for fits, and the source has some.",
            where=str(target.address),
            remedy="Add files=PLACE to its address: a folder that all machines see, or a URL such as s3://bucket/rung.",
        )
    names = [name for name in source.rows.names() if not name.startswith(OWN_TO_A_STORE)]
    wholes = {name: text for name in names if not name.endswith(LINES) and (text := source.rows.read(name)) is not None}
    theirs = {name: target.rows.read(name) for name in wholes}
    if differ := [name for name, text in wholes.items() if theirs[name] not in (None, text)]:
        raise RungError(
            f"the target has another {differ[0]} already.",
            where=target.rows.place(differ[0]),
            remedy="Copy to another place, or under another name with ?task=NAME.",
        )
    if has_calls(source):
        _one_account(_spent(source), _spent(target), target)
    lines = sum(_lines(source, target, name) for name in names if name.endswith(LINES))
    fits = sum(_fit(source, target, key) for key in keys)
    new = [name for name in wholes if theirs[name] is None]
    for name in new:
        target.rows.write(name, wholes[name])
    api_answers = _api_calls(source, target) if has_calls(source) else 0
    note = "" if _has_place(source) else "no fits were copied: without files=PLACE they are in the .rung folders of its machines."
    return Copied(len(new), lines, fits, api_answers, note)


def _has_place(store: Store) -> bool:
    """Whether fits are part of the store itself, rather than of the folder of each machine that uses it."""
    return store.address is None or store.objects is not None


def _lines(source: Store, target: Store, name: str) -> int:
    known = set(target.rows.lines(name))
    new = [line for line in source.rows.lines(name) if line not in known]
    if new:
        target.rows.append(name, b"".join(line + b"\n" for line in new).decode("utf-8", "replace"))
    return len(new)


def _spent(store: Store) -> Spent:
    return calls_of(store).spent() if has_calls(store) else NOTHING


def _one_account(spent: Spent, theirs: Spent, target: Store) -> None:
    """RungError unless the target has spent nothing, or the same."""
    if theirs not in (NOTHING, spent):
        raise RungError(
            f"the target has an account of API calls already: {theirs}, and the source {spent}.",
            where=str(target.address or target.folder),
            remedy="Copy to another place, or under another name with ?task=NAME.",
        )


def _api_calls(source: Store, target: Store) -> int:
    """Copy answers and, where the target has spent nothing, what was spent. A reservation counts as interrupted."""
    theirs, answers, spent = calls_of(target), calls_of(source).answers(), _spent(source)
    with theirs.alone():
        _one_account(spent, theirs.spent(), target)
        new = [key for key in answers if theirs.answer(key) is None]
        for key in new:
            theirs.keep(key, answers[key])
        if theirs.spent() == NOTHING:
            theirs.add(**asdict(spent))
    return len(new)


def _fit(source: Store, target: Store, key: str) -> bool:
    """Copy one fit. False if the target has it, or if it is not whole in the source, which has then said so."""
    if target.fitted(key) is not None or source.fitted(key) is None:
        return False
    target.take_fit(key, source.folder / "fits" / key)
    return True
