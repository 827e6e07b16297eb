"""Requests in this process: answers, streams, errors, the line, and what is counted and logged."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import command
from serving import CHAT, body, chunks, client, made, streamed, task_of_labels, task_of_texts

from rung.errors import RungError
from rung.lm.engines import Engines
from rung.lm.inference.fake import FakeEngine
from rung.predictor import Predictor
from rung.serve.access import keys
from rung.serve.answering import writing
from rung.serve.run import Limits
from rung.store import Store


@pytest.fixture
def labels(tmp_path: Path, home: Path) -> Path:
    return task_of_labels(tmp_path / "support")


@pytest.fixture
def texts(tmp_path: Path, home: Path, base: Callable[[str], Path]) -> Path:
    return task_of_texts(tmp_path / "letters", base("llama"), rungs="[zero-shot]")


async def ask(one: Any, *bodies: dict[str, Any], **headers: str) -> list[Any]:
    async with client(one, **headers) as http:
        return await asyncio.gather(*(http.post(CHAT, json=content) for content in bodies))


def test_every_fitted_rung_and_the_base_are_models(labels: Path) -> None:
    command("climb", labels)

    async def asked() -> None:
        with made(labels) as one:
            async with client(one) as http:
                found = (await http.get("/v1/models")).json()["data"]
                assert [model["id"] for model in found] == [
                    "support",
                    "support:majority",
                    "support:nearest",
                    "support:zero-shot",
                    "fake",
                ]
                assert found[0]["rung"]["rung"] == "nearest" and found[0]["rung"]["notice"] is None
                assert (await http.get("/v1/models/support:nearest")).json()["id"] == "support:nearest"
                assert (await http.get("/v1/models/x")).status_code == 404
                answers = [(await http.post(CHAT, json=body(name))).json() for name in ("support", "support:majority", "fake")]
                said = [one["choices"][0]["message"]["content"] for one in answers]
                assert said[0] == "delivery" and said[2] == "late"

    asyncio.run(asked())


def test_a_label_has_its_confidence_in_the_extra_field(labels: Path) -> None:
    with made(labels) as one:
        [found] = asyncio.run(ask(one, body("support:few-shot", "my parcel delivery")))
    content = found.json()
    choice = content["choices"][0]
    assert (found.status_code, choice["message"]["content"], choice["finish_reason"]) == (200, "delivery", "stop")
    assert 0 < choice["rung"]["confidence"] <= 1
    assert content["usage"]["total_tokens"] == content["usage"]["prompt_tokens"] + content["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"stop": "x"}, "stop"),
        ({"n": 2}, "n"),
        ({"top_p": 0.5}, "top_p"),
        ({"max_tokens": 1}, "max_tokens"),
    ],
)
def test_a_model_that_chooses_refuses_what_it_cannot_follow(labels: Path, more: dict[str, Any], named: str) -> None:
    with made(labels) as one:
        [found] = asyncio.run(ask(one, body("support", **more)))
    assert (found.status_code, found.json()["error"]["param"]) == (400, named)


def test_a_model_that_reads_the_last_message_alone_says_so(labels: Path) -> None:
    command("climb", labels)
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "late"}]
    with made(labels) as one:
        plain, system = asyncio.run(
            ask(
                one,
                {"model": "support", "messages": turns},
                {"model": "support", "messages": [{"role": "system", "content": "x"}, turns[0]]},
            )
        )
    assert plain.json()["choices"][0]["rung"]["messages_read"] == 1
    assert (system.status_code, system.json()["error"]["param"]) == (400, "messages")


def test_a_stream_joined_is_the_whole_answer(texts: Path) -> None:
    whole = body("letters", "where is my order", max_tokens=12)
    stream = {**whole, "stream": True, "stream_options": {"include_usage": True}}
    with made(texts) as one:
        plain, first, second = asyncio.run(
            ask(one, whole, stream, {**stream, "messages": [{"role": "user", "content": "refund"}]})
        )
    found = chunks(first.text)
    content = plain.json()
    assert streamed(found) == content["choices"][0]["message"]["content"] != ""
    used = ("prompt_tokens", "completion_tokens", "total_tokens")  # what of it was cached depends on who came first
    assert [found[-1]["usage"][key] for key in used] == [content["usage"][key] for key in used] and found[-1]["choices"] == []
    assert found[-2]["choices"][0]["finish_reason"] == content["choices"][0]["finish_reason"]
    assert found[0]["choices"][0]["delta"]["role"] == "assistant"
    assert len(found) > 4 and streamed(chunks(second.text)) != streamed(found)
    assert first.headers["content-type"].startswith("text/event-stream")


def test_a_stop_text_ends_an_answer_before_it(texts: Path) -> None:
    with made(texts) as one:
        one.worker.start()

        async def asked() -> tuple[str, Any, str]:
            async with client(one, start=False) as http:
                whole = (await http.post(CHAT, json=body("letters", max_tokens=20))).json()["choices"][0]["message"]["content"]
                middle = whole[len(whole) // 2 : len(whole) // 2 + 3]
                cut = (await http.post(CHAT, json=body("letters", max_tokens=20, stop=[middle, "@@@"]))).json()
                stream = (await http.post(CHAT, json=body("letters", max_tokens=20, stop=middle, stream=True))).text
                return whole[: whole.index(middle)], cut, stream

        wanted, cut, stream = asyncio.run(asked())
    assert cut["choices"][0]["message"]["content"] == wanted == streamed(chunks(stream))
    assert cut["choices"][0]["finish_reason"] == "stop" and cut["usage"]["completion_tokens"] < 20


def test_draws_follow_the_seed(texts: Path) -> None:
    def many(**more: Any) -> dict[str, Any]:
        return body("letters", max_tokens=8, temperature=1.5, n=3, **more)

    with made(texts) as one:
        a, b, c, d = asyncio.run(ask(one, many(seed=7), many(seed=7), many(seed=8), many()))
    first, second, third, free = ([choice["message"]["content"] for choice in found.json()["choices"]] for found in (a, b, c, d))
    assert first == second and first[1:] == third[:2]  # answer k is drawn with seed + k
    assert len(set(first)) > 1 and len(set(free)) > 1


def test_a_long_prompt_names_both_lengths_and_harms_no_other(texts: Path) -> None:
    with made(texts) as one:
        good, bad, stream = asyncio.run(
            ask(one, body("letters", max_tokens=4), body("letters", "x" * 3000), body("letters", "x" * 3000, stream=True))
        )
    assert good.status_code == 200
    for found in (bad, stream):
        error = found.json()["error"]
        assert (found.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
        assert "1024" in error["message"] and any(word.isdigit() and int(word) > 3000 for word in error["message"].split())


def test_a_system_message_stands_behind_the_instruction(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = Predictor.prompts
    monkeypatch.setattr(Predictor, "prompts", lambda self, *a, **k: seen.extend(found := plain(self, *a, **k)) or found)
    with made(texts) as one:
        asyncio.run(
            ask(
                one,
                {
                    "model": "letters",
                    "max_tokens": 2,
                    "messages": [{"role": "system", "content": "be kind"}, *body("")["messages"]],
                },
            )
        )
    assert seen[-1].messages[0].content == "Answer.\n\nbe kind"


def test_one_failure_harms_no_other(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = FakeEngine.choose

    def choose(self: FakeEngine, prompts: Any, *rest: Any, **more: Any) -> Any:
        if any("poison" in prompt.input for prompt in prompts):
            raise RuntimeError("a secret path")
        return plain(self, prompts, *rest, **more)

    monkeypatch.setattr(FakeEngine, "choose", choose)
    with made(labels) as one:
        found = asyncio.run(ask(one, body("support"), body("support", "poison"), body("support", "refund")))
        assert one.worker.ready
    assert [one.status_code for one in found] == [200, 500, 200]
    assert "secret" not in found[1].text and found[1].json()["error"]["code"] == "internal_error"


def test_an_answer_that_fails_on_its_way_harms_no_other(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = writing.Writer.heard

    def breaks(self: writing.Writer, text: Callable[[], str]) -> bool:
        if "poison" in self.ask.job.chat.messages[-1].content and len(text()) > 3:
            raise RuntimeError("a secret path")
        return plain(self, text)

    monkeypatch.setattr(writing.Writer, "heard", breaks)
    with made(texts) as one:
        told = [body("letters", text, max_tokens=12, stream=True) for text in ("where is my order", "poison")]
        good, bad = asyncio.run(ask(one, *told))
        assert one.worker.ready
    assert streamed(chunks(good.text)) and "internal_error" in bad.text and "secret" not in bad.text


def test_a_request_joins_answers_that_are_being_written(texts: Path) -> None:
    """The late one is answered while the first is still being written, and both as they would be alone."""

    async def asked(one: Any) -> tuple[str, str, bool]:
        first, late = body("letters", "refund", max_tokens=150, stream=True), body("letters", "where is it", max_tokens=2)
        async with client(one) as http:
            events = asyncio.create_task(http.post(CHAT, json=first))
            while not len(one.worker.batches):
                await asyncio.sleep(0.001)
            answered = await http.post(CHAT, json=late)
            before = not events.done()
            return streamed(chunks((await events).text)), answered.json()["choices"][0]["message"]["content"], before

    with made(texts) as one:
        first, late, before = asyncio.run(asked(one))
    with made(texts) as one:
        alone = [asyncio.run(ask_started(one, told))[0].json() for told in bodies(one)]
    assert [first, late] == [found["choices"][0]["message"]["content"] for found in alone] and before


def bodies(one: Any) -> list[dict[str, Any]]:
    one.worker.start()
    return [body("letters", "refund", max_tokens=150), body("letters", "where is it", max_tokens=2)]


def test_askers_do_not_find_what_others_have_computed(texts: Path) -> None:
    secrets = [keys.add(Store(texts), name) for name in ("ada", "bo")]

    async def asked(one: Any) -> list[int]:
        async with client(one) as http:
            told = [(secrets[0], "where"), (secrets[0], "where"), (secrets[1], "where"), (secrets[1], "late")]
            found = [
                await http.post(CHAT, json=body("letters", text, max_tokens=2), headers={"authorization": f"Bearer {secret}"})
                for secret, text in told
            ]
            return [one.json()["usage"]["prompt_tokens_details"]["cached_tokens"] for one in found]

    with made(texts) as one:
        first, again, stranger, other = asyncio.run(asked(one))
    assert first == stranger == 0 < other < again


def test_waiting_requests_are_answered_together(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", lambda self, rows, *a, **k: sizes.append(len(rows)) or plain(self, rows, *a, **k))

    async def asked(one: Any) -> None:
        async with client(one, start=False) as http:
            waiting = [asyncio.create_task(http.post(CHAT, json=body("support", f"late {i}"))) for i in range(10)]
            while len(one.line) < 10:
                await asyncio.sleep(0.01)
            one.worker.start()
            assert {found.status_code for found in await asyncio.gather(*waiting)} == {200}

    with made(labels) as one:
        asyncio.run(asked(one))
    assert sizes == [1, 10]  # the first warms up


def test_a_full_line_says_when_to_come_back(labels: Path) -> None:
    async def asked(one: Any) -> None:
        async with client(one, start=False) as http:
            waiting = [asyncio.create_task(http.post(CHAT, json=body("support"))) for _ in range(3)]
            while len(one.line) < 3:
                await asyncio.sleep(0.01)
            found = await http.post(CHAT, json=body("support"))
            assert found.status_code == 429 and int(found.headers["retry-after"]) >= 1
            assert found.json()["error"]["code"] == "queue_full"
            one.worker.start()
            assert [(await task).status_code for task in waiting] == [200] * 3

    with made(labels, limits=Limits(waiting=3)) as one:
        asyncio.run(asked(one))


def test_a_request_that_takes_too_long_is_given_up(labels: Path) -> None:
    async def asked(one: Any) -> None:
        async with client(one, start=False) as http:
            found = await http.post(CHAT, json=body("support"))
            assert (found.status_code, found.json()["error"]["code"]) == (504, "timeout")
            assert len(one.line) == 0

    with made(labels, limits=Limits(timeout=0.2)) as one:
        asyncio.run(asked(one))


def test_a_client_that_hangs_up_leaves_the_line(labels: Path) -> None:
    async def asked(one: Any) -> None:
        async with client(one, start=False) as http:
            gone = asyncio.create_task(http.post(CHAT, json=body("support")))
            stays = asyncio.create_task(http.post(CHAT, json=body("support", "refund")))
            while len(one.line) < 2:
                await asyncio.sleep(0.01)
            gone.cancel()
            while len(one.line) > 1:
                await asyncio.sleep(0.01)
            one.worker.start()
            assert (await stays).json()["choices"][0]["message"]["content"] == "refund"

    with made(labels) as one:
        asyncio.run(asked(one))


def test_counts_and_log(labels: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    secret = "sk-" + "a1" * 12
    with made(labels, log=path) as one:
        asyncio.run(
            ask(one, body("support", f"late, my key is {secret}", user="ada"), body("nobody"), body("support", tools=[1]))
        )
        text = one.numbers.text()
        with sqlite3.connect(path) as base:
            [(key, user, model, status, messages, answers)] = base.execute(
                "select key, user, model, status, messages, answers from requests"
            ).fetchall()
        assert (key, user, model, status, json.loads(answers)) == ("", "ada", "support", 200, ["delivery"])
        assert secret not in messages and "[key]" in messages
        assert path.stat().st_mode & 0o077 == 0
        assert 'rung_requests_total{model="support",status="200"} 1' in text
        assert 'rung_requests_total{model="",status="404"} 1' in text and 'rung_requests_total{model="",status="400"} 1' in text
        assert 'rung_request_seconds_bucket{model="support",le="+Inf"} 1' in text
        with sqlite3.connect(path) as base:
            base.execute("update requests set at = ?", (time.time() - 86400 * 31,))
        assert one.log
        one.log._swept = -1e9
        asyncio.run(ask_started(one, body("support")))
        with sqlite3.connect(path) as base:
            assert base.execute("select count(*) from requests").fetchone() == (1,)


async def ask_started(one: Any, *bodies: dict[str, Any]) -> list[Any]:
    async with client(one, start=False) as http:
        return [await http.post(CHAT, json=content) for content in bodies]


def test_health(labels: Path) -> None:
    async def asked(one: Any) -> None:
        async with client(one, start=False) as http:
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get("/readyz")).status_code == 503
            one.worker.start()
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.get("/v1/none")).json()["error"]["type"] == "not_found_error"
            assert (await http.get(CHAT)).status_code == 405

    with made(labels) as one:
        asyncio.run(asked(one))


def test_two_folders_of_one_name_are_an_error(labels: Path, tmp_path: Path) -> None:
    other = task_of_labels(tmp_path / "elsewhere" / "support")
    with pytest.raises(RungError, match="support"), made(labels, other):
        pass


def test_models_are_opened_by_the_worker_alone(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    plain = Engines.open
    with made(texts) as one:
        monkeypatch.setattr(
            Engines, "open", lambda self, ref: threads.append(threading.current_thread().name) or plain(self, ref)
        )
        asyncio.run(ask(one, body("letters", max_tokens=2)))
        assert all(served.engines is one.models["letters"].engines for served in one.models.values())
    assert set(threads) == {"engine"}
