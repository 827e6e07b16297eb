"""The Predictor: frozen data that says how a row is answered. The only place where a prompt is made."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rung.data.split import normalise
from rung.errors import RungError
from rung.lm.base import Decoding, Engine, ModelRef, Progress, Prompt
from rung.lm.engines import Engines
from rung.lm.layers import link
from rung.types import Example, Kind, Message, Prediction, digest

FILE = "predictor.json"
PROMPT_VERSION = 1  # raise when the same Predictor would now be asked in other words

CHUNK = 64
"""Rows answered between two times that progress is told and answers are kept."""


@dataclass(frozen=True)
class Demos:
    """Demonstrations put into the prompt: fixed ones first, so that all prompts share them; similar ones last."""

    fixed: tuple[Example, ...] = ()
    pool: tuple[Example, ...] = ()
    """Where similar ones are drawn from."""
    similar: int = 0
    """How many of the pool, the ones most like the input, nearest last."""
    files: str = ""
    """Folder with the pool's vectors (`pool.safetensors`)."""
    files_digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    kind: Kind
    model: ModelRef
    instruction: str
    labels: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    """What each label means, in the order of `labels`; empty texts where the task says nothing."""
    show_labels: bool = True
    """Whether the prompt lists the labels. A model trained on them knows them, and its prompt is shorter."""
    encoder: str = "all-minilm-l6-v2"
    """Embedding model, for what compares or classifies by meaning."""
    demos: Demos = Demos()
    decoding: Decoding = Decoding()

    @property
    def digest(self) -> str:
        """Content name: two Predictors that answer alike have the same one, wherever their files lie."""
        content = asdict(self) | {"prompt": PROMPT_VERSION}
        content["model"].pop("files")
        if self.model.digest:
            content["model"].pop("name")  # the digest says which model it is, wherever it lies
        content["demos"].pop("files")
        return digest(content)

    def render(self, example: Example, similar: Sequence[Example] = ()) -> Prompt:
        """The prompt of one row: instruction, demonstrations as turns, earlier turns of the row, the input.

        Templates take one system message, the first: what a row's own says stands behind the instruction.
        """
        system = [self.instruction]
        if self.labels and self.show_labels:
            system.append(self._label_text())
        system += [turn.content for turn in example.history if turn.role == "system"]
        turns = [Message("system", "\n\n".join(system))]
        for row in (*self.demos.fixed, *similar, example):
            turns += [turn for turn in row.history if turn.role != "system"]
            turns += [Message("user", row.input), Message("assistant", row.output)]
        return Prompt(tuple(turns[:-1]), example.input)

    def prompts(self, examples: Sequence[Example], engines: Engines) -> list[Prompt]:
        """Prompts of rows, with similar demonstrations looked up. A row is never shown its own answer."""
        if not self.demos.similar:
            return [self.render(example) for example in examples]
        from rung.lm.embed import nearest
        from rung.lm.vectors import load_vectors

        vectors = engines.embedder(self.encoder).embed([example.input for example in examples])
        found = nearest(load_vectors(Path(self.demos.files)), vectors, self.demos.similar + 8)
        prompts = []
        for example, row in zip(examples, found):
            own = normalise(example.input)
            near = [demo for demo in (self.demos.pool[i] for i in row) if normalise(demo.input) != own][: self.demos.similar]
            prompts.append(self.render(example, near[::-1]))
        return prompts

    def warm(self, engines: Engines) -> None:
        """Load what answering needs."""
        engines.open(self.model)
        if self.demos.similar:
            engines.embedder(self.encoder)

    def predict(self, examples: Sequence[Example], engines: Engines, progress: Progress | None = None) -> list[Prediction]:
        """Answer rows in order. A row that cannot be asked keeps its error; the others are answered."""
        started = time.perf_counter()
        engine = engines.open(self.model)
        prompts = self.prompts(examples, engines)
        # a label has at most a token a byte, one for a blank that some tokenizers put in front, and its end
        room = max(len(label.encode()) + 2 for label in self.labels) if self.labels else self.decoding.max_new_tokens
        fits = [engine.count(prompt) + room <= engine.context for prompt in prompts]
        asked = [prompt for prompt, fit in zip(prompts, fits) if fit]
        answers = iter(self._ask(engine, asked, progress))
        out = []
        for example, prompt, fit in zip(examples, prompts, fits):
            if fit:
                out.append(replace(next(answers), id=example.id))
            else:
                size = engine.count(prompt)
                out.append(Prediction(example.id, "", tokens_in=size, error=f"prompt of {size} tokens is over the context"))
        seconds = (time.perf_counter() - started) / max(1, len(examples))
        return [replace(prediction, seconds=seconds) for prediction in out]

    def _ask(self, engine: Engine, prompts: Sequence[Prompt], progress: Progress | None) -> list[Prediction]:
        if not prompts:
            return []
        if self.labels:
            return [
                Prediction("", c.label, c.confidence, c.tokens_in, c.tokens_out)
                for c in engine.choose(prompts, self.labels, progress)
            ]
        return [
            Prediction("", c.text, None, c.tokens_in, c.tokens_out) for c in engine.generate(prompts, self.decoding, progress)
        ]

    def answers(self, engine: Engine, prompts: Sequence[Prompt]) -> list[str]:
        """The bare answers of an engine asked as this Predictor asks its own; for a model that is still in training."""
        return [prediction.output for prediction in self._ask(engine, prompts, None)]

    def _label_text(self) -> str:
        if not any(self.descriptions):
            return "Answer with one of: " + ", ".join(self.labels) + "."
        lines = [f"- {label}: {what}" if what else f"- {label}" for label, what in zip(self.labels, self.descriptions)]
        return "Answer with one of these:\n" + "\n".join(lines)


def save(predictor: Predictor, folder: Path, beside: Mapping[str, str] | None = None) -> None:
    """Write the Predictor and copies of its files into a folder, which appears whole or not at all.

    `beside`: other text files to put there, name to content.
    """
    work = folder.with_name(folder.name + ".part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    content = asdict(predictor)
    for part, name in (("model", "model"), ("demos", "demos")):
        if content[part]["files"]:
            shutil.copytree(content[part]["files"], work / name, copy_function=link)
            content[part]["files"] = name
    for name, text in (beside or {}).items():
        (work / name).write_text(text, encoding="utf-8")
    (work / FILE).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    work.replace(folder)


def load(folder: Path) -> Predictor:
    """Read a saved Predictor; its files are used where they lie."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RungError(f"this is no saved Predictor: {error}.", where=str(folder), remedy="Fit it again.") from error
    for part in ("model", "demos"):
        if content[part]["files"]:
            content[part]["files"] = str(folder / content[part]["files"])
    demos = content.pop("demos")
    return Predictor(
        **{
            **content,
            "model": ModelRef(**content["model"]),
            "labels": tuple(content["labels"]),
            "descriptions": tuple(content["descriptions"]),
            "decoding": Decoding(**content["decoding"]),
            "demos": Demos(
                **{**demos, "fixed": tuple(map(_example, demos["fixed"])), "pool": tuple(map(_example, demos["pool"]))}
            ),
        }
    )


def folder_digest(folder: Path) -> str:
    """Content name of a folder's files."""
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    content = [[str(p.relative_to(folder)), hashlib.sha256(p.read_bytes()).hexdigest()] for p in names]
    return digest(content)


def _example(content: dict) -> Example:
    return Example(**{**content, "history": tuple(Message(**turn) for turn in content["history"])})
