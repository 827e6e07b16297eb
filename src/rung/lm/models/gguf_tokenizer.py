"""The pre-tokenizer that a GGUF file names: how text is cut before byte-level BPE merges it.

A GGUF file has no tokenizer.json. It names its rule for cutting text in `tokenizer.ggml.pre`; transformers knows some of these
names and cuts everything else as GPT-2 does. A model that was trained with another rule then reads tokens that it never saw in
that place: SmolLM cuts digits apart, so that "12" is two tokens. The names and rules are those of llama.cpp
(src/llama-vocab.cpp) and of the models' own tokenizer.json files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rung.errors import ModelError
from rung.lm.models import gguf_files

DIGITS_APART = frozenset({"codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm", "starcoder"})
"""Every digit is cut off first, then the rest is cut as GPT-2 does."""

AS_GPT2 = frozenset(
    {"exaone4", "gigachat", "gpt-2", "granite-docling", "jais", "mpt", "olmo", "phi-2", "roberta-bpe", "trillion"}
)

WORDS_FIRST = frozenset(
    {"falcon-h1", "falcon3", "jina-v5-nano", "lfm2", "llama-bpe", "llama-v3", "llama3", "midm-2.0", "pixtral", "tekken"}
)
"""A piece that is in the vocabulary is one token, whatever the merges would make of it."""

BYTE_LEVEL = "gpt2"
"""`tokenizer.ggml.model` of a byte-level BPE. The other kinds (SentencePiece, Unigram) cut no text before merging."""


def restore(tokenizer: Any, file: Path, say: Callable[[str], object]) -> None:
    """Make `tokenizer`, as transformers built it from `file`, cut text by the rule that the file names.

    A file that names none is cut as GPT-2 does, which is said. ModelError where the rule is not known here.
    """
    opened = gguf_files.reader(file)
    if gguf_files.value(opened, "tokenizer.ggml.model") != BYTE_LEVEL:
        return
    kind = gguf_files.value(opened, "tokenizer.ggml.pre") or "default"
    backend = tokenizer.backend_tokenizer
    if kind == "default":
        say(f"{file.name} does not say how text is cut before tokens are made of it; it is cut as GPT-2 does.")
    elif kind in DIGITS_APART:
        cut_digits(backend)
    elif kind not in AS_GPT2 and _cuts_as_gpt2(backend):
        raise ModelError(
            f"its text is cut by the rule {kind!r} before tokens are made of it, and that rule is not known here.",
            where=str(file),
            remedy="Use the model's safetensors folder, which brings its tokenizer.",
        )
    if kind in WORDS_FIRST:
        backend.model.ignore_merges = True


def cut_digits(backend: Any) -> None:
    """Cut every digit off, then cut as GPT-2 does."""
    from tokenizers import pre_tokenizers

    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )


def repair(file: Path) -> None:
    """Make a tokenizer.json that an older conversion wrote cut digits apart. It is replaced, so links to it stay as they are."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(file))
    cut_digits(backend)
    new = file.with_suffix(".new")
    backend.save(str(new))
    new.replace(file)


def _cuts_as_gpt2(backend: Any) -> bool:
    rule = json.loads(backend.to_str())["pre_tokenizer"]
    return bool(rule and rule["type"] == "ByteLevel" and rule["use_regex"])
