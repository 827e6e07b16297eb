"""Two drivers climb one task in one PostgreSQL store and are killed at random moments, again and again.

    python benchmarks/two_drivers.py             # 200 kills
    python benchmarks/two_drivers.py --quick     # as many as fit into five minutes

Each driver has a task folder of its own, as on two machines: what they share is the database and a folder for fits. A climb has
eight rungs that fit, save, answer and decide within about a second. Each driver is killed (SIGKILL) at a random moment and
started again, some times; then both come to the end. Counted by the database itself, in triggers:

    records lost    records that a driver had stored and that are not there at the end, and rungs without a record
    records twice   rungs that were measured, with a record stored, more than once
    fits twice      fits that were stored when they were there already
    differing       ends that are not those of one undisturbed driver on a `.rung` folder

The last line has the sum of records lost and fits done twice: 0. The server is started in a temporary folder; where PostgreSQL is
not installed, that is said and nothing is measured. Nothing needs a model or a network.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kills
import postgres

from rung.climbing import climb as climbing
from rung.climbing.project import Project
from rung.store import Store
from rung.store.address import Address, parse
from rung.task import load_task
from rung.types import Record

RUNGS = "majority, nearest, zero-shot, few-shot, few-shot-similar, majority>nearest, nearest>few-shot, majority>zero-shot"
TRIES = 6
"""Kills of each driver at most before both may come to the end."""
QUICK_SECONDS = 300.0
AUDIT = """
CREATE TABLE audit (id bigserial PRIMARY KEY, task text, name text, key text);
CREATE FUNCTION audit_line() RETURNS trigger AS $$ BEGIN
    IF NEW.name = 'records.jsonl' THEN
        INSERT INTO audit (task, name, key) VALUES (NEW.task, NEW.name, (NEW.text::json #>> '{provenance,key}'));
    END IF; RETURN NEW; END $$ LANGUAGE plpgsql;
CREATE FUNCTION audit_text() RETURNS trigger AS $$ BEGIN
    IF NEW.name LIKE 'fits/%' THEN
        INSERT INTO audit (task, name, key) VALUES (NEW.task, 'fit', NEW.name);
    END IF; RETURN NEW; END $$ LANGUAGE plpgsql;
CREATE TRIGGER lines AFTER INSERT ON rung_lines FOR EACH ROW EXECUTE FUNCTION audit_line();
CREATE TRIGGER texts AFTER INSERT OR UPDATE ON rung_texts FOR EACH ROW EXECUTE FUNCTION audit_text();
"""
CONTEXT = multiprocessing.get_context("fork")


@dataclass
class Count:
    """What came of the kills."""

    kills: int = 0
    climbs: int = 0
    lost: int = 0
    records_twice: int = 0
    fits_twice: int = 0
    differing: int = 0
    fits: int = 0


def drive(folder: Path, address: str) -> None:
    """One driver: a climb over every rung."""
    keep = Store.keep_record

    def noted(store: Store, record: Record) -> None:
        keep(store, record)
        with (folder.parent / "acknowledged").open("a") as file:
            file.write(f"{record.provenance.key}\n")

    Store.keep_record = noted  # type: ignore[method-assign]  # in a process that ends with the climb
    engines = kills.Toys(kills.MACHINE, lambda text: None)
    project = Project(load_task(folder), engines, say=lambda text: None, estimate_for=kills.MACHINE, store_at=address)
    climbing.climb(project, kills.Silent(), everything=True)


def outcome(store: Store) -> dict[str, Any]:
    """What a climb came to, without clocks."""
    last = store.read("decision.json")
    records = {one.rung: one for one in store.records() if one.status == "done"}
    answers = {
        rung: {row: found.output for row, found in store.predictions(one.predictor).items()} for rung, one in records.items()
    }
    scores = {rung: (one.scores.per_row if one.scores else None, one.predictor) for rung, one in records.items()}
    return {"verdict": last["decision"]["verdict"], "scores": scores, "answers": answers, "test": last["test"]}


def of_a_process(question: Callable[..., Any], *given: Any) -> Any:
    """The answer of a forked process: this one opens no store, so that what it forks is as good as new."""
    near, far = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(target=lambda: far.send_bytes(json.dumps(question(*given), sort_keys=True).encode()))
    child.start()
    far.close()
    answer = json.loads(near.recv_bytes())
    child.join()
    return answer


def undisturbed(folder: Path, url: str) -> tuple[Any, float]:
    """What one driver on a folder comes to, and how long that takes. All that a climb imports is imported here first."""
    kills.make(folder / "imports", rungs=RUNGS)
    for module in of_a_process(lambda: [drive(folder / "imports", f"{url}&files={folder}/files"), sorted(sys.modules)][1]):
        with suppress(Exception):  # some cannot be imported by themselves
            importlib.import_module(module)
    kills.make(folder / "task", rungs=RUNGS)
    began = time.monotonic()
    kills.run([lambda one: drive(one, "folder")], folder / "task", [float("inf")])
    return of_a_process(lambda: outcome(Store(folder / "task"))), time.monotonic() - began


def disturbed(place: Path, address: Address, seconds: float, chance: random.Random, most: int) -> int:
    """Two drivers that are killed up to `most` times in all, and then come to the end; how often they were killed."""
    children: dict[str, Any] = {}
    left = dict.fromkeys(("one", "two"), TRIES)
    done: set[str] = set()
    ends: dict[str, float] = {}
    killed = 0
    while len(done) < len(left):
        for name in left.keys() - done - children.keys():
            children[name] = CONTEXT.Process(target=drive, args=(place / name, str(address)))
            children[name].start()
            spared = not left[name] or killed + len(children) > most
            ends[name] = float("inf") if spared else time.monotonic() + chance.uniform(0.0, 0.7 * seconds)
        time.sleep(0.01)
        for name, child in [*children.items()]:
            if child.exitcode is None and time.monotonic() >= ends[name]:
                child.kill()
                child.join()
                killed, left[name] = killed + 1, left[name] - 1
                del children[name]
            elif child.exitcode is not None:
                if child.exitcode:
                    raise RuntimeError(f"the driver in {place / name} failed by itself")
                done.add(name)
                del children[name]
    return killed


def audited(url: str, task: str) -> dict[str, list[str]]:
    """What the database has noted of one task: keys of records and of fits, in the order in which they were stored."""
    rows = asked(url, "SELECT name, key FROM audit WHERE task = %s ORDER BY id", [task])
    return {kind: [key for name, key in rows if name == kind] for kind in ("records.jsonl", "fit")}


def asked(url: str, statement: str, given: list[str] | None = None) -> list[tuple[str, ...]]:
    """The rows of an SQL statement; none of one that has no rows."""
    import psycopg

    with psycopg.connect(url) as connection:
        found = connection.execute(statement, given)
        return found.fetchall() if found.description else []


def acknowledged(place: Path) -> list[str]:
    """Keys of the records that a driver took for stored."""
    path = place / "acknowledged"
    return path.read_text().split() if path.exists() else []


def one_climb(
    place: Path, url: str, number: int, sound: tuple[Any, float], chance: random.Random, most: int, found: Count
) -> None:
    """One climb of two drivers under kills; what came of it is added to `found`."""
    place.mkdir()
    for name in ("one", "two"):
        kills.make(place / name, rungs=RUNGS)
    address = parse(f"{url}&files={place}/files", f"climb{number}")
    assert address
    found.kills += disturbed(place, address, sound[1], chance, most)
    found.climbs += 1
    noted = of_a_process(audited, url, address.task)
    records, fits = noted["records.jsonl"], noted["fit"]
    stored = of_a_process(lambda: [one.provenance.key for one in Store(place / "one", address=address).records()])
    end = of_a_process(lambda: outcome(Store(place / "two", address=address)))
    found.lost += len({*acknowledged(place), *records} - {*stored}) + len(sound[0]["scores"].keys() - end["scores"].keys())
    found.records_twice += len(records) - len(set(records))
    found.fits_twice += len(fits) - len(set(fits))
    found.fits += len(set(fits))
    found.differing += end != sound[0]
    shutil.rmtree(place)


def main() -> None:
    """Kill, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="As many kills as fit into five minutes.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if why := postgres.absent():
        print(f"not measured: {why}")
        return
    found, chance, began = Count(), random.Random(given.seed), time.monotonic()
    with postgres.server() as url, tempfile.TemporaryDirectory(prefix="two-drivers-") as name:
        place = Path(name)
        sound = undisturbed(place / "undisturbed", url)
        print(f"one driver on a folder, undisturbed: {sound[1]:.1f} s, {len(sound[0]['scores'])} rungs", flush=True)
        address = parse(url, "audit")
        assert address
        of_a_process(lambda: [Store(place / "audit", address=address).records(), asked(url, AUDIT)])
        while found.kills < given.kills and not (given.quick and time.monotonic() - began > QUICK_SECONDS):
            one_climb(place / "climb", url, found.climbs, sound, chance, given.kills - found.kills, found)
    print(f"{found.kills} kills in {found.climbs} climbs of two drivers, {time.monotonic() - began:.0f} s")
    print(f"records lost {found.lost}, twice {found.records_twice}; fits done twice {found.fits_twice} of {found.fits}")
    print(f"ends that differ from the undisturbed one: {found.differing}")
    print(f"ratio={found.lost + found.fits_twice} records lost and fits done twice, in {found.kills} kills")


if __name__ == "__main__":
    main()
