"""An upload to a hub: a stand-in on loopback takes it; without a token, a proof or a yes nothing leaves this machine."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from commands import command
from huggingface_hub import constants

Base = Callable[[str], Path]
Made = Callable[[Path], Path]
TOKEN = "hf_very_secret_token"


class Hub(ThreadingHTTPServer):
    """As much of a hub as an upload needs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.files: dict[str, bytes] = {}
        self.private: bool | None = None
        self.exists_public = False
        self.knows = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if self.headers["authorization"] != f"Bearer {TOKEN}" or not self.server.knows:
            return self._send({"error": f"Invalid user token {TOKEN}"}, 401)
        if self.path == "/api/whoami-v2":
            return self._send({"name": "ann", "type": "user", "orgs": []})
        if self.server.exists_public or self.server.private is not None:
            return self._send({"id": "team/intents", "private": not self.server.exists_public, "siblings": [], "tags": []})
        return self._send({"error": "not there"}, 404, {"X-Error-Code": "RepoNotFound"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.server.private = asked.get("private", asked.get("visibility") == "private")
            return self._send({"url": f"{self.server.url}/team/intents", "id": "team/intents"})
        if "/preupload/" in self.path:
            kinds = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in json.loads(body)["files"]]
            return self._send({"files": kinds})
        if "/commit/" not in self.path:  # the card's front matter is checked first
            return self._send({"errors": [], "warnings": []})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return self._send({"commitUrl": f"{self.server.url}/team/intents/commit/1", "commitOid": "1"})

    def _send(self, value: object, code: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        for name, content in {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, content)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on loopback with a token that it knows."""
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


def exported(*words: str | Path, code: int = 0) -> str:
    done = command("export", *words, "--rows", "2")
    shown = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, shown
    assert "Traceback" not in shown and TOKEN not in shown
    return shown


def test_a_proven_folder_is_uploaded_private(hub: Hub, base: Base, made: Made, tmp_path: Path) -> None:
    task, out = made(base("llama")), tmp_path / "out"
    shown = exported(task, "lora", "--out", out, "--push", "team/intents", "--yes")
    assert hub.private is True and set(hub.files) == {path.name for path in out.iterdir() if path.is_file()}
    assert hub.files["model.safetensors"] == (out / "model.safetensors").read_bytes()
    assert "private, by ann" in shown and "no rows" in shown and f"{hub.url}/team/intents" in shown
    rows = [line.partition(",")[0] for line in (task / "rows.csv").read_text().splitlines()[1:]]
    everything = b"".join(hub.files.values())
    assert TOKEN.encode() not in everything and not any(row.strip('"').encode() in everything for row in rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--push", "team/intents"), "Give --yes"),
        (("--push", "intents", "--yes"), "no name of a repository"),
        (("--push", "team/intents", "--yes", "--to", "gguf"), "only folders for transformers"),
        (("--public",), "Give --push"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    words: tuple[str, ...], said: str, hub: Hub, base: Base, made: Made, tmp_path: Path
) -> None:
    assert said in exported(made(base("llama")), "lora", "--out", tmp_path / "out", *words, code=2)
    assert not (tmp_path / "out").exists() and not hub.files


def test_without_a_token_or_with_a_wrong_one(
    hub: Hub, base: Base, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, words = made(base("llama")), ("--out", tmp_path / "out", "--push", "team/intents", "--yes")
    hub.knows = False
    assert "the hub did not take it" in exported(task, "lora", *words, code=2)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.utils._auth._get_token_from_file", lambda: None)
    assert "HF_TOKEN" in exported(task, "lora", *words, code=2)


def test_a_public_repository_is_not_written_to_by_chance(hub: Hub, base: Base, made: Made, tmp_path: Path) -> None:
    hub.exists_public = True
    words = (made(base("llama")), "lora", "--out", tmp_path / "out", "--push", "team/intents", "--yes")
    assert "everybody can see it" in exported(*words, code=2)
    assert not hub.files


def test_a_failed_proof_is_not_uploaded(
    hub: Hub, base: Base, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rung.export import compare

    monkeypatch.setattr(compare, "DIFFICULT", ("",))
    monkeypatch.setattr("rung.export.proof.Proof.same_prompts", False)
    monkeypatch.setattr(compare, "faults", lambda proof: ("it answers otherwise",))
    exported(made(base("llama")), "lora", "--out", tmp_path / "out", "--push", "team/intents", "--yes", code=1)
    assert hub.private is None and not hub.files
