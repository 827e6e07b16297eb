"""Vectors of a few texts without PyTorch: those of sentence-transformers, and no other encoder is taken for one of this shape."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.lm.inference import few_texts
from rung.lm.inference.embed import Embedder
from rung.machine import Machine

TEXTS = ["when is it open", "", "a b c " * 60, "Größe 日本"]


@pytest.fixture
def folder(encoder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder with the files of today's encoders."""
    shutil.copytree(encoder, tmp_path / "encoder")
    return tmp_path / "encoder"


def test_vectors_are_those_of_sentence_transformers(folder: Path, machine: Machine) -> None:
    quick = few_texts.read(folder)
    assert quick
    assert np.allclose(quick.embed(TEXTS), Embedder(folder, machine).embed(TEXTS), atol=2e-6)


def test_the_first_token_where_the_encoder_takes_it(folder: Path, machine: Machine) -> None:
    place = folder / json.loads((folder / "modules.json").read_text())[1]["path"] / "config.json"
    given = json.loads(place.read_text())
    place.write_text(json.dumps({**given, "pooling_mode": "cls"}))
    quick = few_texts.read(folder)
    assert quick and quick.first_token
    assert np.allclose(quick.embed(TEXTS), Embedder(folder, machine).embed(TEXTS), atol=2e-6)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"model_type": "roberta"}),
        ("config.json", {"hidden_act": "relu"}),
        ("config.json", {"num_hidden_layers": 2}),
        ("config.json", {"vocab_size": 7}),
        ("sentence_bert_config.json", {"do_lower_case": True}),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}),
        ("1_Pooling/config.json", {"pooling_mode": "max"}),
    ],
)
def test_other_encoders_are_left_to_the_library(folder: Path, file: str, change: dict[str, Any]) -> None:
    place = folder / file
    place.write_text(json.dumps((json.loads(place.read_text()) if place.exists() else {}) | change))
    assert few_texts.read(folder) is None


def test_broken_weights_are_left_to_the_library_which_names_them(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\0" * 64)
    assert few_texts.read(folder) is None


def test_one_question_needs_no_torch_and_many_texts_load_it(folder: Path, machine: Machine, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from rung.lm.inference.embed import Embedder; from rung.machine import Machine\n"
        f"made = Embedder(Path({str(folder)!r}), {machine!r})\n"
        "one = made.embed(['open']); assert 'torch' not in sys.modules\n"
        "many = made.embed(['open', *map(str, range(9))]); assert 'torch' in sys.modules\n"
        "assert abs(one[0] - many[0]).max() < 2e-6"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.model
def test_the_default_encoder_is_of_this_shape(machine: Machine) -> None:
    from rung.lm.models.resolve import find

    quick = few_texts.read(find("all-minilm-l6-v2").folder)
    assert quick
    full = Embedder(quick.folder, machine)
    assert np.allclose(quick.embed(TEXTS), full.embed(TEXTS), atol=2e-6) and full.few is None
