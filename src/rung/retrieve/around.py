"""Hits shown with what stands around them: passages are cut small to be found, and read better in their section.

Small-to-big retrieval, as LlamaIndex's sentence windows and LangChain's parent documents have it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from rung.retrieve.passage import Passage
from rung.retrieve.search import Hit
from rung.retrieve.store import Store

LEAST_SHARED = 10
"""Characters from which the end of a passage that is the start of the next one counts as repeated."""
_TABLE_LINE = re.compile(r"[^\n]*\|[^\n]*")
_RULE = re.compile(r"[\s|:-]*-[\s|:-]*")
"""The line below the head of a Markdown table."""


def widened(store: Store, hits: Sequence[Hit], each: int) -> list[Hit]:
    """The hits, each joined with up to `each` passages before and after it in its section; ids and scores stay.

    What an earlier hit already shows is not shown again, and a hit that is wholly in an earlier one is left out. Rows of a table
    whose head stands in an earlier passage get it. A hit that is no longer in the index stays as it was.
    """
    files: dict[str, list[Passage]] = {}
    shown: set[str] = set()
    out = []
    for hit in hits:
        if hit.passage.id in shown:
            continue
        path = hit.passage.path
        if path not in files:
            files[path] = store.file(path)
        run, before = _section(files[path], hit.passage, each, shown)
        shown |= {one.id for one in run}
        out.append(replace(hit, passage=_joined(run, before, hit.passage)))
    return out


def _section(whole: Sequence[Passage], hit: Passage, each: int, shown: set[str]) -> tuple[list[Passage], list[Passage]]:
    """The passages to join, and those before them in the section."""
    at = next((i for i, one in enumerate(whole) if one.id == hit.id), None)
    if at is None or hit.extra:  # a row of a table file stands for itself
        return [hit], []
    first = last = begin = at
    while begin > 0 and whole[begin - 1].heading == hit.heading:
        begin -= 1
    while first > max(begin, at - each) and whole[first - 1].id not in shown:
        first -= 1
    while last < min(len(whole) - 1, at + each) and whole[last + 1].heading == hit.heading and whole[last + 1].id not in shown:
        last += 1
    return list(whole[first : last + 1]), list(whole[begin:first])


def _joined(run: Sequence[Passage], before: Sequence[Passage], hit: Passage) -> Passage:
    """One passage of several that follow each other; what a passage repeats of the one before it stands once."""
    text = run[0].text
    for one in run[1:]:
        shared = _shared(text, one.text)
        text += one.text[shared:] if shared else f"\n\n{one.text}"
    head = _table_head(text, before)
    return replace(hit, text=head + text, first_line=run[0].first_line, last_line=run[-1].last_line, page=run[0].page)


def _shared(first: str, second: str) -> int:
    """Characters at the end of the first text that start the second."""
    most = min(len(first), len(second))
    return next((size for size in range(most, LEAST_SHARED - 1, -1) if first.endswith(second[:size])), 0)


def _table_head(text: str, before: Sequence[Passage]) -> str:
    """The head of the table whose rows the text begins with; empty if it begins with none, or with the head itself."""
    if not _TABLE_LINE.fullmatch(text.partition("\n")[0]):
        return ""
    rows: list[str] = []
    for one in reversed(before):
        lines = one.text.rstrip().split("\n")
        size = next((i for i, line in enumerate(reversed(lines)) if not _TABLE_LINE.fullmatch(line)), len(lines))
        rows = lines[len(lines) - size :] + rows
        if size < len(lines):
            break
    head = rows[: 2 if len(rows) > 1 and _RULE.fullmatch(rows[1]) else 1]
    return "".join(f"{line}\n" for line in head)
