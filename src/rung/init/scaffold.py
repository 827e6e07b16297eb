"""The folder that `rung init` writes: a task to edit, with sample rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from rung.errors import TaskError
from rung.files import write_text
from rung.types import Kind

Template = Kind | Literal["multilabel"]
"""What `rung init --kind` takes: a kind of task, or one of its forms."""

_YAML = """\
# The task, its rows and its goal. `rung check` validates this file.
task: {task}
kind: {kind:<27}# classify | extract | answer | generate
{more}data:
{documents}  examples: data/examples.csv    # csv, jsonl, parquet, a Hugging Face dataset folder, …; or train: / dev: / test:
  input: {input}
  output: {output}
{source}  # group: customer              # rows of one group stay in one split
  # unlabelled: data/new.csv     # inputs without an answer: `rung label` asks you for them
base: smollm2-135m-instruct      # a known name (`rung models`), a hub id, a folder, a .gguf file
goal: {{metric: {metric}, at_least: 0.8}}   # also: latency_ms, usd_per_1k, usd_per_month
volume: 10000                    # calls a month, to weigh training cost against running cost
budget: {{minutes: 20}}            # time limit of one climb
"""

_LOOKED_UP = {
    "documents": "  # documents: docs/             # look answers up: folder, file or glob of md, html, pdf, docx, …\n",
    "source": "  # source: source               # column with the document, or document#heading, that holds the answer\n",
}
"""Lines of a task whose answers may be in documents."""

_README = """\
# {name}

1. Put your rows into `data/examples.csv` (a few hundred decide more than a few dozen) and edit `rung.yaml`.
2. `rung check {name}`: can the data decide anything?
3. `rung plan {name}`: what would be tried, and what would it cost?
4. `rung climb {name}`: try rungs, recommended and cheapest first, until the goal is met.
5. `rung report {name}` and `rung ask {name} "..."`: see why, and use it.
"""

_DRAFTED_YAML = """\
# The task, its rows and its goal. `rung check` validates this file.
task: Answer the question from the documents in a few words.
kind: answer
data:
  documents: {documents}    # folder, file or glob: md, html, txt, rst, qmd, pdf, docx, csv, jsonl
  examples: data/drafts.csv    # drafted by a model: read and fix them, and set draft to no where you accept one
  input: question
  output: answer
  source: source               # the document, or document#heading, that holds the answer
rungs: [zero-shot, rag, rag+few-shot]
base: {base}
goal: {{metric: token_f1, at_least: 0.6}}   # also: latency_ms, usd_per_1k, usd_per_month
volume: 10000                  # calls a month, to weigh training cost against running cost
budget: {{minutes: 20}}          # time limit of one climb
"""

_DRAFTED_README = """\
# {name}

1. Read `data/drafts.csv`. A model wrote it from the documents, unchecked. Fix or delete rows, add what your users really
   ask, and set `draft` to `no` in the rows that you accept. `rung check {name}` says how many are left.
2. `rung search {name} "..."`: does the index find what you would look for?
3. `rung climb {name}`: answers with and without the documents, measured on the same rows.
4. `rung report {name}` and `rung ask {name} "..."`: see why, and use it.
"""

_TASKS: dict[Template, tuple[str, str, str, str, list[tuple[str, str]]]] = {
    "classify": (
        "Name the intent of the customer's message.",
        "text",
        "intent",
        "accuracy",
        [
            ("my parcel was due on Monday and nothing has come", "delivery"),
            ("the courier left it with someone I don't know", "delivery"),
            ("I was charged twice this month", "payment"),
            ("your page will not take my card", "payment"),
            ("the handle came off on the second day", "fault"),
            ("it hums and then switches itself off", "fault"),
        ],
    ),
    "multilabel": (
        "Name everything that the ticket is about.",
        "text",
        "tags",
        "micro_f1",
        [
            ("my parcel is late, and I want my money back", "delay; refund"),
            ("it came broken", "damage"),
            ("late again, and the box was open", "delay; damage"),
        ],
    ),
    "extract": (
        "Give the date, the place and the number of people as JSON.",
        "text",
        "fields",
        "field_f1",
        [
            ("a table for four at the Harbour on 3 May", '{"date": "3 May", "place": "Harbour", "people": 4}'),
            ("we'd be two, next Friday, at the Mill", '{"date": "next Friday", "place": "Mill", "people": 2}'),
        ],
    ),
    "answer": (
        "Answer the question in a few words.",
        "question",
        "answer",
        "token_f1",
        [("When does the shop open on Sunday?", "At ten."), ("Who signs for a parcel?", "Anyone at the address.")],
    ),
    "generate": (
        "Write a friendly two-sentence reply to the review.",
        "review",
        "reply",
        "rouge_l",
        [("Lovely soup, slow service.", "We are glad you liked the soup. We have added a waiter so that it comes sooner.")],
    ),
}


DRAFT_FILES = ("rung.yaml", "README.md", "data/drafts.csv")
"""Files of a folder with drafted questions."""


def write(folder: Path, template: Template) -> list[Path]:
    """Write the folder and return its files. TaskError if one of them exists."""
    task, source, target, metric, rows = _TASKS[template]
    several = template == "multilabel"
    more = "multilabel: true                 # a row has any number of labels, such as delay; refund\n" if several else ""
    kind = "classify" if several else template
    looked_up = _LOOKED_UP if template == "answer" else {"documents": "", "source": ""}
    columns = {"input": source, "output": target}
    files = {
        "rung.yaml": _YAML.format(task=task, kind=kind, more=more, metric=metric, **columns, **looked_up),
        "README.md": _README.format(name=folder.resolve().name),
        "data/examples.csv": "".join(map(_csv_line, [(source, target), *rows])),
    }
    return _written(folder, files)


def write_drafts(folder: Path, documents: str, base: str, drafts: Sequence[tuple[str, str, str]]) -> list[Path]:
    """Write a folder whose questions a model drafted: question, answer and source of each. Returns its files."""
    rows = [("question", "answer", "source", "draft"), *((*one, "yes") for one in drafts)]
    files = {
        "rung.yaml": _DRAFTED_YAML.format(documents=json.dumps(documents), base=json.dumps(base)),
        "README.md": _DRAFTED_README.format(name=folder.resolve().name),
        "data/drafts.csv": "".join(map(_csv_line, rows)),
    }
    assert files.keys() == set(DRAFT_FILES)
    return _written(folder, files)


def check_free(folder: Path, names: Iterable[str] = DRAFT_FILES) -> None:
    """TaskError if one of these files exists or `folder` is a file; nothing is overwritten."""
    if folder.exists() and not folder.is_dir():
        raise TaskError("this is a file, but a task is a folder.", where=str(folder), remedy="Name another folder.")
    for name in names:
        if (folder / name).exists():
            what = "a task exists here already." if name == "rung.yaml" else "the file exists already."
            raise TaskError(what, where=str(folder / name), remedy="Edit it, or name another folder.")


def _written(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write each file atomically, rung.yaml last: without it there is no task."""
    check_free(folder, texts)
    files = {folder / name: text for name, text in texts.items()}
    for path, text in sorted(files.items(), key=lambda file: file[0].name == "rung.yaml"):
        write_text(path, text)
    return list(files)


def _csv_line(cells: Sequence[str]) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\n"
