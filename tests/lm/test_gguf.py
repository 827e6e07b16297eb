"""GGUF files that are split, adapters, not whole; and how a converted tokenizer cuts text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ggufs import write_gguf

from rung.errors import ModelError
from rung.lm.models import gguf_files, resolve


@pytest.fixture(autouse=True)
def alone(home: Path) -> None:
    """A cache of one's own and no hub."""


def found(path: Path) -> resolve.ModelFiles:
    return resolve.find(str(path), say=lambda text: None)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("named", [0, 1, -1])
def test_the_parts_of_a_split_file_are_joined(named: int, tmp_path: Path) -> None:
    write_gguf(tmp_path / "whole.gguf")
    write_gguf(tmp_path / "split.gguf", split=4)
    parts = sorted(tmp_path.glob("split-*.gguf"))
    assert len(parts) == 3
    joined, whole = found(parts[named]).folder, found(tmp_path / "whole.gguf").folder
    assert weights(joined).keys() == weights(whole).keys()
    assert all(torch.equal(tensor, weights(whole)[name]) for name, tensor in weights(joined).items())
    for file in ("tokenizer.json", "config.json", "chat_template.jinja"):
        assert (joined / file).read_text() == (whole / file).read_text()
    assert not list(joined.glob("*.gguf"))


@pytest.mark.parametrize("kept", [0, 1])
def test_missing_parts_are_named(kept: int, tmp_path: Path) -> None:
    write_gguf(tmp_path / "split.gguf", split=4)
    parts = sorted(tmp_path.glob("split-*.gguf"))
    for part in parts[:kept] + parts[kept + 1 :]:
        part.unlink()
    missing = ", ".join(part.name for part in parts if part != parts[kept])
    with pytest.raises(ModelError, match=f"2 of the 3 parts of this split file are missing: {missing}"):
        found(parts[kept])
    parts[kept].rename(tmp_path / "renamed.gguf")
    with pytest.raises(ModelError, match="its name does not say which"):
        found(tmp_path / "renamed.gguf")


def test_parts_of_another_split_are_told_by_their_tensors(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf", split=4)
    write_gguf(tmp_path / "b.gguf", split=4, layers=2, blocks=2)
    first, *others = sorted(tmp_path.glob("b-*.gguf"))
    sorted(tmp_path.glob("a-*.gguf"))[0].rename(tmp_path / f"b-00001-of-{len(others) + 1:05}.gguf")
    with pytest.raises(ModelError, match="parts"):
        found(first)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"general.type": "adapter", "adapter.type": "lora", "general.base_model.0.name": "Llama X"}, "adapter of 'Llama X'"),
        ({"adapter.type": "lora"}, "only an adapter of an unnamed base"),
        ({"general.type": "mmproj"}, "image encoder"),
        ({"general.type": "imatrix"}, "statistics"),
    ],
)
def test_files_that_are_no_model(fields: dict[str, str], message: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "other.gguf", fields=fields)
    with pytest.raises(ModelError, match=message):
        found(tmp_path / "other.gguf")


@pytest.mark.parametrize(
    ("layers", "blocks", "message"),
    [(1, 2, r"missing: model\.layers\.1\."), (2, 1, "left over: .*1 layers.*layer 2"), (0, 1, "missing")],
)
def test_other_layers_than_the_head_says(layers: int, blocks: int, message: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf", layers=layers, blocks=blocks)
    with pytest.raises(ModelError, match=message) as raised:
        found(tmp_path / "model.gguf")
    assert "model.gguf" in str(raised.value)
    assert not list((tmp_path / "home" / "models").glob("gguf*"))


def test_a_cut_off_part_is_an_error(tmp_path: Path) -> None:
    write_gguf(tmp_path / "split.gguf", split=4)
    last = sorted(tmp_path.glob("split-*.gguf"))[-1]
    last.write_bytes(last.read_bytes()[:-200])
    with pytest.raises(ModelError, match="truncated"):
        found(last)
    assert gguf_files.PART.fullmatch(last.name)
