"""Task files that are not valid YAML: the message says what to write instead, and that is YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rung.errors import TaskError
from rung.task import load_task
from rung.task.broken import USUAL


def said(folder: Path, text: str) -> str:
    (folder / "rung.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        load_task(folder)
    return str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "Reply in this form: yes or no",
        "Choose: a: b",
        "@mention the desk",
        "`code` is kept",
        "%s is the name",
        "*bold* words",
        "- one of these",
        'say "yes": or not',
        '"yes" or "no"',
        "'it's'",
        "退款: 是",
        "a\\b: c",
    ],
)
def test_a_text_that_must_be_quoted(tmp_path: Path, value: str) -> None:
    message = said(tmp_path, f"kind: classify\ntask: {value}\n")
    assert "rung.yaml line 2: this is not valid YAML" in message and "needs quotes: task: " in message
    bare = value[1:-1] if value[0] == value[-1] and value[0] in "\"'" else value
    assert yaml.safe_load(message.partition("needs quotes: ")[2]) == {"task": bare}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "task: x\n kind: classify\n",
            "line 2: this is not valid YAML: mapping values are not allowed here. The line is indented more",
        ),
        ("task: x\n\tkind: y\n", "not with tabs"),
        ("labels: [a, b\ntask: x\n", "Close the bracket"),
        ("task: {a, b\n", "Close the bracket"),
        ('task: "a\n', USUAL),
    ],
)
def test_other_faults(tmp_path: Path, text: str, says: str) -> None:
    assert says in said(tmp_path, text)
