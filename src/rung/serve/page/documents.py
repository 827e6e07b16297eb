"""A task's documents for readers: what there is, what was refused, a search, and one document with a passage marked.

All reading is done by one thread with an index and an embedder of its own, so that no search waits for an answer that is being
written. Who asks sees documents that his labels open, and learns of no other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from rung.climbing.inputs import read_documents
from rung.climbing.project import Project
from rung.lm.engines import Engines
from rung.planning.api_settings import settings
from rung.retrieve import knowledge, lookup
from rung.retrieve.lookup import Lookup
from rung.retrieve.parse import parse, relative
from rung.retrieve.passage import Block, Passage, Refused
from rung.retrieve.search import Hit, Settings
from rung.retrieve.store import Allow, Health, Store
from rung.types import Texts

T = TypeVar("T")

SHOWN = 8
"""Passages that a search shows."""
DEPTH = 100
"""Passages of each leg whose scores a search shows."""
FRESH = 10.0
"""Seconds for which a look at the documents' files holds."""
BLOCKS = 400
"""Most blocks of a document that are shown, around its passage."""
QUESTION = 2000
"""Most characters of a search."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One document, and the label that it needs."""

    path: str
    label: str


@dataclass(frozen=True, slots=True)
class Overview:
    """What someone may know of the documents."""

    documents: tuple[Listed, ...]
    hidden: int
    """Documents that other labels open."""
    health: Health | None = None
    """Of the whole index; None for who is no administrator."""
    stale: int = 0
    """Documents that changed since they were indexed."""
    refused: Mapping[str, str] | None = None
    """Path to reason; None for who is no administrator."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a block's text, and whether it is of the passage."""

    text: str
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A block as a page shows it."""

    headings: tuple[str, ...]
    """Those that begin above it."""
    level: int
    """How deep the first of them is, from 0."""
    kind: str
    page: int
    """The page that begins with it; 0 where none does."""
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One document, read for showing."""

    path: str
    blocks: tuple[Shown, ...]
    passage: Passage | None
    """The passage that was asked for; None where the index no longer has it."""
    cut: bool = False
    """Whether it is longer than what is shown."""


class Library:
    """Reads documents and searches them, for the pages of one server."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="library")
        self._stores: dict[str, Store] = {}
        self._engines: dict[Path, Engines] = {}
        self._seen: dict[Path, tuple[float, Texts]] = {}

    async def run(self, task: Callable[..., T], *values: object) -> T:
        """Call one of the functions below in the library's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, task, *values)

    def overview(self, project: Project, index: str, allow: Allow, admin: bool) -> Overview:
        """The documents as they are now."""
        texts = self._texts(project)
        labels = knowledge.labels(texts)
        listed = [Listed(path, labels(path)) for path in knowledge.contents(texts)]
        seen = tuple(one for one in listed if _may_see(one.label, allow))
        hidden = len(listed) - len(seen)
        if not admin:
            return Overview(seen, hidden)
        health, stale = knowledge.looked_over(texts, self._store(index))
        refused = {path: why for path, why in health.refused.items() if _may_see(labels(path), allow)}
        return Overview(seen, hidden, health, stale, refused)

    def search(self, project: Project, how: Lookup, question: str, allow: Allow) -> Sequence[Hit]:
        """The best passages as the rung finds them, best first, each with the scores of both legs where they have one."""
        engines, text = self._own(project), question[:QUESTION]
        found = replace(how, settings=replace(how.settings, k=max(SHOWN, how.settings.k)))
        [hits] = lookup.sources(found, [text], engines, allow)
        [both] = lookup.sources(replace(how, settings=Settings(depth=DEPTH, k=2 * DEPTH)), [text], engines, allow)
        scores = {hit.passage.id: (hit.lexical, hit.dense) for hit in both}
        legs = [scores.get(hit.passage.id, (hit.lexical, hit.dense)) for hit in hits]
        return [replace(hit, lexical=words, dense=meaning) for hit, (words, meaning) in zip(hits, legs)]

    def document(self, project: Project, index: str, path: str, passage: str, allow: Allow) -> Reading | Refused | None:
        """A document with one of its passages marked; None where there is none of this path that he may see."""
        folder, texts = project.task.folder, self._texts(project)
        files = {relative(Path(file), folder): Path(file) for file in texts.files}
        if path not in files or not _may_see(knowledge.labels(texts)(path), allow):
            return None
        found = parse(files[path], folder)
        if isinstance(found, Refused):
            return found
        cited = self._passage(index, passage) if passage else None
        if cited and (cited.path != path or not _may_see(cited.access, allow)):
            cited = None
        blocks = shown(found.blocks, cited)
        part = around(blocks)
        return Reading(path, tuple(part), cited, len(part) < len(blocks))

    def _passage(self, index: str, name: str) -> Passage | None:
        try:
            return self._store(index).passages([name])[0]
        except KeyError:
            return None

    def _texts(self, project: Project) -> Texts:
        """The task's documents; their files are hashed for it, so a look holds for a while."""
        folder, now = project.task.folder, time.monotonic()
        if folder not in self._seen or now - self._seen[folder][0] > FRESH:
            self._seen[folder] = (now, read_documents(project.task))
        return self._seen[folder][1]

    def _store(self, index: str) -> Store:
        now = knowledge.followed(index)
        if now not in self._stores:
            self._stores[now] = knowledge.opened(now)
        return self._stores[now]

    def _own(self, project: Project) -> Engines:
        folder = project.task.folder
        if folder not in self._engines:
            self._engines[folder] = Engines(project.machine, project.say, settings(project.task, project.store))
        return self._engines[folder]


def _may_see(label: str, allow: Allow) -> bool:
    return not label or allow.access is None or label in allow.access


def shown(blocks: Sequence[Block], passage: Passage | None) -> list[Shown]:
    """A document's blocks in order, the text of the passage marked.

    A passage is a slice of the blocks under one heading on one page, joined by an empty line.
    """
    out: list[Shown] = []
    above: tuple[str, ...] = ()
    page, left = 0, passage
    for (heading, at), group in groupby(blocks, key=lambda block: (block.heading, block.page)):
        section = list(group)
        span = _span(section, left) if left and (left.heading, left.page) == (heading, at) else None
        left = None if span else left
        place = 0
        for number, block in enumerate(section):
            new = _new(above, heading) if not number else ()
            fresh = at if at != page else 0
            out.append(Shown(new, len(heading) - len(new), block.kind, fresh, _parts(block.text, place, span)))
            place, page = place + len(block.text) + 2, at
        above = heading
    return out


def around(blocks: Sequence[Shown], most: int = BLOCKS) -> Sequence[Shown]:
    """At most so many blocks: those around the first marked one, else the first ones."""
    marked = next((place for place, one in enumerate(blocks) if any(part.marked for part in one.parts)), 0)
    start = max(0, min(marked - most // 2, len(blocks) - most))
    return blocks[start : start + most]


def _span(section: Sequence[Block], passage: Passage) -> tuple[int, int] | None:
    """Where the passage begins and ends in a section's text; of several equal places the one on its line."""
    text = "\n\n".join(block.text for block in section)
    start = text.find(passage.text)
    while start >= 0:
        after = text.find(passage.text, start + 1)
        line = next((block.first_line for block, at in reversed(_starts(section)) if at <= start), 0)
        if after < 0 or not passage.first_line or line >= passage.first_line:
            return start, start + len(passage.text)
        start = after
    return None


def _starts(section: Sequence[Block]) -> list[tuple[Block, int]]:
    out, at = [], 0
    for block in section:
        out.append((block, at))
        at += len(block.text) + 2
    return out


def _new(above: tuple[str, ...], heading: tuple[str, ...]) -> tuple[str, ...]:
    """The headings that were not above the section before."""
    same = next((k for k, (a, b) in enumerate(zip(above, heading)) if a != b), min(len(above), len(heading)))
    return heading[same:]


def _parts(text: str, at: int, span: tuple[int, int] | None) -> tuple[Part, ...]:
    """A block's text, cut where the passage begins and ends."""
    if not span:
        return (Part(text),)
    start, end = (min(max(place - at, 0), len(text)) for place in span)
    parts = (Part(text[:start]), Part(text[start:end], start < end), Part(text[end:]))
    return tuple(part for part in parts if part.text)
