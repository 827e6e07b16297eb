"""A starting configuration of torchtitan, for a rung that trains all weights of a model too large for one GPU.

torchtitan 0.3 is configured by a function in Python; TOML files were those of 0.2. Its backend for models of transformers opens
what rung opens. https://github.com/pytorch/torchtitan
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rung import files
from rung.data import corpus
from rung.errors import RungError
from rung.lm.engines import Engines
from rung.lm.trees.tree import Row
from rung.methods.base import Method
from rung.methods.continued import Continued
from rung.methods.conversations import taught_rows
from rung.methods.full import Full
from rung.methods.pretrain import Pretrain
from rung.planning import torchtitan_config as config
from rung.planning.machines import parsed
from rung.planning.steps import Step
from rung.types import Texts, TrainData

ROWS, CORPUS = "train.jsonl", "corpus.jsonl"
NAME = f"{config.MODULE}.py"


def write(
    folder: Path, steps: Sequence[Step], data: TrainData, screened: Callable[[], Texts], engines: Engines, name: str
) -> list[Path]:
    """Write a configuration and, for examples, the train rows as tokens; for raw text its documents. Returns what it wrote.

    `screened`: raw text without what its screening leaves out; called only for a rung that learns from it. `name`: the machines,
    such as h100x64. RungError where no rung of the plan fits, its steps do not divide among the GPUs, or the folder holds other
    files.
    """
    _check_place(folder)
    step, method = _chosen(steps, data)
    base, count = engines.find(step.base.start.model.name).folder, parsed(name)[1]
    facts = step.base.facts
    rows = [] if not isinstance(method, Full) else _rows(step, data, engines, base)
    asked = config.of_rows(method, rows) if isinstance(method, Full) else config.of_text(method, facts.corpus_tokens)
    made = method.parameters if isinstance(method, Pretrain) else 0
    place, raw = folder / (ROWS if rows else CORPUS), not rows
    split = config.degrees(made or facts.parameters, count, asked.batch)
    module = config.text(step.rung, asked, split, count, base, place.resolve(), made, raw)
    folder.mkdir(parents=True, exist_ok=True)
    if raw:
        _write_documents(place, screened())
    else:
        files.write_text(place, "".join(json.dumps({"tokens": one.tokens, "targets": one.targets}) + "\n" for one in rows))
    files.write_text(folder / NAME, module)
    return [folder / NAME, place]


def _check_place(folder: Path) -> None:
    """RungError where the folder is there, holds something, and was not written here."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise RungError("there is a file or a link of this name.", where=str(folder), remedy="Name another folder.")
    if folder.is_dir() and any(folder.iterdir()) and not _is_written(folder):
        raise RungError(
            "the folder holds something else, which is not overwritten.",
            where=str(folder),
            remedy="Name another or an empty folder with --torchtitan.",
        )


def _is_written(folder: Path) -> bool:
    """Whether a folder was written by `rung plan --torchtitan`."""
    module = folder / NAME
    return module.is_file() and config.WRITTEN in module.read_text(encoding="utf-8", errors="replace")


def _chosen(steps: Sequence[Step], data: TrainData) -> tuple[Step, Full | Continued | Pretrain]:
    """The first rung that is one training of all weights, on data that is there, without anything that torchtitan does not do."""
    for step in steps:
        if len(step.methods) == 1 and not step.parts and (method := _fitting(step.methods[0], data)):
            return step, method
    raise RungError(
        "no rung of the plan is one training that torchtitan can do: of all weights, alone, and without replay of general text.",
        where="rung plan --torchtitan",
        remedy="Name one under rungs in rung.yaml: `rungs: [full]`, or with data.corpus `[continued]`, where `rank` is 0 and "
        "`replay` is 0 or no data.general is named, or `[pretrain]`.",
    )


def _fitting(method: Method, data: TrainData) -> Full | Continued | Pretrain | None:
    """The method if torchtitan can do what it does with this data."""
    if isinstance(method, Full):
        return method if data.examples else None
    if isinstance(method, Continued) and (method.rank or (method.replay and data.general.files)):
        return None
    return method if isinstance(method, Continued | Pretrain) and data.corpus.files else None


def _rows(step: Step, data: TrainData, engines: Engines, base: Path) -> list[Row]:
    """The train rows as rung trains on them: rendered by the base's template, tools and special tokens as rung treats them."""
    from rung.lm.models.chat import Chat, tokenizer

    start = replace(step.base.start, show_labels=False)  # a model that is trained on the labels need not be shown them
    return taught_rows(Chat(tokenizer(base)), start, data.examples, engines, data.every_answer)[0]


def _write_documents(path: Path, found: Texts) -> None:
    """The documents of a corpus as lines of JSON: other tools would divide its files otherwise, and read all of them."""
    with files.whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        for text in corpus.documents(found):
            file.write(json.dumps({corpus.COLUMN: text}, ensure_ascii=False) + "\n")
