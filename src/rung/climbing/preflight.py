"""Before anything is spent: the data check with the base model's own tokens, and one row shown as training would see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rung.climbing import corpora
from rung.climbing.project import Project
from rung.data import marked
from rung.data.check import blocking, check, too_long
from rung.data.corpus import find_texts
from rung.data.finding import SEVERITIES, Finding, first_places
from rung.evaluate import judging
from rung.methods.conversations import taught_rows
from rung.retrieve import named
from rung.retrieve.formats.readers import endings
from rung.retrieve.knowledge import is_open_file
from rung.retrieve.parse import relative
from rung.retrieve.unread import not_read
from rung.task import Task

if TYPE_CHECKING:
    from rung.lm.models.chat import Chat


def inspect(project: Project) -> tuple[tuple[Finding, ...], list[tuple[str, bool]]]:
    """The findings, and a training row as pieces of text with whether each is trained on (empty without rows)."""
    project.scoring.metric()  # one that cannot be loaded is reported before anything is spent
    chats = {name: project.engines.chat(start.model) for name, start in project.starts.items()}
    name, chat = next(((name, chat) for name, chat in chats.items() if chat), ("", None))
    # the rungs share the error, so the check must know how many there are
    task = project.task.model_copy(update={"rungs": tuple(step.rung for step in project.plan.steps if step.estimate)})
    if chat and len(chats) == 1:
        rows = check(project.inputs.splits, task, chat.length, project.engines.context(project.start.model))
    else:
        rows = (*check(project.inputs.splits, task), *_too_long(project, task, chats))
    findings = (
        *rows,
        *_sources(project),
        *_not_read(project),
        *_judge_marks(project),
        *_faults(project),
        *corpora.findings(project.screened),
    )
    found = tuple(sorted(findings, key=lambda one: SEVERITIES.index(one.severity)))
    if chat is None or not project.inputs.data.examples or project.plan.bases[name].fault:
        return found, []
    data, start = project.inputs.data, replace(project.starts[name], show_labels=False)
    lessons, _ = taught_rows(chat, start, data.examples[:1], project.engines, data.every_answer)
    return found, chat.shown(lessons[-1])


def _too_long(project: Project, task: Task, chats: Mapping[str, Chat | None]) -> Iterator[Finding]:
    """Rows longer than the context of each of several bases. They block if no base can read them."""
    parts = {"train": project.inputs.splits.train, "dev": project.inputs.splits.dev}
    long: dict[str, list[Finding]] = {name: [] for name in chats}
    for name, chat in chats.items():
        if chat and (context := project.engines.context(project.starts[name].model)):
            long[name] += too_long(parts, task, chat.length, context)
    everywhere = all(blocking(found) for found in long.values())
    for name, found in long.items():
        for one in found:
            yield replace(one, what=f"{name}: {one.what}", severity=one.severity if everywhere else "warn")


def _faults(project: Project) -> Iterator[Finding]:
    """Bases that cannot be asked because their chat template rejects the rows."""
    for name, base in project.plan.bases.items():
        if base.fault:
            what = f"no rung can ask the base {name}: {base.fault}"
            yield Finding("chat-template", "warn", what, "Rungs that do not ask it can be tried.", (), 1)


def _judge_marks(project: Project) -> tuple[Finding, ...]:
    """Whether the rows that people marked could show that the judge agrees with them."""
    if project.scoring.judge is None or project.task.judge is None:
        return ()
    judge = project.scoring.judge
    return marked.findings(judging.human_marks(project.task, judge), judge, project.task.judge.least_agreement)


def _not_read(project: Project) -> Iterator[Finding]:
    """Files among the documents whose format is unknown; their content is not retrieved."""
    paths = project.inputs.documents.ignored
    if paths:
        remedy = f"Save them in a format that is read: {', '.join(endings())}."
        yield Finding("documents-not-read", "note", not_read(paths), remedy, count=len(paths))


def _sources(project: Project) -> Iterator[Finding]:
    """Sources of the rows that are not found, and raw text that is left out because it is a closed document."""
    if not project.task.data.documents:
        return
    splits, documents, given = project.inputs.splits, project.inputs.documents, project.task.data
    if given.source or given.access:
        yield from named.findings(
            {"train": splits.train, "dev": splits.dev, "test": splits.test.open()}, project.inputs.documents
        )
    files = find_texts(project.task.folder, (*given.corpus, *given.general)).files if given.access else ()
    paths = [Path(file) for file in files]
    if left := [relative(path, project.task.folder) for path in paths if not is_open_file(path, documents)]:
        yield Finding(
            "closed-text",
            "note",
            f"{len(left)} of {len(paths)} files of raw text are documents with a label, or copies of one. They are left out of"
            " training, because a model may repeat its training text to anyone.",
            "Take them out of data.corpus and data.general.",
            first_places(left),
            len(left),
        )
