"""Passages of a task's documents, searched by the engine thread."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from rung.retrieve import knowledge, lookup
from rung.retrieve.lookup import Lookup
from rung.retrieve.search import Hit
from rung.retrieve.store import Allow
from rung.serve.answering.models import Served
from rung.serve.endpoints.refused import Refused
from rung.types import Source


def lookup_of(served: Served, others: Sequence[Served] = ()) -> Lookup | None:
    """How a model's documents are searched: as it does itself, else as another rung of its task does."""
    same = [served, *(one for one in others if one.project.task.folder == served.project.task.folder)]
    found = [one.predictor.lookup for one in same if one.predictor and one.predictor.lookup]
    return next((one for one in found if knowledge.is_there(one.index)), None)


def search(
    served: Served, found: Lookup | None, question: str, count: int, allow: Allow
) -> Generator[None, None, list[tuple[Hit, Source]]]:
    """The best passages that the asker may see, as a search finds them and as a prompt shows them."""
    if found is None:
        raise Refused(400, f"the model {served.name!r} has no documents to search.", param="model", code="unsupported_value")
    yield
    wanted = replace(found, settings=replace(found.settings, k=count))
    [hits] = lookup.sources(wanted, [question], served.engines, allow)
    return list(zip(hits, lookup.shown(wanted, hits)))
