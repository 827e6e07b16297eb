"""A corpus packed into shards: the same whatever the number of processes, and where a killed run left off."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.data import corpus
from rung.lm.models import chat
from rung.lm.raw_text import bpe, pack, shards
from rung.lm.raw_text.pack import Workers
from rung.lm.raw_text.shards import Joined
from rung.types import Texts

BOUNDS = (0.25, 0.4)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    root = tmp_path_factory.mktemp("corpus")
    for name in "abcd":
        rows = [{"text": f"document {i} of {name} says <|end|> {'late ' * i}"} for i in range(20)]
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return corpus.find_texts(root, ["."])


@pytest.fixture(scope="module")
def tokenizer(found: Texts, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    bpe.train(corpus.documents(found), 320).save_pretrained(folder)
    return chat.tokenizer(folder)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("0*/**/*.bin")}


def test_shards_are_the_same_by_any_number_of_processes_and_machines(found: Texts, tokenizer: Any, tmp_path: Path) -> None:
    one, three, shared = tmp_path / "one", tmp_path / "three", tmp_path / "shared"
    parts = pack.pack(found, BOUNDS, tokenizer, one, "x", Workers())
    pack.pack(found, BOUNDS, tokenizer, three, "x", Workers(3))
    together = Barrier(2)
    with ThreadPoolExecutor(2) as machines:
        each = [Workers(1, rank, 2, lambda: (together.wait(60), None)[1]) for rank in (1, 0)]
        list(machines.map(lambda own: pack.pack(found, BOUNDS, tokenizer, shared, "x", own), each))
    assert content(one) == content(three) == content(shared)
    manifests = [json.loads((folder / pack.MANIFEST).read_text()) for folder in (one, three, shared)]
    assert manifests[0] == manifests[1] == manifests[2]
    assert len(manifests[0]["ranges"]) == 4
    for name, low, high in (("held", 0, 0.25), ("choosing", 0.25, 0.4), ("train", 0.4, 1)):
        expected = shards.write(tmp_path / name, corpus.between(found, low, high), tokenizer, "x")  # by transformers' own call
        assert np.array_equal(parts[name].tokens[:], expected.tokens)
        assert np.array_equal(parts[name].ends, expected.ends) and np.array_equal(parts[name].sizes, expected.sizes)
    assert set(pack.pack(found, (0.0, 0.0), tokenizer, tmp_path / "all", "x", Workers())) == {"train"}


def test_a_file_that_changed_under_its_name_is_read_anew(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack.ranges, "SMALLEST", 200)
    for count in (3, 30):
        lines = [json.dumps({"text": f"document {i}"}) for i in range(count)]
        (tmp_path / "text.jsonl").write_text("\n".join(lines))
        found = corpus.find_texts(tmp_path, ["text.jsonl"])
        parts = pack.pack(found, (0.0, 0.0), tokenizer, tmp_path / "shards", found.digest, Workers())
        assert len(parts["train"].ends) == count


def test_a_killed_packing_keeps_what_is_whole(
    found: Texts, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def kill(made: int, of: int) -> None:
        if made == 2:
            raise Killed

    with pytest.raises(Killed):
        pack.pack(found, BOUNDS, tokenizer, tmp_path, "x", Workers(done=kill))
    (tmp_path / "00002.0badc0de.part").mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("0*/**/*.bin")}
    assert len({path.parent.parent for path in before}) == 2
    parts = pack.pack(found, BOUNDS, tokenizer, tmp_path, "x", Workers())
    assert before.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.glob("0*/**/*.bin")}.items()
    assert sum(len(part.ends) for part in parts.values()) == 80
    monkeypatch.setattr(pack.crew, "share_out", lambda *a, **k: pytest.fail("it is packed again"))
    assert set(pack.pack(found, BOUNDS, tokenizer, tmp_path, "x", Workers())) == set(pack.PARTS)


@pytest.mark.parametrize("kind", ["llama", "gemma3", "bloom"])
def test_a_worker_encodes_as_transformers_does(base: Callable[[str], Path], kind: str, tmp_path: Path) -> None:
    tokenizer = chat.tokenizer(base(kind))
    (tmp_path / "t.json").write_text(tokenizer.backend_tokenizer.to_str())
    own, worker = shards.encoder(tokenizer), pack._fast_encoder(str(tmp_path / "t.json"), tokenizer.eos_token_id, "uint16", kind)
    texts = ["a parcel", "", "x " * 3000, *tokenizer.all_special_tokens, f"late {tokenizer.eos_token} 日本 🙂"]
    assert [list(ids) for ids in worker.encode(texts)] == [list(ids) for ids in own.encode(texts)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 60), st.integers(0, 60))
def test_joined_arrays_read_as_one(lengths: list[int], begin: int, end: int) -> None:
    whole = np.arange(sum(lengths), dtype=np.uint16)
    joined = Joined(np.split(whole, np.cumsum(lengths)[:-1]))
    assert len(joined) == len(whole)
    assert joined[begin:end].dtype == np.uint16
    assert joined[begin:end].tolist() == whole[begin:end].tolist()
