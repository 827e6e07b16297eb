"""The folder that `rung init` writes: a task to edit, with rows that show the form."""

from __future__ import annotations

from pathlib import Path

from rung.errors import TaskError
from rung.types import Kind

_YAML = """\
# What is to be done, with which rows, and what is good enough. `rung check` reads this file and says what is wrong.
task: {task}
kind: {kind}                 # classify | extract | answer | generate
data:
  examples: data/examples.csv    # csv, tsv, jsonl, json, parquet or a Hugging Face dataset folder; or train: / dev: / test:
  input: {input}
  output: {output}
  # group: customer              # rows of one group never stand in two splits
base: smollm2-135m-instruct      # a known name (`rung models`), a hub id, a folder, a .gguf file
goal: {{metric: {metric}, at_least: 0.8}}   # also: latency_ms, usd_per_1k, usd_per_month
volume: 10000                    # calls a month; it weighs the cost of training against that of running
budget: {{minutes: 20}}            # longest time one climb may take
"""

_README = """\
# {name}

1. Put your rows into `data/examples.csv` (a few hundred decide more than a few dozen) and edit `rung.yaml`.
2. `rung check {name}`: is the data fit to decide anything?
3. `rung plan {name}`: what would be tried, and what would it cost?
4. `rung climb {name}`: try it, cheapest first, until the goal is met.
5. `rung report {name}` and `rung ask {name} "..."`: read why, and use it.
"""

_TASKS: dict[Kind, tuple[str, str, str, str, list[tuple[str, str]]]] = {
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


def write(folder: Path, kind: Kind) -> list[Path]:
    """Write the folder and return its files. A folder that already holds a rung.yaml is left alone."""
    if (folder / "rung.yaml").exists():
        raise TaskError(
            "there is a task here already.", where=str(folder / "rung.yaml"), remedy="Edit it, or name another folder."
        )
    task, source, target, metric, rows = _TASKS[kind]
    files = {
        folder / "rung.yaml": _YAML.format(task=task, kind=kind, input=source, output=target, metric=metric),
        folder / "README.md": _README.format(name=folder.name),
        folder / "data" / "examples.csv": "".join(map(_csv_line, [(source, target), *rows])),
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(files)


def _csv_line(cells: tuple[str, str]) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\n"
