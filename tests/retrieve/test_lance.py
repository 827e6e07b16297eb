"""What is LanceDB's own: an index only when there are rows, rows outside it, kills, URLs; the rest stands in test_store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from test_store import CONFIG, embed, found, passage, put

from rung.errors import RungError
from rung.retrieve import lance_rows
from rung.retrieve.lance import Lance
from rung.retrieve.lance_errors import unusable
from rung.retrieve.search import Settings, search
from rung.retrieve.store import Change, IndexConfig, text_digest

pytestmark = pytest.mark.skipif(find_spec("lancedb") is None, reason="the extra `lance` is not installed")

KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}


def lance(tmp_path: Path, **more: int) -> Lance:
    return Lance(str(tmp_path / "store"), tmp_path / "derived", **more)


def test_a_store_opened_by_its_url(home: Path, tmp_path: Path) -> None:
    store = Lance(f"lance://{tmp_path}/store")
    put(store, passage("a.md", "a parcel"))
    assert found(Lance(f"lance://{tmp_path}/store"), "parcel") == {"a parcel"}
    assert list((home / "lexical").iterdir()), "derived files lie in the cache"


def test_an_object_store_that_cannot_be_used_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
    with pytest.raises(RungError, match="AWS_ALLOW_HTTP=true allows") as wrong:  # refused before anything is sent
        Lance("lance://s3://bucket/folder", tmp_path / "derived").documents()
    assert wrong.value.where == "s3://bucket/folder" and "AWS_ENDPOINT" in wrong.value.remedy
    generic = 'IO { source: Generic { store: "S3", source: ListRequest { inner: '
    for text, words in (
        ("Status { status: 404, body: Some(<Code>NoSuchBucket</Code>) }", "no such bucket"),
        ("Http(HttpError { kind: Connect, source: reqwest::Error })", "nothing answers"),
        ("Status { status: 403, body: Some(<Code>InvalidAccessKeyId</Code>) }", "does not accept these keys"),
        ("Status { status: 403, body: Some(<Code>AccessDenied</Code>) }", "does not allow this"),
        ("Status { status: 500 }", "status: 500"),
    ):
        assert words in unusable(ValueError(generic + text), "s3://bucket/folder").what  # type: ignore[union-attr]
    assert unusable(ValueError(generic), str(tmp_path)) is None and unusable(ValueError("Invalid column"), "s3://b/f") is None


class ReadOnly(BaseHTTPRequestHandler):
    """S3 with an empty bucket and keys that may only read."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(403, "AccessDenied")

    def log_message(self, *_: object) -> None: ...


def test_keys_that_may_only_read_are_a_sentence_when_written_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), ReadOnly) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for name, value in {**KEYS, "AWS_ENDPOINT": address, "AWS_ALLOW_HTTP": "true"}.items():
            monkeypatch.setenv(name, value)
        store = Lance("lance://s3://bucket/folder", tmp_path / "derived")
        assert store.documents() == {}
        with pytest.raises(RungError, match="does not allow this with these keys"):
            store.apply([Change("bad.md", "r", refused="it is empty.")], CONFIG)
        server.shutdown()


@pytest.mark.parametrize("error", [RuntimeError, OSError, ValueError])
def test_an_object_store_that_fails_later_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error("lance error: LanceError(IO): the connection was reset")

    store = lance(tmp_path)
    put(store, passage("a.md", "a parcel"))
    store.url = "s3://bucket/folder"
    table = type(store._table())
    for name, act in (
        ("merge_insert", lambda: put(store, passage("b.md", "a parcel"))),
        ("optimize", store.settle),
        ("search", lambda: found(store, "parcel", leg="dense")),
        ("count_rows", store.health),
        ("version", store.generation),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(table, name, property(failing) if name == "version" else failing)
            with pytest.raises(RungError, match=r"cannot be used: .*the connection was reset"):
                act()


def test_the_first_file_may_be_refused(tmp_path: Path) -> None:
    """The table is there before any vector says how wide they are."""
    store = lance(tmp_path)
    store.apply([Change("bad.md", "r", refused="it is empty.")], CONFIG)
    store.settle()
    assert found(store, "parcel") == set()
    put(store, passage("a.md", "a parcel"))
    assert found(store, "parcel", leg="dense") == {"a parcel"}
    assert store.documents() == {"bad.md": "r", "a.md": "d"}


def test_another_embedder_replaces_the_table(tmp_path: Path) -> None:
    store, other = lance(tmp_path), IndexConfig("other", "other-digest")
    put(store, passage("a.md", "a parcel"), passage("a.md", "a dragon"))
    new = passage("a.md", "a parcel")
    store.keep_vectors("other-digest", [text_digest(new)], np.ones((1, 3), np.float32))
    store.apply([Change("a.md", "d", (new,))], other)
    assert store.config() == other and store.health().passages == 1
    assert [hit.passage for hit in search(store, "", np.ones(3, np.float32), Settings(legs=("dense",)))] == [new]


def test_signs_of_sql_in_paths_and_labels_mean_nothing(tmp_path: Path) -> None:
    store = lance(tmp_path)
    name = "it's'); drop table knowledge; --.md"
    put(store, passage(name, "a parcel", "o'hara"))
    assert found(store, "parcel") == {"a parcel"}
    store.apply([Change(name)], CONFIG)
    assert store.documents() == {}


def test_an_index_is_made_when_there_is_enough_and_tells_what_is_outside_it(tmp_path: Path) -> None:
    store, rng = lance(tmp_path, approximate_from=300), np.random.default_rng(0)

    def more(path: str, count: int) -> np.ndarray:
        passages = [passage(path, f"{path} number{i}") for i in range(count)]
        vectors = rng.standard_normal((count, 32)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        store.keep_vectors("d", [text_digest(p) for p in passages], vectors)
        store.apply([Change(path, "x", tuple(passages))], IndexConfig("toy", "d"))
        return vectors

    more("few.md", 20)
    store.settle()
    assert store.health().unindexed == 0 and not store._table().list_indices()
    vectors = more("many.md", 400)
    store.settle()
    assert store._table().list_indices() and store.health().unindexed == 0
    late = more("late.md", 5)
    assert store.health().unindexed > 0
    for place, one in ((399, vectors[399]), (4, late[4])):
        best = search(store, "", one, Settings(legs=("dense",), k=1))[0]
        assert best.passage.text.endswith(f"number{place}") and best.score == pytest.approx(1.0, abs=1e-3)
    store.settle()
    assert store.health().unindexed == 0 and store.health().whole


WRITER = """
    import os, sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from rung.retrieve import lexical
    from test_lance import lance, passage, put
    store = lance(Path({folder!r}))
    if {late}:
        lexical._write = lambda *a: os.kill(os.getpid(), 9)
    put(store, *(passage("a.md", f"parcel turn1 part{{i}}") for i in range(20)), digest="1")
    if not {late}:
        os.kill(os.getpid(), 9)
    store.settle()
"""


@pytest.mark.parametrize("late", [False, True])
def test_killed_after_the_commit_the_words_are_caught_up(tmp_path: Path, late: bool) -> None:
    store = lance(tmp_path)
    put(store, *(passage("a.md", f"parcel turn0 part{i}") for i in range(20)), digest="0")
    store.settle()
    code = textwrap.dedent(WRITER).format(tests=str(Path(__file__).parent), folder=str(tmp_path), late=late)
    died = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=60)
    assert died.returncode == -signal.SIGKILL
    whole = {f"parcel turn1 part{i}" for i in range(20)}
    assert found(store, "parcel", leg="lexical") == found(store, "parcel", leg="dense") == whole
    assert store.health().whole


def test_vectors_not_yet_applied_count_as_embedded(tmp_path: Path) -> None:
    store, p = lance(tmp_path), passage("a.md", "a parcel")
    store.keep_vectors("d", [text_digest(p)], embed(["a parcel"]))
    assert store.embedded("d", [text_digest(p)]) == {text_digest(p)}


MACHINE = """
    import sys
    from pathlib import Path
    from test_store import passage, put
    from rung.retrieve.lance import Lance

    url, folder, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    store = Lance(url, folder / name)  # a lexical index and locks of its own
    store.generation(), print("ready", flush=True), input()
    for letter in "bcdfgk":
        path, word = f"{name}-{letter}.md", f"{name}zy{letter}"
        put(store, passage(path, f"a {word} parcel"), passage(path, f"a second {word}"))
"""


def test_three_machines_write_at_once_and_each_file_is_found_by_its_own_word(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(MACHINE), str(tmp_path / "store"), str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    names = ("red", "green", "blue")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, name], env=env, **pipes) for name in names]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 3
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    errors = [writer.communicate(timeout=120)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], errors
    store = lance(tmp_path)
    assert store.health().passages == 36 and len(store.documents()) == 18
    for name in names:
        for letter in "bcdfgk":
            word = f"{name}zy{letter}"
            assert {f"a {word} parcel", f"a second {word}"} <= found(store, word, leg="lexical")


def test_a_commit_that_gives_way_to_others_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lancedb.table import LanceTable

    monkeypatch.setattr(lance_rows, "PAUSE", 0.0)
    store, other = lance(tmp_path), Lance(str(tmp_path / "store"), tmp_path / "other")
    put(store, passage("a.md", "a parcel"))
    plain, failures = (
        LanceTable._do_merge,
        ["Too many concurrent writers.", "Retryable commit conflict for version 3", "Commit conflict"],
    )

    def busy(*given: object) -> object:
        if failures:
            why = failures.pop()
            if not failures:
                put(other, passage("b.md", "a dragon"))
            raise RuntimeError(f"lance error: {why}")
        return plain(*given)

    monkeypatch.setattr(LanceTable, "_do_merge", busy)
    put(store, passage("c.md", "a wizard"))
    assert store.documents().keys() == {"a.md", "b.md", "c.md"}
    failures += ["No space left"]
    with pytest.raises(RuntimeError, match="No space"):
        put(store, passage("d.md", "a lemon"))


def test_a_table_replaced_at_the_same_time_keeps_what_another_machine_wrote(tmp_path: Path) -> None:
    """Both saw a table without passages; each replaces it by one with room for vectors."""
    one, other = lance(tmp_path), Lance(str(tmp_path / "store"), tmp_path / "other")
    one.apply([Change("bad.md", "r", refused="it is empty.")], CONFIG)
    create = one._db.create_table

    def late(*args: object, **more: object) -> object:
        put(other, passage("b.md", "a dragon"))
        one._db.create_table = create
        return create(*args, **more)

    one._db.create_table = late
    put(one, passage("a.md", "a parcel"))
    assert one.documents() == {"bad.md": "r", "a.md": "d", "b.md": "d"}
    assert found(one, "parcel") == {"a parcel"} and found(one, "dragon", leg="dense") == {"a dragon"}
