"""No row of a closed document reaches anything that is learnt from or shown, whatever its source looks like."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rung.climbing.inputs import open_dev_rows
from rung.climbing.preflight import inspect
from rung.climbing.project import Project
from rung.data.corpus import documents
from rung.retrieve.knowledge import is_open, is_open_file
from rung.task import load_task
from rung.types import Example

SRC = Path(__file__).parents[2] / "src" / "rung"
SECRET = "zanzibar"
CLOSED = (
    "docs/hr/pay #2.md",
    "docs/hr/pay%20%232.md",
    "docs\\hr\\pay #2.md",
    "DOCS/HR/PAY #2.MD",
    "./docs/hr/pay #2.md ",
    "docs/hr/pay #2",
    "pay #2.md#Grades",
    "{root}/docs/hr/pay #2.md",
    "docs/hr/pya #2.md",
    "docs/hr/Gehälter.md",
    "twice.md",
    "docs/open.md; docs/hr/pay #2.md",
    '["docs/open.md", "docs/hr/pay #2.md"]',
    "docs/open.md#x; hr/pay #2",
    "nan",
)
"""Rows with these sources are closed: closed documents in other spellings, none, or two."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in ("open.md", "twice.md", "hr/twice.md", "hr/pay #2.md", "hr/Geha\u0308lter.md"):
        at = tmp_path / "docs" / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(f"# {path}\n\n{SECRET if 'hr' in path else 'open'} {path}\n")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "copy.md").write_bytes((tmp_path / "docs" / "hr" / "pay #2.md").read_bytes())
    (tmp_path / "raw" / "fine.txt").write_text("nothing to hide\n")
    rows = [{"q": f"who opens door {i}?", "a": "all", "src": "docs/open.md"} for i in range(90)]
    rows += [
        {"q": f"what is {SECRET} {i} {n}?", "a": f"{SECRET} {i}", "src": source.format(root=tmp_path)}
        for i, source in enumerate(CLOSED)
        for n in range(5)
    ]
    rows += [{"q": row["q"], "a": row["a"], "src": ""} for row in rows[90:]]  # the same rows once more, without a source
    pairs = [{"prompt": row["q"], "chosen": row["a"], "rejected": "no"} for row in rows[85:]]
    pairs += [{"prompt": "what else?", "chosen": SECRET, "rejected": "no", "src": "docs/hr/pay #2.md"}]
    for name, some in (("rows", rows), ("pairs", pairs), ("more", [{"q": f"more {SECRET}", "src": "hr/pay #2"}])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (tmp_path / "rung.yaml").write_text(
        "task: Answer.\nkind: answer\ndata: {documents: docs/, access: {docs/hr/**: hr}, examples: rows.jsonl, input: q,"
        " output: a, source: src, preferences: pairs.jsonl, unlabelled: more.jsonl, corpus: [docs/, raw/], general: docs/}\n"
        "base: fake\nrungs: [nearest]\ngoal: {metric: token_f1, at_least: 0.3}\n"
    )
    return tmp_path


def test_nothing_that_fit_may_see_holds_a_closed_row(folder: Path) -> None:
    """Demonstrations, training sets, rewards, teachers, tuning and baselines are all given `Project.data` and nothing else."""
    data = Project(load_task(folder), say=lambda text: None).inputs.data
    assert {row.source for row in data.examples} == {"docs/open.md"} and len(data.examples) > 40
    assert SECRET not in repr(replace(data, documents=data.corpus, corpus=data.corpus))
    assert data.preferences and all(one.input.startswith("who opens door") for one in data.preferences)
    for texts in (data.corpus, data.general):
        assert texts.files and not any(SECRET in text for text in documents(texts))
    assert data.unlabelled == ()


def test_a_label_that_only_closed_rows_have_is_not_shown(folder: Path) -> None:
    text = (folder / "rung.yaml").read_text().replace("kind: answer", "kind: classify").replace("token_f1", "accuracy")
    (folder / "rung.yaml").write_text(text)
    assert Project(load_task(folder), say=lambda text: None).inputs.data.labels == ("all",)


def test_check_tells_what_names_no_document_or_two(folder: Path) -> None:
    found, shown = inspect(Project(load_task(folder), say=lambda text: None))
    told = {one.code: one for one in found}
    assert told["unknown-source"].severity == "block" and told["unknown-source"].count == 10
    assert "'docs/hr/pya #2.md' (nearest: docs/hr/pay #2.md" in told["unknown-source"].what
    assert told["ambiguous-source"].severity == "block" and "docs/hr/twice.md" in told["ambiguous-source"].what
    assert told["closed-source"].severity == "note" and told["no-source"].count == 5 * len(CLOSED)
    assert told["closed-text"].count == 3 * 2 + 1 and SECRET not in repr(shown)


def test_sources_are_spelt_as_citations_are(folder: Path) -> None:
    splits = Project(load_task(folder), say=lambda text: None).inputs.splits
    named = {row.source for row in (*splits.train, *splits.dev, *splits.test.open())}
    assert named == {
        "",
        "docs/open.md",
        "docs/hr/pay #2.md",
        "docs/hr/pay #2.md#Grades",
        "docs/hr/pya #2.md",
        "docs/hr/Geha\u0308lter.md",
        "twice.md",
        '["docs/open.md", "docs/hr/pay #2.md"]',
        "docs/open.md#x; hr/pay #2",
        "nan",
    }


def test_without_labels_every_row_is_open_and_a_wrong_source_is_told_all_the_same(folder: Path) -> None:
    text = (folder / "rung.yaml").read_text().replace("access: {docs/hr/**: hr}, ", "")
    (folder / "rung.yaml").write_text(text)
    project = Project(load_task(folder), say=lambda text: None)
    assert len(project.inputs.data.examples) == len(project.inputs.splits.train) and is_open(
        "no such file", project.inputs.documents
    )
    assert is_open_file(folder / "raw" / "copy.md", project.inputs.documents)
    told = {one.code: one for one in inspect(project)[0]}
    assert told["unknown-source"].severity == "block" and "no-source" not in told and "closed-source" not in told


def test_rows_reach_methods_through_what_is_open_alone() -> None:
    """Whoever reads the rows of train elsewhere must say here that nothing is learnt from them, nor shown."""
    readers = {
        path.relative_to(SRC).as_posix()
        for path in SRC.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "train" and ast.unparse(node.value).endswith("splits")
    }
    assert readers == {
        "climbing/inputs.py",
        "climbing/preflight.py",
        "climbing/project.py",  # the language of the rows, to choose bases
        "cli/base_advice.py",  # the same
        "data/check.py",
    }


def test_a_report_shows_no_closed_row(folder: Path) -> None:
    from rung.report import rows as report_rows

    project = Project(load_task(folder), say=lambda text: None)
    open_rows = open_dev_rows(project.task)
    assert 0 < len(open_rows) < len(project.inputs.splits.dev) and not any(SECRET in row.input for row in open_rows)
    assert report_rows.disputed({}, open_rows, None).rows == ()


def test_a_row_without_a_source_is_open_unless_its_twin_is_closed(folder: Path) -> None:
    from rung.retrieve.knowledge import open_to_all

    texts = Project(load_task(folder), say=lambda text: None).inputs.documents
    row = Example("q", "a")
    assert open_to_all([row], texts) == (row,)
    assert open_to_all([row, replace(row, source="docs/hr/pay #2.md"), other := replace(row, source="docs/open.md")], texts) == (
        other,
    )
