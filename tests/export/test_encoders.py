"""Exports of encoders with a head: a folder for the library that reads it, and one ONNX graph, each proven."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exporting import exported

MadeEncoder = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _offline(home: Path) -> None:
    """Models come from folders; this machine counts as measured."""


def run_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code of a model card in its folder."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code
    monkeypatch.chdir(folder)
    exec(compile(code[1], "README.md", "exec"), {})


@pytest.mark.parametrize(
    ("rung", "to"),
    [
        ("encoder", "hf"),
        pytest.param("encoder", "onnx", marks=pytest.mark.slow),
        ("encoder-full", "hf"),
        pytest.param("encoder-full", "onnx", marks=pytest.mark.slow),
        pytest.param("encoder-contrastive", "hf", marks=pytest.mark.slow),
        pytest.param("encoder-contrastive", "onnx", marks=pytest.mark.slow),
    ],
)
def test_an_encoder_answers_alike(
    rung: str,
    to: str,
    made_encoder: MadeEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    shown = exported(made_encoder(rung), rung, "--to", to, "--out", out)
    proof = json.loads((out / "proof.json").read_text())
    assert proof["passed"] and proof["same_labels"] == proof["rows"] == proof["cut"] > 4 and proof["largest"] < 1e-4
    assert proof["texts_same"] == proof["texts"] and "same label" in shown
    assert {"onnx": "onnxruntime"}.get(to, "transformers") in proof["engine"]
    run_card(out, monkeypatch)
    assert re.search("refund|delivery", capsys.readouterr().out)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "| accuracy (dev) | " in card and "digest of the dev rows" in card and "text-classification" in card


def test_a_sentence_encoder_gives_unit_vectors(made_encoder: MadeEncoder, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    exported(made_encoder("encoder"), "encoder", "--out", tmp_path / "out")
    [vector] = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(["my money back"])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == ["delivery", "refund"]


@pytest.mark.slow
def test_int8_is_proven(made_encoder: MadeEncoder, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import onnx

    out = tmp_path / "out"
    exported(made_encoder("encoder"), "encoder", "--to", "onnx", "--kind", "int8", "--out", out)
    assert 0 < json.loads((out / "proof.json").read_text())["largest"] <= 0.25
    assert [path.name for path in out.glob("*.onnx")] == ["model.onnx"]
    graph = onnx.load(out / "model.onnx").graph
    assert "MatMulInteger" in {node.op_type for node in graph.node}
    head = {one.data_type for one in graph.initializer if one.name.startswith("head.weight")}
    assert head == {onnx.TensorProto.FLOAT}, "the head stays float32"


@pytest.mark.parametrize("to", ["hf", pytest.param("onnx", marks=pytest.mark.slow), pytest.param("zip", marks=pytest.mark.slow)])
def test_what_is_unlike_all_labels_is_answered_alike(
    to: str, made_unlike: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if to != "hf":
        pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    exported(made_unlike, "encoder", "--to", to, "--out", out)
    proof = json.loads((out / "proof.json").read_text())
    assert proof["passed"]
    if to == "onnx":
        assert json.loads((out / "labels.json").read_text()) == ["damage", "delay", "login", "refund", "other"]
        assert proof["largest"] < 1e-4
    if to != "hf":
        return
    rule = json.loads((out / "other.json").read_text())
    assert rule["label"] == "other" and rule["slope"] < 0 and proof["largest"] < 1e-4
    capsys.readouterr()
    for shift, is_other in ((100.0, True), (-100.0, False)):
        (out / "other.json").write_text(json.dumps(rule | {"shift": shift}))
        run_card(out, monkeypatch)
        assert ("other" in capsys.readouterr().out) == is_other


def test_a_wrong_head_fails(made_encoder: MadeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are whole, and the head's labels stand in another order."""
    from rung.lm.export import heads

    save = heads.save_head
    monkeypatch.setattr(heads, "save_head", lambda folder, weight, *more: save(folder, -weight, *more))
    shown = exported(made_encoder("encoder"), "encoder", "--out", tmp_path / "out", code=1)
    assert "does not answer as the original" in shown and "a probability differs by" in shown
    assert not (tmp_path / "out").exists() and (tmp_path / "out.failed" / "head.safetensors").exists()


def test_a_worse_score_fails_even_where_labels_may_differ() -> None:
    from rung.export.label_proof import LabelProof
    from rung.export.limits import LABEL_LIMITS
    from rung.types import Interval

    def proof(high: float) -> LabelProof:
        score = Interval(0.9, 0.8, 0.95, 100)
        lost = Interval(-0.02, -0.05, high, 100)
        return LabelProof("e", "int8", LABEL_LIMITS["int8"], 100, 100, 9, 9, (), 0.1, "accuracy", score, score, lost)

    assert proof(0.01).passed and not proof(-0.001).passed


def test_what_is_of_language_models_is_refused(made_encoder: MadeEncoder) -> None:
    task = made_encoder("encoder")
    assert "is not exported to gguf" in exported(task, "encoder", "--to", "gguf", code=2)
    assert "f32, int8" in exported(task, "encoder", "--to", "onnx", "--kind", "f16", code=2)
    assert "Take --to hf" in exported(task, "encoder", "--adapter", code=2)


def test_without_onnxruntime_the_package_is_named(
    made_encoder: MadeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rung.lm.export import onnx_file

    monkeypatch.setattr(onnx_file, "NEEDED", ("onnx", "no_such_package"))
    shown = exported(made_encoder("encoder"), "encoder", "--to", "onnx", "--out", tmp_path / "out", code=2)
    assert "no_such_package is not installed" in shown and "rung[onnx]" in shown
