"""The text of a torchtitan configuration: how a method's options, the tokens and the GPUs become its settings.

The degrees follow torchtitan's published configurations of Llama 3.1: tensors are not split at 8 billion parameters, and 8
ways at 70 and 405 billion. https://github.com/pytorch/torchtitan
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.errors import RungError
from rung.lm.trees.tree import Row
from rung.methods.continued import Continued
from rung.methods.full import Full
from rung.methods.pretrain import Pretrain

VERSION = "0.3.0"
MODULE = "rung_torchtitan"
WRITTEN = "a starting point that rung wrote and has not run"
"""In the first line of each module."""
LENGTH = 2048
"""Tokens of a sequence that chats are packed into; more where one is longer."""
NODE = 8
"""GPUs of one machine: tensors are split within it, where the links are fast."""
SPLIT_FROM = 20_000_000_000
"""Parameters from which tensors are split: between torchtitan's 8B, which it does not split, and its 70B."""
BLOCKS = 'attn_mask_type="block_causal"'
"""Chats that are packed into one sequence do not attend to each other."""


@dataclass(frozen=True, slots=True)
class Degrees:
    """How tensors are split, and the sequences of a step."""

    tensor: int
    local: int
    """Sequences of a step on each data parallel rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a method trains with, in torchtitan's terms; the defaults are those of `rung.lm.training.train.TrainConfig`."""

    rate: float
    batch: int
    """Sequences a step."""
    length: int
    """Tokens of each."""
    steps: int
    warmup: float = 0.1
    floor: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.0


def of_rows(method: Full, rows: Sequence[Row]) -> Settings:
    """Of a training on rows: torchtitan packs them, so a step of so many sequences has more rows than rung's has."""
    lengths = [len(row.tokens) - 1 for row in rows]
    length = LENGTH * -(-max(lengths) // LENGTH)
    steps = _steps(method.epochs * sum(lengths), method.batch * length)
    return Settings(rate=method.learning_rate, batch=method.batch, length=length, steps=steps, decay=method.weight_decay)


def of_text(method: Continued | Pretrain, tokens: int) -> Settings:
    """Of a training on raw text of about so many tokens."""
    if isinstance(method, Pretrain):
        return Settings(
            rate=method.learning_rate,
            batch=method.batch,
            length=method.context,
            steps=method.steps,
            warmup=method.warmup,
            floor=0.1,
            betas=(0.9, 0.95),
            decay=method.weight_decay,
        )
    batch = max(1, method.step // method.window)
    steps = _steps(method.epochs * tokens, batch * method.window)
    return Settings(rate=method.learning_rate, batch=batch, length=method.window, steps=steps, floor=0.1)


def _steps(tokens: int, each: int) -> int:
    return max(1, -(-tokens // each))


def degrees(size: int, count: int, batch: int) -> Degrees:
    """Of a model of `size` parameters on `count` GPUs, with steps of `batch` sequences. RungError where these do not divide."""
    if count > NODE and count % NODE:
        raise RungError(
            f"{count} GPUs are no whole number of machines of {NODE}.", where="--machine", remedy=f"Name a multiple of {NODE}."
        )
    tensor = NODE if size >= SPLIT_FROM and count >= NODE else 1
    ranks = count // tensor
    if batch % ranks:
        raise RungError(
            f"a step of {batch} sequences cannot be divided among {ranks} data parallel ranks.",
            where="--machine",
            remedy=f"Name fewer GPUs, or set a multiple of {ranks} in rung.yaml: as `batch`, or of continued `step` / `window`.",
        )
    return Degrees(tensor, batch // ranks)


def text(rung: str, asked: Settings, split: Degrees, count: int, base: Path, rows: Path, made: int = 0, raw: bool = False) -> str:
    """The module. `made`: parameters of a model without a base's weights; `raw`: whether `rows` holds documents."""
    nodes = -(-count // NODE)
    return _MODULE.format(
        rung=rung,
        version=VERSION,
        written=WRITTEN,
        nodes=nodes,
        command=_COMMAND.format(nodes=nodes, each=min(NODE, count), module=MODULE),
        loader=(_RAW if raw else _CHAT).format(rows=json.dumps(str(rows))),
        shape=_shape(made, base) if made else f"TitanModelConfig({'' if raw else BLOCKS})",
        base=json.dumps(str(base)),
        rate=f"{asked.rate:g}",
        betas=asked.betas,
        decay=asked.decay,
        warmup=max(1, round(asked.steps * asked.warmup)),
        floor=asked.floor,
        local=split.local,
        total=asked.batch,
        length=asked.length,
        steps=asked.steps,
        dataloader=_RAW_LOADER if raw else _CHAT_LOADER,
        tensor=split.tensor,
        checkpointing="FullAC" if split.tensor > 1 else "SelectiveAC",
        load=not made,
    )


def _shape(parameters: int, base: Path) -> str:
    """The sizes of an untrained Llama with the base's vocabulary."""
    from rung.lm.models.llama_shape import shape

    vocabulary = int(json.loads((base / "config.json").read_text(encoding="utf-8"))["vocab_size"])
    found = shape(parameters, vocabulary)
    sizes = {
        "dim": found.width,
        "n_layers": found.layers,
        "n_heads": found.heads,
        "n_kv_heads": found.heads,
        "intermediate_size": found.inner,
    }
    return f"TitanModelConfig({', '.join(f'{name}={value}' for name, value in sizes.items())})"


_RAW = """
TEXT = {rows}


def _documents(path):
    return load_dataset("json", data_files=path, split="train")


DATASETS["rung"] = DatasetConfig(path=TEXT, loader=_documents, sample_processor=lambda row: row["text"])
"""
_RAW_LOADER = 'HuggingFaceTextDataLoader.Config(dataset="rung")'

_CHAT = """
ROWS = {rows}


def _as_written(self, row):
    # tokens and labels of a row that rung rendered: torchtitan's own chats are of two turns
    labels = [token if target else IGNORE_INDEX for token, target in zip(row["tokens"], row["targets"])]
    return row["tokens"][:-1], labels[1:]


ChatDataset._tokenize_sample = _as_written
"""
_CHAT_LOADER = """ChatDataLoader.Config(
            dataset_path="json",
            load_dataset_kwargs={"data_files": ROWS, "split": "train"},
            sample_processor=lambda row: row,
        )"""

_COMMAND = (
    "torchrun --nnodes {nodes} --nproc-per-node {each} --rdzv-backend c10d --rdzv-endpoint HEAD:29500 "
    "-m torchtitan.train --module {module} --config rung"
)

_MODULE = '''"""The rung {rung}, for torchtitan {version}: {written}.

On each of {nodes} machines, in this folder:
{command}
"""

from datasets import load_dataset

from torchtitan.components.checkpoint import CheckpointManager
from torchtitan.components.loss import IGNORE_INDEX, CrossEntropyLoss
from torchtitan.components.metrics import MetricsProcessor
from torchtitan.components.optimizer import LRSchedulersContainer, default_adamw
from torchtitan.config import ParallelismConfig, TrainingConfig
from torchtitan.distributed.activation_checkpoint import FullAC, SelectiveAC
from torchtitan.experiments.transformers_modeling_backend import (
    HFTransformerModel,
    TitanModelConfig,
    flavors,
    model_registry,
)
from torchtitan.experiments.transformers_modeling_backend.configs import TransformersBackendConfig
from torchtitan.experiments.transformers_modeling_backend.tokenizer import HFBackendTokenizer
from torchtitan.hf_datasets import DatasetConfig
from torchtitan.hf_datasets.text_datasets import DATASETS, ChatDataLoader, ChatDataset, HuggingFaceTextDataLoader

BASE = {base}
{loader}
flavors["rung"] = HFTransformerModel.Config(model_config={shape})


def rung() -> TransformersBackendConfig:
    return TransformersBackendConfig(
        loss=CrossEntropyLoss.Config(),
        hf_assets_path=BASE,
        hf_model=BASE,
        model_spec=model_registry("rung"),
        tokenizer=HFBackendTokenizer.Config(),
        optimizer=default_adamw(lr={rate}, betas={betas}, weight_decay={decay}),
        lr_scheduler=LRSchedulersContainer.Config(warmup_steps={warmup}, decay_type="cosine", min_lr_factor={floor}),
        training=TrainingConfig(
            local_batch_size={local},
            global_batch_size={total},
            seq_len={length},
            steps={steps},
        ),
        dataloader={dataloader},
        metrics=MetricsProcessor.Config(log_freq=10),
        parallelism=ParallelismConfig(
            data_parallel_shard_degree=-1,
            tensor_parallel_degree={tensor},
        ),
        checkpoint=CheckpointManager.Config(
            enable=True,
            initial_load_in_hf={load},
            last_save_in_hf=True,
            interval=500,
        ),
        activation_checkpoint={checkpointing}.Config(),
    )
'''
