"""Each metric by hand and against its known implementation; scoring a split."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import f1_score

from rung.errors import DataError, TaskError
from rung.metrics import METRICS, get, score
from rung.metrics.classify import macro_f1
from rung.metrics.extract import field_f1, fields
from rung.metrics.squad import normalise
from rung.types import Example, Prediction

labels = st.sampled_from(["a", "b", "c", "d"])


def rate(name: str, output: str, reference: str) -> float:
    return METRICS[name].per_row(output, reference, Example("in", reference))


def examples(*references: str) -> list[Example]:
    return [Example(f"question {i}", r) for i, r in enumerate(references)]


def answers(rows: list[Example], *outputs: str) -> list[Prediction]:
    return [Prediction(e.id, o) for e, o in zip(rows, outputs, strict=True)]


# --- text -------------------------------------------------------------------------------------------------------------


def test_normalise_as_squad_does() -> None:
    assert normalise(" The  Cat, a  dog & an Owl! ") == "cat dog owl"
    assert normalise("«Straße»。") == "strasse"
    assert normalise("another theatre") == "another theatre"


@pytest.mark.parametrize(
    ("output", "reference", "em", "f1"),
    [
        ("The Eiffel Tower.", "eiffel tower", 1, 1),
        ("in Paris, France", "Paris", 0, 0.5),
        ("London", "Paris", 0, 0),
        ("", "", 1, 1),
        ("", "Paris", 0, 0),
        ("the", "", 0, 0),
        ("cat cat", "cat", 0, 2 / 3),
        ("北京大学", "北京", 0, 2 / 3),
    ],
)
def test_words_are_compared_as_squad_does(output: str, reference: str, em: float, f1: float) -> None:
    assert rate("exact_match", output, reference) == em
    assert rate("token_f1", output, reference) == pytest.approx(f1)


@given(st.text(st.characters(max_codepoint=127), max_size=60), st.text(st.characters(max_codepoint=127), max_size=60))
def test_rouge_is_the_packages_own_on_ascii(output: str, reference: str) -> None:
    known = RougeScorer(["rougeL"]).score(reference, output)["rougeL"].fmeasure
    assert rate("rouge_score_l", output, reference) == pytest.approx(known)


def test_rouge_by_hand_and_beyond_ascii() -> None:
    assert rate("rouge_l", "the cat sat on a mat", "the cat is on the mat") == pytest.approx(4 / 6)
    assert rate("rouge_l", "北京是首都", "北京是中国的首都") == pytest.approx(2 * 5 / (5 + 8))
    assert rate("rouge_l", "Привет, мир", "привет мир") == 1.0


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["exact_match", "token_f1", "rouge_l"]))
def test_text_metrics_lie_between_0_and_1_and_are_symmetric(a: str, b: str, name: str) -> None:
    assert 0 <= rate(name, a, b) <= 1
    if not a.lstrip().startswith(("{", "[")) and not b.lstrip().startswith(("{", "[")):
        assert rate(name, a, b) == pytest.approx(rate(name, b, a))


# --- labels -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=40))
def test_macro_f1_agrees_with_sklearn(pairs: list[tuple[str, str]]) -> None:
    outputs, references = [o for o, _ in pairs], [r for _, r in pairs]
    known = f1_score(references, outputs, labels=sorted(set(references)), average="macro", zero_division=0)
    assert macro_f1(outputs, references) == pytest.approx(known)


def test_macro_f1_gives_an_unknown_answer_no_class_of_its_own() -> None:
    assert macro_f1(["a", "I think b"], ["a", "b"]) == pytest.approx(0.5)


def test_macro_f1_is_quick_to_resample() -> None:
    rows = examples(*[f"label {i % 77}" for i in range(1000)])
    said = answers(rows, *[f"label {(i if i % 5 else i + 1) % 77}" for i in range(1000)])
    started = time.process_time()
    found = score(METRICS["macro_f1"], rows, said, "dev")
    assert found.overall.low < found.overall.value < found.overall.high
    assert time.process_time() - started < 8  # 10,000 resamples; a loop over scikit-learn takes minutes


# --- JSON -------------------------------------------------------------------------------------------------------------

REFERENCE = '{"name": "Ann  Lee", "age": 41, "tags": ["x", "x", "y"], "job": null}'


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (REFERENCE, 1),
        ('{"tags": ["y", "x", "x"], "age": 41.0, "name": "Ann Lee"}', 1),  # order, nulls and spaces say nothing
        (f"Here you are:\n```json\n{REFERENCE}\n```\nAnything else?", 1),
        (f"```\n{REFERENCE}\n```", 1),
        ('{"name": "Ann Lee", "age": "41", "tags": ["x"]}', 2 * 2 / (3 + 5)),  # "41" is not 41; one x of two
        ('{"name": "Ann Lee", "age": 41, "tags": ["x", "x", "y"], "job": "cook"}', 2 * 5 / 11),
        ("{}", 0),
        ("Ann Lee, 41", 0),
        ('{"name": "Ann', 0),
        ("[" * 100_000, 0),
        ('{"age": ' + "9" * 5000 + "}", 0),
    ],
)
def test_field_f1_of_a_row(output: str, expected: float) -> None:
    assert rate("field_f1", output, REFERENCE) == pytest.approx(expected)


def test_field_f1_where_nothing_is_due() -> None:
    assert rate("field_f1", '{"names": []}', "{}") == 1
    assert rate("field_f1", "none", "{}") == 0
    assert field_f1(["none"], ["{}"]) == 0
    assert field_f1(["{}"], ["{}"]) == 1


def test_field_f1_of_the_whole_is_micro() -> None:
    outputs, references = ['{"a": 1}', '{"a": 1, "b": 2, "c": 0}'], ['{"a": 2}', '{"a": 1, "b": 2, "c": 3}']
    assert field_f1(outputs, references) == pytest.approx(2 * 2 / (4 + 4))
    assert field_f1(["oops", outputs[1]], references) == pytest.approx(2 * 2 / (4 + 4))


def test_true_is_not_one() -> None:
    assert rate("field_f1", '{"a": true}', '{"a": 1}') == 0


def test_paths_tell_fields_apart() -> None:
    assert fields('{"a": {"b": [{"c": 1}, {"c": 1}]}}') == {(".a.b[].c", "number", "1e0"): 2}
    assert fields('{"code": "```1```"}') == {(".code", "text", "```1```"): 1}  # a fence inside a string is text
    assert rate("field_f1", '{"a": {"b": 1}}', '{"b": 1}') == 0


def test_a_reference_that_is_no_json_is_the_datas_fault() -> None:
    with pytest.raises(DataError, match=r"rows\.csv line 3: the output 'oops' is not valid JSON"):
        METRICS["field_f1"].per_row("{}", "oops", Example("in", "oops", where="rows.csv line 3"))


def test_exact_match_compares_json_as_json() -> None:
    assert rate("exact_match", '{"b": [2], "a": 1}', '{"a":1,"b":[2]}') == 1
    assert rate("exact_match", '{"a": 1}', '{"a": 2}') == 0
    assert rate("exact_match", "broken {", '{"a": 2}') == 0


# --- the table and the team's own -------------------------------------------------------------------------------------


def test_the_table_names_itself_and_binary_metrics_say_right_or_wrong() -> None:
    assert all(name == m.name for name, m in METRICS.items())
    for metric in METRICS.values():
        values = {metric.per_row(o, '{"a": 1}', Example("i", "")) for o in ('{"a": 1}', '{"a": 1, "b": 2}', "x")}
        assert not metric.binary or values <= {0.0, 1.0}
        assert all(0 <= v <= 1 for v in values)


def test_an_unknown_metric_is_told_the_known(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="'acuracy' is not one of accuracy, macro_f1, micro_f1"):
        get("acuracy", tmp_path)


def own(folder: Path, body: str, name: str = "metrics.py:score") -> float:
    (folder / "metrics.py").write_text(body)
    example = Example("how much?", "7", where="rows.jsonl line 2", extra={"unit": "kg"})
    return get(name, folder).per_row("7 kg", "7", example)


def test_own_metric_sees_the_row(tmp_path: Path) -> None:
    body = "def score(output, reference, row):\n    return output == f'{reference} {row[\"unit\"]}' and 'much' in row['input']"
    assert own(tmp_path, body) == 1.0
    assert get("metrics.py:score", tmp_path).name == "metrics.py:score"


def test_own_metric_may_return_numpy_numbers_and_hold_dataclasses(tmp_path: Path) -> None:
    body = (
        "from __future__ import annotations\nimport dataclasses, numpy as np\n"
        "@dataclasses.dataclass\nclass A:\n    x: int = 1\n"
        "def score(o, r, row): return np.float32(0.5)"
    )
    assert own(tmp_path, body) == 0.5


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def scoer(o, r, row): return 1", "there is no function 'score'"),
        ("import no_such_module_here", "cannot be run: ModuleNotFoundError"),
        ("def score(o, r, row): return row['price']", "raised KeyError: 'price' on rows.jsonl line 2"),
        ("def score(o, r): return 1", "raised TypeError"),
        ("def score(o, r, row): return 1.5", "returned 1.5 on rows.jsonl line 2"),
        ("def score(o, r, row): return float('nan')", "returned nan"),
        ("def score(o, r, row): return '1'", "returned '1'"),
        ("def score(o, r, row): pass", "returned None"),
    ],
)
def test_faults_of_an_own_metric_are_told(tmp_path: Path, body: str, told: str) -> None:
    with pytest.raises(TaskError, match=re.escape(told)) as caught:
        own(tmp_path, body)
    assert str(caught.value).startswith("rung.yaml goal.metric: ")


def test_an_own_metric_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"'other\.py:score' names a missing file"):
        get("other.py:score", tmp_path)


# --- scoring a split --------------------------------------------------------------------------------------------------


def test_score_of_a_binary_metric_is_wilsons() -> None:
    rows = examples(*["a"] * 81, *["b"] * 182)
    found = score(METRICS["accuracy"], rows, answers(rows, *["a"] * 263), "dev")
    assert str(found.overall) == "0.308 [0.255, 0.366], n=263"
    assert found.metric == "accuracy" and found.split == "dev" and found.ids == tuple(e.id for e in rows)
    assert set(found.others) == {"macro_f1"}
    assert found.others["macro_f1"].value == pytest.approx((2 * 81 / (263 + 81)) / 2)


def test_score_of_macro_f1_keeps_right_and_wrong_rows() -> None:
    rows = examples("a", "a", "b", "c")
    found = score(METRICS["macro_f1"], rows, answers(rows, "a", "b", "b", "a"), "test")
    assert found.per_row == (1, 0, 1, 0)
    assert found.overall.value == pytest.approx((2 * 1 / 4 + 2 * 1 / 3 + 0) / 3)
    assert found.others["accuracy"].value == 0.5


@pytest.mark.parametrize("name", ["accuracy", "exact_match", "token_f1", "rouge_l", "macro_f1"])
def test_a_failed_row_scores_nothing_and_is_kept(name: str) -> None:
    rows = examples("a", "bee")
    said = [Prediction(rows[0].id, "a", error="timed out"), Prediction(rows[1].id, "bee")]
    found = score(METRICS[name], rows, said, "dev")
    assert found.per_row == (0.0, 1.0)
    assert found.overall.value == 0.5 and found.overall.n == 2


def test_a_failed_row_scores_nothing_even_where_nothing_was_due() -> None:
    rows = examples("", "")
    said = [Prediction(rows[0].id, "", error="timed out"), Prediction(rows[1].id, "")]
    assert score(METRICS["token_f1"], rows, said, "dev").per_row == (0.0, 1.0)


def test_score_wants_the_rows_lined_up() -> None:
    rows = examples("a", "b")
    with pytest.raises(AssertionError, match="match the examples"):
        score(METRICS["accuracy"], rows, answers(rows, "a", "b")[::-1], "dev")
    with pytest.raises(AssertionError, match="empty"):
        score(METRICS["accuracy"], [], [], "dev")


@pytest.mark.parametrize("name", ["accuracy", "token_f1", "macro_f1"])
def test_groups_widen_the_interval(name: str) -> None:
    free = [Example(f"q{i}", "a b" if i % 2 else "b c") for i in range(80)]
    grouped = [Example(e.input, e.output, group=f"g{i // 10}") for i, e in enumerate(free)]
    outputs = [e.output if i // 10 % 2 else "b" for i, e in enumerate(free)]
    loose = score(METRICS[name], free, answers(free, *outputs), "dev").overall
    tight = score(METRICS[name], grouped, answers(grouped, *outputs), "dev").overall
    assert tight.value == loose.value and tight.n == loose.n == 80
    assert tight.high - tight.low > 1.5 * (loose.high - loose.low)


def test_kinds_bring_their_other_metrics(tmp_path: Path) -> None:
    rows = examples('{"a": 1}')
    said = answers(rows, '{"a": 1}')
    assert set(score(METRICS["field_f1"], rows, said, "dev").others) == {"exact_match"}
    assert set(score(METRICS["exact_match"], rows, said, "dev").others) == {"token_f1"}
    assert set(score(METRICS["exact_match"], rows, said, "dev", kind="extract").others) == {"field_f1"}
    (tmp_path / "metrics.py").write_text("def score(o, r, row): return 0.25")
    mine = get("metrics.py:score", tmp_path)
    assert score(mine, rows, said, "dev").others == {}
    assert set(score(mine, rows, said, "dev", kind="answer").others) == {"exact_match", "token_f1"}
