"""The Predictor: prompts, answers, its name and its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from rung import predictor as predictors
from rung.errors import RungError
from rung.lm.base import Decoding, ModelRef
from rung.lm.engines import Engines
from rung.lm.vectors import save_vectors
from rung.naming import identity_fields
from rung.predictor import Demos, Predictor
from rung.retrieve import lookup
from rung.retrieve.lookup import Lookup
from rung.types import Example, Message, digest

START = Predictor(kind="classify", model=ModelRef("fake", "fake", "fake"), instruction="Sort.", labels=("delay", "refund"))
DEMO = Example("my money", "refund", history=(Message("user", "hi"), Message("assistant", "hello")))


@pytest.fixture
def engines(machine) -> Engines:
    return Engines(machine)


def test_options_added_later_leave_the_names_of_older_predictors() -> None:
    one = replace(START, kind="answer", labels=(), instruction="Answer.")
    one = replace(one, lookup=Lookup("i", "d", "minilm", least=0.4, withheld=0.1, planted=0.2))
    assert digest(identity_fields(asdict(one))) == "879c48ba73efef75", "paid answers are stored under it"
    assert replace(one, lookup=replace(one.lookup, together=True)).digest != one.digest


def turns(predictor: Predictor, example: Example) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in predictor.render(example).messages]


def test_a_prompt_is_instruction_demonstrations_history_and_input() -> None:
    shown = replace(START, demos=Demos(fixed=(DEMO,)))
    row = Example("where", "delay", history=(Message("user", "a"), Message("assistant", "b")))
    assert turns(shown, row) == [
        ("system", "Sort.\n\nAnswer with one of: delay, refund."),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "my money"),
        ("assistant", "refund"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "where"),
    ]


def test_descriptions_stand_beside_their_labels() -> None:
    text = turns(replace(START, descriptions=("it is late", "")), DEMO)[0][1]
    assert text == "Sort.\n\nAnswer with one of these:\n- delay: it is late\n- refund"


def test_a_trained_model_need_not_read_the_labels() -> None:
    assert turns(replace(START, show_labels=False), DEMO)[0] == ("system", "Sort.")


def test_the_answer_of_a_row_is_never_in_its_prompt(engines: Engines) -> None:
    for example in (Example("x", "refund"), Example("x", "delay")):
        assert START.render(example) == START.render(Example("x", ""))


def test_a_row_is_not_shown_itself_as_a_demonstration(encoder: Path, engines: Engines, tmp_path: Path) -> None:
    pool = tuple(Example(text, "refund") for text in ("my money", "My  Money", "some money", "a parcel", "the hat"))
    files = tmp_path / "demos"
    files.mkdir()
    save_vectors(files, engines.embedder(str(encoder)).embed([e.input for e in pool]))
    similar = replace(START, encoder=str(encoder), demos=Demos(pool=pool, similar=2, files=str(files)))
    for example in (Example("my money", "refund"), Example("MY money", "refund")):
        said = [m.content for m in similar.prompts([example], engines)[0].messages[1:-1] if m.role == "user"]
        assert len(said) == 2
        assert not {text.casefold() for text in said} & {"my money", "my  money"}


def test_the_most_similar_demonstration_stands_last(encoder: Path, engines: Engines, tmp_path: Path) -> None:
    pool = tuple(Example(letter * 3, "refund") for letter in "abcdefghijkl")
    vectors = engines.embedder(str(encoder)).embed([e.input for e in pool])
    (tmp_path / "demos").mkdir()
    save_vectors(tmp_path / "demos", vectors)
    similar = replace(START, encoder=str(encoder), demos=Demos(pool=pool, similar=3, files=str(tmp_path / "demos")))
    query = engines.embedder(str(encoder)).embed(["a question"])[0]
    wanted = [pool[i].input for i in np.argsort(vectors @ query, kind="stable")[-3:]]
    prompt = similar.prompts([Example("a question", "")], engines)[0]
    assert [m.content for m in prompt.messages[1:-1] if m.role == "user"] == wanted


def test_rows_are_answered_in_order_with_their_names(engines: Engines) -> None:
    rows = [Example(f"{label} {i}", label) for i, label in enumerate(["refund", "delay", "refund"])]
    found = START.predict(rows, engines)
    assert [(p.id, p.output, p.error) for p in found] == [(row.id, row.output, "") for row in rows]


def test_no_rows_no_answers(engines: Engines) -> None:
    assert START.predict([], engines) == []


@pytest.mark.parametrize("kind", ["classify", "generate"])
def test_a_row_over_the_context_keeps_its_error_and_the_others_their_answer(base, engines: Engines, kind: str) -> None:
    model = ModelRef("causal", str(base("gpt2-short")), "")
    labels = ("a", "b") if kind == "classify" else ()
    one = replace(START, kind=kind, labels=labels, show_labels=False, model=model, decoding=Decoding(max_new_tokens=3))
    found = one.predict([Example("x", ""), Example("late " * 60, ""), Example("y", "")], engines)
    assert [bool(p.error) for p in found] == [False, True, False]
    assert "over the context" in found[1].error
    assert found[1].output == ""


def test_every_length_near_the_limit_is_answered_or_refused_by_row(base, engines: Engines) -> None:
    """Labels whose letters take several tokens: a row just under the limit must not take the others down with it."""
    model = ModelRef("causal", str(base("gpt2-short")), "")
    one = replace(START, labels=("語", "本"), show_labels=False, model=model, instruction="Sort")
    found = one.predict([Example("x" * n, "") for n in range(1, 30)], engines)
    assert found[0].error == ""
    assert found[-1].error
    errors = [bool(p.error) for p in found]
    assert errors == sorted(errors)


def test_the_name_hangs_on_content_and_not_on_places() -> None:
    fitted = replace(START, model=ModelRef("causal", "m", "d", "/here", "f"), demos=Demos(files="/here", files_digest="g"))
    moved = replace(fitted, model=replace(fitted.model, files="/there"), demos=replace(fitted.demos, files="/there"))
    assert moved.digest == fitted.digest
    others = [
        replace(fitted, instruction="Other."),
        replace(fitted, model=replace(fitted.model, files_digest="h")),
        replace(fitted, demos=replace(fitted.demos, files_digest="h")),
        replace(fitted, demos=replace(fitted.demos, fixed=(DEMO,))),
        replace(fitted, decoding=Decoding(temperature=0.5)),
        replace(fitted, labels=("refund", "delay")),
        replace(fitted, show_labels=False),
    ]
    assert len({fitted.digest, *(other.digest for other in others)}) == 1 + len(others)


def full(tmp_path: Path) -> Predictor:
    for name in ("model", "demos"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "file").write_text(name)
    return replace(
        START,
        model=ModelRef("causal", "m", "d", str(tmp_path / "model"), "f"),
        demos=Demos((DEMO,), (DEMO, replace(DEMO, extra={"id": 3})), 2, str(tmp_path / "demos"), "g"),
        descriptions=("late", "語"),
        decoding=Decoding(5, 0.5, 0.9, 1),
    )


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    whole = full(tmp_path)
    predictors.save(whole, tmp_path / "saved")
    found = predictors.load(tmp_path / "saved")
    assert found.digest == whole.digest
    assert replace(found, model=whole.model, demos=replace(found.demos, files=whole.demos.files)) == whole
    assert (Path(found.model.files) / "inner" / "file").read_text() == "model"
    moved = (tmp_path / "saved").rename(tmp_path / "moved")
    assert (Path(predictors.load(moved).demos.files) / "inner" / "file").read_text() == "demos"
    assert str(tmp_path) not in (moved / "predictor.json").read_text()


def test_saving_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    predictors.save(full(tmp_path), tmp_path / "saved")
    predictors.save(START, tmp_path / "saved", {"note.txt": "hello"})
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["note.txt", "predictor.json"]
    assert predictors.load(tmp_path / "saved") == START


def test_an_index_moves_with_the_task(tmp_path: Path) -> None:
    one = Predictor(kind="answer", model=ModelRef("fake", "fake", "fake"), instruction="?")
    index = tmp_path / "a" / ".rung" / "index"
    predictors.save(replace(one, lookup=Lookup(str(index), "d", "fake")), tmp_path / "a" / ".rung" / "fits" / "k")
    (tmp_path / "a").rename(tmp_path / "b")
    found = predictors.load(tmp_path / "b" / ".rung" / "fits" / "k")
    assert found.lookup and found.lookup.index == str(tmp_path / "b" / ".rung" / "index")
    with pytest.raises(RungError, match="the index does not exist"):
        lookup.sources(found.lookup, ["?"], Engines())
    far = replace(one, lookup=Lookup("s3://bucket/index", "d", "fake"))
    predictors.save(far, tmp_path / "far")
    assert predictors.load(tmp_path / "far").lookup == far.lookup


def test_a_loaded_one_can_be_saved_where_it_lies(tmp_path: Path) -> None:
    predictors.save(full(tmp_path), tmp_path / "saved")
    found = predictors.load(tmp_path / "saved")
    predictors.save(found, tmp_path / "saved")
    assert predictors.load(tmp_path / "saved") == found


def test_a_folder_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(RungError, match="not a saved Predictor"):
        predictors.load(tmp_path)
    (tmp_path / "predictor.json").write_text(json.dumps([1])[:-1])
    with pytest.raises(RungError, match="not a saved Predictor"):
        predictors.load(tmp_path)


def test_a_folder_is_named_by_what_is_in_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("1")
    assert predictors.folder_digest(tmp_path / "a") == predictors.folder_digest(tmp_path / "b")
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "y")
    assert predictors.folder_digest(tmp_path / "a") != predictors.folder_digest(tmp_path / "b")
