"""A BPE tokenizer as GGUF holds it: tokens, merges or scores, special tokens, and the rule by which text is cut.

GGUF has names for such rules, not the rules. The name is chosen by the tokenizer's own rule, and the proof compares tokens.
A tokenizer made by SentencePiece (Llama 2, Mistral, Gemma) has "▁" for blanks, bytes as tokens, and in GGUF scores for merges.
"""

from __future__ import annotations

import json
import re
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
BLANK = "▁"
BYTE = re.compile("<0x[0-9A-F]{2}>")
"""A token of SentencePiece that stands for one byte."""


def write(writer: Any, chat: Chat, size: int) -> None:
    """Write the vocabulary of `size` tokens, the special tokens and the chat template. ModelError for other tokenizers."""
    from gguf import TokenType

    whole = json.loads(chat.tokenizer.backend_tokenizer.to_str())
    model = whole["model"]
    bytewise = (whole.get("decoder") or {}).get("type") == "ByteLevel"
    if model["type"] != "BPE" or not (bytewise or model.get("byte_fallback")):
        raise _unknown(f"its tokenizer is a {model['type']} without bytes")
    names = {number: token for token, number in model["vocab"].items()}
    types = dict.fromkeys(names, TokenType.NORMAL)
    if not bytewise:
        types |= {number: TokenType.BYTE for number, token in names.items() if BYTE.fullmatch(token)}
    for added in whole["added_tokens"]:
        names[added["id"]] = added["content"]
        types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    merges = [tuple(one.split(" ") if isinstance(one, str) else one) for one in model["merges"]]
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in range(size)])
    writer.add_token_types([types.get(number, TokenType.UNUSED) for number in range(size)])
    if bytewise:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(rule(whole))
        writer.add_token_merges([" ".join(one) for one in merges])
    else:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        scores = _scores(model["vocab"], merges)
        writer.add_token_scores([scores.get(number, 0.0) for number in range(size)])
        writer.add_add_space_prefix(_blank_in_front(whole))
    _special(writer, chat)
    writer.add_chat_template(chat.template)


def _scores(vocabulary: dict[str, int], merges: list[tuple[str, ...]]) -> dict[int, float]:
    """SentencePiece joins the pair whose token scores highest; so a token's score falls with the place of its first merge."""
    scores = dict.fromkeys(vocabulary.values(), -float(len(merges) + 1))
    for place, pair in reversed(list(enumerate(merges))):
        scores[vocabulary["".join(pair)]] = -float(place)
    return scores


def _blank_in_front(whole: dict[str, Any]) -> bool:
    """Whether a text begins as if a blank stood in front. ModelError for steps other than those of SentencePiece."""
    steps = [*_steps(whole.get("normalizer"), "normalizers"), *_steps(whole.get("pre_tokenizer"), "pretokenizers")]
    front = False
    for step in steps:
        kind, blanks = step.get("type"), step.get("pattern") == {"String": " "}
        if (kind == "Prepend" and step["prepend"] == BLANK) or (kind == "Metaspace" and not step.get("split")):
            front = front or step.get("prepend_scheme", "first") != "never"
        elif not (blanks and (kind == "Split" or (kind == "Replace" and step["content"] == BLANK))):
            raise _unknown(f"its tokenizer cuts text by a rule without a known name in GGUF ({kind})")
    return front


def _steps(given: dict[str, Any] | None, inside: str) -> list[dict[str, Any]]:
    return list(given.get(inside, [given])) if given else []


def rule(whole: dict[str, Any]) -> str:
    """The name of the rule by which a tokenizer.json cuts text. ModelError where no name here stands for it."""
    found = []
    for step in _steps(whole["pre_tokenizer"], "pretokenizers"):
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
