"""Questions that a model drafts from documents, for teams without questions.

Drafts are a start, not a measurement: the model asks what the passage says, not what users want to know.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rung.errors import DataError
from rung.init import scaffold
from rung.lm.base import Decoding, ModelRef, Prompt
from rung.lm.engines import Engines
from rung.predictor import Predictor
from rung.retrieve import knowledge, lookup
from rung.retrieve.ground import quoted, support
from rung.retrieve.lookup import Lookup
from rung.retrieve.passage import Passage
from rung.store import NAME
from rung.types import Message

SYSTEM = "Write one short question that the passage answers, and its answer: a few words copied from the passage."
EXAMPLES = (
    Message("user", "Passage:\nThe reading room is open from nine to six. Bags are left in the lockers by the door."),
    Message("assistant", "Question: Where do I leave my bag?\nAnswer: in the lockers by the door"),
    Message("user", "Passage:\n| Fee | Price |\n|---|---|\n| Lost card | 4 crowns |\n| Late book | 1 crown a week |"),
    Message("assistant", "Question: What does it cost to replace a lost card?\nAnswer: 4 crowns"),
)
DECODING = Decoding(max_new_tokens=80)

SEARCH_RANK = 5
"""The passage must be among this many results for its own question."""
MIN_CHARS, MAX_WORDS = 40, 30
"""Minimum passage length in characters, and maximum answer length in words."""
BATCH = 16

_FORM = re.compile(r"question:\s*(?P<question>[^\n]+?)\s*\n+\s*answer:\s*(?P<answer>[^\n]+)", re.IGNORECASE)

Progress = Callable[[str, float], object]


@dataclass(frozen=True, slots=True)
class Draft:
    """A question, its answer, and its passage in the form of a row's `source`."""

    question: str
    answer: str
    source: str


@dataclass(frozen=True, slots=True)
class DraftResult:
    """Result of drafting."""

    drafts: tuple[Draft, ...]
    asked: int
    """Passages shown to the model."""
    dropped: Mapping[str, int]
    """Number of discarded drafts by reason."""


def create_task(
    folder: Path, documents: Path, engines: Engines, base: str, rows: int, progress: Progress = lambda what, share: None
) -> tuple[DraftResult, list[Path]]:
    """Create a task folder from documents: index them, draft questions, write the folder.

    Returns the drafts and the files written. DataError if no draft is left.
    """
    scaffold.check_free(folder)
    if not documents.exists():
        raise DataError("the documents do not exist.", where=str(documents), remedy="Name an existing folder or file.")
    folder.mkdir(parents=True, exist_ok=True)  # relative paths need an existing folder
    pattern = Path(os.path.relpath(documents, folder)).as_posix()
    texts = knowledge.documents(folder, (pattern,))
    encoder = Predictor.encoder
    index = knowledge.place(folder / NAME)
    knowledge.bring_up_to_date(texts, index, engines, knowledge.config_of(engines, encoder), progress)
    made = draft(Lookup(index, texts.digest, encoder), engines.reference(base), engines, rows, progress=progress)
    if not made.drafts:
        why = "; ".join(f"{count} times {reason}" for reason, count in made.dropped.items())
        raise DataError(
            f"no draft of {base} on {made.asked} passages is usable: {why or 'all passages are too short'}.",
            where=str(documents),
            remedy="Use a stronger model with --base, or write the questions yourself without --from.",
        )
    table = [(one.question, one.answer, one.source) for one in made.drafts]
    return made, scaffold.write_drafts(folder, pattern, base, table)


def draft(
    found: Lookup, model: ModelRef, engines: Engines, rows: int, seed: int = 0, progress: Progress = lambda what, share: None
) -> DraftResult:
    """Up to `rows` drafts, one question per passage; passages are drawn at random until there are enough.

    This may take an hour on a small machine; Ctrl-C ends it and keeps the drafts so far.

    A draft is kept if its answer occurs in its passage, the question does not reveal it, and the index finds the passage for
    the question. Wrong or trivial questions pass all three: read them.
    """
    passages = [p for change, _ in knowledge.open_kept(found.index, engines).contents() for p in change.passages]
    passages = [p for p in passages if len(p.text.strip()) >= MIN_CHARS and not p.access]  # drafts are public
    random.Random(seed).shuffle(passages)
    kept: list[Draft] = []
    dropped: Counter[str] = Counter()
    asked = 0
    while passages and len(kept) < rows:
        size = min(BATCH, 2 * (rows - len(kept)))
        group, passages = passages[:size], passages[size:]
        progress(f"{len(kept)} drafts from {asked} passages; Ctrl-C ends it and keeps them", len(kept) / rows)
        try:
            answers = _written(group, found, model, engines)
        except KeyboardInterrupt:
            if not kept:
                raise
            break
        asked += len(group)
        for passage, written in answers:
            if isinstance(written, str):
                dropped[written] += 1
            elif any(one.question.casefold() == written[0].casefold() for one in kept):
                dropped["the question is a duplicate"] += 1
            else:
                kept.append(Draft(*written, _place(passage)))
    return DraftResult(tuple(kept[:rows]), asked, dict(dropped))


def _written(
    passages: Sequence[Passage], found: Lookup, model: ModelRef, engines: Engines
) -> list[tuple[Passage, tuple[str, str] | str]]:
    """For each passage a question and answer, or the reason why not."""
    engine = engines.open(model)
    prompts = [
        Prompt((Message("system", SYSTEM), *EXAMPLES, Message("user", f"Passage:\n{quoted(p.text)}")), p.text) for p in passages
    ]
    read = [_read(done.text, passage) for done, passage in zip(engine.generate(prompts, DECODING), passages)]
    questions = ["" if isinstance(one, str) else one[0] for one in read]
    near = replace(found, settings=replace(found.settings, k=SEARCH_RANK))
    hits = lookup.sources(near, questions, engines)
    out: list[tuple[Passage, tuple[str, str] | str]] = []
    for passage, one, some in zip(passages, read, hits):
        lost = not isinstance(one, str) and passage.id not in {hit.passage.id for hit in some}
        out.append((passage, "the index does not find its passage" if lost else one))
    return out


def _read(text: str, passage: Passage) -> tuple[str, str] | str:
    """Question and answer from the model's text, or what is wrong with it."""
    form = _FORM.search(text)
    if form is None:
        return "the model did not write a question and an answer"
    question, answer = form["question"].strip(), form["answer"].strip().strip("\"'")
    if len(answer.split()) > MAX_WORDS or support(answer, passage.text) < 1:
        return "the answer is not in the passage"
    if support(answer, question) == 1:
        return "the question reveals its answer"
    return question, answer


def _place(passage: Passage) -> str:
    return f"{passage.path}#{passage.heading[-1]}" if passage.heading else passage.path
