"""What the report draws, as values: the scatter plot's points, the flowchart, and what each rung answers."""

from __future__ import annotations

from rung.advise import draw
from rung.evaluate.forgetting import bounds
from rung.report.numbers import score
from rung.report.report_data import ReportData, overall, with_interval
from rung.report.scatter import Point
from rung.types import Interval, Record


def rises(found: ReportData) -> dict[str, Interval]:
    """Rise of the loss on general text, in nats per token, for rungs that changed a language model's weights."""
    return {record.rung: bounds(record.forgetting, 0.025) for record in found.measured if record.forgetting}


def points(found: ReportData) -> tuple[Point, ...]:
    """The measured rungs as points of the scatter plot, in record order."""
    verdicts, risen = {v.rung: v.verdict for v in found.decision.rungs}, rises(found)
    return tuple(
        Point(
            record.rung,
            verdicts[record.rung],
            record.rung == found.decision.chosen,
            overall(record),
            {
                "cost": record.cost.per_month_usd + record.cost.once_usd / 12 if record.cost else None,
                "latency": record.latency.p95.value if record.latency else None,
                "fit": record.cost.fit_seconds if record.cost else None,
                **({"forgetting": risen[record.rung].value if record.rung in risen else 0.0} if risen else {}),
            },
        )
        for record in found.measured
    )


def coverages(found: ReportData) -> tuple[tuple[str, str], ...]:
    """Of each rung, where the goal has a coverage: what it answers and how that was chosen."""
    return tuple((one.rung, _selected(one)) for one in found.measured if one.scores and one.scores.coverage)


def _selected(record: Record) -> str:
    scores, cut = record.scores, record.selection
    assert scores and scores.coverage
    said = f"answers {with_interval(scores.coverage)} of the dev rows with {scores.metric} {with_interval(scores.overall)}"
    if cut is None or cut.why:
        return f"{said}; {cut.why if cut else 'no threshold'}: every row is answered that it does not leave open itself"
    how = f"by {cut.folds} fits, each on the others" if cut.folds else "by the rung itself, which learns nothing from them"
    area = "" if cut.auc is None else f", area under the curve {cut.auc:.3f}"
    error = cut.calibration_error
    bins = "" if error is None else f"; confidence is off by {error[0]:.3f}"
    bins += f", after calibration {error[1]:.3f}" if error and (cut.slope, cut.shift) != (1.0, 0.0) else ""
    return f"{said}; confidence from {cut.at:.3f}, chosen on {cut.rows} train rows answered {how}{area}{bins}"


def flowcharts(found: ReportData, *widths: int) -> tuple[draw.Picture, ...]:
    """The flowchart at each width, with measured scores; empty if the decision contains none."""
    if found.plan is None:
        return ()
    scores = {record.rung: score(overall(record).value) for record in found.measured}
    return tuple(draw.picture(found.plan.chart, scores, width) for width in widths)
