"""llama.cpp in this process, through the package xllamacpp: the model as a GGUF file, fits merged into it."""

from __future__ import annotations

import importlib.metadata
import json
import secrets
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import ModelError
from rung.lm import llama_cpp
from rung.lm.backends.base import Asked, End, Heard
from rung.lm.trees.tree import common_prefix

CACHE_BYTES = 2**30
"""Keys and values of all answers together."""
TOGETHER, ROOM = 16, 2048
"""Answers at once at most, and tokens that each should have room for; with less memory there are fewer."""


@dataclass
class _Slot:
    """A sequence of llama.cpp, and what it has in its cache."""

    number: int
    scope: str = ""
    ids: tuple[int, ...] = ()


class LlamaCpp:
    """One GGUF file on the CPU. Slots are given out here, not by llama.cpp: one that goes to another scope is emptied first."""

    def __init__(self, file: Path, numbers: str, threads: int, context: int, token_bytes: int):
        """`context`: of the model. `token_bytes`: keys and values of one token in F16."""
        import xllamacpp as llama

        tokens = CACHE_BYTES // token_bytes
        self.together = max(1, min(TOGETHER, tokens // min(context, ROOM)))
        self.context = min(context, tokens // self.together)
        self.numbers, self.name = numbers, f"llama.cpp (xllamacpp {importlib.metadata.version('xllamacpp')}), {numbers}"
        how = llama.CommonParams()
        how.model.path, how.n_gpu_layers = str(file), 0
        how.n_parallel, how.n_ctx = self.together, self.together * self.context
        how.cpuparams.n_threads = how.cpuparams_batch.n_threads = threads
        how.cache_ram_mib = 0  # a cache beside the slots would be shared by all scopes
        how.hostnames, how.port = ["127.0.0.1"], 0
        self._key = secrets.token_hex(32)
        how.api_keys = [self._key]  # it listens whatever is asked of it
        how.warmup, how.fit_params, how.ui, how.offline, how.verbosity = False, False, False, True, 0
        try:
            self._server: Any = llama.Server(how)
        except RuntimeError as error:
            raise ModelError(f"llama.cpp does not load it ({error}).", where=str(file)) from error
        llama_cpp.wait(self._server.listening_address)
        self._free = [_Slot(number) for number in range(self.together)]
        self._lock = threading.Lock()

    def write(self, asked: Asked, heard: Heard) -> End:
        slot = self._taken(asked)
        wanted = {
            "prompt": list(asked.ids),
            "n_predict": asked.limit,
            "id_slot": slot.number,
            "cache_prompt": slot.scope == asked.scope,
            "temperature": asked.decoding.temperature,
            "top_p": asked.decoding.top_p,
            "samplers": ["top_p", "temperature"] if asked.decoding.temperature > 0 else ["temperature"],
            "seed": asked.seed,
            "stream": True,
        }
        last: dict[str, Any] = {}

        def take(event: dict[str, Any]) -> bool:
            """Whether llama.cpp is to stop."""
            last.update(event)
            text = "" if "error" in event else event["choices"][0]["text"]
            return bool(text) and not heard(text)

        try:
            self._server.handle_completions(wanted, take)
        finally:
            with self._lock:
                slot.scope, slot.ids = asked.scope, asked.ids
                self._free.append(slot)
        return _end(last)

    def greedy(self, ids: tuple[int, ...], most: int) -> tuple[tuple[int, ...], bool]:
        slot = self._free[0]  # nothing else is asked meanwhile
        slot.scope, slot.ids = "", ids
        how = {"temperature": 0, "samplers": ["temperature"], "return_tokens": True, "id_slot": slot.number}
        asked = urllib.request.Request(  # only over HTTP does it give tokens
            f"{self._server.listening_address}/completion",
            json.dumps({"prompt": list(ids), "n_predict": most, **how}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=600) as said:
                found = json.load(said)
        except OSError as error:
            raise ModelError(f"llama.cpp did not answer ({error}).") from error
        tokens, ended = tuple(found["tokens"]), found["stop_type"] == "eos"
        return tokens[:-1] if ended else tokens, ended

    def _taken(self, asked: Asked) -> _Slot:
        """The free slot that has most of the prompt; of one of another scope nothing is used."""
        with self._lock:
            best = max(self._free, key=lambda slot: _known(slot, asked))
            self._free.remove(best)
            return best


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return common_prefix(np.asarray(a, np.int64), np.asarray(b, np.int64))


def _known(slot: _Slot, asked: Asked) -> tuple[bool, int]:
    """How good a slot is for a prompt: tokens that it has; where none, rather one that holds nothing of others."""
    same = _common(slot.ids, asked.ids) if slot.scope == asked.scope else 0
    return same > 0, same or -len(slot.ids)


def _end(last: dict[str, Any]) -> End:
    if "error" in last:
        raise ModelError(f"llama.cpp did not answer: {last['error'].get('message', last['error'])}.", where="rung serve --engine")
    usage = last.get("usage") or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return End(last["choices"][0]["finish_reason"] != "length", int(usage.get("completion_tokens", 0)), int(cached))


def token_bytes(folder: Path) -> int:
    """Bytes of one token's keys and values in F16, by a model's configuration."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder).get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(config.num_hidden_layers * 2 * heads * width * 2)
