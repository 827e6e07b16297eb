"""Engine kinds: what each can do stands in one table, and nothing else asks which kind a model is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.errors import ModelError
from rung.lm import engine_kinds
from rung.lm.base import ModelRef, ScoresLabels, Streams
from rung.lm.engine_kinds import KINDS, can, leaves
from rung.lm.engines import MAX_OPEN, Engines
from rung.lm.inference.fake import FakeEngine
from rung.machine import Machine

ROOT = Path(__file__).parents[2]
FAKE = ModelRef("fake", "fake", "fake")


def comparisons(code: str) -> Iterator[str]:
    """Every place where something called `kind` is compared with, matched against or looked up under an engine kind's name."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Compare):
            asked, names = [node.left, *node.comparators], node
        elif isinstance(node, ast.Match):
            asked, names = [node.subject], node
        elif isinstance(node, ast.Subscript):
            asked, names = [node.slice], node
        else:
            continue
        kinds = [one for one in asked if (one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "")) == "kind"]
        literals = {one.value for one in ast.walk(names) if isinstance(one, ast.Constant) and isinstance(one.value, str)}
        if kinds and literals & KINDS.keys():
            yield ast.unparse(node)


def test_no_kind_is_compared_by_name_outside_its_table() -> None:
    others = [path for path in sorted((ROOT / "src").rglob("*.py")) if path != Path(engine_kinds.__file__)]
    assert not [f"{path}: {one}" for path in others for one in comparisons(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    "code",
    [
        "model.kind == 'remote'",
        "'causal' != kind",
        "x.kind in ('causal', 'fake')",
        "x.kind not in {'rule'}",
        "match ref.kind:\n    case 'remote': pass",
        "{'causal': 1}[ref.kind]",
    ],
)
def test_a_comparison_is_found(code: str) -> None:
    assert list(comparisons(code))


def test_no_test_reaches_into_engines() -> None:
    private = {f".{name}" for name in vars(Engines()) if name.startswith("_")} - {"._found", "._kept"}  # other classes have these
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert f".{node.attr}" not in private, f"{path.name} line {node.lineno}: {ast.unparse(node)}"


def test_a_kind_is_called_what_the_table_calls_it() -> None:
    assert all(name == one.name for name, one in KINDS.items())


def test_what_cannot_be_trained_says_so() -> None:
    assert not can(ModelRef("remote", "openai:m", "d")).open_weights and can(FAKE).open_weights
    assert can("openai:m") == can(ModelRef("remote", "openai:m", "d"))


@pytest.mark.parametrize(
    ("name", "out"), [("openai:m", True), ("http://127.0.0.1:1/v1#m", False), ("fake", False), ("a/b", False)]
)
def test_what_leaves_the_network_is_known_by_name(name: str, out: bool) -> None:
    assert leaves(name) is out


def test_an_unknown_kind_is_named(machine: Machine) -> None:
    with pytest.raises(ModelError, match="no engine kind 'odd'"):
        Engines(machine).open(ModelRef("odd", "m", "d"))


def test_a_fake_that_is_put_answers_and_stays(machine: Machine, tmp_path: Path) -> None:
    mine = FakeEngine()
    engines = Engines(machine, opened={FAKE: mine})
    assert engines.open(FAKE) is mine and engines.opened == ()
    engines.close()
    assert engines.open(FAKE) is mine
    engines.put(FAKE, other := FakeEngine())
    assert engines.open(FAKE) is other
    for i in range(MAX_OPEN + 2):
        engines.open(ModelRef("fake", f"{i}", "d"))
    assert len(engines.opened) == MAX_OPEN and engines.open(FAKE) is other


def test_models_are_freed_and_an_open_index_is_not(machine: Machine) -> None:
    closed: list[str] = []

    class Kept:
        def close(self) -> None:
            closed.append("index")

        def end_servers(self) -> None:
            closed.append("servers")

    engines = Engines(machine)
    engines.open(FAKE)
    engines.keep("kept", Kept)
    engines.close()
    assert engines.opened == () and closed == ["servers"]


def test_declared_capabilities_fit_the_classes_that_open() -> None:
    """A kind that streams opens engines that stream; one that scores labels is seen by its type."""
    from rung.lm.inference.causal import CausalEngine
    from rung.lm.remote.engine import RemoteEngine

    for kind, made in (("causal", CausalEngine), ("remote", RemoteEngine), ("fake", FakeEngine)):
        assert KINDS[kind].can.streams == issubclass(made, Streams), kind
        assert KINDS[kind].can.reads_text == hasattr(made, "read"), kind
    assert issubclass(CausalEngine, ScoresLabels) and not issubclass(FakeEngine, ScoresLabels)
