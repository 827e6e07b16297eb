"""A store in a database: what comes back equal, fits as objects, addresses, copies, and drivers that share a climb."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from watcher import Watcher

from rung.climbing import climb as climbing
from rung.climbing.indexing import index_here
from rung.climbing.measuring import rung_key
from rung.climbing.project import Project
from rung.decisions import Decision
from rung.errors import BudgetError, RungError
from rung.lm.base import ModelRef
from rung.lm.remote.ledger import Ledger, Usage
from rung.lm.remote.prices import Price
from rung.lm.remote.settings import Limits
from rung.predictor import Predictor
from rung.retrieve import knowledge
from rung.retrieve.lookup import Lookup
from rung.store import LeasedError, LeaseLostError, Store, copying, leases, opened, remember
from rung.store.address import Address, parse
from rung.store.api_calls import calls_of
from rung.store.database import TRIES, StoreError, prepare, tables
from rung.store.objects import Objects
from rung.task import load_task
from rung.types import Prediction, Provenance, Record

pytest.importorskip("sqlalchemy")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RECORD = Record(rung="lora", status="done", provenance=Provenance(key="r"))


def postgres() -> ModuleType:
    spec = importlib.util.spec_from_file_location("postgres", BENCHMARKS / "postgres.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pg = postgres()
    if why := pg.absent():
        pytest.skip(why)
    with pg.server() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """A new database, or a new task of one, with fits in a shared folder."""
    url = f"sqlite:///{tmp_path}/store.sqlite" if request.param == "sqlite" else request.getfixturevalue("server")
    found = parse(f"{url}{'&' if '?' in url else '?'}files={tmp_path}/files", tmp_path.name)
    assert found
    return found


def driver(address: Address, folder: Path) -> Store:
    return Store(folder, lambda text: pytest.fail(text), address)


def fitted(folder: Path) -> Predictor:
    """A Predictor with a model's file."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "rows.json").write_text("[1]")
    model = ModelRef("rule", "majority", "", str(folder / "model"), "d")
    return Predictor(kind="classify", model=model, instruction="Sort.", labels=("a", "b"))


def test_what_one_driver_writes_another_reads(address: Address, tmp_path: Path) -> None:
    one, two = driver(address, tmp_path / "one"), driver(address, tmp_path / "two")
    answers = [Prediction("1", "a\u2028b\x00\x85 理由"), Prediction("2", "\ud800")]
    one.keep_predictions("d", answers)
    one.keep_record(RECORD)
    one.write("decision.json", {"a": [1, None]})
    assert list(two.predictions("d").values()) == answers
    assert two.records() == [RECORD]
    assert two.read("decision.json") == {"a": [1, None]}
    two.write("decision.json", {"a": 2})
    two.change("decision.json", lambda old: {**old, "b": 3})
    assert one.read("decision.json") == {"a": 2, "b": 3}
    assert driver(replace(address, task="other"), tmp_path / "one").records() == []
    assert not list((tmp_path / "one" / ".rung").glob("*"))


def test_a_row_that_was_changed_in_the_database_is_not_believed(address: Address, tmp_path: Path) -> None:
    said: list[str] = []
    driver(address, tmp_path).keep_record(RECORD)
    store = Store(tmp_path, said.append, address)
    store.rows.append("records.jsonl", store.rows.lines("records.jsonl")[0].decode().replace('"r"', '"q"') + "\n")
    assert store.records() == [RECORD]
    assert len(said) == 1 and "line 2" in said[0] and "signature that does not hold" in said[0]


def test_a_fit_is_fetched_on_another_machine_and_checked(address: Address, tmp_path: Path) -> None:
    one = driver(address, tmp_path / "one")
    with one.lease("fits/k"):
        made = one.keep_fit("k", fitted(one.workplace("k")), {"seconds": 2.0})
    found = driver(address, tmp_path / "two").fitted("k")
    assert found and found.digest == made.digest and (Path(found.model.files) / "rows.json").read_text() == "[1]"
    assert driver(address, tmp_path / "two").fit_notes("k") == {"seconds": 2.0}
    changed = next(path for path in (tmp_path / "files").rglob("*") if path.is_file() and path.read_text() == "[1]")
    changed.write_text("[2]")
    said: list[str] = []
    assert Store(tmp_path / "three", said.append, address).fitted("k") is None
    assert "not at" in said[0] and not list((tmp_path / "three" / ".rung" / "fits").iterdir())


def test_leases_are_those_of_the_database(address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = driver(address, tmp_path / "one"), driver(address, tmp_path / "two")
    with one.lease("fits/k"), pytest.raises(LeasedError), two.lease("fits/k", None):
        pass
    monkeypatch.setattr(leases.Lease, "begin", lambda self: None)
    one.lease_seconds = 0.05
    with one.lease("rungs/r"), one.lease("fits/k"):
        place = one.workplace("k")
        time.sleep(0.1)
        with two.lease("rungs/r", None), two.lease("fits/k", None):
            two.keep_record(RECORD)
            with pytest.raises(LeaseLostError):
                one.keep_record(RECORD)
            with pytest.raises(LeaseLostError):
                one.keep_fit("k", fitted(place), {})
    assert two.records() == [RECORD] and two.fitted("k") is None


def test_many_threads_lose_no_change(address: Address, tmp_path: Path) -> None:
    def work(number: int) -> None:
        store = driver(address, tmp_path / str(number))
        for i in range(10):
            store.change("test.json", lambda old: {**old, f"{number}-{i}": 1})  # noqa: B023
            store.keep_predictions("d", [Prediction(f"{number}-{i}", "x")])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = driver(address, tmp_path)
    assert len(store.read("test.json")) == len(store.predictions("d")) == 40


# --- a climb that drivers share ---------------------------------------------------------------------------------------

YAML = """
task: Say where it is.
kind: classify
data: {examples: rows.jsonl}
base: fake
rungs: [majority, nearest, zero-shot, few-shot]
goal: {metric: accuracy, at_least: 0.99}
"""


def make(folder: Path) -> Path:
    folder.mkdir()
    (folder / "rung.yaml").write_text(YAML)
    rows = [{"input": f"row {i}: it is {'abc'[i % 3]}", "output": "abc"[i * 7 % 3]} for i in range(120)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def told(decision: Decision) -> tuple[str, str, dict[str, str], set[tuple[str, str]]]:
    verdicts = {one.rung: one.verdict for one in decision.rungs}
    return decision.verdict, decision.chosen, verdicts, {(one.a, one.b) for one in decision.comparisons}


def test_drivers_share_out_the_rungs_and_come_to_one_decision(address: Address, tmp_path: Path) -> None:
    folders = [make(tmp_path / name) for name in ("one", "two")]
    projects = [Project(load_task(folder), say=lambda text: None, store_at=str(address)) for folder in folders]
    first = rung_key(projects[0], projects[0].plan.steps[0])
    done: list[climbing.Climb] = []
    other = threading.Thread(target=lambda: done.append(climbing.climb(projects[1], Watcher(), everything=True)))
    with projects[0].store.lease(f"rungs/{first}"):
        other.start()
        until = time.monotonic() + 60
        while len(projects[0].store.records()) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        ahead = {one.provenance.key for one in projects[0].store.records()}
    assert len(ahead) == 3 and first not in ahead, "the other driver goes on with the rungs that are free"
    mine = climbing.climb(projects[0], Watcher(), everything=True)
    other.join()
    records = projects[0].store.records()
    assert len(records) == 4 == len({one.provenance.key for one in records})
    # each driver lists rungs in the order of its own plan, which records of the other may have changed
    assert told(mine.decision) == told(done[0].decision)
    assert not [name for name in projects[0].store.rows.names() if name.startswith("leases/")]


@pytest.mark.parametrize(("name", "sizes"), [("index", (0, knowledge.OVERLAP)), ("index-300-40", (300, 40))])
def test_the_index_of_a_fit_from_elsewhere_is_built_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sizes: tuple[int, int]
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(knowledge, "config_of", lambda engines, embedder, *sizes: (embedder, sizes))
    monkeypatch.setattr(knowledge, "bring_up_to_date", lambda *given: asked.append(given))
    address = parse(f"sqlite:///{tmp_path}/a.sqlite?files={tmp_path}/files", "t")
    place = str(tmp_path / ".rung" / name)
    start = Predictor(kind="answer", model=ModelRef("fake", "fake", "fake"), instruction="Answer.")
    found = replace(start, lookup=Lookup(place, "d", "minilm"))
    data: Any = SimpleNamespace(documents="texts")
    engines: Any = "engines"
    index_here(found, data, Store(tmp_path), engines)  # all fits were made here
    index_here(start, data, Store(tmp_path, address=address), engines)
    index_here(replace(found, lookup=Lookup("s3://a/b", "d", "minilm")), data, Store(tmp_path, address=address), engines)
    assert not asked
    index_here(found, data, Store(tmp_path, address=address), engines)
    assert asked == [("texts", place, "engines", ("minilm", sizes))]


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:se%40cret@host/db?files=/f",
        "postgresql://me@host/db?files=/f&password=se%40cret",
        "postgresql://me:se%40cret@host/db?files=/f&password=other-secret",
    ],
)
def test_a_password_is_used_and_never_shown(text: str, tmp_path: Path) -> None:
    address = parse(text, "support")
    assert address and address.password == "se@cret" and address.task == "support" and address.files == "/f"
    assert str(address) == "postgresql://me@host/db?task=support&files=/f"
    assert "cret" not in repr(address)
    with pytest.raises(StoreError) as caught:
        Store(tmp_path, address=parse(text.replace("host/", "127.0.0.1:1/"), "support"))
    assert "127.0.0.1" in str(caught.value) and "cret" not in str(caught.value)


NO_ADDRESSES = [
    "mysql://me:secret@host/db",
    "sqlite:///here",
    "support",
    "",
    "me:secret@host/db",
    "postgresql://h/d?files=s3://a:secret@b",
    "postgresql://h/d?files=s3://a/b?secret_key=secret",
    "postgresql://h/d?sslpassword=secret",
    "postgresql://[secret@",
    "postgresql://me:secret#1@h/d",
    "postgresql://me:12/secret@h/d",
    "postgresql://me:12?secret@h/d",
]


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(RungError) as caught:
        parse(text, "support")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("place", ["/mnt/me@work/fits", "s3://bucket/me@work", "hdfs://host:8020/fits"])
def test_a_place_of_fits_may_have_an_at_sign_in_its_path(place: str) -> None:
    address = parse(f"postgresql://h/d?files={place}", "t")
    assert address and address.files == place and parse(str(address), "t") == address


@pytest.mark.parametrize(
    ("dialect", "kind", "why", "tries"),
    [
        ("postgresql", "OperationalError", "password authentication failed", 1),
        ("postgresql", "IntegrityError", "duplicate key", TRIES),
        ("postgresql", "ProgrammingError", "already exists", TRIES),
        ("sqlite", "OperationalError", "database is locked", TRIES),
        ("sqlite", "OperationalError", "unable to open database file", 1),
    ],
)
def test_only_what_two_processes_make_at_once_is_made_again(dialect: str, kind: str, why: str, tries: int) -> None:
    from sqlalchemy import exc

    error, begun = getattr(exc, kind)("", {}, Exception(why)), []

    def begin() -> None:
        begun.append(1)
        raise error

    made: Any = SimpleNamespace(dialect=SimpleNamespace(name=dialect), begin=begin)
    with pytest.raises(type(error)):
        prepare(made, tables(), "t")
    assert len(begun) == tries


def test_the_store_is_that_of_the_command_the_environment_or_the_last_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, other = f"sqlite:///{tmp_path}/a.sqlite", f"sqlite:///{tmp_path}/b.sqlite"
    assert opened(tmp_path).address is None
    store = opened(tmp_path, given=given)
    remember(store)
    assert str(opened(tmp_path).address).startswith(given)
    monkeypatch.setenv("RUNG_STORE", other)
    assert str(opened(tmp_path).address).startswith(other)
    assert str(opened(tmp_path, given=given).address).startswith(given)
    monkeypatch.delenv("RUNG_STORE")
    remember(opened(tmp_path, given="folder"))
    assert opened(tmp_path).address is None


def test_an_address_that_somebody_else_left_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".rung").mkdir()
    (tmp_path / ".rung" / "store.json").write_text('{"address": "postgresql://evil.example/db"}')
    said: list[str] = []
    assert opened(tmp_path, said.append).address is None
    assert "carries no signature" in said[0]


# --- API calls ----------------------------------------------------------------------------------------------------------


def ledger(store: Store, **limits: Any) -> Ledger:
    return Ledger(calls_of(store), Limits(**limits), say=lambda text: pytest.fail(text))


def test_drivers_share_one_budget_of_an_api_and_its_answers(address: Address, tmp_path: Path) -> None:
    one, two = (ledger(driver(address, tmp_path / name), tokens=100) for name in ("one", "two"))
    mine = one.reserve(60, 0.5)
    with pytest.raises(BudgetError, match="100, 60 are spent or reserved"):
        two.reserve(60, None)
    one.settle(mine, Usage(20, 10), Price(1.0, 2.0), "k", {"text": "yes"})
    assert two.cached("k") == {"text": "yes"} and two.cached("other") is None
    two.mark_unsure(two.reserve(5, 0.25))
    two.reserve(60, 0.5)  # its process is killed, and the request may be billed
    found = one.spent()
    assert (found.calls, found.unsure, found.unsure_tokens, found.unsure_usd) == (3, 2, 65, 0.75)
    assert (found.tokens_in, found.tokens_out) == (20, 10) and found.usd == pytest.approx(40e-6)
    with pytest.raises(BudgetError, match="95 are spent"):
        one.reserve(6, None)


def test_drivers_that_ask_at_once_do_not_overspend(address: Address, tmp_path: Path) -> None:
    books = [ledger(driver(address, tmp_path / name), calls=10) for name in ("one", "two", "three")]
    refused: list[str] = []

    def ask(book: Ledger) -> None:
        for _ in range(6):
            try:
                book.settle(book.reserve(1, 0.0), Usage(1, 1), None)
            except BudgetError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=ask, args=(book,)) for book in books]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert books[0].spent().calls == 10 and len(refused) == 8


def test_what_an_api_was_paid_for_moves_with_the_store(address: Address, tmp_path: Path) -> None:
    here, there, back = Store(tmp_path / "here"), driver(address, tmp_path / "there"), Store(tmp_path / "back")
    before = ledger(here)
    before.settle(before.reserve(3, 0.0), Usage(2, 1), None, "k", {"text": "yes"})
    said: list[str] = []
    calls_of(Store(tmp_path / "here", said.append, address))
    assert "its answers are not used" in said[0]
    assert copying.copy(here, there).api_answers == 1 and copying.copy(here, there) == copying.Copied()
    assert copying.copy(there, back).api_answers == 1
    for store in (there, back, driver(address, tmp_path / "here")):
        assert ledger(store).cached("k") == {"text": "yes"} and ledger(store).spent() == before.spent()
    before.release(before.reserve(1, 0.0))
    with pytest.raises(RungError, match=r"account of API calls already: 1 calls, 3 tokens.*, and the source 2 calls"):
        copying.copy(here, there)


def test_a_project_in_a_database_asks_apis_through_its_ledger(address: Address, tmp_path: Path) -> None:
    task = load_task(make(tmp_path / "task"))
    project = Project(task, say=lambda text: None, store_at=str(address))
    assert project.engines.spent() is None
    book = project.engines.ledger
    book.release(book.reserve(1, 0.0))
    assert ledger(driver(address, tmp_path / "other")).spent() == project.engines.spent()
    assert not (task.folder / ".rung" / "api.sqlite").exists()


# --- copies -----------------------------------------------------------------------------------------------------------


def test_a_store_is_copied_to_a_database_and_back(address: Address, tmp_path: Path) -> None:
    project = Project(load_task(make(tmp_path / "task")), say=lambda text: None)
    before = climbing.climb(project, Watcher(), everything=True)
    there = Store(tmp_path / "cache", lambda text: pytest.fail(text), address)
    first = copying.copy(project.store, there)
    assert first.fits == len(project.store.fit_keys()) > 0 and first.lines > 100
    assert copying.copy(project.store, there) == copying.Copied()
    again = make(tmp_path / "again")
    copying.copy(there, Store(again))
    back = Project(load_task(again), say=lambda text: pytest.fail(text))
    assert back.store.records() == project.store.records()
    assert told(climbing.climb(back, Watcher(), everything=True).decision) == told(before.decision)
    assert len(back.store.records()) == len(before.records), "nothing was measured again"


def test_a_copy_without_a_place_for_fits_is_refused_or_says_what_it_leaves_out(tmp_path: Path) -> None:
    bare = parse(f"sqlite:///{tmp_path}/bare.sqlite", "t")
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two", address=bare)
    one.keep_record(RECORD)
    assert copying.copy(one, two).lines == 1, "there are no fits to lose"
    assert "no fits were copied" in copying.copy(two, Store(tmp_path / "three")).note
    with one.lease("fits/k"):
        one.keep_fit("k", fitted(one.workplace("k")), {})
    with pytest.raises(RungError, match="files=PLACE"):
        copying.copy(one, two)
    assert not list((tmp_path / "two").rglob("fits"))


@pytest.mark.parametrize("damaged", [b"wh", b"whale"], ids=["half", "altered"])
def test_a_damaged_object_is_written_again(damaged: bytes, tmp_path: Path) -> None:
    source, name = tmp_path / "a", hashlib.sha256(b"whole").hexdigest()
    source.write_bytes(b"whole")
    for place in (str(tmp_path / "plain"), (tmp_path / "as a url").as_uri()):
        objects = Objects(place)
        objects.put(source, name)
        there = next(path for path in tmp_path.rglob(name))
        there.write_bytes(damaged)
        assert not objects.fetch(name, tmp_path / "b")
        objects.put(source, name)
        assert objects.fetch(name, tmp_path / "b") and there.read_bytes() == b"whole"
        there.unlink()


def test_a_copy_does_not_write_over_another_climb(address: Address, tmp_path: Path) -> None:
    one, two = Store(tmp_path), driver(address, tmp_path / "two")
    one.write("claims.json", {"climbs": []})
    two.write("claims.json", {"climbs": [1]})
    one.keep_record(RECORD)
    with pytest.raises(RungError, match=r"another claims\.json"):
        copying.copy(one, two)
    assert two.records() == []
