"""An encoder with a head on the labels as plain modules, and as a folder that sentence-transformers or transformers loads."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rung import files
from rung.lm.export.hf_folder import OURS
from rung.lm.export.reader import Tokens
from rung.lm.inference.encoder import ENCODER, HEAD, LABELS, OtherLabel, load_other, save_head
from rung.lm.models import opening
from rung.lm.quiet import quiet
from rung.machine import Machine

SETTINGS = "config.json"


@dataclass(frozen=True)
class Headed:
    """An encoder and its head, float32 on the CPU, by no engine of rung."""

    model: Any
    """A SentenceTransformer, or a sequence classifier of transformers, which has its head inside."""
    tokenizer: Any
    labels: tuple[str, ...]
    longest: int
    """Tokens at which a text is cut, those at its ends included."""
    head: torch.nn.Linear | None
    """On unit vectors of the sentence encoder: softmax of weight · vector + bias. None where the model has its own."""
    other: OtherLabel | None = None
    """When the head answers that a text is unlike all labels; None where it never does."""

    @property
    def answers(self) -> tuple[str, ...]:
        """All that it may answer."""
        return (*self.labels, *([self.other.label] if self.other else []))

    def cut(self, text: str) -> Tokens:
        """A text's tokens as the model reads them."""
        with quiet():
            return tuple(self.tokenizer(text, truncation=True, max_length=self.longest).input_ids)


def opened(encoder: Path, fitted: Path, machine: Machine) -> Headed:
    """What a method fitted: a head on the encoder in the folder `encoder`, or on one tuned with it, or a whole classifier.

    On the CPU, whatever device rung takes.
    """
    if (fitted / HEAD).exists():
        return _sentence_encoder(fitted / ENCODER if (fitted / ENCODER).is_dir() else encoder, fitted)
    return _classifier(fitted, replace(machine, device="cpu", onednn=False))


def write(made: Headed, folder: Path) -> None:
    """Write model, tokenizer and, where it stands beside the model, the head to `folder`."""
    with quiet():
        if made.head is None:
            made.model.save_pretrained(folder)  # written into: the export's folder
            made.tokenizer.save_pretrained(folder)  # written into: the export's folder
        else:
            made.model.save(str(folder), create_model_card=False)  # written into: the export's folder
            weight, bias = made.head.weight.detach().numpy(), made.head.bias.detach().numpy()
            save_head(folder, weight, bias, made.labels, made.other)
    for path in (*folder.rglob(SETTINGS), *folder.rglob("tokenizer_config.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        files.write_json(path, {key: value for key, value in content.items() if key not in OURS})


def _sentence_encoder(encoder: Path, fitted: Path) -> Headed:
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize

    with quiet(), opening.model_errors(encoder):
        model: Any = SentenceTransformer(
            str(encoder), device="cpu", trust_remote_code=False, model_kwargs={"use_safetensors": True, "dtype": torch.float32}
        ).eval()
    opening.check_modules(model, encoder)
    if not any(isinstance(module, Normalize) for module in model):
        model.append(Normalize())  # the head reads unit vectors
    tensors = load_file(fitted / HEAD)
    count, width = tensors["weight"].shape
    head = torch.nn.Linear(width, count)
    head.load_state_dict(tensors)
    labels = json.loads((fitted / LABELS).read_text(encoding="utf-8"))
    longest = int(model.max_seq_length or model.tokenizer.model_max_length)
    return Headed(model, model.tokenizer, tuple(labels), longest, head.eval(), load_other(fitted))


def _classifier(fitted: Path, machine: Machine) -> Headed:
    from rung.lm.training import classifier

    loaded = classifier.reopened(fitted, machine)
    names = loaded.model.config.id2label
    labels = tuple(names[place] for place in range(len(names)))
    return Headed(loaded.model, loaded.chat.tokenizer, labels, loaded.context, None)
