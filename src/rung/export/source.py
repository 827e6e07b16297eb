"""What is exported: a rung's Predictor, its record, its base, and dev rows to prove the export on."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rung.climbing.climb import chosen
from rung.climbing.project import Project
from rung.errors import RungError
from rung.lm.engine_kinds import can
from rung.predictor import Predictor
from rung.types import Example, Record

if TYPE_CHECKING:
    from rung.lm.models.chat import Chat
    from rung.lm.models.hub import ModelFiles

ROWS, ENCODER_ROWS = 32, 1000
"""Dev rows on which an export is proven, at most."""


@dataclass(frozen=True)
class Source:
    """One rung, ready to be exported."""

    rung: str
    predictor: Predictor
    project: Project
    base: ModelFiles
    record: Record | None
    """What was measured of it; None where nothing was."""
    rows: tuple[Example, ...]
    """Dev rows that the export is proven on."""

    @property
    def encoder(self) -> bool:
        """Whether the rung answers with an encoder and its head, not with a language model."""
        return can(self.predictor.model).head

    @property
    def chat(self) -> Chat:
        """The tokenizer and chat template of its language model."""
        found = self.project.engines.chat(self.predictor.model)
        assert found, "only language models with a chat template are asked by chats"
        return found


def source(project: Project, rung: str = "", rows: int = 0) -> Source:
    """The rung of this name, by default the one that the last climb chose, with up to so many dev rows, drawn by the seed.

    0 rows: 32 for a language model, 1,000 for an encoder, which answers them in seconds.
    RungError where it is not fitted, or where other engines cannot load what it answers with.
    """
    predictor = chosen(project, rung)
    name = rung or project.store.read("decision.json")["decision"]["chosen"]
    _check(name, predictor)
    rows = rows or (ENCODER_ROWS if can(predictor.model).head else ROWS)
    measured = [one for one in project.store.records() if one.predictor == predictor.digest and one.status == "done"]
    dev = project.inputs.splits.dev
    drawn = random.Random(project.task.seed).sample(range(len(dev)), min(rows, len(dev)))
    base = project.engines.find(predictor.model.name)
    return Source(name, predictor, project, base, measured[-1] if measured else None, tuple(dev[i] for i in sorted(drawn)))


def _check(rung: str, predictor: Predictor) -> None:
    """RungError where the rung answers with what is no file of a language model."""
    if predictor.cascade:
        raise RungError(
            f"{rung} is a cascade of two rungs, and other engines cannot pass a row on.",
            where="rung export",
            remedy="Export one of its parts, or answer with `rung ask`, `rung serve` or rung.load(...).predict(...).",
        )
    able = can(predictor.model)
    files_here = able.chat_template and able.open_weights
    if not (able.local or files_here):
        raise RungError(
            f"{rung} answers through an API ({predictor.model.name}); its weights are not on this machine.",
            where="rung export",
            remedy="Answer with `rung ask`, or export a rung of a base with open weights.",
        )
    if able.head and predictor.label_set:
        raise RungError(
            f"{rung} gives several labels by thresholds of its own, which exports of encoders do not hold.",
            where="rung export",
            remedy="Answer with `rung ask` or `rung serve`.",
        )
    if able.head and predictor.other and not able.exports_other:
        raise RungError(
            f"{rung} may answer {predictor.other!r} by a threshold beside its model, which exports of it do not hold.",
            where="rung export",
            remedy="Export `encoder` or `encoder-contrastive`, or answer with `rung ask` or `rung serve`.",
        )
    if not (able.head or files_here):
        raise RungError(
            f"{rung} answers with rung's own {predictor.model.kind!r} engine, which no other program loads.",
            where="rung export",
            remedy="Answer with `rung ask` or rung.load(...).predict(...), or export a rung that answers with a model.",
        )


def public(source: Source) -> str:
    """The base's name as others know it: its id on the hub; of a local file or folder the last part of its path."""
    from rung.lm.models.resolve import KNOWN

    name = source.base.name
    if name in KNOWN:
        return KNOWN[name].hub
    hub = re.fullmatch(r"hub (\S+)@\S+", source.base.source)
    return hub[1] if hub else re.split(r"[/\\]", name.rstrip("/\\"))[-1]
