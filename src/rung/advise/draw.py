"""Drawings of the flowchart: Mermaid text, and coordinates for the report's picture."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rung.advise.advise import Advice, Chart
from rung.advise.questions import Value
from rung.advise.table import Verdict

CLASSES: Mapping[Verdict, str] = {"do": "do", "later": "later", "don't": "dont"}
STYLES = (
    "classDef do fill:#0a5ea8,stroke:#0a5ea8,color:#fff",
    "classDef later fill:none,stroke:#0a5ea8",
    "classDef dont fill:none,stroke:#9ca6b1,color:#7a848f,stroke-dasharray:4 3",
)


def value(given: Value) -> str:
    """An answer as a label."""
    if isinstance(given, str):
        return given
    return f"{given:,.0f}" if given >= 10 or given == int(given) else f"{given:.2g}"


def decided_by(chart: Chart, advice: Advice) -> str:
    """The answers behind a piece of advice: `labels 12, volume 10,000`."""
    found = {answer.key: answer for answer in chart.answers}
    return ", ".join(f"{key.replace('_', ' ')} {value(found[key].value)}" for key in advice.deciding)


def rungs_of(chart: Chart, family: str) -> list[str]:
    """Rungs whose advice is that of this family."""
    return [rung for rung, advice in chart.rungs.items() if advice.family == family]


# --- Mermaid ----------------------------------------------------------------------------------------------------------


def mermaid(chart: Chart, goal: str) -> str:
    """A Mermaid flowchart: families to try in a column, lightest first; ruled-out ones beside the start."""
    lines = ["flowchart TD", f'  goal(["{_quoted(goal)}"])']
    before = "goal"
    for number, advice in enumerate(chart.advice):
        node = f"f{number}"
        label = "<br/>".join([f"<b>{advice.family}</b>: {advice.verdict}", *filter(None, [_names(chart, advice.family)])])
        lines.append(f'  {node}["{_quoted(label)}"]:::{CLASSES[advice.verdict]}')
        why = _quoted("<br/>".join(textwrap.wrap(decided_by(chart, advice) or advice.why, 40)))
        if advice.verdict == "don't":
            lines.append(f'  goal -. "{_quoted("<br/>".join(textwrap.wrap(advice.why, 40)))}" .-> {node}')
        else:
            lines.append(f'  {before} -- "{why if before == "goal" else "goal missed<br/>" + why}" --> {node}')
            before = node
    return "\n".join([*lines, *(f"  {style}" for style in STYLES)]) + "\n"


def _names(chart: Chart, family: str) -> str:
    return ", ".join(_named(chart, rung) for rung in rungs_of(chart, family))


def _named(chart: Chart, rung: str) -> str:
    """A rung, marked if it is the first choice or if its advice differs from its family's on the default base."""
    own = chart.rungs[rung]
    usual = {advice.family: advice.verdict for advice in chart.advice}.get(own.family, own.verdict)
    notes = ["first choice"] * (rung == chart.first) + [own.verdict] * (own.verdict != usual)
    return f"{rung} ({', '.join(notes)})" if notes else rung


def _quoted(text: str) -> str:
    return text.replace('"', "#quot;")


# --- the picture of the report ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Box:
    """A family's box, its text, and the reason beside it."""

    family: str
    kind: str
    """CSS class: do, later, dont."""
    x: float
    y: float
    width: float
    height: float
    rungs: tuple[str, ...]
    """With measured scores if there are any."""
    first: bool
    """Whether the first choice is in this box."""
    beside: tuple[str, ...]
    """Lines of the reason."""
    beside_x: float
    beside_y: float


@dataclass(frozen=True, slots=True)
class Picture:
    width: float
    height: float
    boxes: tuple[Box, ...]
    spine: tuple[tuple[float, float, float], ...]
    """Arrows between families to try: (x, from y, to y)."""
    turns: tuple[tuple[float, float, float, float], ...]
    """Dotted lines from the spine to ruled-out families: (x, y, to x, y)."""


LINE, PAD, GAP = 17, 9, 16
LETTER = 6.6
"""Approximate width of a letter in the reasons."""


def picture(chart: Chart, measured: Mapping[str, str], width: int) -> Picture:
    """Boxes along a vertical spine, lightest family first, with reasons to the right, or below if the picture is narrow.

    `measured`: text to append to a rung's name. Ruled-out families are indented off the spine.
    """
    narrow = width < 600
    box_width = width - 12 if narrow else 280
    boxes: list[Box] = []
    y = 4.0
    for advice in chart.advice:
        x = 36.0 if advice.verdict == "don't" else 4.0
        rungs = tuple(_measured(rung, chart, measured) for rung in rungs_of(chart, advice.family))
        inner = box_width - 32 if advice.verdict == "don't" else box_width
        shown = tuple(line for rung in rungs for line in textwrap.wrap(rung, int((inner - 2 * PAD) / LETTER)))
        height = LINE * (1 + len(shown)) + 2 * PAD
        beside_x = 36.0 if narrow else box_width + 28.0
        letters = int((width - beside_x - 4) / LETTER)
        beside = tuple(_reason(chart, advice, letters))
        beside_y = y + height + LINE if narrow else y + PAD + 12
        boxes.append(
            Box(advice.family, CLASSES[advice.verdict], x, y, inner, height, shown,
                chart.first in rungs_of(chart, advice.family), beside, beside_x, beside_y)
        )  # fmt: skip
        rest = LINE * len(beside)
        y += (height + rest if narrow else max(height, rest + PAD)) + GAP
    return Picture(width, y, tuple(boxes), _spine(boxes), _turns(boxes))


def _measured(rung: str, chart: Chart, measured: Mapping[str, str]) -> str:
    return f"{_named(chart, rung)} {measured.get(rung, '')}".rstrip()


def _reason(chart: Chart, advice: Advice, letters: int) -> list[str]:
    decided = decided_by(chart, advice)
    return [*textwrap.wrap(advice.why, letters), *(textwrap.wrap(f"({decided})", letters) if decided else [])]


def _spine(boxes: Sequence[Box]) -> tuple[tuple[float, float, float], ...]:
    tried = [box for box in boxes if box.kind != "dont"]
    return tuple((box.x + 16, box.y + box.height, after.y) for box, after in pairwise(tried))


def _turns(boxes: Sequence[Box]) -> tuple[tuple[float, float, float, float], ...]:
    last = max((box.y for box in boxes if box.kind != "dont"), default=0.0)  # the spine ends there
    off = [box for box in boxes if box.kind == "dont" and box.y < last]
    return tuple((20.0, box.y + box.height / 2, box.x, box.y + box.height / 2) for box in off)
