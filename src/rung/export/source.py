"""What is exported: a rung's Predictor, its record, its base, and dev rows to prove the export on."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rung.climbing.climb import chosen
from rung.climbing.project import Project
from rung.errors import RungError
from rung.lm.engine_kinds import can
from rung.predictor import Predictor
from rung.types import Example, Record

if TYPE_CHECKING:
    from rung.lm.models.hub import ModelFiles


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


def source(project: Project, rung: str = "", rows: int = 32) -> Source:
    """The rung of this name, by default the one that the last climb chose, with up to so many dev rows, drawn by the seed.

    RungError where it is not fitted, or where other engines cannot load what it answers with.
    """
    predictor = chosen(project, rung)
    name = rung or project.store.read("decision.json")["decision"]["chosen"]
    _check(name, predictor)
    measured = [one for one in project.store.records() if one.predictor == predictor.digest and one.status == "done"]
    dev = project.inputs.splits.dev
    drawn = random.Random(project.task.seed).sample(range(len(dev)), min(rows, len(dev)))
    base = project.engines.find(predictor.model.name)
    return Source(name, predictor, project, base, measured[-1] if measured else None, tuple(dev[i] for i in sorted(drawn)))


def _check(rung: str, predictor: Predictor) -> None:
    """RungError where the rung answers with what is no file of a language model."""
    able = can(predictor.model)
    if not able.local:
        raise RungError(
            f"{rung} answers through an API ({predictor.model.name}); its weights are not on this machine.",
            where="rung export",
            remedy="Answer with `rung ask`, or export a rung of a base with open weights.",
        )
    if not (able.chat_template and able.open_weights):
        raise RungError(
            f"{rung} answers with rung's own {predictor.model.kind!r} engine, which has no language model to export.",
            where="rung export",
            remedy="Answer with `rung ask` or rung.load(...).predict(...), or export a rung that answers with a language model.",
        )
