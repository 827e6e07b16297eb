"""The check before spending: each finding appears where it should, and only there; the test's content stays unseen."""

from __future__ import annotations

import itertools
import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from rung.claims.prospects import prospect
from rung.data import near
from rung.data.check import blocking, check
from rung.data.finding import Finding
from rung.data.labels import run_score
from rung.data.near import index, neighbours, tokens
from rung.data.split import Sealed, Splits, make_splits, normalise
from rung.task import Task
from rung.types import Example

WORDS = [a + b + c for a in "bdfgk" for b in "aeiou" for c in "lmnrs"]


def task(kind: str = "classify", at_least: float = 0.5, **more: Any) -> Task:
    raw = {"task": "t", "kind": kind, "data": {"examples": "a"}, "goal": {"at_least": at_least}, **more}
    return Task.model_validate(raw)


def rows(name: str, count: int, labels: str = "xy", **more: Any) -> tuple[Example, ...]:
    """Rows that are unlike each other, labels mixed by chance."""
    chance = random.Random(name)
    return tuple(
        Example(" ".join([name, *chance.sample(WORDS, 8)]), chance.choice(labels), where=f"{name} line {i}", **more)
        for i in range(count)
    )


def splits(
    train: tuple[Example, ...] = (), dev: tuple[Example, ...] = (), test: tuple[Example, ...] = (), clean: bool = True
) -> Splits:
    """Clean rows with the given ones added."""
    clean_rows = {name: rows(name, 100 if clean else 0) for name in ("train", "dev", "test")}
    return Splits(clean_rows["train"] + train, clean_rows["dev"] + dev, Sealed(clean_rows["test"] + test))


def found(code: str, some: Splits, given_task: Task | None = None, **more: Any) -> list[Finding]:
    return [finding for finding in check(some, given_task or task(), **more) if finding.code == code]


def ex(text: str, label: str = "x", where: str = "here", group: str = "") -> Example:
    return Example(text, label, where=where, group=group)


def test_clean_rows_give_notes_only() -> None:
    findings = check(splits(), task())
    assert {finding.code for finding in findings} == {"majority-share", "goal-margin", "smallest-difference"}
    assert not blocking(findings)


def test_sizes() -> None:
    empty = check(splits(clean=False), task())
    assert [finding.code for finding in empty] == ["empty-split"] * 3 and blocking(empty)
    few = splits(dev=rows("few", 19), clean=False)
    assert found("few-dev-rows", few)[0].severity == "block"
    assert not found("few-dev-rows", splits(dev=rows("few", 20), clean=False))


def test_exact_leaks() -> None:
    some = splits(train=(ex("Where is my bike?", where="train.csv line 7"),), test=(ex("where is  my bike", where="test 3"),))
    (finding,) = found("duplicates-across-splits", some)
    assert (finding.severity, finding.count, finding.where) == ("warn", 1, ("test 3 = train.csv line 7",))
    many = splits(train=rows("again", 20), dev=rows("again", 20))
    assert found("duplicates-across-splits", many)[0].severity == "block"


def test_near_leaks_and_their_labels() -> None:
    text = "my new bike has a broken wheel and the bell is"
    some = splits(train=(ex(f"{text} gone", where="a"),), dev=(ex(f"{text} missing", "y", where="b"),))
    (finding,) = found("near-duplicates-across-splits", some)
    assert (finding.count, finding.severity, finding.where) == (1, "note", ("b = a",))
    assert found("near-duplicates-differ", some)[0].where == ("b = a",)
    assert not found("near-duplicates-differ", some, task("answer"))
    within = splits(train=(ex(f"{text} gone", "x", "a"), ex(f"{text} missing", "y", "b")))
    assert found("near-duplicates-differ", within)[0].where == ("a = b",)
    assert not found("near-duplicates-across-splits", within)


def test_a_long_frame_does_not_make_rows_near() -> None:
    frame = "you are a helpful assistant of a shop and you answer all questions of the customers as well as you can: "
    some = splits(
        train=tuple(ex(f"{frame}{row.input}") for row in rows("a", 200)),
        dev=tuple(ex(f"{frame}{row.input}") for row in rows("b", 50)),
        clean=False,
    )
    assert not found("near-duplicates-across-splits", some)


def test_repeats_within_a_split() -> None:
    some = splits(train=(ex("one", where="a"), ex("One!", where="b"), ex("one", "y", where="c")))
    (finding,) = found("duplicates-within-split", some)
    assert (finding.count, finding.where) == (1, ("b = a",))


def test_contradictions() -> None:
    some = splits(train=(ex("one", "x", "a"),), dev=(ex("One?", "y", "b"),))
    (finding,) = found("contradictory-labels", some)
    assert (finding.severity, finding.where) == ("warn", ("a = b",))
    assert found("several-answers", some, task("generate"))[0].severity == "note"


def test_parted_groups() -> None:
    some = splits(train=(ex("one", where="a", group="g"),), dev=(ex("two", where="b", group="g"),))
    (finding,) = found("groups-across-splits", some)
    assert (finding.severity, finding.where) == ("block", ("a = b",))
    assert not found("groups-across-splits", splits(train=(ex("one", group="g"), ex("two", group="g"))))


def test_unseen_labels() -> None:
    assert found("labels-unseen-in-train", splits(dev=(ex("one", "z", "a"),)))[0].severity == "warn"
    slices = splits(train=rows("t", 100, "ab"), dev=rows("d", 100, "yz"), clean=False)
    assert found("labels-unseen-in-train", slices)[0].severity == "block"


def test_thin_classes() -> None:
    thin = splits(train=(ex("one", "z"), ex("two", "z")))
    (finding,) = found("few-rows-per-class", thin, task(labels=["x", "y", "z", "never"]))
    assert finding.where == ("never: 0", "z: 2")


def test_class_sorted_file() -> None:
    by_label = tuple(sorted(rows("t", 300, "abcdef"), key=lambda row: row.output))
    (finding,) = found("class-sorted", splits(train=by_label, dev=rows("d", 50, "abcdef"), clean=False))
    assert finding.severity == "note"
    given_files = task(data={"train": "t.csv", "dev": "d.csv"})
    (finding,) = found("class-sorted", splits(train=by_label, dev=rows("d", 50, "ab"), clean=False), given_files)
    assert finding.severity == "warn" and "slices" in finding.what


def test_run_score_is_standard_over_all_orders() -> None:
    """Mean 0 and variance 1 over every order there is, so the formula is exact and not just near."""
    scores = [run_score(order)[0] for order in itertools.permutations("aabbbcd")]
    assert sum(scores) / len(scores) == pytest.approx(0, abs=1e-9)
    assert sum(score**2 for score in scores) / len(scores) == pytest.approx(1)
    assert run_score("a" * 50 + "b" * 50)[0] < -5


def test_majority() -> None:
    lopsided = splits(dev=rows("d", 900, "x"))
    (finding,) = found("majority-share", lopsided, task(at_least=0.9))
    assert finding.severity == "warn" and "'x' is right on 9" in finding.what
    assert found("majority-share", lopsided, task(at_least=0.99))[0].severity == "note"


def test_lengths() -> None:
    def words(text: str) -> int:
        return len(text.split())

    long = splits(train=(ex("word " * 60, where="a"),))
    (finding,) = found("longer-than-context", long, count_tokens=words, context=50)
    assert (finding.severity, finding.where) == ("warn", ("a",)) and "62" in finding.what
    assert found("longer-than-context", long, count_tokens=words, context=5)[0].severity == "block"
    assert not found("longer-than-context", long, count_tokens=words, context=62)


def test_only_rows_that_may_be_too_long_are_tokenized() -> None:
    """No text has more than eleven tokens a byte."""
    asked: list[str] = []

    def worst(text: str) -> int:
        asked.append(text)
        return 11 * len(text.encode())

    context = 11 * len((task().task + "\nshort enough\nx").encode())
    short_and_long = (ex("short enough", "x", where="a"), ex("short enough!", "x", where="b"))
    (finding,) = found("longer-than-context", splits(train=short_and_long, clean=False), count_tokens=worst, context=context)
    assert finding.where == ("b",) and len(asked) == 1


def test_goal_margin() -> None:
    """All held-out rows count, at the error of a first climb: the exact binomial test."""
    held = len(splits().dev) + len(splits().test)
    needed = next(k for k in range(held + 1) if binom.sf(k - 1, held, 0.8) <= 0.0384)
    (finding,) = found("goal-margin", splits(), task(at_least=0.8))
    assert f"a score of {needed / held:.3f} (" in finding.what and finding.count == needed
    (several,) = found("goal-margin", splits(), task(at_least=0.8, rungs=["a", "b", "c"]))
    more = next(k for k in range(held + 1) if binom.sf(k - 1, held, 0.8) <= 0.0384 / 3)
    assert (
        f"a score of {needed / held:.3f} (" in several.what and f"it takes {more / held:.3f} (" in several.what and more > needed
    )
    (finding,) = found("goal-out-of-reach", splits(), task(at_least=0.99))
    assert finding.severity == "block" and "at least 325 dev and test rows" in finding.remedy
    assert 0.99**325 <= 0.0384 < 0.99**324
    assert found("goal-out-of-reach", splits(), task(at_least=1))[0].severity == "block"
    assert found("goal-out-of-reach", splits(), task("generate", at_least=0.99))[0].severity == "warn"


@pytest.mark.parametrize(("rows", "goal", "rungs"), [(160, 0.8, 1), (217, 0.75, 7), (60, 0.9, 2)])
def test_a_rung_with_the_score_that_is_told_is_proved_eight_times_in_ten(rows: int, goal: float, rungs: int) -> None:
    told = prospect(rows, goal, rungs)
    assert binom.sf(told.needed - 1, rows, goal) <= 0.0384 / rungs < binom.sf(told.needed - 2, rows, goal)
    assert told.true_score and binom.sf(told.needed - 1, rows, told.true_score) == pytest.approx(0.8, abs=1e-3)


def test_resolution_says_the_planning_numbers() -> None:
    (finding,) = found("smallest-difference", splits())
    assert "8.2 points at 10%, 12.1 points at 20%, 15.1 points at 30%" in finding.what


def test_the_content_of_the_test_is_never_told() -> None:
    secret = (ex("a sealed secret question", "hush", "test 1"), ex("a sealed secret question!", "quiet", "test 2"))
    told = repr(check(splits(train=(ex("a sealed secret question", "x"),), test=secret), task()))
    assert not any(word in told for word in ("secret", "hush", "quiet"))
    assert "test 1" in told


@given(st.lists(st.frozensets(st.sampled_from("abcdefghijkl"), max_size=12), max_size=19), st.sampled_from([0.5, 0.8, 1.0]))
def test_neighbours_are_just_the_near_sets(sets: list[frozenset[str]], threshold: float) -> None:
    found_in = index(sets, threshold)
    for one in sets:
        near = [i for i, other in enumerate(sets) if one & other and len(one & other) / len(one | other) >= threshold]
        assert sorted(neighbours(found_in, one)) == near


@given(
    st.lists(st.frozensets(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), max_size=26), max_size=60),
    st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    st.sampled_from([2, 4, 60]),
    st.sampled_from([0, 16]),
    st.data(),
)
def test_many_sets_looked_up_at_once(
    sets: list[frozenset[str]], threshold: float, paired: int, few: int, data: st.DataObject
) -> None:
    """Whatever keys are taken and however many rows one key has. Words of a frame count on neither side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "MAX_PAIRED_SIZE", paired)
        patch.setattr(near, "SCAN_LIMIT", few)
        patch.setattr(near, "BATCH", 7)
        found_in = index(sets, threshold)
        others = data.draw(st.lists(st.frozensets(st.sampled_from("xyzäöü"), max_size=6), max_size=3)) + sets
        found = list(near.near_many(found_in, others, 1000))
        within = list(near.near_within(found_in, 1000))
    cut = [one - found_in.frame for one in sets]
    for one, rows_near in zip([one - found_in.frame for one in others], found, strict=True):
        assert sorted(rows_near) == [
            i for i, other in enumerate(cut) if one & other and len(one & other) >= threshold * len(one | other) - 1e-9
        ]
    assert [sorted(one) for one in within] == [sorted(one) for one in found[len(others) - len(sets) :]]


@given(st.text(st.characters(max_codepoint=127)))
def test_plain_text_is_normalised_like_any_other(text: str) -> None:
    assert normalise(text) == " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def test_tokens_of_scripts_without_spaces() -> None:
    assert tokens("我要退款 now 2+3") == {"我", "要", "退", "款", "now", "2", "+", "3"}


def test_banking77(tmp_path: Path) -> None:
    folder = Path(__file__).parents[3] / "shared" / "data" / "banking77"
    if not folder.is_dir():
        pytest.skip("the banking77 rows are not beside the project")
    data = {"examples": str(folder), "input": "text", "output": "category"}
    some = make_splits(task(data=data))
    by_code = {finding.code: finding for finding in check(some, task(data=data))}
    assert (len(some.train) + len(some.dev), len(some.test)) == (10003, 3080)
    assert 20 <= by_code["duplicates-across-splits"].count <= 30
    assert by_code["class-sorted"].count == len(some.train)
    assert not blocking(by_code.values())


def test_places_name_a_file_that_they_share_once() -> None:
    def shown(*where: str, count: int = 0) -> str:
        return Finding("code", "note", "", "", where, count).places

    assert shown("a.csv line 2 = a.csv line 30", "a.csv line 7 = a.csv line 8", count=9) == "a.csv lines 2 = 30, 7 = 8 …"
    assert shown("a b.csv line 2", "a b.csv line 7", count=2) == "a b.csv lines 2, 7"
    assert shown("a.csv line 2 = b.csv line 30", "a.csv line 1") == "a.csv line 2 = b.csv line 30; a.csv line 1"
    assert shown("a.csv line 2", count=2) == "a.csv line 2 …" and shown() == "" and shown(count=3) == ""
    assert shown("late: 3", "early: 2") == "late: 3; early: 2", "not all are places"


def test_one_question_is_not_called_questions() -> None:
    several = (ex("is it late", "x"), ex("is it late", "y"))
    assert [one.what.split(" more")[0] for one in found("contradictory-labels", splits(several))] == ["1 question has"]
