"""Answers to the flowchart's questions: given in rung.yaml, else read off the task, its rows and the machine, else assumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from rung.advise.overlap import documents_hold, inputs_hold
from rung.advise.questions import ASSUMED, Answer, Value
from rung.advise.texts import conflicts, span
from rung.lm.engine_kinds import can, leaves
from rung.machine import Machine
from rung.methods.facts import Facts
from rung.task import Task
from rung.types import Need, TrainData

SMALL = 1_000_000_000
"""Parameters under which a base follows instructions poorly."""
BYTES_A_TOKEN = 4
"""Of English text, for sizes of files that are not read."""
FULL_BYTES = 16
"""A parameter in float32 with its gradient and the two moments of Adam."""
STRANGE = 0.5
"""Tokens a byte from which the tokenizer hardly knows the text: English has about 0.25, German 0.35."""
CONFLICTING = 0.05
"""Share of rows that contradict each other from which examples count as unclean."""
LEANING = 0.3
"""Share of answers that stand in the documents, and not in their inputs, from which the task leans on them."""
DAYS = 60
"""Between the oldest and the newest document, from which their facts count as changing."""


def answers(task: Task, data: TrainData, facts: Facts, machine: Machine, have: set[Need]) -> dict[str, Answer]:
    """Every question with its answer: what the team says before what is read, and that before what is assumed."""
    read = {answer.key: answer for answer in _read(task, data, facts)}
    found = {answer.key: answer for answer in _counted(task, data, facts, machine, have)}
    for key in ASSUMED:
        given = getattr(task.needs, key)
        found[key] = Answer(key, given, "given") if given is not None else read.get(key) or _assumed(key)
    return found


def on_base(
    known: Mapping[str, Answer], task: Task, data: TrainData, facts: Facts, machine: Machine, have: set[Need]
) -> dict[str, Answer]:
    """The same answers for another base model: what its size and its tokens settle is counted anew."""
    found = {**known, **{answer.key: answer for answer in _counted(task, data, facts, machine, have)}}
    if known["new_language"].origin != "given":
        found |= {answer.key: answer for answer in (_assumed("new_language"), *_language(data, facts))}
    return found


def _assumed(key: str) -> Answer:
    return Answer(key, ASSUMED[key].value, "assumed", ASSUMED[key].why)


def _counted(task: Task, data: TrainData, facts: Facts, machine: Machine, have: set[Need]) -> Iterator[Answer]:
    corpus = sum(Path(file).stat().st_size for file in data.corpus.files) // BYTES_A_TOKEN
    full = FULL_BYTES * facts.parameters / 2**30
    values: dict[str, Value] = {
        "kind": task.kind,
        "rows": len(data.examples),
        "labels": len(data.labels),
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
        "small_base": "yes" if 0 < facts.parameters < SMALL else "no",
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
    counts = Counter(example.output for example in data.examples)
    return int(median(counts[label] for label in data.labels)) if data.labels else 0


def _read(task: Task, data: TrainData, facts: Facts) -> Iterator[Answer]:
    """What the rows, the documents and the goal tell. A question that they leave open is not answered."""
    if task.goal.max_forgetting is not None:
        yield Answer("keep_general_skills", "yes", "read", "the goal limits what may be forgotten")
    if task.kind in ("extract", "generate"):
        how = "answers are fields in a fixed form" if task.kind == "extract" else "texts are written like those of the rows"
        yield Answer("own_style", "yes", "read", how)
    if days := span(data.documents.files):
        changing = "yes" if days >= DAYS else "no"
        yield Answer("changing", changing, "read", f"the documents are dated over {days} days")
    outside = [base for base in task.bases or (task.base,) if leaves(base)]
    if outside:
        yield Answer("data_may_leave", "yes", "read", f"the base {outside[0]} is outside the house")
    named = [str(given["teacher"]) for given in task.methods.values() if given.get("teacher")]
    if named:
        where = "local" if all(can(teacher).local for teacher in named) else "remote"
        yield Answer("teacher", where, "read", f"{named[0]} is named as a teacher")
    if data.examples:
        yield from _of_rows(task, data, facts)


def _of_rows(task: Task, data: TrainData, facts: Facts) -> Iterator[Answer]:
    rows = data.examples
    yield from _language(data, facts)
    if data.labels:
        yield Answer("checkable", "yes", "read", "a label is right or wrong")
        unclean, read = conflicts(rows)
        clean = "no" if unclean >= CONFLICTING * read else "yes"
        yield Answer("labels_clean", clean, "read", f"{unclean} of {read} rows nearly equal one with another label")
        return
    numbers = sum(any(c.isdigit() for c in row.output[-12:]) for row in rows)
    if ":" in task.goal.metric:
        yield Answer("checkable", "yes", "read", "the metric is a program of your own")
    elif task.goal.metric == "exact_match" and numbers >= 0.9 * len(rows):
        yield Answer("checkable", "yes", "read", f"{numbers} of {len(rows)} answers end in a number")
    yield from _leaning(data)


def _language(data: TrainData, facts: Facts) -> Iterator[Answer]:
    """Whether the base's tokenizer hardly knows the inputs. That of a base behind an API is not at hand."""
    rows = data.examples[:200]
    if not rows or facts.call_seconds:
        return
    size = sum(len(row.input.encode()) for row in rows) / len(rows)
    dense = facts.input_tokens / size if size else 0.0
    yield Answer("new_language", "yes" if dense >= STRANGE else "no", "read", f"{dense:.2f} tokens a byte of input")


def _leaning(data: TrainData) -> Iterator[Answer]:
    """Whether answers stand in the documents, or in their own inputs."""
    if data.documents.files:
        held, read = documents_hold(data.examples, data.documents.files)
        if read:
            needed = "yes" if held >= LEANING * read else "no"
            how = f"{held} of {read} answers stand in a document more than in their input"
            yield Answer("external_knowledge", needed, "read", how)
        return
    held, read = inputs_hold(data.examples)
    if read and held >= 0.5 * read:
        yield Answer("external_knowledge", "no", "read", f"{held} of {read} inputs hold their answer")
