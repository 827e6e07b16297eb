"""Which engine writes: as asked for, or by a trial of both on the task's own rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backends import kind as again
from commands import command
from serving import CHAT, body, client, made, task_of_texts

from rung.errors import ModelError, RungError, TaskError
from rung.lm.backends import table
from rung.lm.backends.table import BackendKind
from rung.serve.backends import choose, trial
from rung.serve.backends.trial import Agreement, Speed


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> dict[str, BackendKind]:
    """The table of backends, with none in it."""
    rows: dict[str, BackendKind] = {}
    monkeypatch.setattr(table, "TABLE", rows)
    return rows


@pytest.fixture
def task(base: Callable[[str], Path], home: Path, tmp_path: Path) -> Path:
    return task_of_texts(
        tmp_path / "orders", base("llama"), rungs="[zero-shot]", data="{examples: rows.csv, input: q, output: a}"
    )


def chosen(task: Path, asked: str) -> tuple[dict[str, str], list[str]]:
    """What `--engine` chooses for each model, and what it says."""
    said: list[str] = []
    with made(task) as server:
        choose.choose(server.models, asked, said.append)
        found = {name: one.engines.backends.get(one.model) for name, one in server.models.items()}
    return {name: one.said for name, one in found.items() if one}, said


@pytest.mark.anyio
async def test_requests_are_written_by_the_backend_that_was_asked_for(backends: dict[str, BackendKind], task: Path) -> None:
    backends["again"] = again()
    with made(task) as server:
        choose.choose(server.models, "again", lambda text: None)
        assert [one.said for one in server.models["orders"].engines.backends.values()] == ["again"]
        async with client(server) as ask:
            found = [(await ask.post(CHAT, json=body("orders", f"where is order {k}"))).json() for k in range(2)]
            streamed = await ask.post(CHAT, json=body("orders", "where is order 1", stream=True))
            alone = await ask.post(CHAT, json=body("orders", "where is order 1", logprobs=True, max_tokens=4))
    assert all(one["choices"][0]["message"]["content"] for one in found) and streamed.text.count("data: ") > 3
    assert alone.json()["choices"][0]["logprobs"]["content"]


def test_a_backend_that_answers_otherwise_is_refused(backends: dict[str, BackendKind], task: Path) -> None:
    backends["again"] = again(swap=1)
    with pytest.raises(RungError, match="otherwise than rung's own engine: a token differs by"):
        chosen(task, "again")
    found, said = chosen(task, "auto")
    assert not found and "again answers otherwise" in said[0]


def test_auto_takes_what_is_faster_and_remembers_it(
    backends: dict[str, BackendKind], task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends["again"] = again()
    speeds = [Speed((1.0, 4.0), (1.0, 0.5)), Speed((1.0, 0.5), (1.0, 1.0))]
    monkeypatch.setattr(trial, "speed", lambda *words: speeds.pop())
    found, said = chosen(task, "auto")
    assert set(found.values()) == {"again"} and "1.4 times as fast (0.50 s against 1.00 s" in said[0] and "same" in said[0]
    assert chosen(task, "auto")[0] == found and len(speeds) == 1  # not measured again
    backends["again"] = again(missing="pip install again")
    assert chosen(task, "auto") == ({}, ["orders is written by the own engine: no other is installed (again)."])


def test_auto_measures_and_stays_with_what_cannot_be_opened(
    backends: dict[str, BackendKind], task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "SECONDS", 1e9)
    monkeypatch.setattr(trial, "TOKENS", 4)
    backends["again"] = again(slow=0.05)
    found, said = chosen(task, "auto")
    assert not found and "times as fast" in said[0] and "all at once" in said[0]

    def broken(wanted: Any) -> Any:
        raise ModelError("no such shape.")

    backends["other"] = BackendKind(name="other", open=broken, missing=str, version=lambda: "2", device="cpu")
    del backends["again"]
    assert "other cannot load it: no such shape" in chosen(task, "auto")[1][0]
    with pytest.raises(ModelError, match="no such shape"):
        chosen(task, "other")


def test_a_server_outside_is_asked_only_where_data_may_leave(task: Path) -> None:
    text = (task / "rung.yaml").read_text()
    (task / "rung.yaml").write_text(text + "needs: {data_may_leave: no}\n")
    with pytest.raises(TaskError, match="data_may_leave is no"):
        chosen(task, "vllm=https://example.org")


def test_limits_are_those_of_exports() -> None:
    assert not Agreement(4, 3, 100, (0.009,), "f16").faults and "0.02 nats" in Agreement(4, 3, 100, (0.02,), "f16").faults
    assert "4 of 100 tokens differ" in Agreement(9, 5, 100, (0.01,) * 4, "bf16").faults
    assert Speed((4.0, 1.0), None).gain == 4 and Speed((4.0, 1.0), (1.0, 4.0)).gain == 1


def test_the_command_names_what_it_knows(task: Path) -> None:
    done = command("serve", task, "--port", "0", "--engine", "ollama")
    assert done.returncode == 2 and "Known: own, llamacpp, vllm, vllm=http://…, auto" in " ".join(done.stderr.split())
