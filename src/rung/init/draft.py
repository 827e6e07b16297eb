"""Questions drafted from documents by a model, for teams that have documents and no questions yet.

A draft is a start, never a measurement: the model asks what the passage says, not what users want to know.
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
SHOWN = (
    Message("user", "Passage:\nThe reading room is open from nine to six. Bags are left in the lockers by the door."),
    Message("assistant", "Question: Where do I leave my bag?\nAnswer: in the lockers by the door"),
    Message("user", "Passage:\n| Fee | Price |\n|---|---|\n| Lost card | 4 crowns |\n| Late book | 1 crown a week |"),
    Message("assistant", "Question: What does it cost to replace a lost card?\nAnswer: 4 crowns"),
)
DECODING = Decoding(max_new_tokens=80)

FOUND = 5
"""The passage must be among so many for its own question."""
LEAST_LETTERS, MOST_WORDS = 40, 30
"""Letters below which a passage has nothing to ask about, and words above which an answer is no answer."""
BATCH = 16

_FORM = re.compile(r"question:\s*(?P<question>[^\n]+?)\s*\n+\s*answer:\s*(?P<answer>[^\n]+)", re.IGNORECASE)

Progress = Callable[[str, float], object]


@dataclass(frozen=True, slots=True)
class Draft:
    """A question with its answer and the place of its passage, as a row's `source` names it."""

    question: str
    answer: str
    source: str


@dataclass(frozen=True, slots=True)
class Drafted:
    """What came of asking."""

    drafts: tuple[Draft, ...]
    asked: int
    """Passages put to the model."""
    dropped: Mapping[str, int]
    """Why drafts were thrown away, and how many."""


def begin(
    folder: Path, documents: Path, engines: Engines, base: str, rows: int, progress: Progress = lambda what, share: None
) -> tuple[Drafted, list[Path]]:
    """A task folder made from documents: they are indexed, questions are drafted, then the folder is written.

    Returns what was drafted and the files written. DataError where no draft is left.
    """
    scaffold.free(folder)
    if not documents.exists():
        raise DataError("there are no such documents.", where=str(documents), remedy="Name a folder or a file that is there.")
    folder.mkdir(parents=True, exist_ok=True)  # a path out of a folder leads nowhere before it is there
    pattern = Path(os.path.relpath(documents, folder)).as_posix()
    texts = knowledge.documents(folder, (pattern,))
    encoder = Predictor.encoder
    index = knowledge.place(folder / NAME)
    knowledge.bring_up_to_date(texts, index, engines, knowledge.config_of(engines, encoder), progress)
    made = draft(Lookup(index, texts.digest, encoder), engines.reference(base), engines, rows, progress=progress)
    if not made.drafts:
        why = "; ".join(f"{count} times {reason}" for reason, count in made.dropped.items())
        raise DataError(
            f"{base} was asked about {made.asked} passages and no draft is left: {why or 'no passage says enough'}.",
            where=str(documents),
            remedy="Name a stronger model with --base, or leave --from out and write the questions yourself.",
        )
    table = [(one.question, one.answer, one.source) for one in made.drafts]
    return made, scaffold.write_drafts(folder, pattern, base, table)


def draft(
    found: Lookup, model: ModelRef, engines: Engines, rows: int, seed: int = 0, progress: Progress = lambda what, share: None
) -> Drafted:
    """Up to `rows` drafts, one question a passage, passages drawn at random until there are enough or none is left.

    Asking may take an hour on a small machine, so what stands when the user stops it (Ctrl-C) is kept.

    Kept is a draft whose answer stands in its passage, is not given away by the question, and whose passage the index
    finds for the question. Wrong, trivial and twisted questions pass all three: read them.
    """
    passages = [p for change, _ in knowledge.open_kept(found.index, engines).contents() for p in change.passages]
    passages = [p for p in passages if len(p.text.strip()) >= LEAST_LETTERS and not p.access]  # a draft is shown to everyone
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
                dropped["the question was there already"] += 1
            else:
                kept.append(Draft(*written, _place(passage)))
    return Drafted(tuple(kept[:rows]), asked, dict(dropped))


def _written(
    passages: Sequence[Passage], found: Lookup, model: ModelRef, engines: Engines
) -> list[tuple[Passage, tuple[str, str] | str]]:
    """For each passage a question and its answer, or why there is none."""
    engine = engines.open(model)
    prompts = [
        Prompt((Message("system", SYSTEM), *SHOWN, Message("user", f"Passage:\n{quoted(p.text)}")), p.text) for p in passages
    ]
    read = [_read(done.text, passage) for done, passage in zip(engine.generate(prompts, DECODING), passages)]
    questions = ["" if isinstance(one, str) else one[0] for one in read]
    near = replace(found, settings=replace(found.settings, k=FOUND))
    hits = lookup.sources(near, questions, engines)
    out: list[tuple[Passage, tuple[str, str] | str]] = []
    for passage, one, some in zip(passages, read, hits):
        lost = not isinstance(one, str) and passage.id not in {hit.passage.id for hit in some}
        out.append((passage, "the index did not find its passage for it" if lost else one))
    return out


def _read(text: str, passage: Passage) -> tuple[str, str] | str:
    """Question and answer out of what the model wrote, or what is wrong with it."""
    form = _FORM.search(text)
    if form is None:
        return "the model did not write a question and an answer"
    question, answer = form["question"].strip(), form["answer"].strip().strip("\"'")
    if len(answer.split()) > MOST_WORDS or support(answer, passage.text) < 1:
        return "the answer does not stand in the passage"
    if support(answer, question) == 1:
        return "the question gives its answer away"
    return question, answer


def _place(passage: Passage) -> str:
    return f"{passage.path}#{passage.heading[-1]}" if passage.heading else passage.path
