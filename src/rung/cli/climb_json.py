"""The JSON of `rung climb` and `rung show`: the last decision as plain data."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any

from rung import store
from rung.evaluate.prompt_spread import spreads
from rung.types import Record


def summary(content: dict[str, Any]) -> dict[str, Any]:
    """The JSON of `climb` and `show`."""
    records = [store.record(found) for found in content["records"]]
    verdicts = {one["rung"]: one for one in content["decision"]["rungs"]}
    return {
        "verdict": content["decision"]["verdict"],
        "chosen": content["decision"]["chosen"],
        "why": content["decision"]["why"],
        "claim": content["decision"].get("claim"),
        "spending": content.get("spending"),
        "not_measured": content["decision"].get("left", []),
        "goal": content["task"]["goal"],
        "rungs": [_rung(record, content.get("bases", {}).get(record.rung), verdicts.get(record.rung, {})) for record in records],
        "comparisons": content["decision"]["comparisons"],
        "test": _score(content["test"]["overall"]) if content["test"] else None,
        "test_coverage": _score(share) if (share := (content["test"] or {}).get("coverage")) else None,
        "seals_broken": content["seals_broken"],
        "untested": content.get("untested", ""),
        "judge": content.get("judge"),
    }


def _rung(record: Record, base: str | None, verdict: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": record.rung, "base": base, "status": record.status, "reason": record.reason}
    row |= {name: verdict.get(name) for name in ("verdict", "level", "chance", "more_rows")} | {"why": verdict.get("why", "")}
    row["selection"] = asdict(record.selection) if record.selection else None
    row["coverage"] = _score(record.scores.coverage) if record.scores and record.scores.coverage else None
    row["failed_rows"] = len(record.scores.unscored) if record.scores else None
    row |= dict.fromkeys(("score", "fit_seconds", "predict_seconds", "latency_ms", "cost", "spread", "forgetting"))
    if record.scores and record.cost and record.latency:
        row |= {
            "score": _score(record.scores.overall),
            "fit_seconds": record.cost.fit_seconds,
            "predict_seconds": record.cost.row_seconds * record.scores.overall.n,
            "latency_ms": {"p50": record.latency.p50.value, "p95": record.latency.p95.value, "n": record.latency.p95.n},
            "cost": {
                "once_usd": record.cost.once_usd,
                "per_month_usd": record.cost.per_month_usd,
                "per_1k_usd": record.cost.per_1k_usd,
            },
            "spread": [asdict(one) for one in spreads([record])],
            "forgetting": (lost := record.forgetting)
            and {"loss": _score(lost.loss), "unit": lost.unit, "accuracy": _score(lost.accuracy)},
        }
    return row


def _score(interval: Any) -> dict[str, Any]:
    found = asdict(interval) if is_dataclass(interval) and not isinstance(interval, type) else interval
    return {"value": found["value"], "low": found["low"], "high": found["high"], "n": found["n"]}
