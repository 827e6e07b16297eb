"""Memory that was freed goes back to the system, and a fit leaves no model in memory."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rung.climbing.fit import fit, fit_context
from rung.climbing.project import Project
from rung.evaluate import memory
from rung.task import load_task


@pytest.mark.skipif(sys.platform != "linux", reason="other systems give memory back themselves")
def test_freed_memory_goes_back_though_something_behind_it_is_still_used() -> None:
    blocks = [bytearray(100_000) for _ in range(2000)]
    behind = blocks[-1]
    blocks.clear()
    before = psutil.Process().memory_info().rss
    memory.give_back()
    assert before - psutil.Process().memory_info().rss > 100_000_000 and behind


@pytest.mark.skipif(sys.platform != "linux", reason="what is mapped is read from /proc")
def test_the_base_is_not_mapped_any_more_when_a_fit_has_ended(base: Callable[[str], Path], tmp_path: Path, home: Path) -> None:
    own = shutil.copytree(base("llama"), tmp_path / "base")  # another test of this process may have the shared one open
    rows = [{"input": f"row {i}", "output": "ab"[i % 2]} for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"task": "a or b?", "kind": "classify", "data": {"examples": "rows.jsonl"}, "base": str(own)}
    more = {"goal": {"at_least": 0.8}, "rungs": ["lora"], "methods": {"lora": {"epochs": 1}}}
    (tmp_path / "rung.yaml").write_text(json.dumps({**task, **more}))
    project = Project(load_task(tmp_path))
    gc.disable()  # a collection by chance would free the model as well
    try:
        fit(fit_context(project), project.plan.steps[0].methods, float("inf"), lambda *_: None)
    finally:
        gc.enable()
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    assert not [name for name in mapped if name.startswith(str(own))] and not project.engines.opened
