"""Cascades against their dear rung: the cost of an answer, and the score on the same rows.

Both parts answer train rows as new ones, which gives the threshold; scores are on dev rows that no fit saw. banking77, 10 train
rows a class. All classes: `encoder` before a model behind an API, which is a scripted server on this machine: right on a known
share of the rows, more often wrong on rows whose nearest train row has another label, and priced like gpt-4o-mini. So what is
measured there is the cascade, not the model. 10 classes, on the default models: `nearest` and `encoder` before
`few-shot-similar`. Without --quick also `encoder>lora`: which part of an abstract a passage is (aim, methods or results;
PubMedQA, whole abstracts in one split). Last line: ratio = cost of the dear rung's answers over that of the cascade's, with
the scripted model MAIN, where the lower end of the paired difference is at least LOWEST; otherwise 0. `--simulate`: instead,
what margins of the threshold cost and save in made draws.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np

from rung import api
from rung.climbing.comparing import compare
from rung.selective import choosing
from rung.types import Record, digest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "lm"))
from servers import Server, serving

PER_CLASS, LOWEST = 10, -0.02
ACCURACIES = {"m88": 0.88, "m94": 0.94, "m97": 0.97}
MAIN = "m94"
HARDER = 4
"""How many times as often a scripted model is wrong on rows whose nearest train row has another label."""
WORDS = 50
"""Words of a passage that are shown."""
PARTS = {
    "aim": ("BACKGROUND", "OBJECTIVE", "OBJECTIVES", "PURPOSE", "INTRODUCTION", "AIMS"),
    "methods": ("METHODS", "METHOD", "DESIGN", "MATERIALS AND METHODS", "PATIENTS AND METHODS", "STUDY DESIGN"),
    "results": ("RESULTS", "FINDINGS"),
}
YAML = """\
task: {task}
kind: classify
data: {{train: train.csv, dev: dev.csv, test: test.csv, input: text, output: intent}}
goal: {{metric: accuracy, at_least: 0.9}}
"""
BANK = "Name the intent of the customer's message to the bank."
Rows = list[tuple[str, str]]


def banking(classes: int, held: int) -> dict[str, Rows]:
    """Classes drawn with few rows each to learn from; dev rows of the test file."""
    by_label = random.Random(0).sample(common.by_label(0), classes)
    labels = {rows[0][1] for rows in by_label}
    found = [row for row in common.bank("test") if row[1] in labels]
    drawn = random.Random(0).sample(found, min(len(found), 2 * held))
    return {"train": [row for rows in by_label for row in rows[:PER_CLASS]], "dev": drawn[:held], "test": drawn[held:]}


def sections(learn: int, held: int) -> dict[str, Rows]:
    """Passages with their part; those of one abstract are all in one split."""
    named = {name: part for part, names in PARTS.items() for name in names}
    found = json.loads((common.DATA / "pubmedqa" / "ori_pqal.json").read_text(encoding="utf-8"))
    rows: Rows = []
    for key in random.Random(0).sample(sorted(found), len(found)):
        for name, text in zip(found[key]["LABELS"], found[key]["CONTEXTS"]):
            if part := named.get(name):
                rows.append((" ".join(text.split()[:WORDS]), part))
    return {"train": rows[:learn], "dev": rows[learn : learn + held], "test": rows[learn + held : learn + 2 * held]}


def scripted(parts: dict[str, Rows]) -> Callable[[dict[str, Any]], tuple[str, int, int]]:
    """Answers of the models of ACCURACIES to these rows."""
    rows = list({text: (text, label) for part in parts.values() for text, label in part}.values())
    labels = sorted({label for _, label in rows})
    weight = dict(zip((text for text, _ in rows), difficulty(rows, parts["train"])))
    mean = sum(weight.values()) / len(weight)
    right = dict(rows)

    def answer(body: dict[str, Any]) -> tuple[str, int, int]:
        text = body["messages"][-1]["content"]
        label, draw = right[text], int(digest(["scripted", text])[:8], 16)
        if draw / 2**32 < (1 - ACCURACIES[body["model"]]) * weight[text] / mean:
            label = [one for one in labels if one != label][draw % (len(labels) - 1)]
        read = sum(len(message["content"]) for message in body["messages"]) // 4
        return json.dumps({"label": label}), read, 8

    return answer


def difficulty(rows: Rows, learn: Rows) -> list[int]:
    """HARDER for a row whose nearest train row, other than itself, has another label; 1 for the others."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    known = vectorizer.fit_transform([text for text, _ in learn])
    alike = (vectorizer.transform([text for text, _ in rows]) @ known.T).toarray()
    for i, (text, _) in enumerate(rows):
        alike[i, [k for k, (other, _) in enumerate(learn) if other == text]] = -1.0
    return [1 if learn[k][1] == label else HARDER for k, (_, label) in zip(alike.argmax(axis=1), rows)]


def said(record: Record) -> str:
    assert record.scores and record.cost and record.latency, record.reason
    cost = f"{record.cost.per_1k_usd:.5f} $ for 1,000 answers, p50 {record.latency.p50.value:.0f} ms"
    return f"  {record.rung}: accuracy {record.scores.overall}, {cost}, {record.cost.fit_seconds:.0f} s to fit"


def measured(
    name: str, parts: dict[str, Rows], yaml: str, pairs: Sequence[tuple[str, str]], beside: Sequence[str] = ()
) -> list[float]:
    """Times that each cascade is cheaper than its dear rung; 0 where it may score lower. `beside`: rungs shown with them."""
    sizes = ", ".join(f"{len(rows)} {part}" for part, rows in parts.items())
    print(f"{name}: {sizes} rows, {len({label for _, label in parts['train']})} labels", flush=True)
    cascades = [f"{cheap}>{dear}" for cheap, dear in pairs]
    rungs = json.dumps([*cascades, *beside])
    out = []
    with tempfile.TemporaryDirectory() as place:
        folder = common.write_task(Path(place) / "task", f"{yaml}rungs: {rungs}\n", parts)
        found = {one.rung: one for one in api.climb(folder, everything=True, progress=False).records}
        for record in found.values():
            print(said(record), flush=True)
        for cascade, (_, dear) in zip(cascades, pairs):
            out.append(paid(found[cascade], found[dear]))
    return out


def paid(cascade: Record, dear: Record) -> float:
    """Prints who answered, the difference in score and the cost."""
    assert cascade.cost and dear.cost and cascade.provenance.notes
    note = dict(cascade.provenance.notes[-1])
    each = " and ".join(f"{one:.3f}" for one in note["score_of_each"])
    print(f"  {cascade.rung}: on {note['rows']} train rows AUC {note['auc']:.3f}, blend {note['score']:.3f} of {each}; ", end="")
    print(f"the first answers {note['answers']:.3f} of them, from {note['at']:.3f} on")
    difference = compare(dear, cascade).difference
    ratio = dear.cost.per_1k_usd / cascade.cost.per_1k_usd
    lower = "not lower" if difference.low >= LOWEST else "may be LOWER"
    print(f"  {cascade.rung}: {ratio:.2f} times cheaper than {dear.rung}, accuracy {difference} against it: {lower}", flush=True)
    return ratio if difference.low >= LOWEST else 0.0


def simulate() -> None:
    """Mean and worst differences to the dear rung on new rows, over thresholds chosen on few rows with several margins."""
    for accuracy in (0.86, 0.90, 0.94, 0.97):
        for rows in (100, 300, 800):
            for margin in (0.0, 0.5, 1.0):
                choosing.MARGIN = margin
                rng, differences, shares = np.random.default_rng(0), [], []
                new, cheap, dear = made(accuracy, 20_000, rng)
                for _ in range(100):
                    _, at = choosing.for_cascade(*made(accuracy, rows, rng))
                    differences.append(np.where(new >= at, cheap, dear).mean() - dear.mean())
                    shares.append((new >= at).mean())
                spread = f"{np.mean(differences):+.4f}, a twentieth below {np.quantile(differences, 0.05):+.4f}"
                print(
                    f"dear {accuracy}, {rows} train rows, margin {margin}: {spread}; cheap answers {np.mean(shares):.3f}",
                    flush=True,
                )


def made(accuracy: float, n: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Confidences of a cheap rung that is right in 0.84 of the rows, its scores, and those of a dear one."""
    sure_of = rng.beta(2.2, 0.42, n)
    weight = np.where(sure_of < 0.7, HARDER, 1)
    wrong = (1 - accuracy) * weight / (0.21 * HARDER + 0.79)  # 0.21 of the draws are below 0.7
    return sure_of, (rng.random(n) < sure_of).astype(float), (rng.random(n) > wrong).astype(float)


def main() -> None:
    args = common.arguments(__doc__ or "", simulate="what margins of the threshold cost and save in made draws")
    common.machine()
    if args.simulate:
        simulate()
        return
    bank = banking(77, 1000)
    with serving(Server(answer=scripted(bank))) as server:
        bases = json.dumps([f"{server.url}#{model}" for model in ACCURACIES])
        prices = "".join(f"  {model}: {{input: 0.15, output: 0.60}}\n" for model in ACCURACIES)
        pairs = [("encoder", f"zero-shot@{model}" if i else "zero-shot") for i, model in enumerate(ACCURACIES)]
        yaml = YAML.format(task=BANK) + f"bases: {bases}\nprices:\n{prices}"
        ratios = dict(zip(ACCURACIES, measured("banking77, scripted models", bank, yaml, pairs)))
    pairs = [("nearest", "few-shot-similar"), ("encoder", "few-shot-similar")]
    local = measured("banking77, default models", banking(10, 150), YAML.format(task=BANK), pairs)
    if not args.quick:
        yaml = YAML.format(task="Name the part of a scientific abstract that the passage is from.")
        measured("sections", sections(480, 1000), yaml, [("encoder", "lora")], ["encoder-contrastive"])
    of = f"a scripted model of {ACCURACIES[MAIN]}"
    print(f"ratio={ratios[MAIN]:.2f} times cheaper than {of}; 3 asked. nearest>few-shot-similar, default models: {local[0]:.2f}")


if __name__ == "__main__":
    main()
