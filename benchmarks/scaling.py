"""What 1, 2, 4 and 8 times the rows, the chunks and the tokens take: time, and peak memory.

    python benchmarks/scaling.py --quick

Rows: read, split and checked, as `rung check` does, those of check_rows.py. Chunks: passages written into the SQLite index with
vectors of 384 numbers (made up: embedding takes the same for each), 500 files at a time, then searched by words and by
vector. Tokens: text of pack_corpus.py screened and packed by one process. Each size runs in a process of its own; times
are those of the work, without imports.

Last line: the processor time a unit at eight times over that at once, the largest of all but searching; 1.2 counts as linear.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import check_rows
import numpy as np
import pack_corpus

TIMES = (1, 2, 4, 8)
LINEAR = 1.2
WIDTH, FILES_AT_ONCE, CHUNKS_A_FILE = 384, 500, 4


def rows(count: int) -> dict[str, float]:
    """Processor seconds to read and to check so many rows."""
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        check_rows.make(Path(name), count)
        call = [sys.executable, check_rows.__file__, "--measure", name]
        found = json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
    return {"read and split": found["read"], "check": found["check"], "megabytes": found["peak"]}


def tokens(megabytes: int) -> dict[str, float]:
    """Processor seconds to screen and to pack so many megabytes."""
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        folder = Path(name) / "text"
        pack_corpus.make(folder, megabytes)
        pack_corpus.train_tokenizer(folder, Path(name) / "tokenizer")
        found = pack_corpus.run(folder, 1)
    return {"screen": found["screen"]["cpu"], "pack": found["pack"]["cpu"], "megabytes": found["megabytes"]}


def chunks(count: int) -> dict[str, float]:
    """Processor seconds to write so many chunks, and of a search."""
    call = [sys.executable, __file__, "--index", str(count)]
    return json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def index(count: int) -> None:
    """Write and search here and print what it took."""
    from rung.retrieve.passage import Passage
    from rung.retrieve.sqlite import Sqlite
    from rung.retrieve.store import Allow, Change, IndexConfig, text_digest

    config, chance, drawn = IndexConfig("made up", "made-up"), random.Random(0), np.random.default_rng(0)
    words = [f"{chance.choice('bdfgklmnprst')}{chance.choice('aeiou')}{n:x}" for n in range(check_rows.WORDS)]

    def passages(file: int) -> tuple[Passage, ...]:
        texts = [" ".join(chance.choices(words, k=60)) for _ in range(CHUNKS_A_FILE)]
        return tuple(Passage(f"{file}.md:{i}", f"{file}.md", ("Top",), text, i, i, 0, "", {}) for i, text in enumerate(texts))

    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        store, write = Sqlite(Path(name)), 0.0
        for begin in range(0, count // CHUNKS_A_FILE, FILES_AT_ONCE):
            changes = [
                Change(f"{i}.md", "digest", passages(i)) for i in range(begin, min(begin + FILES_AT_ONCE, count // CHUNKS_A_FILE))
            ]
            new = [text_digest(one) for change in changes for one in change.passages]
            vectors = drawn.standard_normal((len(new), WIDTH)).astype(np.float32)
            started = time.process_time()
            store.keep_vectors(config.embedder_digest, new, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
            store.apply(changes, config)
            write += time.process_time() - started
        everyone, question = Allow(access=None), drawn.standard_normal(WIDTH).astype(np.float32)
        store.lexical("warm up", 10, everyone), store.dense(question, 10, everyone)
        started = time.process_time()
        for _ in range(20):
            store.lexical(" ".join(chance.choices(words, k=8)), 100, everyone), store.dense(question, 100, everyone)
        searched = (time.process_time() - started) / 20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(json.dumps({"write": write, "one search": searched, "megabytes": peak}))


def main() -> None:
    """Measure each kind at each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the sizes")
    parser.add_argument("--only", choices=("rows", "chunks", "MB of text"), help="one kind alone")
    parser.add_argument("--index", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.index:
        index(given.index)
        return
    scale = 1 if given.quick else 8
    kinds: dict[str, tuple[Callable[[int], dict[str, float]], int]] = {
        "rows": (rows, 10_000 * scale),
        "chunks": (chunks, 4_000 * scale),
        "MB of text": (tokens, 4 * scale),
    }
    if given.only:
        kinds = {given.only: kinds[given.only]}
    growth: dict[str, float] = {}
    print("| what | processor time | peak memory |\n|---|---|---|")
    for kind, (measure, first) in kinds.items():
        units: dict[str, list[float]] = {}
        for times in TIMES:
            found = measure(first * times)
            megabytes = found.pop("megabytes")
            for name, seconds in found.items():
                units.setdefault(name, []).append(seconds / times)
            shown = ", ".join(
                f"{name} {1000 * seconds:,.0f} ms" if seconds < 1 else f"{name} {seconds:.1f} s"
                for name, seconds in found.items()
            )
            print(f"| {first * times:,} {kind} | {shown} | {megabytes:,.0f} MB |", flush=True)
        growth |= {name: each[-1] / each[0] for name, each in units.items() if name != "one search"}
    print(
        "at eight times, a unit takes "
        + ", ".join(f"{name} {value:.2f}" for name, value in growth.items())
        + " of what it takes at once"
    )
    worst = max(growth, key=lambda name: growth[name])
    print(f"ratio={growth[worst]:.2f} of the time a unit at eight times the size, {worst} ({LINEAR} counts as linear)")


if __name__ == "__main__":
    main()
