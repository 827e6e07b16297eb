"""Structured output: answers are constrained to the fields and types of the examples' JSON. https://arxiv.org/abs/2307.09702"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rung.errors import DataError
from rung.machine import Machine
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.predictor import Predictor
from rung.types import Example, Need, TrainData

TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


@dataclass(frozen=True, kw_only=True)
class Structured(Method):
    name: ClassVar[str] = "structured"
    family: ClassVar[Family] = Family.PROMPTING
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES})
    fit_version: ClassVar[int] = 1
    folds: ClassVar[int] = 0

    json: bool = True
    """Constrain answers to the fields and types of the examples' JSON; false leaves them free."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        return start  # a mask costs microseconds a token

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        if start.labels or start.label_set or start.tools or not self.json:
            already = f"none: answers are constrained to {'calls of the tools' if start.tools else 'labels'} already"
            run.notes["schema"] = already if self.json else "none"
            return start
        shape = schema([_object(example) for example in data.examples])
        run.notes["schema"] = shape
        return replace(start, decoding=replace(start.decoding, schema=json.dumps(shape, ensure_ascii=False)))


def schema(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The JSON schema of these objects: all their fields in their usual order; those that all have are required."""
    return _of(list(values))


def _of(values: list[Any]) -> dict[str, Any]:
    """The schema of all values: one type, or any of several."""
    kinds: dict[str, list[Any]] = {}
    for value in values:
        name = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else TYPES[type(value)]
        kinds.setdefault(name, []).append(value)
    if "number" in kinds:
        kinds.pop("integer", None)
    shapes = [_kind(name, some) for name, some in kinds.items()]
    return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}


def _kind(name: str, values: list[Any]) -> dict[str, Any]:
    if name == "array":
        items = [item for value in values for item in value]
        return {"type": "array", "items": _of(items)} if items else {"type": "array", "maxItems": 0}
    if name != "object":
        return {"type": name}
    seen = Counter(key for value in values for key in value)
    place: Counter[str] = Counter()
    for value in values:
        for at, key in enumerate(value):
            place[key] += at
    order = sorted(seen, key=lambda key: place[key] / seen[key])  # by mean position
    return {
        "type": "object",
        "properties": {key: _of([value[key] for value in values if key in value]) for key in order},
        "required": [key for key in order if seen[key] == len(values)],
        "additionalProperties": False,
    }


def _object(example: Example) -> dict[str, Any]:
    try:
        found = json.loads(example.output)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError(
            f"the output {example.output[:80]!r} is not a JSON object, so answers cannot be constrained to its fields.",
            where=example.where,
            remedy="Write outputs as JSON objects, or leave `structured` out of the rung.",
        )
    return found
