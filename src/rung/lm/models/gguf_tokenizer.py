"""The pre-tokenizer that a GGUF file names: how text is split before byte-level BPE merges it.

A GGUF file has no tokenizer.json. It names its pre-tokenizer in `tokenizer.ggml.pre`; transformers knows some of these names
and uses GPT-2's for all others. A model trained with another one then gets tokens that it never saw in that place: SmolLM
splits digits, so that "12" is two tokens. The names and rules are those of llama.cpp (src/llama-vocab.cpp) and of the models'
own tokenizer.json files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rung import files
from rung.errors import ModelError
from rung.lm.models import gguf_files

SPLITS_DIGITS = frozenset({"codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm", "starcoder"})
"""Every digit is a piece of its own; the rest is split like GPT-2."""

AS_GPT2 = frozenset(
    {"exaone4", "gigachat", "gpt-2", "granite-docling", "jais", "mpt", "olmo", "phi-2", "roberta-bpe", "trillion"}
)

IGNORES_MERGES = frozenset(
    {"falcon-h1", "falcon3", "jina-v5-nano", "lfm2", "llama-bpe", "llama-v3", "llama3", "midm-2.0", "pixtral", "tekken"}
)
"""A piece that is in the vocabulary is one token, whatever the merges say."""

BYTE_LEVEL = "gpt2"
"""`tokenizer.ggml.model` of a byte-level BPE. The other kinds (SentencePiece, Unigram) have no pre-tokenizer."""


def restore(tokenizer: Any, file: Path, say: Callable[[str], object]) -> None:
    """Give `tokenizer`, as transformers built it from `file`, the pre-tokenizer that the file names.

    Without a name it is GPT-2's, and `say` reports that. ModelError if the name is unknown.
    """
    opened = gguf_files.reader(file)
    if gguf_files.value(opened, "tokenizer.ggml.model") != BYTE_LEVEL:
        return
    kind = gguf_files.value(opened, "tokenizer.ggml.pre") or "default"
    backend = tokenizer.backend_tokenizer
    if kind == "default":
        say(f"{file.name} names no pre-tokenizer; GPT-2's is used.")
    elif kind in SPLITS_DIGITS:
        split_digits(backend)
    elif kind not in AS_GPT2 and _splits_like_gpt2(backend):
        raise ModelError(
            f"its pre-tokenizer {kind!r} is not supported.",
            where=str(file),
            remedy="Use the model's safetensors folder, which contains its tokenizer.",
        )
    if kind in IGNORES_MERGES:
        backend.model.ignore_merges = True


def split_digits(backend: Any) -> None:
    """Split off every digit, then split like GPT-2."""
    from tokenizers import pre_tokenizers

    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )


def repair(file: Path) -> None:
    """Make a tokenizer.json of an older conversion split digits. The file is replaced, so hard links to it do not change."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(file))
    split_digits(backend)
    with files.whole(file) as part:
        backend.save(str(part))


def _splits_like_gpt2(backend: Any) -> bool:
    rule = json.loads(backend.to_str())["pre_tokenizer"]
    return bool(rule and rule["type"] == "ByteLevel" and rule["use_regex"])
