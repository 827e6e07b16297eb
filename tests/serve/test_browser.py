"""The pages in real Chromium: each page, a streamed chat, a correction, a stranger's key, and what axe says of them.

Run with `pytest -m browser`; needs Chromium and the extra `browser`. axe-core is looked for in RUNG_AXE, a folder that
`npm pack axe-core` was unpacked to; without it that check alone is skipped.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from commands import command
from serving import made, task_of_documents, task_of_labels, task_of_texts

from rung.climbing import live
from rung.climbing.live import LiveRung
from rung.climbing.project import Project
from rung.serve.access import keys
from rung.serve.app import application
from rung.serve.feedback.notes import Notes
from rung.serve.server import Server
from rung.store import Store
from rung.task import load_task

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = Path(os.environ.get("RUNG_AXE", "node_modules/axe-core")) / "axe.min.js"
WAIT = 20_000
"""Milliseconds that a page may take on a busy machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="pip install 'rung[browser]'")
    if not CHROMIUM:
        pytest.skip("there is no Chromium on this machine")
    with sync.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of a phone's width; what its console says of errors fails the test."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="en", bypass_csp=False)
    context.set_default_timeout(WAIT)
    found = context.new_page()
    faults: list[str] = []
    found.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.faults = faults
    yield found
    context.close()
    assert not [fault for fault in faults if "401" not in fault and "404" not in fault]


@contextmanager
def running(*folders: Path, **more: Any) -> Iterator[tuple[Server, str]]:
    """A server on a free port of loopback, in a thread, and its URL."""
    import uvicorn

    with made(*folders, **more) as one:
        one.worker.start()
        made_of = uvicorn.Server(uvicorn.Config(application(one), port=0, log_config=None, lifespan="off"))
        thread = threading.Thread(target=made_of.run)
        thread.start()
        while not made_of.started:
            time.sleep(0.01)
        try:
            yield one, f"http://127.0.0.1:{made_of.servers[0].sockets[0].getsockname()[1]}"
        finally:
            one.stopping.set()
            made_of.should_exit = True
            thread.join(20)
            one.worker.stop(5)


@pytest.fixture
def labels(tmp_path: Path, home: Path) -> Path:
    return task_of_labels(tmp_path / "support")


def ask(page: Any, text: str) -> None:
    page.fill("#question", text)
    page.press("#question", "Enter")
    page.locator(".turn").last.locator(".judge, .alarm").first.wait_for()


def serious(page: Any) -> list[str]:
    """What axe finds serious or worse. Evaluated beside the page's own scripts, which its policy does not touch."""
    if not AXE.is_file():
        pytest.skip(f"there is no {AXE}: npm pack axe-core, and name the folder in RUNG_AXE")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})")
    grave = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in grave]


def test_a_correction_by_keyboard_is_kept(page: Any, labels: Path) -> None:
    with running(labels) as (_, url):
        page.goto(url)
        page.select_option("#second", "support:few-shot")
        ask(page, "the courier is late")
        assert page.locator(".answer").count() == 2 and "Confidence" in page.inner_text("#talk")
        page.locator(".answer").first.get_by_role("button", name="Correct it").press("Enter")
        page.get_by_label("The right answer").select_option("fault")
        page.get_by_role("button", name="Save").press("Enter")
        page.get_by_text("Saved. Thank you.").wait_for()
        assert page.locator(".answer").first.get_by_role("button", name="Wrong").get_attribute("aria-pressed") == "true"
        page.locator(".answer").nth(1).get_by_role("button", name="Right").click()
        page.locator(".answer").nth(1).get_by_text("Saved. Thank you.").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert not serious(page)
    first, second = Notes(labels / ".rung").unwritten()
    assert (first.rating, first.correction, second.rating, second.rung) == ("down", "fault", "up", "few-shot")


def test_a_chat_streams_and_goes_on(page: Any, tmp_path: Path, home: Path, base: Callable[[str], Path]) -> None:
    folder = task_of_texts(tmp_path / "letters", base("llama"), rungs="[zero-shot]")
    with running(folder) as (one, url):
        page.goto(url)
        page.evaluate(
            "window.grown = []; new MutationObserver(() => grown.push(document.querySelector('.said')?.textContent.length))"
            ".observe(document.getElementById('talk'), {subtree: true, childList: true, characterData: true})"
        )
        ask(page, "where is my order\n<img src=x onerror=alert(1)>")
        lengths = {length for length in page.evaluate("grown") if length}
        assert len(lengths) > 3, "the answer grows while it is written"
        assert page.locator("#talk img").count() == 0
        ask(page, "and the other one")
        asked = [len(answered.messages) for answered in one.recent._kept.values()]
        assert asked == [1, 3], "the second question goes with the turns before it"
        page.get_by_role("button", name="New conversation").click()
        assert page.locator(".turn").count() == 0


def test_a_citation_opens_the_passage(page: Any, tmp_path: Path, home: Path, encoder: Path) -> None:
    folder = task_of_documents(tmp_path / "staff", encoder)
    with running(folder) as (_, url):
        page.goto(url)
        ask(page, "when is the bicycle shop open")
        with page.expect_popup() as opened:
            page.locator(".cited a").first.click()
        opened.value.wait_for_load_state()
        assert "open from nine to five" in opened.value.locator("mark#passage").inner_text()
        assert not serious(opened.value)
        page.goto(f"{url}/knowledge?q=bicycle")
        assert page.locator(".hits li").count() == 1 and not serious(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_board_fills_while_a_climb_runs(page: Any, labels: Path) -> None:
    project = Project(load_task(labels))
    with running(labels) as (_, url):
        page.goto(f"{url}/leaderboard")
        assert "nothing was measured" in page.inner_text("main")
        now = live.this_process(project.task)
        rungs = (LiveRung("majority", 1, "running", "fitting", 0.4), LiveRung("nearest", 9))
        project.store.write(live.FILE, asdict(replace(now, rungs=rungs)))
        page.get_by_text("A climb is running").wait_for()
        assert page.locator("progress").get_attribute("value") == "0.4" and not serious(page)
        (labels / ".rung" / live.FILE).unlink()
        assert command("climb", labels).returncode == 0
        page.get_by_text("nearest meets the goal").wait_for()
        page.emulate_media(color_scheme="dark")
        assert not serious(page) and page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_strangers_key_opens_nothing(page: Any, labels: Path) -> None:
    secret = keys.add(Store(labels), "ada")
    with running(labels, host="0.0.0.0") as (_, url):
        page.goto(f"{url}/leaderboard")
        assert "support" not in page.inner_text("body") and not serious(page)
        page.get_by_label("API key").fill("rk-" + "x" * 43)
        page.keyboard.press("Enter")
        page.get_by_text("This API key is not valid here.").wait_for()
        assert page.context.cookies() == []
        page.get_by_label("API key").fill(secret)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Sign out").wait_for()
        [cookie] = page.context.cookies()
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and page.evaluate("document.cookie") == ""
        keys.revoke(Store(labels), "ada")
        page.goto(url)
        page.get_by_text("This API key is not valid here.").wait_for()
        assert page.context.cookies() == []


def test_pages_are_chinese_for_who_reads_chinese(page: Any, labels: Path) -> None:
    with running(labels) as (_, url):
        page.goto(url)
        page.get_by_role("link", name="中文").click()
        for path in ("/", "/leaderboard", "/knowledge"):
            page.goto(url + path)
            assert page.locator("html").get_attribute("lang") == "zh" and not serious(page)
