"""The example notebook runs from top to bottom in a real kernel, and shows what a reader should see."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

EXAMPLES = Path(__file__).parents[2] / "examples"
FAST = 'settings = {"base": "fake", "encoder": "fake", "rungs": ["majority", "nearest", "zero-shot", "few-shot"]}'


def executed(place: Path, parameters: str = "") -> dict[str, list[Any]]:
    """Outputs of the code cells by their source, run in `place`; `parameters` stand in for the cell of that tag."""
    shutil.copytree(EXAMPLES / "tickets" / "data", place / "tickets" / "data")
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    for cell in notebook.cells:
        if parameters and "parameters" in cell.metadata.get("tags", []):
            cell.source = parameters
    runner = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(place)}})
    runner.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    if shown := os.environ.get("RUNG_NOTEBOOK_OUT"):
        nbformat.write(notebook, shown)
    return {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def output(found: dict[str, list[Any]], begins: str) -> str:
    """What the cell shows that begins so: its HTML where it has some, else its text."""
    [outputs] = [outputs for source, outputs in found.items() if source.startswith(begins)]
    told = []
    for one in outputs:
        data = one.get("data", {})
        told.append(data.get("text/html") or data.get("text/plain") or one.get("text") or "\n".join(one.get("traceback", [])))
    return "\n".join(told)


def test_the_notebook_runs(tmp_path: Path, home: Path) -> None:
    found = executed(tmp_path, FAST)
    climb = output(found, "climb = rung.climb")
    assert "rungs measured" in climb and climb.count("<table") == 1 and "nearest" in climb
    assert "<td" in output(found, "rung.plan") and "severity" in output(found, "rung.check")
    assert "dataframe" in output(found, "climb.leaderboard")
    assert "The task is in" in output(found, "import rung") and "nearest" in output(found, "rung.fit")
    fault = output(found, 'rung.Task(task="Name')
    assert "TaskError" in fault and "Did you mean 0.75?" in fault and "Traceback" not in fault
    assert not (tmp_path / "never-written").exists() and (tmp_path / "rung-tasks").is_dir()


@pytest.mark.model
def test_the_notebook_runs_as_it_is(tmp_path: Path) -> None:
    found = executed(tmp_path)
    assert "meets" in output(found, "climb.verdict") and "Warning" not in "".join(output(found, source) for source in found)


def test_the_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
