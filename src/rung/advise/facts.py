"""Answers to the flowchart's questions: given in rung.yaml, else inferred from task, rows and machine, else assumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from rung import label_sets
from rung.advise.overlap import answers_in_documents, answers_in_inputs
from rung.advise.questions import ASSUMED, Answer, Value
from rung.advise.texts import conflicts, days_spanned
from rung.lm.engine_kinds import can, leaves
from rung.machine import Machine
from rung.methods.facts import Facts
from rung.task import Task
from rung.types import Need, TrainData

SMALL_PARAMETERS = 1_000_000_000
"""Bases with fewer parameters follow instructions poorly."""
BYTES_PER_TOKEN = 4
"""For English text; estimates tokens from file sizes."""
BYTES_PER_TRAINED_PARAMETER = 16
"""float32 weight, gradient and two Adam moments."""
UNFAMILIAR_TOKENS_PER_BYTE = 0.5
"""From here on the tokenizer hardly knows the language: English has about 0.25, German 0.35."""
CONFLICT_SHARE = 0.05
"""Share of contradictory rows from which labels count as unclean."""
DOCUMENT_SHARE = 0.3
"""Share of answers found in documents but not in their inputs, from which a task needs external knowledge."""
CHANGING_DAYS = 60
"""Age span of the documents from which their facts count as changing."""


def answers(task: Task, data: TrainData, facts: Facts, machine: Machine, have: set[Need]) -> dict[str, Answer]:
    """All questions with their answers; given answers win over inferred ones, and those over assumptions."""
    read = {answer.key: answer for answer in _inferred(task, data, facts)}
    found = {answer.key: answer for answer in _counted(task, data, facts, machine, have)}
    for key in ASSUMED:
        given = getattr(task.needs, key)
        found[key] = Answer(key, given, "given") if given is not None else read.get(key) or _assumed(key)
    return found


def on_base(
    known: Mapping[str, Answer], task: Task, data: TrainData, facts: Facts, machine: Machine, have: set[Need]
) -> dict[str, Answer]:
    """The answers for another base: those that depend on its size or tokens are recomputed."""
    found = {**known, **{answer.key: answer for answer in _counted(task, data, facts, machine, have)}}
    if known["new_language"].origin != "given":
        found |= {answer.key: answer for answer in (_assumed("new_language"), *_language(data, facts))}
    return found


def _assumed(key: str) -> Answer:
    return Answer(key, ASSUMED[key].value, "assumed", ASSUMED[key].why)


def _counted(task: Task, data: TrainData, facts: Facts, machine: Machine, have: set[Need]) -> Iterator[Answer]:
    corpus = sum(Path(file).stat().st_size for file in data.corpus.files) // BYTES_PER_TOKEN
    full = BYTES_PER_TRAINED_PARAMETER * facts.parameters / 2**30
    values: dict[str, Value] = {
        "kind": task.kind,
        "rows": len(data.examples),
        "labels": len(data.labels or data.label_set),
        "rows_per_label": _rows_per_label(data),
        "input_tokens": round(facts.input_tokens),
        "output_tokens": round(facts.output_tokens),
        "pairs": len(data.preferences),
        "unlabelled": len(data.unlabelled),
        "documents": len(data.documents.files),
        "corpus_tokens": corpus,
        "volume": task.volume,
        "latency_ms": task.goal.latency_ms or 0,
        "parameters": facts.parameters,
        "small_base": "yes" if 0 < facts.parameters < SMALL_PARAMETERS else "no",
        "open_weights": "yes" if Need.OPEN_WEIGHTS in have else "no",
        "gpu": "yes" if machine.device != "cpu" else "no",
        "memory_gb": machine.memory_bytes / 2**30,
        "full_memory_gb": full,
        "full_fits": "yes" if full < machine.memory_bytes / 2**30 else "no",
        "corpus_hours": machine.training_seconds(facts.parameters, 1.0, corpus) / 3600,
        "hardware": f"{machine.cores} cores" if machine.device == "cpu" else machine.device_name,
    }
    given = {"kind"} | ({"volume"} & task.model_fields_set) | ({"latency_ms"} if task.goal.latency_ms else set())
    assumed = {"volume"} - task.model_fields_set
    for key, value in values.items():
        yield Answer(key, value, "given" if key in given else "assumed" if key in assumed else "read")


def _rows_per_label(data: TrainData) -> int:
    known = data.labels or data.label_set
    counts = Counter(
        label for row in data.examples for label in (label_sets.split(row.output) if data.label_set else (row.output,))
    )
    return int(median(counts[label] for label in known)) if known else 0


def _inferred(task: Task, data: TrainData, facts: Facts) -> Iterator[Answer]:
    """Answers inferred from rows, documents and goal; questions that they leave open are omitted."""
    if task.goal.max_forgetting is not None:
        yield Answer("keep_general_skills", "yes", "read", "the goal limits what may be forgotten")
    if task.kind in ("extract", "generate"):
        how = "answers are fields in a fixed form" if task.kind == "extract" else "texts are written like those of the rows"
        yield Answer("own_style", "yes", "read", how)
    if days := days_spanned(data.documents.files):
        changing = "yes" if days >= CHANGING_DAYS else "no"
        yield Answer("changing", changing, "read", f"the documents are dated over {days} days")
    outside = [base for base in task.bases or (task.base,) if leaves(base)]
    if outside:
        yield Answer("data_may_leave", "yes", "read", f"the base {outside[0]} is an external service")
    named = [str(given["teacher"]) for given in task.methods.values() if given.get("teacher")]
    if named:
        where = "local" if all(can(teacher).local for teacher in named) else "remote"
        yield Answer("teacher", where, "read", f"{named[0]} is named as a teacher")
    if data.examples:
        yield from _from_rows(task, data, facts)


def _from_rows(task: Task, data: TrainData, facts: Facts) -> Iterator[Answer]:
    rows = data.examples
    yield from _language(data, facts)
    if data.labels or data.label_set:
        yield Answer("checkable", "yes", "read", "a label is right or wrong")
        unclean, read = conflicts(rows)
        clean = "no" if unclean >= CONFLICT_SHARE * read else "yes"
        yield Answer("labels_clean", clean, "read", f"{unclean} of {read} rows nearly equal one with another label")
        return
    numbers = sum(any(c.isdigit() for c in row.output[-12:]) for row in rows)
    if ":" in task.goal.metric:
        yield Answer("checkable", "yes", "read", "the metric is a program of your own")
    elif task.goal.metric == "exact_match" and numbers >= 0.9 * len(rows):
        yield Answer("checkable", "yes", "read", f"{numbers} of {len(rows)} answers end in a number")
    yield from _external_knowledge(data)


def _language(data: TrainData, facts: Facts) -> Iterator[Answer]:
    """Whether the base's tokenizer hardly knows the inputs' language. Unknown for a base behind an API."""
    rows = data.examples[:200]
    if not rows or facts.call_seconds:
        return
    size = sum(len(row.input.encode()) for row in rows) / len(rows)
    dense = facts.input_tokens / size if size else 0.0
    yield Answer(
        "new_language", "yes" if dense >= UNFAMILIAR_TOKENS_PER_BYTE else "no", "read", f"{dense:.2f} tokens per byte of input"
    )


def _external_knowledge(data: TrainData) -> Iterator[Answer]:
    """Whether answers come from the documents rather than from their inputs."""
    if data.documents.files:
        found, read = answers_in_documents(data.examples, data.documents.files)
        if read:
            needed = "yes" if found >= DOCUMENT_SHARE * read else "no"
            how = f"{found} of {read} answers are in a document rather than in their input"
            yield Answer("external_knowledge", needed, "read", how)
        return
    found, read = answers_in_inputs(data.examples)
    if read and found >= 0.5 * read:
        yield Answer("external_knowledge", "no", "read", f"{found} of {read} inputs contain their answer")
