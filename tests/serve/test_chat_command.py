"""A folder of documents alone: answered from as it is, with nothing measured."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from commands import command
from serving import CHAT, body, client

from rung.climbing.project import Project
from rung.errors import TaskError
from rung.serve.answering.models import opened
from rung.serve.run import server
from rung.task import load_task
from rung.task.alone import documents_alone, is_task

EXAMPLE = Path(__file__).parents[2] / "examples" / "docs_chatbot"


@pytest.fixture
def docs(tmp_path: Path, home: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "more").mkdir(parents=True)
    (folder / "hours.md").write_text("# Hours\n\nThe bicycle shop is open from nine to five on weekdays.\n")
    (folder / "more" / "wages.md").write_text("# Wages\n\nThe shop pays mechanics nineteen crowns an hour.\n")
    return folder


def test_documents_alone_are_answered_from(docs: Path, encoder: Path) -> None:
    def project_of(folder: Path) -> Project:
        task = documents_alone(folder, "fake").model_copy(update={"encoder": str(encoder)})
        return Project(task, say=lambda text: None)

    found = opened([docs], project_of)
    assert list(found) == ["docs", "docs:rag", "fake"]
    assert "nothing was measured" in found["docs"].notice and "rung init NEW --from docs" in found["docs"].notice
    one = server(found, "127.0.0.1")

    async def asked() -> None:
        async with client(one) as http:
            said = (await http.post(CHAT, json=body("docs", "when is the bicycle shop open"))).json()
            places = {cited["document"] for cited in said["choices"][0]["rung"]["citations"]}
            assert places == {"hours.md", "more/wages.md"}
            assert "nothing to measure" in (await http.get("/leaderboard")).text
            listed = (await http.get("/knowledge?q=wages")).text
            assert "more/wages.md" in listed and "nineteen crowns" in listed

    try:
        asyncio.run(asked())
    finally:
        one.line.close()
    with pytest.raises(TaskError, match="neither `examples` nor `train`"):
        (docs / "rung.yaml").write_text("task: a\nkind: answer\ngoal: {at_least: 0}\ndata: {documents: .}\n")
        load_task(docs)


def test_one_document_is_enough(docs: Path) -> None:
    task = documents_alone(docs / "hours.md")
    assert task.folder == docs and task.data.documents == ("hours.md",)
    assert not Project(task).inputs.splits.train and len(Project(task).inputs.documents.files) == 1
    assert is_task(EXAMPLE) and is_task(EXAMPLE / "rung.yaml") and not is_task(docs) and not is_task(docs / "hours.md")


def test_what_cannot_be_chatted_with_is_an_error(docs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, why in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "empty", "neither a rung.yaml nor a document")):
        found = command("chat", folder, "--no-browser")
        assert found.returncode == 2 and why in found.stderr
    assert not (tmp_path / "empty" / ".rung").exists()
    wrong = command("chat", docs, "--base", "http://[")
    assert wrong.returncode == 2 and "http://[" in wrong.stderr


@pytest.mark.model
def test_rung_chat_answers_with_citations_and_ends_while_a_page_listens(tmp_path: Path) -> None:
    docs = tmp_path / "manual"
    shutil.copytree(EXAMPLE / "docs", docs)
    line = [sys.executable, "-u", "-m", "rung.cli", "chat", str(docs), "--no-browser"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watch = threading.Timer(240, process.kill)
    watch.start()
    try:
        assert process.stdout and process.stderr
        url = process.stdout.readline().split()[0].rstrip("/")
        assert url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=url, timeout=120) as http, http.stream("GET", "/leaderboard/events") as events:
            lines: Any = events.iter_lines()
            assert next(lines) == "event: board"
            said = http.post(CHAT, json=body("manual", "How far from a dripper should the probe be?")).json()
            [cited] = [one for one in said["choices"][0]["rung"]["citations"] if one["cited"]]
            assert cited["document"] == "sensors.md" and "20 centimetres" in cited["text"]
            process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            assert process.wait(30) == 0 and time.monotonic() - started < 20
        assert "nothing was measured" in process.stderr.read()
        assert not (docs / ".rung" / "requests.sqlite").exists()
    finally:
        watch.cancel()
        process.kill()
        process.communicate()
