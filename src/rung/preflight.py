"""Before anything is spent: the data check with the base model's own tokens, and one row shown as training would see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from rung.data import marked
from rung.data.check import blocking, check, too_long
from rung.data.finding import Finding, some
from rung.measure import judging
from rung.retrieve.knowledge import open_to_all
from rung.site import Site
from rung.task import Task

if TYPE_CHECKING:
    from rung.lm.chat import Chat


def inspect(site: Site) -> tuple[tuple[Finding, ...], list[tuple[str, bool]]]:
    """The findings, and a training row as pieces of text with whether each is learnt (empty where there is no row)."""
    _ = site.metric  # one that cannot be had is told before anything is spent
    chats = {name: site.engines.chat(start.model) for name, start in site.starts.items()}
    name, chat = next(((name, chat) for name, chat in chats.items() if chat), ("", None))
    # the rungs share the error, so the check must know how many there are
    task = site.task.model_copy(update={"rungs": tuple(step.rung for step in site.steps if step.quote)})
    if chat and len(chats) == 1:
        rows = check(site.splits, task, chat.length, site.engines.context(site.start.model))
    else:
        rows = (*check(site.splits, task), *_too_long(site, task, chats))
    found = (*rows, *_closed(site), *_held(site), *_faults(site))
    if chat is None or not site.data.examples or site.bases[name].fault:
        return found, []
    example, start = site.data.examples[0], site.starts[name]
    return found, chat.shown(chat.row(replace(start, show_labels=False).render(example).messages, example.output))


def _too_long(site: Site, task: Task, chats: Mapping[str, Chat | None]) -> Iterator[Finding]:
    """Of several bases: the rows longer than each one's context. They block where no base reads them."""
    parts = {"train": site.splits.train, "dev": site.splits.dev}
    long: dict[str, list[Finding]] = {name: [] for name in chats}
    for name, chat in chats.items():
        if chat and (context := site.engines.context(site.starts[name].model)):
            long[name] += too_long(parts, task, chat.length, context)
    everywhere = all(blocking(found) for found in long.values())
    for name, found in long.items():
        for one in found:
            yield replace(one, what=f"{name}: {one.what}", severity=one.severity if everywhere else "warn")


def _faults(site: Site) -> Iterator[Finding]:
    """Bases that cannot be asked, since their chat template refuses the rows."""
    for name, base in site.bases.items():
        if base.fault:
            what = f"no rung can ask the base {name}: {base.fault}"
            yield Finding("chat-template", "warn", what, "Rungs that do not ask it can be tried.", (), 1)


def _held(site: Site) -> tuple[Finding, ...]:
    """Whether the rows that people marked could show that the judge agrees with them."""
    if site.judge is None or site.task.judge is None:
        return ()
    return marked.findings(judging.people(site.task, site.judge), site.judge, site.task.judge.least_agreement)


def _closed(site: Site) -> Iterator[Finding]:
    """Rows whose source carries a label: a climb asks without labels, so it can neither learn from them nor answer them."""
    parts = (site.splits.train, site.splits.dev)
    rows = [row for part in parts for row in part]
    open_rows = {row.id for part in parts for row in open_to_all(part, site.data.documents)}
    closed = [row.where for row in rows if row.id not in open_rows]
    if closed:
        yield Finding(
            "closed-source",
            "note",
            f"{len(closed)} of {len(rows)} rows of train and dev have their answer in a document with a label. Nothing is learnt"
            " from them, since it would be told to everyone, and those of dev are asked as by someone without labels.",
            "Take them out, so that the score is of questions that may be answered.",
            some(closed),
            len(closed),
        )
