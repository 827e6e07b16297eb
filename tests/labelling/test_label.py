"""Labelling: rows drawn by chance or by doubt, answers that are on the disk at once, and what chosen rows may never do."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import command

from rung import files
from rung.data import journal
from rung.data.agreement import agreement
from rung.data.check import check
from rung.data.drawn import BY, DRAWN
from rung.data.load import load
from rung.data.split import home, make_splits, question
from rung.errors import DataError, RungError, TaskError
from rung.labelling.doubt import entropy
from rung.labelling.ending import naming
from rung.labelling.opening import Opened, Wanted, open_sitting
from rung.labelling.pool import held
from rung.labelling.sheet import sheets
from rung.labelling.typed import Action, Answers, read
from rung.task import load_task
from rung.types import Example, Prediction

WORDS = {"refund": ["money", "back", "repay"], "delivery": ["parcel", "courier", "late"], "fault": ["broken", "hums", "dead"]}


class Alone:
    """What a sitting needs of a project where no rung is asked."""

    def __init__(self, folder: Path):
        self.task = load_task(folder)


def write(
    folder: Path, data: str = "{examples: rows.csv, unlabelled: new.csv, input: text, output: intent}", **more: str
) -> None:
    keys = {
        "task": "Name the intent.",
        "kind": "classify",
        "data": data,
        "base": "fake",
        "rungs": "[majority, nearest, zero-shot]",
        "goal": "{metric: accuracy, at_least: 0.6}",
    } | more
    (folder / "rung.yaml").write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))


@pytest.fixture
def task(tmp_path: Path, home: Path) -> Path:
    """90 rows of three intents, and 60 inputs without a label."""
    rows = [f"my {word} case {i} {label[0]}{i},{label}" for i in range(10) for label, words in WORDS.items() for word in words]
    (tmp_path / "rows.csv").write_text("text,intent\n" + "\n".join(rows) + "\n")
    new = [f"a {word} matter {i} {label[1]}{i}" for i in range(7) for label, words in WORDS.items() for word in words][:60]
    (tmp_path / "new.csv").write_text("text\n" + "\n".join(new) + "\n")
    write(tmp_path)
    return tmp_path


def opened(folder: Path, **wanted: Any) -> Opened:
    return open_sitting(Alone(folder), Wanted(**wanted))  # type: ignore[arg-type]


def rung(*words: str | Path, typed: str = "", code: int = 0) -> str:
    done = command(*words, typed=typed)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def lines(folder: Path, name: str = "labelled.csv") -> list[str]:
    return (folder / name).read_text().splitlines()


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_a_row_goes_where_its_hash_puts_it_and_the_draw_says_so(task: Path) -> None:
    for split in ("train", "dev", "test"):
        for drawn in opened(task, split=split, rows=60, draw="random").sitting.queue:
            assert drawn.split == split == home(drawn.row, 0.25, 0.25, 0)
            assert drawn.drawn == "random" and not drawn.proposal
    assert {drawn.split for drawn in opened(task, rows=60).sitting.queue} == {"train", "dev", "test"}
    assert {drawn.split for drawn in opened(task, rows=60, held_out=True).sitting.queue} == {"dev", "test"}


def test_the_order_is_random_and_the_same_every_time(task: Path) -> None:
    queue = [drawn.row.input for drawn in opened(task, rows=60).sitting.queue]
    assert queue == [drawn.row.input for drawn in opened(task, rows=60).sitting.queue]
    in_file = (task / "new.csv").read_text().splitlines()[1:]
    assert sorted(queue) == sorted(in_file) and queue != in_file


def test_what_is_labelled_already_is_not_asked(task: Path) -> None:
    first = (task / "rows.csv").read_text().splitlines()[1].partition(",")[0]
    (task / "new.csv").write_text(f"text\n{first.upper()}!\nsomething new\nSomething  new.\n")
    assert [drawn.row.input for drawn in opened(task).sitting.queue] == ["something new"]


def test_a_text_file_is_a_pool_too(task: Path) -> None:
    (task / "mail.txt").write_text("one line\n\nanother line\n")
    found = opened(task, source=task / "mail.txt", rows=9).sitting.queue
    assert sorted(drawn.row.input for drawn in found) == ["another line", "one line"]
    with pytest.raises(DataError, match=r"none\.txt: the file does not exist"):
        opened(task, source=task / "none.txt")


def test_without_a_pool_the_remedy_is_said(task: Path) -> None:
    write(task, "{examples: rows.csv, input: text, output: intent}")
    with pytest.raises(TaskError, match="--from FILE"):
        opened(task)


def test_splits_with_files_of_their_own(task: Path) -> None:
    rows = (task / "rows.csv").read_text().splitlines()
    for name, some in (("a", rows[1:40]), ("b", rows[40:70]), ("c", rows[70:])):
        (task / f"{name}.csv").write_text("\n".join([rows[0], *some]) + "\n")
    write(task, "{train: a.csv, dev: b.csv, test: c.csv, unlabelled: new.csv, input: text, output: intent}")
    with pytest.raises(TaskError, match="--for train, --for dev or --for test"):
        opened(task)
    found = opened(task, split="dev", rows=60)
    assert len(found.sitting.queue) == 60, "any row may be a dev row"
    found.sitting.label("refund")
    assert naming(found.sitting.sheet, found.have) == "data:\n  dev: [b.csv, labelled.dev.csv]"
    assert question(found.sitting.done[0][0].row) not in {
        question(drawn.row) for drawn in opened(task, split="test", rows=60).sitting.queue
    }, "a row that is labelled for dev is not drawn for test, though rung.yaml does not name its file yet"


def test_a_dataset_folder_and_a_labelled_file_stand_side_by_side(task: Path) -> None:
    (task / "data").mkdir()
    rows = (task / "rows.csv").read_text().splitlines()
    for name, some in (("train", rows[1:40]), ("validation", rows[40:70]), ("test", rows[70:])):
        (task / "data" / f"{name}.csv").write_text("\n".join([rows[0], *some]) + "\n")
    write(task, "{examples: data, unlabelled: new.csv, input: text, output: intent}")
    found = opened(task, split="dev")
    found.sitting.label("refund")
    assert found.sitting.sheet.label == "labelled.dev.csv", "not in the folder, whose files all have a split in their names"
    given = yaml.safe_load(naming(found.sitting.sheet, found.have))["data"]
    assert given == {"train": "data", "dev": ["data", "labelled.dev.csv"], "test": "data"}
    write(task, str({**given, "input": "text", "output": "intent"}))
    splits = make_splits(load_task(task))
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (39, 31, 21)


def test_no_drawn_row_divides_a_group(task: Path) -> None:
    rows = [f"word{i} of {i},{'refund' if i % 2 else 'fault'},c{i % 9}" for i in range(60)]
    (task / "rows.csv").write_text("text,intent,customer\n" + "\n".join(rows) + "\n")
    (task / "new.csv").write_text("text,customer\n" + "\n".join(f"fresh{i},c{i % 9}" for i in range(30)) + "\n")
    write(task, "{examples: rows.csv, unlabelled: new.csv, input: text, output: intent, group: customer}")
    found = opened(task, rows=30)
    homes = {row.group: split for row, split in found.have.rows}
    assert len(found.sitting.queue) == 30
    assert all(homes[drawn.row.group] == drawn.split for drawn in found.sitting.queue)
    found.sitting.label("refund")
    assert lines(task)[0] == "text,intent,customer,rung_drawn,rung_by"


# --- chosen rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_chosen_rows_are_train_rows_whatever_the_seed(task: Path, seed: int) -> None:
    rows = [f"chosen number {i},refund,{how}" for i, how in enumerate(["doubt", "disagreement", "proposal"] * 10)]
    rows += [f"drawn number {i},refund,random" for i in range(30)] + ["CHOSEN number 0!,fault,random"]
    (task / "more.csv").write_text("text,intent,rung_drawn\n" + "\n".join(rows) + "\n")
    write(task, "{examples: [rows.csv, more.csv], input: text, output: intent}", seed=str(seed))
    splits = make_splits(load_task(task))
    measured = [row.input for row in (*splits.dev, *splits.test.open())]
    assert not [text for text in measured if text.lower().startswith("chosen")]
    assert [text for text in measured if text.startswith("drawn")], "rows drawn at random are measured on"


def test_a_chosen_row_takes_its_group_along(task: Path) -> None:
    rows = [f"word{i},refund,c{i % 8},random" for i in range(40)] + [f"chosen{i},fault,c{i},doubt" for i in range(8)]
    (task / "rows.csv").write_text("text,intent,customer,rung_drawn\n" + "\n".join(rows) + "\n")
    write(task, "{examples: rows.csv, input: text, output: intent, group: customer}")
    splits = make_splits(load_task(task))
    assert len(splits.train) == 48 and not splits.dev


@pytest.mark.parametrize("split", ["dev", "test"])
def test_chosen_rows_in_a_file_of_dev_or_test_are_an_error(task: Path, split: str) -> None:
    (task / "held.csv").write_text("text,intent,rung_drawn\nx y,refund,random\nz a,fault,doubt\n")
    write(task, f"{{train: rows.csv, {split}: held.csv, input: text, output: intent}}")
    with pytest.raises(DataError, match=rf"data\.{split}: 1 {split} rows were chosen .* \(held\.csv line 3\).*--for {split}"):
        load(load_task(task))


# --- a sitting --------------------------------------------------------------------------------------------------------


def test_every_answer_is_on_the_disk_at_once_and_can_be_undone(task: Path) -> None:
    sitting = opened(task, by="ann").sitting
    first = sitting.queue[0].row.input
    sitting.label("refund")
    assert lines(task) == ["text,intent,rung_drawn,rung_by", f"{first},refund,random,ann"]
    second = sitting.queue[0].row.input
    sitting.label("fault")
    assert sitting.undo() and lines(task) == ["text,intent,rung_drawn,rung_by", f"{first},refund,random,ann"]
    assert sitting.current and sitting.current.row.input == second
    sitting.label("delivery")
    assert lines(task)[-1] == f"{second},delivery,random,ann"
    kept = journal.standing(journal.read(task / "labelled.csv.log"))
    assert [(one.did, one.output, one.by, one.drawn, one.pool) for one in kept] == [
        ("label", "refund", "ann", "random", 60),
        ("label", "delivery", "ann", "random", 60),
    ]


def test_a_later_sitting_goes_on_where_the_last_one_ended(task: Path) -> None:
    queue = [drawn.row.input for drawn in opened(task, rows=60).sitting.queue]
    sitting = opened(task).sitting
    sitting.label("refund")
    sitting.skip()
    sitting.unanswerable()
    assert [drawn.row.input for drawn in opened(task, rows=60).sitting.queue] == [queue[1], *queue[3:]], "the skipped one is next"
    assert len(lines(task)) == 2, "a class that nobody can name is no row"


def test_undo_reaches_skips_and_ends_with_the_sitting(task: Path) -> None:
    sitting = opened(task).sitting
    assert sitting.undo() is None
    sitting.skip()
    sitting.unanswerable()
    queue = [drawn.row.input for drawn in sitting.queue]
    assert sitting.undo() and sitting.undo() and sitting.undo() is None
    assert [drawn.row.input for drawn in sitting.queue][2:] == queue
    assert journal.standing(journal.read(task / "labelled.csv.log")) == ()


def test_what_the_team_edits_in_the_file_stays(task: Path) -> None:
    sitting = opened(task).sitting
    sitting.label("refund")
    sitting.label("fault")
    text = (task / "labelled.csv").read_text().replace(",refund,", ",delivery,")
    (task / "labelled.csv").write_text(text)
    sitting.label("refund")
    assert lines(task)[1].split(",")[1] == "delivery" and len(lines(task)) == 4
    sitting.undo()
    sitting.undo()
    with pytest.raises(DataError, match="was edited since"):
        sitting.undo()
    assert lines(task)[1].split(",")[1] == "delivery"


def test_a_file_of_the_teams_is_never_written_to(task: Path) -> None:
    (task / "labelled.csv").write_text("text,intent\nours,refund\n")
    with pytest.raises(DataError, match="name another file with --to"):
        opened(task)
    (task / "labelled.csv").unlink()
    with pytest.raises(DataError, match="is not one of `rung label`"):
        opened(task, to=task / "rows.csv")
    other = opened(task, to=task / "mine.csv").sitting
    other.label("refund")
    assert opened(task, to=task / "mine.csv", rows=60).sitting.asked == 59
    assert opened(task, rows=60).sitting.asked == 59, "a file named by --to is found by its journal"


def test_a_file_whose_rows_were_all_taken_back_is_no_error(task: Path) -> None:
    sitting = opened(task).sitting
    sitting.label("refund")
    write(task, "{examples: [rows.csv, labelled.csv], unlabelled: new.csv, input: text, output: intent}")
    sitting.undo()
    assert len(load(load_task(task)).train) == 90 and opened(task, rows=60).sitting.asked == 60
    (task / "labelled.csv.log").unlink()
    with pytest.raises(DataError, match="there are no rows"):
        load(load_task(task))


def test_after_a_cleaned_copy_a_new_file_is_begun(task: Path) -> None:
    opened(task).sitting.label("refund")
    (task / "labelled.csv").rename(task / "labelled.clean.csv")
    write(task, "{examples: [rows.csv, labelled.clean.csv], unlabelled: new.csv, input: text, output: intent}")
    found = opened(task, rows=60).sitting
    assert found.sheet.label == "labelled.2.csv" and found.asked == 59


def test_two_people_at_once_do_not_label_a_row_twice(task: Path) -> None:
    one, other = opened(task, by="ann").sitting, opened(task, by="ben").sitting
    assert one.label("refund") and not other.label("fault")
    assert other.label("fault") and len(lines(task)) == 3


def test_a_full_disk_leaves_both_files_whole(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitting = opened(task).sitting
    sitting.label("refund")
    before = (task / "labelled.csv").read_bytes(), (task / "labelled.csv.log").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_text", _full)
        with pytest.raises(OSError, match="full"):
            sitting.label("fault")
    assert before == ((task / "labelled.csv").read_bytes(), (task / "labelled.csv.log").read_bytes())
    assert sitting.label("fault") and len(lines(task)) == 3


def test_a_process_killed_between_the_two_files_loses_no_label(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitting = opened(task).sitting
    first = sitting.queue[0].row.input
    (task / "labelled.csv.0badcafe.part").write_text("half a fi")
    with monkeypatch.context() as patch:
        patch.setattr(journal, "append", _full)
        with pytest.raises(OSError, match="full"):
            sitting.label("refund")
    assert lines(task)[1] == f"{first},refund,random,"
    assert first not in {drawn.row.input for drawn in opened(task, rows=60).sitting.queue}
    assert not list(task.glob("*.part"))


def _full(*_: Any, **__: Any) -> None:
    raise OSError(28, "the disk is full")


def test_a_damaged_journal_is_an_error_with_its_line(task: Path) -> None:
    opened(task).sitting.label("refund")
    with (task / "labelled.csv.log").open("a") as file:
        file.write('{"did": "guess"}\n')
    with pytest.raises(DataError, match=r"labelled\.csv\.log line 2"):
        opened(task)


def test_cells_of_every_kind_come_back_as_they_were(task: Path) -> None:
    texts = ['a "quoted", cell', "two\nlines", "ünï 日本", "=1+1", "x;y|z\tt"]
    (task / "new.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    sitting = opened(task, source=task / "new.jsonl").sitting
    while sitting.current:
        sitting.label("refund")
    write(task, "{examples: [rows.csv, labelled.csv], input: text, output: intent}")
    assert set(texts) <= {row.input for row in load(load_task(task)).train}


def test_an_answer_that_does_not_exist_is_a_row(task: Path) -> None:
    (task / "qa.csv").write_text("input,output\n" + "".join(f"what is {i},it is {i}\n" for i in range(40)))
    (task / "ask.csv").write_text("input\nwho knows\nwho cares\n")
    keys = {"kind": "answer", "goal": "{at_least: 0.5}", "rungs": "[zero-shot]"}
    write(task, "{examples: qa.csv, unlabelled: ask.csv}", **keys)
    sitting = opened(task).sitting
    sitting.unanswerable()
    sitting.label("nobody")
    write(task, "{examples: [qa.csv, labelled.csv]}", **keys)
    found = {row.input: row for row in load(load_task(task)).train}
    first, second = (drawn.row.input for drawn, _ in sitting.done)
    assert found[first].unanswerable and found[second].output == "nobody"


# --- what is typed ----------------------------------------------------------------------------------------------------

INTENTS = Answers("classify", ("card_lost", "card_stolen", "refund", "u"))


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("1", Action("card_lost")),
        ("refund", Action("refund")),
        ("Refund.", Action("refund")),
        ("ref", Action(found=("refund",))),
        ("card", Action(found=("card_lost", "card_stolen"))),
        ("/1", Action(fault="No label is like that. To add a new label, type + before it.")),
        ("9", Action(fault="No label is like that. To add a new label, type + before it.")),
        ("+new one", Action("new one")),
        ("u", Action("u")),
        (":u", Action(command="undo")),
        ("s", Action(command="skip")),
        ("x", Action(command="unanswerable")),
        ("", Action("refund")),
    ],
)
def test_what_is_typed_for_labels(text: str, action: Action) -> None:
    assert read(text, INTENTS, INTENTS.labels, "refund") == action


def test_labels_that_are_numbers_are_typed_as_they_are() -> None:
    marks = Answers("classify", ("5", "1", "3"))
    assert read("1", marks, marks.labels) == Action("1") and not marks.numbered


def test_labels_of_rung_yaml_are_all_there_are() -> None:
    assert "rung.yaml" in read("+new", Answers("classify", ("a", "b"), closed=True)).fault


def test_what_is_typed_for_free_answers() -> None:
    free = Answers("answer")
    assert read("s", free) == Action("s") and read(":s", free) == Action(command="skip")
    assert read(" in June ", free) == Action("in June")
    assert read("", free).fault and read("", free, (), "May") == Action("May")
    fields = Answers("extract")
    assert read('{"a": 1}', fields) == Action('{"a": 1}')
    assert "not JSON" in read("{a: 1}", fields).fault
    assert read('{"a": 1, "a": 2}', fields).fault, "a repeated key would be an error of the next climb"


# --- by doubt ---------------------------------------------------------------------------------------------------------


def test_entropy_of_votes() -> None:
    def vote(*outputs: str) -> float:
        return entropy([Prediction("1", text, error="broken" if text == "?" else "") for text in outputs])

    assert vote("a", "A ", "a") == 0 and vote("a", "?") == 0
    assert vote("a", "b") == pytest.approx(math.log(2)) and vote("a", "b", "c") == pytest.approx(math.log(3))
    assert 0 < vote("a", "a", "b") < vote("a", "b")


def test_train_rows_are_chosen_by_doubt_with_a_proposal_and_stay_in_train(task: Path) -> None:
    assert "No rung is fitted on this machine yet" in rung("label", task, "--for", "train", typed="q\n")
    rung("climb", task, "--all", "--json")
    said = rung("label", task, "--for", "train", "--rows", "2", typed="\n\n")
    assert "chosen by disagreement" in said and "proposes" in said
    kept = journal.read(task / "labelled.csv.log")
    assert {one.split for one in kept} == {"train"} and {one.drawn for one in kept} <= {"disagreement", "doubt"}
    assert all(one.output == one.proposal and one.proposed_by for one in kept)
    write(task, "{examples: [rows.csv, labelled.csv], input: text, output: intent}")
    chosen = {row.input for row in make_splits(load_task(task)).train if row.extra.get(DRAWN)}
    assert chosen == {one.input for one in kept}


def test_rows_for_dev_are_shown_without_a_proposal_even_after_a_climb(task: Path) -> None:
    rung("climb", task, "--json")
    said = rung("label", task, "--for", "dev", "--rows", "3", "--by", "ann", typed="1\nref\n\n3\n")
    assert "proposes" not in said and "3 labelled" in said
    assert [line.split(",")[1:] for line in lines(task)[1:]] == [
        ["delivery", "random", "ann"],
        ["refund", "random", "ann"],
        ["refund", "random", "ann"],
    ]


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_end_says_how_to_go_on_and_the_next_climb_takes_the_rows(task: Path) -> None:
    before = held(load_task(task), sheets(load_task(task))).sizes
    said = rung("label", task, "--rows", "30", typed="1\n2\nu\n3\n" + "1\n" * 40)
    assert "30 labelled; saved in labelled.csv" in said and "examples: [rows.csv, labelled.csv]" in said
    after = held(load_task(task), sheets(load_task(task))).sizes
    assert sum(after.values()) == sum(before.values()) + 30 and after["dev"] > before["dev"]
    assert f"train {after['train']}, dev {after['dev']}, test {after['test']}" in " ".join(said.split())
    assert "Nothing has been climbed yet. To show accuracy >= 0.6" in " ".join(said.split())
    given = yaml.safe_load((task / "rung.yaml").read_text())
    given["data"] |= yaml.safe_load(next(part for part in said.split("file:\n")[1:]).split("Rows now")[0])["data"]
    (task / "rung.yaml").write_text(yaml.safe_dump(given))
    splits = make_splits(load_task(task))
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (after["train"], after["dev"], after["test"])
    assert "rung.yaml names" not in rung("label", task, "--rows", "1", typed="1\n")


def test_after_an_undecided_climb_the_end_counts_down_the_rows_that_are_missing(task: Path) -> None:
    chance = random.Random(0)
    head, *rows = (task / "rows.csv").read_text().splitlines()
    noisy = [row if chance.random() > 0.12 else f"{row.rpartition(',')[0]},{chance.choice(list(WORDS))}" for row in rows]
    (task / "rows.csv").write_text("\n".join([head, *noisy]) + "\n")
    write(task, goal="{metric: accuracy, at_least: 0.85}", rungs="[majority, nearest]")
    assert "rung label" in rung("climb", task, code=4)
    last = json.loads(rung("show", task, "--json", code=4))
    missing = next(one["more_rows"] for one in last["rungs"] if one["name"] == "nearest")
    rung("label", task, "--for", "held-out", "--rows", "2", typed="1\n1\n")
    said = " ".join(rung("label", task, "--for", "held-out", "--rows", "2", typed="1\n1\n").split())
    assert "At the last climb nearest scored" in said and f"About {missing} more dev and test rows" in said
    assert "4 are labelled since" in said and f"about {missing - 4} more with --for held-out" in said


def test_foreign_text_cannot_touch_the_terminal(task: Path) -> None:
    (task / "new.jsonl").write_text(json.dumps({"text": "hello \x1b]0;owned\x07 \u202egnirts"}) + "\n")
    said = rung("label", task, "--from", task / "new.jsonl", typed="1\n")
    assert "\x1b" not in said and "\x07" not in said and "\u202e" not in said and "\\x1b]0;owned" in said


def test_mistaken_options_say_what_is_allowed(task: Path) -> None:
    assert "train, dev, test or held-out" in rung("label", task, "--for", "deve", code=2)
    assert "doubt or random" in rung("label", task, "--draw", "best", code=2)
    assert "--by NAME" in rung("label", task, "--second", code=2)
    assert "ends in .csv" in rung("label", task, "--to", task / "x.jsonl", code=2)


# --- two people -------------------------------------------------------------------------------------------------------


def seconded(task: Path, agree: int, differ: int) -> None:
    """Rows that ann labelled and ben labels again, `differ` of them otherwise."""
    sitting = opened(task, by="ann", rows=60, split="dev", source=task / "many.csv").sitting
    labels = list(WORDS)
    for i in range(agree + differ):
        sitting.label(labels[i % 3])
    again = opened(task, by="ben", second=True, rows=agree + differ).sitting
    while again.current and again.current.first:
        place = len(again.done)
        said = again.current.first.output
        again.label(said if place < agree else labels[(labels.index(said) + 1) % 3])


@pytest.fixture
def only_dev(task: Path) -> Path:
    """A task whose dev rows are those that ann labels."""
    rows = [f"held {i},refund" for i in range(20)]
    (task / "test.csv").write_text("text,intent\n" + "\n".join(rows) + "\n")
    (task / "dev.csv").write_text("text,intent,rung_by\nthe one dev row,refund,ben\n")
    (task / "many.csv").write_text("text\n" + "\n".join(f"many words {i} {i * i}" for i in range(60)) + "\n")
    write(task, "{train: rows.csv, dev: dev.csv, test: test.csv, input: text, output: intent}", goal="{at_least: 0.95}")
    return task


def test_the_second_person_is_not_shown_the_first_label(only_dev: Path) -> None:
    opened(only_dev, by="ann", split="dev", source=only_dev / "many.csv").sitting.label("refund")
    said = rung("label", only_dev, "--second", "--by", "ben", typed="")
    assert "labelled before by someone else" in said and "proposes" not in said
    assert [drawn.row.input for drawn in opened(only_dev, by="ann", second=True).sitting.queue] == ["the one dev row"]
    [asked] = opened(only_dev, by="ben", second=True).sitting.queue
    assert asked.first and asked.first.output == "refund" and not asked.row.output and not asked.proposal


def test_agreement_is_measured_and_a_goal_above_it_pointed_out(only_dev: Path) -> None:
    seconded(only_dev, agree=30, differ=10)
    task = load_task(only_dev)
    found = agreement(task)
    assert found and found.score and found.kappa
    assert found.score.value == 0.75 and found.score.low < 0.75 < found.score.high < 0.95
    assert found.kappa.value == pytest.approx(0.625, abs=0.02) and found.kappa.low < found.kappa.value < found.kappa.high
    assert len(found.differing) == 10 and {pair.by for pair in found.pairs} == {"ben"}
    assert {pair.first_by for pair in found.pairs} == {"ann"}
    [warned] = [one for one in check(make_splits(task), task) if one.code == "goal-above-agreement"]
    assert warned.severity == "warn" and warned.count == 10 and "0.750 [0.598" in warned.what
    said = " ".join(rung("label", only_dev, "--second", "--by", "ben", typed="").split())
    assert "agree on 30 of 40 rows" in said and "The goal of 0.95 is above what two people agree on." in said
    write(only_dev, "{train: rows.csv, dev: dev.csv, test: test.csv, input: text, output: intent}", goal="{at_least: 0.7}")
    codes = {one.code for one in check(make_splits(load_task(only_dev)), load_task(only_dev))}
    assert "agreement" in codes and "goal-above-agreement" not in codes


def test_second_labels_are_never_data(only_dev: Path) -> None:
    seconded(only_dev, agree=2, differ=2)
    assert len(lines(only_dev, "labelled.dev.csv")) == 5
    assert all(line.endswith(",random,ann") for line in lines(only_dev, "labelled.dev.csv")[1:])


def test_free_answers_agree_by_the_metric_of_the_goal(task: Path) -> None:
    (task / "qa.csv").write_text("input,output\n" + "".join(f"what is {i},it is number {i}\n" for i in range(80)))
    write(task, "{examples: qa.csv}", kind="answer", goal="{metric: token_f1, at_least: 0.9}", rungs="[zero-shot]")
    sitting = opened(task, by="ben", second=True, rows=12).sitting
    while sitting.current and sitting.current.first:
        sitting.label(sitting.current.first.output if len(sitting.done) % 2 else "no idea of it")
    found = agreement(load_task(task))
    assert found and found.kappa is None and found.score and 0.5 < found.score.value < 0.8 and len(found.differing) == 6


def test_test_rows_stay_sealed_from_a_second_labelling(task: Path) -> None:
    have = opened(task, by="ben", second=True, rows=90)
    sealed = {row.input for row, split in have.have.rows if split == "test"}
    asked = {drawn.row.input for drawn in have.sitting.queue}
    assert asked and not asked & sealed


def test_no_error_hides_in_a_row_without_labels(task: Path) -> None:
    (task / "new.csv").write_text("words\nx\n")
    with pytest.raises(RungError, match="no column 'text'"):
        opened(task)


def test_how_a_row_was_drawn_is_no_part_of_it() -> None:
    assert (DRAWN, BY) == ("rung_drawn", "rung_by"), "files of teams have these columns"
    assert Example("a", "b", extra={DRAWN: "doubt"}).id == Example("a", "b").id
