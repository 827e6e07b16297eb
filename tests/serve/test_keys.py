"""Who may ask what: keys, access labels inside the search, and what is turned away before it is read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from commands import command
from serving import CHAT, body, client, made, task_of_documents, task_of_labels

from rung.errors import TaskError
from rung.serve.access import keys
from rung.serve.access.guard import BODY, is_loopback
from rung.serve.access.keys import redacted
from rung.store import Store


@pytest.fixture
def labels(tmp_path: Path, home: Path) -> Path:
    return task_of_labels(tmp_path / "support")


@pytest.fixture
def documents(tmp_path: Path, home: Path, encoder: Path) -> Path:
    """Documents of which one needs a label."""
    return task_of_documents(tmp_path / "staff", encoder)


def test_keys_are_kept_as_hashes_and_revoked_at_once(labels: Path) -> None:
    secret = command("keys", "add", labels, "ada").stdout.strip()
    assert secret.startswith("rk-") and len(secret) > 40
    assert secret not in (labels / ".rung" / "keys.json").read_text()
    assert command("keys", "list", labels).stdout.startswith("ada: ask")
    assert secret not in command("keys", "list", labels, "--json").stdout
    assert "already" in command("keys", "add", labels, "ada").stderr
    assert command("keys", "add", labels, "a b").returncode == 2

    async def asked(one: Any) -> None:
        async with client(one) as http:
            key = {"authorization": f"Bearer {secret}"}
            assert (await http.post(CHAT, json=body("support"))).status_code == 401
            for wrong in ("Bearer rk-wrong", "Basic x", secret, "Bearer"):
                found = await http.post(CHAT, json=body("support"), headers={"authorization": wrong})
                assert (found.status_code, found.json()["error"]["code"]) == (401, "invalid_api_key")
                assert found.headers["www-authenticate"] == "Bearer"
            assert (await http.post(CHAT, json=body("support"), headers=key)).status_code == 200
            assert (await http.get("/v1/models")).status_code == 401
            assert (await http.get("/metrics", headers=key)).status_code == 403
            assert (await http.get("/healthz")).status_code == 200
            assert command("keys", "revoke", labels, "ada").returncode == 0
            assert (await http.post(CHAT, json=body("support"), headers=key)).status_code == 401

    with made(labels, host="0.0.0.0") as one:
        asyncio.run(asked(one))
    assert "no key 'ada'" in command("keys", "revoke", labels, "ada").stderr


def test_an_admin_reads_the_counts(labels: Path) -> None:
    secret = keys.add(Store(labels), "root", role="admin")

    async def asked(one: Any) -> None:
        async with client(one, authorization=f"Bearer {secret}") as http:
            assert "rung_waiting_requests 0" in (await http.get("/metrics")).text

    with made(labels, host="0.0.0.0") as one:
        asyncio.run(asked(one))


def test_a_server_that_others_reach_needs_a_key(labels: Path) -> None:
    with pytest.raises(TaskError, match="rung keys add"), made(labels, host="0.0.0.0"):
        pass


def test_keys_of_another_making_are_none(labels: Path) -> None:
    keys.add(Store(labels), "ada")
    path = labels / ".rung" / "keys.json"
    path.write_text(path.read_text().replace('"ask"', '"admin"'))
    assert keys.load(Store(labels, lambda text: None)) == ()


def test_a_key_opens_its_own_task_alone(labels: Path, tmp_path: Path) -> None:
    other = task_of_labels(tmp_path / "sales", base="fake")
    secret = keys.add(Store(other), "bo")

    async def asked(one: Any) -> None:
        async with client(one, authorization=f"Bearer {secret}") as http:
            names = [model["id"] for model in (await http.get("/v1/models")).json()["data"]]
            assert names and all(name.startswith("sales") for name in names)
            assert (await http.post(CHAT, json=body("sales"))).status_code == 200
            assert (await http.post(CHAT, json=body("support"))).status_code == 404
            assert "support" not in (await http.get("/v1/models/support")).json()["error"]["message"].partition("Models:")[2]

    with made(labels, other, host="0.0.0.0") as one:
        asyncio.run(asked(one))


def test_labels_of_documents_are_enforced_inside_the_search(documents: Path) -> None:
    assert "no document carries" in command("keys", "add", documents, "x", "--access", "boss").stderr
    reader = command("keys", "add", documents, "ada", "--access", "hr").stdout.strip()
    guest = command("keys", "add", documents, "guest").stdout.strip()
    question = body("staff", "what does the bicycle shop pay mechanics an hour")

    async def asked(one: Any) -> list[Any]:
        async with client(one) as http:
            given = ({"authorization": f"Bearer {reader}"}, {"authorization": f"Bearer {guest}"}, {})
            return await asyncio.gather(*(http.post(CHAT, json=question, headers=header) for header in given))

    with made(documents) as one:
        assert one.models["staff"].rung == "rag"
        found = asyncio.run(asked(one))
    cited = [{source["document"] for source in one.json()["choices"][0]["rung"]["citations"]} for one in found]
    assert cited == [{"docs/hours.md", "docs/wages.md"}, {"docs/hours.md"}, {"docs/hours.md"}]
    assert all("nineteen" not in one.text for one in found[1:])


def test_not_answered_is_a_normal_answer(documents: Path) -> None:
    async def asked(one: Any) -> Any:
        async with client(one) as http:
            return (await http.post(CHAT, json=body("staff", "qqq zzz xxx"))).json()["choices"][0]

    with made(documents) as one:
        choice = asyncio.run(asked(one))
    assert choice["message"]["content"] == "I don't know." and choice["rung"]["abstained"] and choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example:8000"}, 403),
        ({"host": "localhost:1"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-length": str(BODY + 1)}, 413),
    ],
)
def test_strangers_pages_and_long_bodies_are_turned_away(labels: Path, headers: dict[str, str], status: int) -> None:
    async def asked(one: Any) -> Any:
        async with client(one) as http:
            return await http.post(
                CHAT, content=json.dumps(body("support")), headers={"content-type": "application/json"} | headers
            )

    with made(labels) as one:
        found = asyncio.run(asked(one))
    assert found.status_code == status
    assert not [name for name in found.headers if name.startswith("access-control")]
    assert status == 200 or found.json()["error"]["message"]


def test_a_body_that_is_longer_than_it_says_is_turned_away(labels: Path) -> None:
    async def parts() -> Any:
        for _ in range(3):
            yield b" " * (BODY // 2)

    async def asked(one: Any) -> int:
        async with client(one) as http:
            return (await http.post(CHAT, content=parts(), headers={"content-type": "application/json"})).status_code

    with made(labels) as one:
        assert asyncio.run(asked(one)) == 413


def test_what_loopback_is() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.0.1", "localhost", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "localhost.evil.example", "", "127.0.0.1.nip.io")))


def test_keys_are_cut_out_of_texts() -> None:
    assert redacted("a rk-" + "x" * 30 + " b") == "a [key] b"
    assert redacted("hf_" + "A" * 30 + " ghp_" + "b" * 30) == "[key] [key]"
    assert redacted("a task-force of sk-learn users") == "a task-force of sk-learn users"
