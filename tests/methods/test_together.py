"""A command under a launcher of several processes: they fit together, and one of them answers, writes and prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml


@pytest.mark.slow
def test_a_rung_is_fitted_by_two_processes(home: Path, base: Callable[[str], Path], tmp_path: Path) -> None:
    task = {
        "base": str(base("llama")),
        "kind": "classify",
        "task": "late or refund?",
        "data": {"examples": "rows.csv", "input": "text", "output": "label"},
        "goal": {"metric": "accuracy", "at_least": 0.5},
        "methods": {"lora": {"rank": 2, "epochs": 2, "patience": 1}},
    }
    (tmp_path / "rung.yaml").write_text(yaml.safe_dump(task))
    rows = [f"parcel {i} {'late' if i % 2 else 'back'},{'late' if i % 2 else 'refund'}" for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]))
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*start, "-m", "rung.cli", "fit", "few-shot+lora", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    record = json.loads(done.stdout)
    assert record["status"] == "done", record["reason"]
    assert len(record["provenance"]["notes"]) == 2
    assert len((tmp_path / ".rung" / "records.jsonl").read_text().splitlines()) == 1
    assert len(record["provenance"]["notes"][1]["held"]) == 2
    assert not any((tmp_path / ".rung" / "work").iterdir())
