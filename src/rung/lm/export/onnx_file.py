"""An encoder with its head as one ONNX graph, its tokenizer beside it, asked by onnxruntime and the package tokenizers alone.

The head is inside the graph, so that one call answers in every language that has an onnxruntime. In int8 the weights of the
encoder are integers, with 7 bits, since 8 overflow on processors without VNNI; the head stays float32: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rung import files
from rung.errors import RungError
from rung.lm.export.heads import Headed
from rung.lm.export.reader import Tokens
from rung.lm.quiet import quiet

MODEL, TOKENIZER, LABELS = "model.onnx", "tokenizer.json", "labels.json"
ODDS, PLACE = "probabilities", "label"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
INTEGERS = ["MatMul", "Gather"]
"""Operators whose weights int8 makes integers: what is computed for every token. The head is a Gemm."""
TEXTS = 32
"""Texts a call."""
LOWEST = -1e30
"""A logit without weight; minus infinity is not safe in every runtime."""


def check_installed() -> None:
    """RungError where a package that writes or asks ONNX is missing."""
    if missing := [one for one in NEEDED if importlib.util.find_spec(one) is None]:
        raise RungError(
            f"{', '.join(missing)} is not installed.", where="rung export --to onnx", remedy="pip install 'rung[onnx]'"
        )


def write(made: Headed, folder: Path, kind: str) -> None:
    """Write graph, tokenizer and labels to `folder`; `kind` is f32 or int8."""
    program = _program(made)
    if kind == "f32":
        program.save(folder / MODEL)  # written into: the export's folder
    else:
        _quantized(program, folder)
    _write_tokenizer(made, folder / TOKENIZER)
    files.write_text(folder / LABELS, json.dumps(made.answers, ensure_ascii=False))


class _Graph(torch.nn.Module):
    """Tokens to logits, probabilities and the place of the label that is answered."""

    def __init__(self, made: Headed):
        super().__init__()
        self.model, self.head, self.other = made.model, made.head, made.other

    def forward(self, tokens: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if self.head is None:
            logits = self.model(**tokens).logits
        else:
            logits = self.head(self.model(dict(tokens))["sentence_embedding"])
        odds, best = logits.softmax(-1), logits.argmax(-1)
        if self.other is None:
            return logits, odds, best
        count = logits.shape[-1]
        rest = torch.where(torch.arange(count) == best[:, None], LOWEST, logits).logsumexp(-1)
        unlike = torch.sigmoid(self.other.slope * (logits.amax(-1) - rest) + self.other.shift)
        whole = torch.cat([odds * (1 - unlike)[:, None], unlike[:, None]], -1)
        return logits, whole, torch.where(unlike >= 0.5, count, best)


def _program(made: Headed) -> Any:
    """The graph with any number of texts and tokens."""
    with quiet():
        given = made.tokenizer(["a text", "another, which is longer"], padding=True, return_tensors="pt")
    tokens = {name: given[name] for name in given if name in ("input_ids", "attention_mask", "token_type_ids")}
    free = torch.export.Dim.DYNAMIC
    with quiet(), _no_warnings():
        return torch.onnx.export(
            _Graph(made).eval(),
            (tokens, {}),  # a mapping that stands last would be taken for keywords
            dynamo=True,
            dynamic_shapes=({name: {0: free, 1: free} for name in tokens},),
            input_names=list(tokens),
            output_names=["logits", ODDS, PLACE],
            external_data=False,
            verbose=False,
        )


def _quantized(program: Any, folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = folder / "whole.onnx"
    program.save(whole)  # written into: the export's folder
    heads = [node.name for node in program.model.graph if node.op_type == "Gemm"]
    with _no_warnings():
        quantize_dynamic(
            whole,
            folder / MODEL,
            op_types_to_quantize=INTEGERS,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*heads, *(f"{name}_MatMul" for name in heads)],  # it rewrites one as the other first
        )
    whole.unlink()


def _write_tokenizer(made: Headed, path: Path) -> None:
    """A tokenizer.json that cuts and pads by itself."""
    from tokenizers import Tokenizer

    own = Tokenizer.from_str(made.tokenizer.backend_tokenizer.to_str())
    own.enable_truncation(made.longest)
    own.enable_padding(pad_id=made.tokenizer.pad_token_id or 0, pad_token=made.tokenizer.pad_token or "[PAD]")
    files.write_text(path, own.to_str(pretty=True))


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Quiet about operators of packages that are not installed, and about shapes that quantisation does not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class OnnxRuntime:
    """A folder asked by onnxruntime on the CPU."""

    def __init__(self, folder: Path, threads: int):
        import onnxruntime
        from tokenizers import Tokenizer

        how = onnxruntime.SessionOptions()
        how.intra_op_num_threads = threads
        self._session: Any = onnxruntime.InferenceSession(folder / MODEL, how, providers=["CPUExecutionProvider"])
        self._tokenizer: Any = Tokenizer.from_file(str(folder / TOKENIZER))
        self._inputs = [one.name for one in self._session.get_inputs()]
        self.labels: list[str] = json.loads((folder / LABELS).read_text(encoding="utf-8"))
        self.engine = f"onnxruntime {onnxruntime.__version__}, tokenizers {importlib.metadata.version('tokenizers')}"

    def cut(self, text: str) -> Tokens:
        return tuple(self._tokenizer.encode(text).ids)

    def answers(self, texts: Sequence[str]) -> tuple[NDArray, NDArray]:
        parts = [self._part(texts[start : start + TEXTS]) for start in range(0, len(texts), TEXTS)]
        odds, places = (np.concatenate(column) for column in zip(*parts))
        return odds, places

    def close(self) -> None:
        del self._session

    def _part(self, texts: Sequence[str]) -> tuple[NDArray, NDArray]:
        cut = self._tokenizer.encode_batch(list(texts))
        columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        given = {name: np.array([getattr(one, columns[name]) for one in cut], np.int64) for name in self._inputs}
        odds, places = self._session.run([ODDS, PLACE], given)
        return odds, places
