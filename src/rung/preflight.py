"""Before anything is spent: the data check with the base model's own tokens, and one row shown as training would see it."""

from __future__ import annotations

from dataclasses import replace

from rung.data.check import check
from rung.data.finding import Finding
from rung.site import Site


def inspect(site: Site) -> tuple[tuple[Finding, ...], list[tuple[str, bool]]]:
    """The findings, and a training row as pieces of text with whether each is learnt (empty where there is no row)."""
    chat = site.engines.chat(site.start.model)
    # the rungs share the error, so the check must know how many there are
    task = site.task.model_copy(update={"rungs": tuple(step.rung for step in site.steps if step.quote)})
    if chat is None:
        return check(site.splits, task), []
    found = check(site.splits, task, chat.length, site.engines.context(site.start.model))
    if not site.data.examples:
        return found, []
    example = site.data.examples[0]
    return found, chat.shown(chat.row(replace(site.start, show_labels=False).render(example).messages, example.output))
