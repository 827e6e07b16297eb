"""Vectors of a few texts without PyTorch: importing it takes longer than a command that embeds one question has to.

Sentence encoders of BERT's shape are computed in numpy (Devlin et al. 2018, 1810.04805), with the same tokens, weights and
pooling as by sentence-transformers, up to rounding. Any other encoder is left to that library.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from rung.lm.models import opening

Array = NDArray[np.float32]
LAYER = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
         "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")  # fmt: skip
EMBEDDED = ("word_embeddings", "position_embeddings", "token_type_embeddings")
CONFIG = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
"""What an encoder's configuration says, where it says anything, if it is computed here."""
_erf = np.frompyfunc(math.erf, 1, 1)
"""Slower than scipy's for long texts, but to import that takes longer than all else here."""
MODULES = (["Transformer", "Pooling", "Normalize"], ["Transformer", "Pooling"])


@dataclass(frozen=True)
class Bert:
    """A sentence encoder of BERT's shape in a folder."""

    folder: Path
    heads: int
    layers: int
    epsilon: float
    longest: int
    """Tokens that it reads of a text, with those at begin and end."""
    first_token: bool
    """Whether the first token's state is the text's, not the mean of all."""

    @cached_property
    def tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        found = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        found.no_padding()
        found.enable_truncation(self.longest)
        return found

    @cached_property
    def weights(self) -> Mapping[str, Array]:
        from safetensors.numpy import load_file

        found = load_file(self.folder / "model.safetensors")
        return {name.removeprefix("bert."): value.astype(np.float32, copy=False) for name, value in found.items()}

    @property
    def whole(self) -> bool:
        """Whether the file has every tensor that is read, and no others."""
        layers = [
            f"encoder.layer.{layer}.{name}.{part}"
            for layer in range(self.layers)
            for name in LAYER
            for part in ("weight", "bias")
        ]
        inputs = [
            *(f"embeddings.{name}.weight" for name in EMBEDDED),
            *(f"embeddings.LayerNorm.{part}" for part in ("weight", "bias")),
        ]
        left = {name for name in self.weights if not (opening.BUFFERS.search(name) or opening.UNUSED.search(name))}
        return left == {*layers, *inputs}

    def embed(self, texts: Sequence[str]) -> Array:
        """Vectors of length one, (texts, width)."""
        return np.stack([self._vector(self.tokenizer.encode(text).ids) for text in texts])

    def _vector(self, ids: Sequence[int]) -> Array:
        words, places, kinds = (self.weights[f"embeddings.{name}.weight"] for name in EMBEDDED)
        states = self._normed("embeddings.LayerNorm", words[list(ids)] + places[: len(ids)] + kinds[0])
        for layer in range(self.layers):
            states = self._layer(f"encoder.layer.{layer}.", states)
        found = states[0] if self.first_token else states.mean(0)
        return found / max(float(np.linalg.norm(found)), 1e-12)

    def _layer(self, name: str, states: Array) -> Array:
        queries, keys, values = (
            self._split(self._linear(f"{name}attention.self.{one}", states)) for one in ("query", "key", "value")
        )
        scores = queries @ keys.swapaxes(1, 2) / np.float32(queries.shape[-1] ** 0.5)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        seen = (shares @ values).swapaxes(0, 1).reshape(states.shape)
        states = self._normed(f"{name}attention.output.LayerNorm", states + self._linear(f"{name}attention.output.dense", seen))
        inner = self._linear(f"{name}intermediate.dense", states)
        inner = inner * (1 + _erf(inner / np.float32(2**0.5)).astype(np.float32)) / 2
        return self._normed(f"{name}output.LayerNorm", states + self._linear(f"{name}output.dense", inner))

    def _split(self, states: Array) -> Array:
        """(tokens, width) by heads: (heads, tokens, width of a head)."""
        return states.reshape(len(states), self.heads, -1).swapaxes(0, 1)

    def _linear(self, name: str, states: Array) -> Array:
        return states @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _normed(self, name: str, states: Array) -> Array:
        centred = states - states.mean(-1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(self.epsilon))
        return centred / spread * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def read(folder: Path) -> Bert | None:
    """The encoder in a folder; None where it is not exactly of the shape that is computed here."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        inner = folder / modules[0]["path"]
        config, own, words = (_json(inner / f"{name}.json") for name in ("config", "sentence_bert_config", "tokenizer_config"))
        pooling = _json(folder / modules[1]["path"] / "config.json")
        prompt = _json(folder / "config_sentence_transformers.json").get("default_prompt_name")
    except (OSError, ValueError, LookupError, TypeError):
        return None
    sizes = ("num_attention_heads", "num_hidden_layers", "vocab_size", "hidden_size", "max_position_embeddings")
    longest = own.get("max_seq_length") or words.get("model_max_length")
    whole = isinstance(longest, int) and all(isinstance(config.get(key), int) for key in sizes)
    usual = whole and all(config.get(key, wanted) == wanted for key, wanted in CONFIG.items()) and "model_type" in config
    kind = _pooled(pooling)
    files = all((inner / name).is_file() for name in ("tokenizer.json", "model.safetensors"))
    named = [str(one.get("type", "")).rpartition(".")[2] for one in modules] in MODULES
    if not (usual and kind and files and named and prompt is None and not own.get("do_lower_case")):
        return None
    longest = min(longest, config["max_position_embeddings"])
    heads, layers, epsilon = config["num_attention_heads"], config["num_hidden_layers"], config.get("layer_norm_eps", 1e-12)
    found = Bert(inner, heads, layers, epsilon, longest, kind == "cls")
    try:
        size = found.weights["embeddings.word_embeddings.weight"].shape
    except (SafetensorError, KeyError):
        return None
    return found if found.whole and size == (config["vocab_size"], config["hidden_size"]) else None


def _pooled(config: Mapping[str, Any]) -> str:
    """How states become one vector: mean or cls; empty for any other way."""
    if "pooling_mode" in config:
        kinds = [config["pooling_mode"]]
    else:
        kinds = [key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for key, on in config.items()
                 if key.startswith("pooling_mode_") and on is True]  # fmt: skip
    return kinds[0] if kinds in (["mean"], ["cls"]) else ""


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
