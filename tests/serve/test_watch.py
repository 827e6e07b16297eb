"""A running server takes up a new climb and changed documents, all at once and without a gap."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import command
from serving import CHAT, body, client, made, task_of_documents, task_of_labels

from rung.climbing.project import Project
from rung.climbing.reindex import reindex
from rung.serve.answering.models import opened
from rung.serve.watch import Watcher
from rung.task import load_task


def project_of(folder: Path) -> Project:
    return Project(load_task(folder), say=lambda text: None)


def watcher(one: Any, folder: Path, watch: bool = False) -> Watcher:
    return Watcher(one.shelf, one.line, lambda before: opened([folder], project_of, before), project_of if watch else None)


def asked(one: Any, run: Callable[[Any], Any]) -> Any:
    async def in_client() -> Any:
        async with client(one) as http:
            return await run(http)

    return asyncio.run(in_client())


def test_a_new_climb_is_taken_up_and_what_is_under_way_ends_as_it_began(tmp_path: Path, home: Path) -> None:
    folder = task_of_labels(tmp_path / "support")
    with made(folder) as one:
        before, engines = one.models, one.models["support"].engines
        assert before["support"].rung == "few-shot"
        watching = watcher(one, folder)
        watching.look()
        assert command("climb", folder).returncode == 0
        watching.look()
        assert one.models is before  # a file that has just changed may change again

        async def run(http: Any) -> tuple[str, str]:
            early = asyncio.create_task(http.post(CHAT, json=body("support")))  # the engine thread has not started yet
            while not len(one.line):
                await asyncio.sleep(0.01)
            looking = threading.Thread(target=watching.look)
            looking.start()
            while len(one.line) < 2 and looking.is_alive():
                await asyncio.sleep(0.01)
            assert len(one.line) == 2 and one.models is before
            one.worker.start()
            first = (await early).json()["id"]
            await asyncio.to_thread(looking.join)
            late = (await http.post(CHAT, json=body("support"))).json()["id"]
            return one.recent.get(first).served.rung, one.recent.get(late).served.rung

        async def in_client() -> Any:
            async with client(one, start=False) as http:
                return await run(http)

        assert asyncio.run(in_client()) == ("few-shot", "nearest")
        assert {"support:nearest", "support:majority"} <= set(one.models) and "support:nearest" not in before
        assert one.models["support"].engines is engines  # what is in memory stays there


def test_what_cannot_be_believed_is_not_taken_up(tmp_path: Path, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = task_of_labels(tmp_path / "support")
    assert command("climb", folder).returncode == 0
    with made(folder) as one, caplog.at_level(logging.ERROR, "rung.serve"):
        logging.getLogger("rung.serve").propagate = True
        before, watching = one.models, watcher(one, folder)
        path = folder / ".rung" / "decision.json"
        path.write_text(path.read_text().replace("nearest", "majority"))
        for _ in range(4):
            watching.look()
        assert one.models is before
    assert len([record for record in caplog.records if "decision.json" in record.getMessage()]) == 1


def test_documents_are_indexed_as_they_change(tmp_path: Path, home: Path, encoder: Path) -> None:
    folder = task_of_documents(tmp_path / "staff", encoder)
    question = body("staff", "what does the bicycle shop charge for a puncture")

    async def cited(http: Any) -> set[str]:
        found = (await http.post(CHAT, json=question)).json()["choices"][0]["rung"]["citations"]
        return {source["document"] for source in found}

    with made(folder) as one:
        watching = watcher(one, folder, watch=True)

        async def run(http: Any) -> list[set[str]]:
            seen = [await cited(http)]
            (folder / "docs" / "prices.md").write_text("# Prices\n\nThe bicycle shop charges twelve crowns for a puncture.\n")
            for _ in range(2):
                await asyncio.to_thread(watching.look)
            seen.append(await cited(http))
            (folder / "docs" / "prices.md").unlink()
            await asyncio.to_thread(reindex, project_of(folder))  # as another process does, with an index of its own
            return [*seen, await cited(http)]

        before, with_it, after = asked(one, run)
    assert "docs/prices.md" in with_it and "docs/wages.md" not in with_it
    assert "docs/prices.md" not in before | after


def test_a_folder_without_documents_left_is_said_once(
    tmp_path: Path, home: Path, encoder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = task_of_documents(tmp_path / "staff", encoder)
    with made(folder) as one, caplog.at_level(logging.ERROR, "rung.serve"):
        logging.getLogger("rung.serve").propagate = True
        watching = watcher(one, folder, watch=True)
        (folder / "docs").rename(folder / "elsewhere")
        for _ in range(3):
            watching.look()
    assert len([record for record in caplog.records if "not taken up" in record.getMessage()]) == 1
