"""A byte-level BPE tokenizer as GGUF holds it: tokens, merges, special tokens, and the rule by which text is cut.

GGUF has names for such rules, not the rules. The name is chosen by the tokenizer's own rule, and the proof compares tokens.
"""

from __future__ import annotations

import json
from typing import Any

from rung.errors import ModelError
from rung.lm.models.chat import Chat

_QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
RULES = {
    ("ByteLevel",): "gpt-2",
    ("Digits", "ByteLevel"): "smollm",
    (_QWEN2,): "qwen2",
    (_LLAMA3,): "llama-bpe",
}
"""What a tokenizer cuts text by, in order, to the name of the rule in `tokenizer.ggml.pre`."""


def write(writer: Any, chat: Chat, size: int) -> None:
    """Write the vocabulary of `size` tokens, the special tokens and the chat template. ModelError for other tokenizers."""
    from gguf import TokenType

    whole = json.loads(chat.tokenizer.backend_tokenizer.to_str())
    model = whole["model"]
    if model["type"] != "BPE" or (whole.get("decoder") or {}).get("type") != "ByteLevel":
        raise _unknown(f"its tokenizer is no byte-level BPE ({model['type']})")
    names = {number: token for token, number in model["vocab"].items()}
    types = dict.fromkeys(names, TokenType.NORMAL)
    for added in whole["added_tokens"]:
        names[added["id"]] = added["content"]
        types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule(whole))
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in range(size)])
    writer.add_token_types([types.get(number, TokenType.UNUSED) for number in range(size)])
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in model["merges"]])
    _special(writer, chat)
    writer.add_chat_template(chat.template)


def rule(whole: dict[str, Any]) -> str:
    """The name of the rule by which a tokenizer.json cuts text. ModelError where no name here stands for it."""
    steps = whole["pre_tokenizer"] or {}
    found = []
    for step in steps.get("pretokenizers", [steps]):
        if step.get("type") == "Split":
            found.append(str(step["pattern"].get("Regex", step["pattern"])))
        elif step.get("type") == "Digits" and step["individual_digits"]:
            found.append("Digits")
        elif step.get("type") == "ByteLevel" and step.get("add_prefix_space"):
            raise _unknown("its tokenizer puts a blank in front of every text")
        elif step.get("type") == "ByteLevel":
            found += ["ByteLevel"] * bool(step.get("use_regex", True))
        else:
            found.append(str(step.get("type")))
    if (name := RULES.get(tuple(found))) is None:
        raise _unknown(f"its tokenizer cuts text by a rule without a known name in GGUF ({', '.join(found)})")
    return name


def _special(writer: Any, chat: Chat) -> None:
    own = chat.tokenizer
    for add, number in (
        (writer.add_bos_token_id, own.bos_token_id),
        (writer.add_eos_token_id, own.eos_token_id),
        (writer.add_pad_token_id, own.pad_token_id),
        (writer.add_unk_token_id, own.unk_token_id),
    ):
        if number is not None:
            add(number)
    if chat.end != own.eos_token_id:
        writer.add_eot_token_id(chat.end)
    writer.add_add_bos_token(bool(chat.begin))


def _unknown(why: str) -> ModelError:
    return ModelError(
        f"{why}, which is not written as GGUF here.",
        where="rung export --to gguf",
        remedy="Export it --to hf and convert that folder with llama.cpp's convert_hf_to_gguf.py.",
    )
