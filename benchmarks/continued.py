"""Continued pre-training with 0, 1, 5 and 25 % replay: what is learnt of a domain and what is forgotten of the rest.

Domain: the NIDDK answers of medquad. General text: wikitext-2, replayed from one part and measured on another. For each
share: perplexity of held-out domain and general text before and after, and accuracy on ARC-Easy and PIQA: of each
question's answers the one with the highest log-probability per byte after the bare question, with the end of its turn.
Rows and tokens are cut to what fits in `--minutes`. A table is printed; `--plot FILE.svg` draws learning against forgetting.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import xml.etree.ElementTree as xml
from dataclasses import replace
from pathlib import Path
from typing import Any

import common

from rung.data import corpus
from rung.lm.base import Engine, Prompt
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.continued import Continued
from rung.metrics.stats import mcnemar_mid_p, wilson
from rung.predictor import Predictor
from rung.types import Message, TrainData

BASE = "smollm2-135m-instruct"
SHARES = (0.0, 0.01, 0.05, 0.25)
PROBES = {"ARC-Easy": "Answer", "piqa": "Solution"}
PROBE_TOKENS = 120
"""Of a question and its answers, about."""

Question = tuple[str, list[str], int]
"""What is asked, the answers, and which is right."""


def answers() -> list[str]:
    """NIDDK's answers with their questions, in an order drawn by a seed.

    Not by `corpus.place`: documents are held out by it, and the first of that order would all be.
    """
    found = []
    for path in sorted((common.DATA / "medquad" / "5_NIDDK_QA").glob("*.xml")):
        for pair in xml.parse(path).getroot().iter("QAPair"):
            question, answer = (" ".join((pair.findtext(tag) or "").split()) for tag in ("Question", "Answer"))
            if answer:
                found.append(f"{question}\n\n{answer}")
    return random.Random(0).sample(found, len(found))


def cut(documents: list[str], tokens: int) -> list[str]:
    """As many of the documents as come to about so many tokens, at 4.5 characters each."""
    kept, size = [], 0.0
    for document in documents:
        size += len(document) / 4.5
        if kept and size > tokens:
            break
        kept.append(document)
    return kept


def questions(name: str, count: int) -> list[Question]:
    """The first questions of a probe, their choices taken out of the instruction."""
    rows = json.loads((common.DATA / "commonsense_probes" / name / "test.json").read_text(encoding="utf-8"))
    found = []
    for row in rows[:count]:
        text = row["instruction"].partition("to the question:")[2].rpartition("Answer format:")[0]
        asked, *choices = re.split(rf"\s*{PROBES[name]}\d:\s*", text.strip())
        found.append((asked.strip(), [choice.strip() for choice in choices], int(row["answer"][-1]) - 1))
    return found


def right(engine: Engine, asked: list[Question]) -> list[bool]:
    """Whether the likeliest answer per byte is the right one."""
    flat = [(question, choice) for question, choices, _ in asked for choice in choices]
    logs = engine.score([Prompt((Message("user", question),), question) for question, _ in flat], [choice for _, choice in flat])
    scores = iter(log / max(1, len(choice.encode())) for log, (_, choice) in zip(logs, flat))
    out = []
    for _, choices, wanted in asked:
        own = [next(scores) for _ in choices]
        out.append(own.index(max(own)) == wanted)
    return out


def sizes(minutes: float, machine: Machine, parameters: int) -> tuple[int, int, int]:
    """Domain tokens to train on, tokens to measure perplexity on, and questions a probe, for one share of replay."""
    seconds = 60 * minutes / (len(SHARES) + 0.2)
    domain = 0.6 * seconds / machine.training_seconds(parameters, 1.0, 1)
    measured = 0.2 * seconds / (4 * machine.prefill_seconds(parameters, 1))
    asked = 0.2 * seconds / (len(PROBES) * machine.prefill_seconds(parameters, PROBE_TOKENS))
    return int(domain), int(measured), int(min(500, asked))


def value(told: str) -> float:
    return float(told.split()[0])


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Learning (domain perplexity, before over after) upwards, forgetting (general, after over before) to the right."""
    points = [(value(row["general"]["quotient"]), 1 / value(row["domain"]["quotient"]), row["share"]) for row in rows]
    low, high = ([min(1.0, *(p[axis] for p in points)) for axis in (0, 1)], [max(p[axis] for p in points) for axis in (0, 1)])
    spread = [max(1e-3, b - a) for a, b in zip(low, high)]
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 360" font-family="sans-serif" font-size="12">',
        '<rect width="480" height="360" fill="white"/><path d="M60 20V310H450" fill="none" stroke="black"/>',
        '<text x="255" y="345" text-anchor="middle">general perplexity, after over before (forgetting)</text>',
        '<text transform="translate(18 165) rotate(-90)" text-anchor="middle">domain perplexity, before over after</text>',
    ]
    for step in range(5):
        x, y = (60 + 80 * step, 310 - 65 * step)
        across, up = (low[axis] + spread[axis] * step / 4 for axis in (0, 1))
        lines.append(f'<text x="{x}" y="326" text-anchor="middle">{across:.3f}</text>')
        lines.append(f'<text x="54" y="{y + 4}" text-anchor="end">{up:.3f}</text>')
    for k, (forgotten, learnt, share) in enumerate(points):
        x, y = 60 + 320 * (forgotten - low[0]) / spread[0], 310 - 260 * (learnt - low[1]) / spread[1]
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1f6feb"/>')
        lines.append(f'<text x="{x + 8:.1f}" y="{y + (18 if k % 2 else -8):.1f}">{share:.0%} replay</text>')
    path.write_text("\n".join([*lines, "</svg>\n"]), encoding="utf-8")


def fitted(share: float, start: Predictor, data: TrainData, measured: int, engines: Engines, asked: dict, place: Path) -> dict:
    """One share of replay: its perplexities and which questions it gets right."""
    work = place / f"replay{share}"
    work.mkdir()
    run = Run(work, engines, progress=lambda text, done: print(f"\r  {text:70}", end="", flush=True))
    found = Continued(replay=share, measured=measured, held=0.25, window=512, step=1024).fit(start, data, run)
    print()
    engine = engines.open(found.model)
    return {"share": share, **run.notes["perplexity"], "right": {name: right(engine, some) for name, some in asked.items()}}


def table(rows: list[dict[str, Any]], before: dict[str, list[bool]]) -> None:
    print(
        "\n| replay | domain perplexity | general perplexity | after/before, domain | general |", *before, sep=" | ", end=" |\n"
    )
    print("|---" * (5 + len(before)) + "|")
    first = rows[0]
    untouched = [str(wilson(sum(some), len(some))) for some in before.values()]
    print("| untouched |", first["domain"]["before"], "|", first["general"]["before"], "| | |", " | ".join(untouched), "|")
    for row in rows:
        cells = []
        for name, was in before.items():
            now = row["right"][name]
            lost, won = sum(a > b for a, b in zip(was, now)), sum(b > a for a, b in zip(was, now))
            p = mcnemar_mid_p(lost, won) if lost + won else 1.0
            cells.append(f"{wilson(sum(now), len(now))}, p={p:.2f}")
        told = [row[kind][what] for what in ("after", "quotient") for kind in ("domain", "general")]
        print(f"| {row['share']:.0%} |", " | ".join([*told, *cells]), "|")
    counted = {kind: f"{first[kind]['tokens']:,} tokens in {first[kind]['documents']}" for kind in ("domain", "general")}
    print(f"\nperplexities over {counted['domain']} domain and {counted['general']} general documents; n counts documents")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="nine minutes")
    parser.add_argument("--minutes", type=float, default=30.0, help="about how long it may take")
    parser.add_argument("--plot", type=Path, help="where to write the plot, an .svg file")
    args = parser.parse_args()
    machine = common.machine()
    engines = Engines(machine, say=print)
    tokens, measured, count = sizes(9 if args.quick else args.minutes, machine, engines.parameters(BASE))
    asked = {probe: questions(probe, count) for probe in PROBES}
    documents = cut(answers(), tokens)
    print(
        f"{len(documents)} domain documents of about {tokens:,} tokens, {measured:,} tokens measured, {count} questions a probe"
    )
    start = Predictor(kind="answer", model=engines.reference(BASE), instruction="Answer the question.")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "domain.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
        domain = corpus.find_texts(place, ["domain.jsonl"])
        data = replace(TrainData(()), corpus=domain, general=corpus.find_texts(common.DATA / "wikitext2", ["valid.txt"]))
        engine = engines.open(start.model)
        before = {probe: right(engine, some) for probe, some in asked.items()}
        rows = [fitted(share, start, data, measured, engines, asked, place) for share in SHARES]
    table(rows, before)
    if args.plot:
        plot(rows, args.plot)
        print(f"plot: {args.plot}")
    at = next(row for row in rows if row["share"] == 0.05)
    print(f"at 5 % replay: general perplexity after over before {at['general']['quotient']}")
    print(f"ratio={1 / value(at['domain']['quotient']):.3f} domain perplexity before over after at 5 % replay")


if __name__ == "__main__":
    main()
