"""The pages in this process: what they show to whom, their headers, their token, and what they pass on to the API."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from commands import command
from serving import CHAT, body, chunks, client, made, streamed, task_of_documents, task_of_labels, task_of_texts

from rung.climbing import live
from rung.climbing.live import LiveRung
from rung.climbing.project import Project
from rung.retrieve.passage import Block, Passage
from rung.serve.access import keys
from rung.serve.page import words
from rung.serve.page.documents import Part, around, shown
from rung.serve.page.render import unwrapped
from rung.store import Store
from rung.task import load_task

POST = "/page" + CHAT


@pytest.fixture
def labels(tmp_path: Path, home: Path) -> Path:
    return task_of_labels(tmp_path / "support")


@pytest.fixture
def documents(tmp_path: Path, home: Path, encoder: Path) -> Path:
    return task_of_documents(tmp_path / "staff", encoder)


def token(text: str) -> dict[str, str]:
    [found] = re.findall(r'name="rung-token" content="(\w+)"', text)
    return {"x-rung-token": found}


def asked(one: Any, *steps: Callable[[Any], Any], **headers: str) -> list[Any]:
    """What a browser gets, step by step; it keeps its cookies."""

    async def all_of_them() -> list[Any]:
        async with client(one, **headers) as http:
            return [await step(http) for step in steps]

    return asyncio.run(all_of_them())


def test_pages_are_in_the_readers_language_and_load_nothing_from_elsewhere(labels: Path) -> None:
    with made(labels) as one:

        async def all_pages(http: Any) -> None:
            for path in ("/", "/leaderboard", "/knowledge"):
                english = await http.get(path)
                chinese = await http.get(path, headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.5"})
                assert english.status_code == chinese.status_code == 200
                assert '<html lang="en">' in english.text and '<html lang="zh">' in chinese.text
                assert "排行榜" in chinese.text and "Leaderboard" in english.text
                policy = english.headers["content-security-policy"]
                assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
                assert not re.findall(r"(?:src|href)=\"https?:|<style|style=|\son\w+=|<script>", english.text)
                for name in re.findall(r'"/static/([\w.]+)"', english.text):
                    assert (await http.get(f"/static/{name}")).status_code == 200
            assert (await http.get("/static/../app.py")).status_code == 404
            assert (await http.get("/static/mount.py")).status_code == 404
            chosen = await http.get("/?lang=zh", headers={"accept-language": "en"})
            assert "提问" in chosen.text and "rung-language=zh" in chosen.headers["set-cookie"]
            assert "提问" in (await http.get("/", headers={"accept-language": "en"})).text

        asked(one, all_pages)


def test_every_word_is_in_both_languages() -> None:
    for key, (english, chinese) in words.WORDS.items():
        assert (chinese and english.count("{}") == chinese.count("{}")) or key == "note_en", key
        assert re.search(r"[\u4e00-\u9fff]", chinese) or not re.search("[a-z]", chinese), key
    assert words.preferred("de, zh;q=0.3, en;q=0.2") == "zh" and words.preferred("fr;q=x, *") == "en"


def test_a_post_needs_the_token_of_its_page(labels: Path) -> None:
    with made(labels) as one:

        async def posted(http: Any) -> None:
            page = await http.get("/")
            ask = body("support:few-shot", stream=True)
            for wrong in ({}, {"x-rung-token": "x"}, {"x-rung-token": "é".encode()}):
                found = await http.post(POST, json=ask, headers=wrong)
                assert (found.status_code, found.json()["error"]["code"]) == (403, "page_token")
            found = await http.post(POST, json=ask, headers=token(page.text))
            plain = (await http.post(CHAT, json=ask)).text
            assert streamed(chunks(found.text)) == streamed(chunks(plain)) == "delivery"
            assert found.headers["content-type"].startswith("text/event-stream")
            assert (await http.post("/page/v1/other", json={}, headers=token(page.text))).status_code == 404
            unknown = await http.post(POST, json=body("x"), headers=token(page.text))
            assert unknown.json()["error"]["code"] == "model_not_found"
            await http.post("/page/sign-in", json={"key": "rk-x"}, headers={**token(page.text), "sec-fetch-site": "cross-site"})
            assert not http.cookies

        asked(one, posted)


def test_a_strangers_key_opens_nothing_and_a_known_one_stays_in_a_cookie(labels: Path, documents: Path) -> None:
    store = Store(labels)
    ask, admin = keys.add(store, "ada"), keys.add(store, "eve", role="admin")
    stranger = keys.add(Store(documents), "bob")
    with made(labels, host="0.0.0.0") as one:

        async def signed_in(http: Any) -> None:
            for path in ("/", "/leaderboard", "/knowledge", "/report", "/document?path=rows.csv"):
                found = await http.get(path)
                assert found.status_code == 401 and "API key" in found.text and "support" not in found.text
            page = await http.get("/")
            for wrong in ("rk-wrong", stranger, "é", ""):
                found = await http.post("/page/sign-in", json={"key": wrong}, headers=token(page.text))
                assert found.status_code in (400, 401) and "set-cookie" not in found.headers
            assert (await http.post("/page/sign-in", json={"key": ask}, headers={"x-rung-token": "x"})).status_code == 403
            found = await http.post("/page/sign-in", json={"key": ask}, headers=token(page.text))
            cookie = found.headers["set-cookie"].lower()
            assert "httponly" in cookie and "samesite=strict" in cookie and "max-age" not in cookie
            page = await http.get("/")
            assert page.status_code == 200 and "Sign out" in page.text and ask not in page.text
            assert (await http.post(POST, json=body("support"), headers=token(page.text))).status_code == 200
            assert (await http.post(CHAT, json=body("support"))).status_code == 401, "the API takes no cookie"
            assert (await http.get("/report")).status_code == 403
            keys.revoke(store, "ada")
            page = await http.get("/")
            assert page.status_code == 401 and "not valid" in page.text and not http.cookies
            page = await http.get("/")
            await http.post("/page/sign-in", json={"key": admin}, headers=token(page.text))
            page = await http.get("/")
            await http.post("/page/sign-out", json={}, headers=token(page.text))
            assert not http.cookies and (await http.get("/")).status_code == 401

        asked(one, signed_in)


def test_a_restricted_document_does_not_exist_for_others(documents: Path) -> None:
    store = Store(documents)
    plain, admin = keys.add(store, "ada"), keys.add(store, "eve", ["hr"], "admin")
    (documents / "docs" / "bad.md").write_bytes(b"\xff\xfe\x00")
    paths = ("/knowledge", "/knowledge?q=what+does+the+bicycle+shop+pay", "/document?model=staff&path=docs/wages.md")

    async def seen(key: str, http: Any) -> list[Any]:
        page = await http.get("/")
        if key:
            await http.post("/page/sign-in", json={"key": key}, headers=token(page.text))
        return [await http.get(path) for path in paths]

    def looked(key: str) -> list[Any]:
        with made(documents, host="0.0.0.0" if key else "127.0.0.1") as one:
            return asked(one, lambda http: seen(key, http))[0]

    for found in (looked(""), looked(plain)):
        listed, searched, document = found
        assert "docs/hours.md" in listed.text and "1 more" in listed.text
        assert all("wages" not in one.text.replace("?q=what", "") for one in (listed, searched))
        assert document.status_code == 404 and "nineteen" not in document.text
    assert "Refused" not in listed.text and "admin key" in listed.text
    listed, searched, document = looked(admin)
    assert "docs/wages.md" in listed.text and "docs/bad.md" in listed.text and "Refused" in listed.text
    assert "nineteen crowns" in searched.text and "cosine" in searched.text
    assert document.status_code == 200 and "nineteen crowns" in document.text


def test_a_citation_opens_its_passage_marked_in_the_document(documents: Path) -> None:
    with made(documents) as one:

        async def followed(http: Any) -> None:
            said = (await http.post(CHAT, json=body("staff", "when is the bicycle shop open"))).json()
            [cited] = said["choices"][0]["rung"]["citations"]
            query = {"model": "staff", "path": cited["document"], "passage": cited["passage"]}
            page = await http.get("/document", params=query)
            [marked] = re.findall(r'<mark id="passage"[^>]*>(.*?)</mark>', page.text, re.DOTALL)
            assert unescape(marked) == cited["text"] == "The bicycle shop is open from nine to five on weekdays."
            gone = await http.get("/document", params=query | {"passage": "0" * 16})
            assert "no longer in the index" in gone.text and "<mark" not in gone.text
            assert (await http.get("/document", params=query | {"path": "../staff/rung.yaml"})).status_code == 404

        asked(one, followed)


def test_a_passage_is_marked_over_blocks_and_on_its_own_line() -> None:
    blocks = [
        Block("one", ("A",), 1, 1),
        Block("same text", ("A", "B"), 3, 3),
        Block("more <b>", ("A", "B"), 5, 5, kind="code"),
        Block("same text", ("A", "B"), 9, 9),
        Block("end", ("A", "C"), 11, 11),
    ]
    two = Passage("p", "d.md", ("A", "B"), "text\n\nmore", 3, 5)
    marked = [[(part.text, part.marked) for part in one.parts] for one in shown(blocks, two)]
    assert marked[1:3] == [[("same ", False), ("text", True)], [("more", True), (" <b>", False)]]
    assert [one.headings for one in shown(blocks, None)] == [("A",), ("B",), (), (), ("C",)]
    many = shown([Block(f"line {k}", (), k, k) for k in range(1000)], Passage("r", "d.md", (), "line 700", 700, 700))
    part = around(many, 10)
    assert len(part) == 10 and part[5].parts == (Part("line 700", True),) and around(many[:3], 10) == many[:3]
    assert [one.parts[0].text for one in around(many[-5:], 3)] == ["line 995", "line 996", "line 997"]
    second = Passage("q", "d.md", ("A", "B"), "same text", 9, 9)
    assert [any(part.marked for part in one.parts) for one in shown(blocks, second)] == [False, False, False, True, False]


def test_the_leaderboard_follows_a_climb(labels: Path) -> None:
    project = Project(load_task(labels))
    rungs = (
        LiveRung("majority", 1, "done", score="0.3"),
        LiveRung("nearest", 9, "running", "fitting", 0.5),
        LiveRung("zero-shot", 30),
    )
    with made(labels) as one:

        async def watched(http: Any) -> None:
            assert "nothing was measured" in (await http.get("/leaderboard")).text
            now = live.this_process(project.task)
            project.store.write(live.FILE, asdict(replace(now, rungs=rungs, began=now.started)))
            page = (await http.get("/leaderboard")).text
            assert "A climb is running" in page and "1 of 3 rungs are done" in page
            assert 'value="0.5"' in page and re.search(r"about 3[5-9] s left", page)
            project.store.write(live.FILE, asdict(replace(now, rungs=rungs, born=1.0)))
            assert "A climb is running" not in (await http.get("/leaderboard")).text, "that process is no more"
            command("climb", labels)
            assert not (labels / ".rung" / live.FILE).exists()
            page = (await http.get("/leaderboard")).text
            assert "nearest meets the goal" in page and "The whole report" in page
            report = await http.get("/report")
            assert report.status_code == 200 and "Rows to read" in report.text

        asked(one, watched)


def test_events_come_until_the_server_ends(labels: Path) -> None:
    with made(labels) as one:

        async def followed(http: Any) -> str:
            asyncio.get_running_loop().call_later(1.5, one.stopping.set)
            return (await http.get("/leaderboard/events")).text

        [found] = asked(one, followed)
    assert found.startswith("event: board\ndata: ") and found.count("event: board") == 1


def test_wrapped_lines_are_joined_and_lists_are_not() -> None:
    long = "a line of prose that is as long as the column of its source allows"
    assert unwrapped(f"{long}\ngoes on here") == f"{long} goes on here"
    for left in (f"{long}\n- a list", f"{long}\n\nanother", f"{long}\n12. a list", "short\nlines", f"{long}\n| a | table"):
        assert unwrapped(left) == left


def test_a_page_of_texts_knows_its_models(tmp_path: Path, home: Path, base: Callable[[str], Path]) -> None:
    letters = task_of_texts(tmp_path / "letters</script>", base("llama"), rungs="[zero-shot]")
    with made(letters) as one:
        [page] = asked(one, lambda http: http.get("/"))
    [found] = re.findall(r'id="models">(.*?)</script>', page.text)
    models = json.loads(found)
    assert [model["rung"] for model in models] == ["few-shot", "few-shot", ""]
    assert models[0]["reads_all"] and models[0]["labels"] == [] and "nothing was measured" in models[0]["notice"]


def test_no_query_is_an_error_of_the_server(documents: Path) -> None:
    odd = ("%00", "%ff%fe", "%ed%a0%80", "%F0%9F%9A%B2", "..%2F..%2Frung.yaml", "%22AND%20NOT%20(", "x" * 5000, "%2A:%2A")

    async def asked_oddly(http: Any) -> set[int]:
        seen = set()
        for text in odd:
            paths = [f"/knowledge?q={text}", f"/leaderboard?task={text}", f"/?lang={text}", f"/report?task={text}"]
            paths += [f"/document?model=staff&path={text}&passage={text}", f"/document?model={text}", f"/static/{text}"]
            for path in paths:
                seen.add((await http.get(path)).status_code)
        token_of = token((await http.get("/")).text)
        for raw in (b"", b"\xff", b"[" * 100_000, b'{"id": "\\ud800", "rating": "up"}', b'{"key": 1}', b"null"):
            head = {"content-type": "application/json", **token_of}
            for path in ("/page/v1/feedback", "/page/sign-in", POST):
                seen.add((await http.post(path, content=raw, headers=head)).status_code)
        return seen

    with made(documents) as one:
        [seen] = asked(one, asked_oddly)
    assert seen == {200, 400, 404}
