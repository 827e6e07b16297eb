"""Eight public tasks as task folders, cut down so that two cores can climb them; every cut is printed."""

from __future__ import annotations

import csv
import json
import random
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from common import DATA

TEST = 20
"""Sealed rows: enough for a split, for nothing is told of them here."""
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Source:
    """What a loader found, before it is cut to size."""

    task: str
    kind: str
    metric: str
    rows: Pairs
    cut: str = ""
    """What was left out, and why."""
    documents: tuple[str, ...] = ()


def write(found: Source, folder: Path, rows: int, rungs: list[str], methods: dict[str, dict[str, Any]] | None = None) -> None:
    """The task folder: `rows` to learn from, half as many to decide on, drawn at random with a fixed seed.

    `methods`: options of methods, as in rung.yaml.
    """
    drawn = random.Random(0).sample(found.rows, min(len(found.rows), rows + rows // 2 + TEST))
    dev = (len(drawn) - TEST) // 3
    parts = {"dev": drawn[:dev], "test": drawn[dev : dev + TEST], "train": drawn[dev + TEST :]}
    folder.mkdir(parents=True, exist_ok=True)
    data: dict[str, Any] = {"input": "input", "output": "output"}
    for part, pairs in parts.items():
        data[part] = f"{part}.csv"
        with (folder / data[part]).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("input", "output"), *pairs])
    if found.documents:
        (folder / "docs").mkdir(exist_ok=True)
        for i, text in enumerate(found.documents):
            (folder / "docs" / f"{i:04}.md").write_text(text, encoding="utf-8")
        data["documents"] = "docs"
    # the goal decides nothing here: all rungs are measured
    content = {"task": found.task, "kind": found.kind, "data": data, "goal": {"metric": found.metric, "at_least": 0.5}}
    content["rungs"] = [rung for rung in rungs if found.documents or "rag" not in rung.split("+")]
    if methods:
        content["methods"] = methods
    (folder / "rung.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    sizes = ", ".join(f"{len(pairs)} {part}" for part, pairs in parts.items())
    print(f"{folder.name}: {sizes} of {len(found.rows)} rows{'; ' if found.cut else ''}{found.cut}")


def banking77() -> Source:
    with (DATA / "banking77/train.csv").open(encoding="utf-8") as file:
        rows = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    twenty = sorted({label for _, label in rows})[::4]
    kept = [row for row in rows if row[1] in twenty]
    return Source("Name the intent of the customer's message to the bank.", "classify", "accuracy", kept, "every fourth label")


def pubmedqa() -> Source:
    found = json.loads((DATA / "pubmedqa/ori_pqal.json").read_text(encoding="utf-8")).values()
    rows = [(f"{end(' '.join(one['CONTEXTS']))}\n\n{one['QUESTION']}", one["final_decision"]) for one in found]
    task = "Answer the question from the end of the abstract: yes, no or maybe."
    return Source(task, "classify", "accuracy", rows, "the last 80 words of each abstract")


def end(text: str, words: int = 80) -> str:
    return " ".join(text.split()[-words:])


def medquad() -> Source:
    """Questions without their documents, which lie beside them; one answer a question."""
    rows: dict[str, str] = {}
    documents = []
    for path in sorted(DATA.glob("medquad/*/*.xml"))[::3]:
        pairs = [(p.findtext("Question") or "", p.findtext("Answer") or "") for p in ElementTree.parse(path).iter("QAPair")]
        plain = [(" ".join(asked.split()), " ".join(answer.split())) for asked, answer in pairs]
        documents.append("\n\n".join(f"{asked}\n{answer}" for asked, answer in plain))
        for asked, answer in plain:
            if 0 < len(answer.split()) <= 80:
                rows.setdefault(asked, answer)
    cut = "every third document, answers of up to 80 words, one a question"
    return Source("Answer the patient's question.", "answer", "token_f1", list(rows.items()), cut, tuple(documents))


def xquad() -> Source:
    """Questions without their paragraphs, which are the documents."""
    found = json.loads((DATA / "xquad/xquad.en.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in found for paragraph in article["paragraphs"]]
    rows = {qa["question"]: qa["answers"][0]["text"] for paragraph in paragraphs for qa in paragraph["qas"]}
    documents = tuple(paragraph["context"] for paragraph in paragraphs)
    return Source("Answer the question in a few words.", "answer", "token_f1", list(rows.items()), "", documents)


def e2e_nlg() -> Source:
    rows: dict[str, str] = {}
    for name in ("devset.csv", "testset_w_refs.csv"):
        with (DATA / "e2e_nlg" / name).open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.setdefault(row["mr"], row["ref"])
    return Source("Write one text about the place.", "generate", "rouge_l", list(rows.items()), "the first text of each place")


def gsm8k() -> Source:
    lines = (DATA / "gsm8k/train.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    rows = [(one["question"], one["answer"].split("####")[1].strip()) for one in found]
    return Source("Solve the problem. Answer with the number only.", "answer", "exact_match", rows, "answers without their steps")


def ner() -> Source:
    """WNUT17 sentences as JSON: a list of names by type."""
    text = (DATA / "ner/WNUT17/wnut17train.conll").read_text(encoding="utf-8")
    rows = {}
    for block in re.split(r"\n\s*\n", text.strip()):
        tokens = [line.split("\t") for line in block.splitlines() if "\t" in line]
        if names := _names(tokens):
            rows[" ".join(token for token, _ in tokens)] = json.dumps(names, ensure_ascii=False)
    types = "corporation, creative-work, group, location, person, product"
    task = f"List the names in the message as JSON, by type: {types}."
    return Source(task, "extract", "field_f1", list(rows.items()), "sentences with a name")


def _names(tokens: list[list[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for token, tag in tokens:
        mark, _, of = tag.strip().partition("-")
        if mark == "B":
            found.setdefault(of, []).append(token)
        elif mark == "I" and found.get(of):
            found[of][-1] += f" {token}"
    return dict(sorted(found.items()))


def mts_dialog() -> Source:
    with (DATA / "mts_dialog/MTS-Dialog-TrainingSet.csv").open(encoding="utf-8") as file:
        found = [(row["dialogue"], row["section_text"]) for row in csv.DictReader(file)]
    rows = {asked: text for asked, text in found if len(asked.split()) <= 120 and len(text.split()) <= 40}
    cut = "dialogues of up to 120 words, notes of up to 40"
    return Source("Write the clinical note of the conversation.", "generate", "rouge_l", list(rows.items()), cut)


TASKS: dict[str, Callable[[], Source]] = {
    load.__name__: load for load in (banking77, pubmedqa, medquad, xquad, e2e_nlg, gsm8k, ner, mts_dialog)
}
