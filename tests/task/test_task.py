"""rung.yaml: what is accepted, what is refused, and that each fault names its line and its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from rung.errors import TaskError
from rung.task import Task, load_task

GOOD = """\
task: Name the intent.
kind: classify
data:
  examples: tickets.csv
  group: customer
goal:
  at_least: 0.8
"""


def write(folder: Path, text: str, name: str = "rung.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def fault(folder: Path, text: str) -> str:
    with pytest.raises(TaskError) as caught:
        load_task(write(folder, text))
    return str(caught.value)


def test_a_good_file_with_defaults_filled_in(tmp_path: Path) -> None:
    task = load_task(write(tmp_path, GOOD))
    assert task.data.examples == ("tickets.csv",)
    assert task.goal.metric == "accuracy"
    assert (task.base, task.volume, task.seed) == ("smollm2-135m-instruct", 1000, 0)
    assert task.folder == tmp_path


def test_folder_or_file(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "other.yaml")
    assert load_task(tmp_path / "other.yaml").task == "Name the intent."
    with pytest.raises(TaskError, match="does not exist"):
        load_task(tmp_path)


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("classify", "accuracy"), ("extract", "field_f1"), ("answer", "token_f1"), ("generate", "rouge_l")],
)
def test_the_metric_follows_the_kind_unless_named(tmp_path: Path, kind: str, metric: str) -> None:
    text = GOOD.replace("classify", kind)
    assert load_task(write(tmp_path, text)).goal.metric == metric
    assert load_task(write(tmp_path, text + "  metric: metrics.py:score\n")).goal.metric == "metrics.py:score"


def test_digest_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    one.mkdir(), two.mkdir()
    first = load_task(write(one, GOOD)).digest
    assert load_task(write(two, GOOD + "volume: 1000  # the default\n")).digest == first
    assert load_task(write(two, GOOD + "volume: 2000\n")).digest != first


def test_the_first_of_several_bases_is_the_usual_one(tmp_path: Path) -> None:
    task = load_task(write(tmp_path, GOOD + "bases: [small, 'openai:large']\n"))
    assert (task.base, task.bases) == ("small", ("small", "openai:large"))
    told = task.model_dump(mode="json")
    assert "base" not in told and Task.model_validate(told).digest == task.digest, "what is told can be read again"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("base: a\nbases: [a, b]\n", "`base` and `bases` cannot be combined"),
        ("bases: [a, b, a]\n", "line 8: 'bases': the base 'a' is listed twice"),
        ("bases: a\n", "line 8: 'bases' is 'a'"),
        ("bases: [a, '']\n", "line 8: 'bases.1' is ''"),
    ],
)
def test_bases_that_cannot_be(tmp_path: Path, more: str, says: str) -> None:
    assert says in fault(tmp_path, GOOD + more)


def test_a_task_is_frozen(tmp_path: Path) -> None:
    task = load_task(write(tmp_path, GOOD))
    with pytest.raises(ValidationError):
        task.volume = 3  # type: ignore[misc]


def test_plain_words_and_numbers_keep_their_meaning(tmp_path: Path) -> None:
    task = load_task(write(tmp_path, GOOD + "labels: [yes, no, 3, true]\nmethods: {lora: {learning_rate: 5e-4}}\n"))
    assert list(task.labels or ()) == ["yes", "no", "3", "true"]
    assert task.methods["lora"]["learning_rate"] == 5e-4


def test_labels_with_descriptions(tmp_path: Path) -> None:
    task = load_task(write(tmp_path, GOOD + "labels:\n  refund: wants money back\n  other:\n"))
    assert task.labels == {"refund": "wants money back", "other": ""}


def test_unknown_key_names_the_nearest_and_the_known(tmp_path: Path) -> None:
    said = fault(tmp_path, GOOD + "volum: 10\n")
    assert said.startswith("rung.yaml line 8: unknown key 'volum'.")
    assert "Did you mean 'volume'?" in said and "machine_usd_per_hour" in said


def test_unknown_key_inside_a_part(tmp_path: Path) -> None:
    said = fault(tmp_path, GOOD.replace("group", "grup"))
    assert "line 5: unknown key 'grup' under 'data'. Did you mean 'group'?" in said
    assert "volume" not in said


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    said = fault(tmp_path, GOOD.replace("classify", "sort").replace("0.8", "85") + "volume: true\nseed: 1.5\n")
    assert said.startswith("rung.yaml line 2: 4 errors.")
    for part in ("line 2: 'kind' is 'sort'", "line 7: 'goal.at_least' is 85", "line 8: 'volume' is True", "line 9:"):
        assert part in said
    assert "Did you mean 0.85?" in said


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("task: Name the intent.\n", "", "line 1: the key 'task' is missing"),
        ("  at_least: 0.8\n", "  metric: accuracy\n", "line 6: the key 'goal.at_least' is missing"),
        ("  examples: tickets.csv\n", "", "neither `examples` nor `train`"),
        ("  group: customer\n", "  test: t.csv\n", "`examples` cannot be combined"),
        ("  group: customer\n", "  split: {dev: 0.5, test: 0.5}\n", "line 5: 'data.split'"),
        ("  group: customer\n", "  screening: {near: 0.3}\n", "line 5: 'data.screening.near' is 0.3"),
        ("  group: customer\n", "  screening: {filters: long}\n", "'long': it should be 'few-words', 'odd-words'"),
        ("  group: customer\n", "  screening: {duplicate: no}\n", "Did you mean 'duplicates'?"),
        ("  at_least: 0.8\n", "  at_least:\n", "line 7: 'goal.at_least' has no value"),
        ("  at_least: 0.8\n", "  at_least: 0.8\n  latency_ms: -3\n", "line 8: 'goal.latency_ms' is -3"),
        ("kind: classify\n", "kind: answer\nlabels: [a, b]\n", "`labels` need kind: classify"),
        ("kind: classify\n", "kind: classify\nlabels: [a, b, a]\n", "line 3: 'labels': the label 'a' is listed twice"),
        ("kind: classify\n", "kind: classify\nlabels: [a]\n", "1 label given"),
        ("kind: classify\n", "kind: classify\nkind: answer\n", "line 3: the key 'kind' is given twice"),
        ("  group: customer\n", "  group: a\n  group: b\n", "line 6: the key 'group' is given twice"),
        ("  group: customer\n", "\tgroup: customer\n", "line 5: this is not valid YAML"),
        ("kind: classify\n", "kind: classify\nprecision: bf16\n", "'bf16': it should be 'auto', 'float32' or 'bfloat16'"),
    ],
)
def test_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    assert says in fault(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("- a\n", "not a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_no_task_at_all(tmp_path: Path, text: str, says: str) -> None:
    assert says in fault(tmp_path, text)


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    assert "line 8: this is not valid YAML" in fault(tmp_path, GOOD + "volume: !!python/object/apply:os.getcwd []\n")


def test_wrong_encoding(tmp_path: Path) -> None:
    (tmp_path / "rung.yaml").write_bytes(b"task: caf\xe9\n")
    with pytest.raises(TaskError, match="byte 9 is not UTF-8"):
        load_task(tmp_path)


def test_every_key_is_described_for_the_schema() -> None:
    schema = Task.model_json_schema()
    for part in (schema, *schema["$defs"].values()):
        assert all("description" in field for field in part["properties"].values()), part
