"""A climb on a base in a vLLM server: its rungs, its fitted adapter, and what the record says of the server."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner
from vllm_servers import StandIn, listening, paths

from rung.cli import app
from rung.climbing.project import Project
from rung.export.source import source
from rung.machine import Machine
from rung.task import load_task

WORDS = {"a": "my parcel is late", "b": "refund the money"}
ROWS = [(f"{label}{i} {words} {i * 7919}", label) for i in range(50) for label, words in WORDS.items()]


def climb(folder: Path, *words: str) -> Any:
    done = CliRunner().invoke(app, [*words, str(folder), "--json"])
    found = json.loads(done.stdout)
    assert "rungs" in found, found
    return found


def test_a_climb_answers_fits_and_measures_through_the_server(
    base: Callable, machine: Machine, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("input,output\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    server = StandIn(base("llama"), machine, context=1000)
    with listening(server) as url:
        (tmp_path / "rung.yaml").write_text(
            f"task: Name it.\nkind: classify\ndata: {{examples: rows.csv}}\nbase: 'vllm:{url}#{base('llama')}'\n"
            "rungs: [zero-shot, lora]\ngoal: {at_least: 0.6}\nmethods: {lora: {epochs: 1, rank: 2}}\n"
        )
        found = {rung["name"]: rung for rung in climb(tmp_path, "climb")["rungs"]}
        exported = source(Project(load_task(tmp_path)), "lora", 2)
        assert exported.base.folder == base("llama") and exported.chat, "its weights are on this machine"
        exported.predictor.predict(exported.rows, exported.project.engines)
        assert len(server.models) == 2
        del exported
        gc.collect()
    assert all(rung["status"] == "done" for rung in found.values()), found
    records = {one["rung"]: one for one in map(json.loads, (tmp_path / ".rung" / "records.jsonl").read_text().splitlines())}
    seen = {rung: record["provenance"]["server"] for rung, record in records.items()}
    assert seen["zero-shot"]["model"] == "base" and seen["lora"]["model"].startswith("rung-")
    assert all("vLLM 0.32.0 at http://127.0.0.1" in one["program"] and not one["started_here"] for one in seen.values())
    assert all(one["memory_bytes"] is None for one in seen.values())
    assert paths(server.calls)[0] == "/v1/load_lora_adapter" and list(server.models) == ["base"], "nothing stays loaded"
    assert records["lora"]["forgetting"] is not None and records["zero-shot"]["provenance"]["remote"]
