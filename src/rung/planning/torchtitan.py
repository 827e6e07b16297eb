"""A starting configuration of torchtitan, for a rung that trains all weights of a model too large for one GPU.

torchtitan 0.3 is configured by a function in Python; TOML files were those of 0.2. Its backend for models of transformers opens
what rung opens. The degrees follow its published configurations of Llama 3.1: tensors are not split at 8 billion parameters, and
8 ways at 70 and 405 billion. https://github.com/pytorch/torchtitan
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rung import files
from rung.data import corpus
from rung.errors import RungError
from rung.lm.engines import Engines
from rung.methods.base import Family, options
from rung.planning.machines import parsed
from rung.planning.steps import Step
from rung.types import Texts, TrainData

VERSION = "0.3.0"
MODULE = "rung_torchtitan"
ROWS, CORPUS = "train.jsonl", "corpus.jsonl"
WARMUP, LENGTH = 0.05, 2048
"""Share of the steps, and tokens of a sequence, where the rung has no such option."""
NODE = 8
"""GPUs of one machine: tensors are split within it, where the links are fast."""
SPLIT_FROM = 20_000_000_000
"""Parameters from which tensors are split: between torchtitan's 8B, which it does not split, and its 70B."""
BLOCKS = 'attn_mask_type="block_causal"'
"""Chats that are packed into one sequence do not attend to each other."""
RAW = (Family.CONTINUED, Family.PRETRAINING)
WHOLE = (Family.FULL, *RAW)


@dataclass(frozen=True, slots=True)
class Degrees:
    """How tensors are split, and the rows of a step."""

    tensor: int
    local: int
    """Rows of a step on each data parallel rank."""
    total: int
    """Over all of them."""


def write(
    folder: Path, steps: Sequence[Step], data: TrainData, screened: Callable[[], Texts], engines: Engines, name: str
) -> list[Path]:
    """Write a configuration and, for examples, the train rows as chats; for raw text its documents. Returns what it wrote.

    `screened`: raw text without what its screening leaves out; called only for a rung that learns from it. `name`: the machines,
    such as h100x64. RungError where no rung of the plan trains all weights.
    """
    step = _whole(steps)
    folder.mkdir(parents=True, exist_ok=True)
    raw = any(method.family in RAW for method in step.methods)
    rows = folder / (CORPUS if raw else ROWS)
    if raw:
        _write_documents(rows, screened())
    else:
        files.write_text(rows, _chats(step, data, engines))
    config = folder / f"{MODULE}.py"
    base = engines.find(step.base.start.model.name).folder
    files.write_text(config, _text(step, parsed(name)[1], base, rows.resolve(), raw))
    return [config, rows]


def _whole(steps: Sequence[Step]) -> Step:
    found = [step for step in steps if step.methods and step.methods[-1].family in WHOLE]
    if not found:
        raise RungError(
            "no rung of the plan trains all weights.",
            where="rung plan --torchtitan",
            remedy="Name one under rungs in rung.yaml, such as `rungs: [full]`, or `[pretrain]` with data.corpus.",
        )
    return found[0]


def degrees(size: int, count: int, batch: int) -> Degrees:
    """Of a model of `size` parameters on `count` GPUs, with steps of `batch` rows."""
    tensor = NODE if size >= SPLIT_FROM and count >= NODE else 1
    ranks = max(1, count // tensor)
    local = max(1, batch // ranks)
    return Degrees(tensor, local, local * ranks)


def _write_documents(path: Path, found: Texts) -> None:
    """The documents of a corpus as lines of JSON: other tools would divide its files otherwise, and read all of them."""
    with files.whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        for text in corpus.documents(found):
            file.write(json.dumps({corpus.COLUMN: text}, ensure_ascii=False) + "\n")


def _chats(step: Step, data: TrainData, engines: Engines) -> str:
    """The train rows as lines of JSON: the chats that rung would train on."""
    start = replace(step.base.start, show_labels=False)  # a model that is trained on the labels need not be shown them
    lines = []
    for prompt, answer in start.lessons(data.examples, engines):
        turns = [{"role": one.role, "content": one.content} for one in prompt.messages]
        lines.append(json.dumps({"messages": [*turns, {"role": "assistant", "content": answer}]}, ensure_ascii=False) + "\n")
    return "".join(lines)


def _text(step: Step, count: int, base: Path, rows: Path, raw: bool) -> str:
    """The module."""
    given = {name: value for method in step.methods for name, value in options(method).items()}
    made = int(given.get("parameters", 0))
    split = degrees(made or step.base.facts.parameters, count, int(given.get("batch", 1)))
    steps = int(given.get("steps", 0)) or max(1, step.base.facts.train_rows * int(given["epochs"]) // split.total)
    place = json.dumps(str(rows))
    return _MODULE.format(
        rung=step.rung,
        version=VERSION,
        nodes=(nodes := -(-count // NODE)),
        command=_COMMAND.format(nodes=nodes, each=min(NODE, count), module=MODULE),
        loader=(_RAW if raw else _CHAT).format(rows=place),
        shape=_shape(made, base) if made else f"TitanModelConfig({'' if raw else BLOCKS})",
        base=json.dumps(str(base)),
        rate=f"{given['learning_rate']:g}",
        warmup=max(1, round(steps * float(given.get("warmup", WARMUP)))),
        local=split.local,
        total=split.total,
        length=int(given.get("context", LENGTH)),
        steps=steps,
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
"""
_CHAT_LOADER = """ChatDataLoader.Config(
            dataset_path="json",
            load_dataset_kwargs={"data_files": ROWS, "split": "train"},
            sample_processor=lambda row: row["messages"],
        )"""

_COMMAND = (
    "torchrun --nnodes {nodes} --nproc-per-node {each} --rdzv-backend c10d --rdzv-endpoint HEAD:29500 "
    "-m torchtitan.train --module {module} --config rung"
)

_MODULE = '''"""The rung {rung}, for torchtitan {version}: a starting point that rung wrote and has not run.

On each of {nodes} machines, in this folder:
{command}
"""

from datasets import load_dataset

from torchtitan.components.checkpoint import CheckpointManager
from torchtitan.components.loss import CrossEntropyLoss
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
from torchtitan.hf_datasets.text_datasets import DATASETS, ChatDataLoader, HuggingFaceTextDataLoader

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
        optimizer=default_adamw(lr={rate}),
        lr_scheduler=LRSchedulersContainer.Config(warmup_steps={warmup}, decay_type="cosine", min_lr_factor=0.1),
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
