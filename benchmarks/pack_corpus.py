"""Screening and packing a corpus: two processes against one, memory at ten times the corpus, and whether the shards are the same.

    python benchmarks/pack_corpus.py --quick     # 16 and 160 MB; two free cores, or the ratio of the clock says little

The text is made up: documents of 20 to 1,500 words of a vocabulary with Zipf's frequencies, one in fifty a copy of another, one
in two hundred with a held-out row in it. Screening looks for copies, near copies and held-out rows; packing encodes with a BPE
tokenizer of 8,192 tokens. Each run is a process of its own, whose workers count with it: seconds by the clock and of the
processor, and peak memory of the largest process. The load of the machine is printed, since wall time counts only on free cores.

Last line: the time of one process over that of two for packing the larger corpus, and memory at ten times the corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

ASKED, FLAT = 1.7, 0.10
WORDS, VOCABULARY = 30_000, 8192
HELD_ROWS = 200


def held_rows() -> list[str]:
    chance = random.Random(1)
    return [" ".join(f"asked{chance.randrange(400)}" for _ in range(20)) for _ in range(HELD_ROWS)]


def make(folder: Path, megabytes: int) -> None:
    """A corpus in one file of JSON lines."""
    chance, rows = random.Random(0), held_rows()
    words = [f"{chance.choice('bdfgklmnprst')}{chance.choice('aeiou')}{n:x}" for n in range(WORDS)]
    weights = list(accumulate(1 / (rank + 5) for rank in range(WORDS)))
    folder.mkdir(parents=True)
    last, size = "", 0
    with (folder / "text.jsonl").open("w", encoding="utf-8") as file:
        while size < megabytes << 20:
            draw = chance.random()
            text = (
                last if last and draw < 0.02 else " ".join(chance.choices(words, cum_weights=weights, k=chance.randint(20, 1500)))
            )
            if draw > 0.995:
                text += " " + chance.choice(rows)
            last = text
            size += file.write(json.dumps({"text": text}) + "\n")


def measure(folder: Path, made: Path, processes: int) -> None:
    """Screen and pack here and print what it took."""
    from rung.data import corpus
    from rung.data.screening.contamination import held_runs
    from rung.data.screening.screen import Place, screened
    from rung.lm.models.chat import tokenizer
    from rung.lm.raw_text.pack import MANIFEST, Workers, pack
    from rung.task.screening import Screening
    from rung.types import Example

    encode = tokenizer(folder.parent / "tokenizer")
    held = held_runs(Example(row, "yes", where=f"row {i}") for i, row in enumerate(held_rows()))
    marks = [_mark()]
    found, report = screened(corpus.find_texts(folder, ["text.jsonl"]), Screening(near=0.8), held, Place(made, folder, processes))
    marks.append(_mark())
    parts = pack(found, (0.05, 0.05), encode, made / "shards", "benchmark", Workers(processes))
    marks.append(_mark())
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    taken = {
        name: {"wall": after[0] - before[0], "cpu": after[1] - before[1]}
        for name, before, after in zip(("screen", "pack"), marks, marks[1:])
    }
    shards = json.loads((made / "shards" / MANIFEST).read_text(encoding="utf-8"))["ranges"]
    print(
        json.dumps(
            {
                **taken,
                "megabytes": peak / (2**20 if sys.platform == "darwin" else 2**10),
                "tokens": sum(len(part.tokens) for part in parts.values()),
                "report": [report.documents, report.left_out],
                "shards": shards,
            }
        )
    )


def _mark() -> tuple[float, float]:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.monotonic(), sum(one.ru_utime + one.ru_stime for one in used)


def run(folder: Path, processes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="corpora-pack-") as made:
        call = [sys.executable, __file__, "--measure", str(folder), made, str(processes)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure both sizes by one and by two processes, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="16 and 160 MB instead of 64 and 640")
    parser.add_argument("--megabytes", type=int, help="size of the smaller corpus, instead")
    parser.add_argument("--measure", nargs=3, metavar=("FOLDER", "MADE", "PROCESSES"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(Path(given.measure[0]), Path(given.measure[1]), int(given.measure[2]))
        return
    small = given.megabytes or (16 if given.quick else 64)
    with tempfile.TemporaryDirectory(prefix="corpora-text-") as name:
        root = Path(name)
        for size in (small, 10 * small):
            make(root / str(size), size)
        train_tokenizer(root / str(small), root / "tokenizer")
        print("| MB | processes | screening | pack | peak memory | load |\n|---|---|---|---|---|---|")
        found = {(size, n): _shown(root, size, n) for size in (small, 10 * small) for n in (1, 2)}
    large, same = 10 * small, all(found[size, 1]["shards"] == found[size, 2]["shards"] for size in (small, 10 * small))
    same &= all(found[size, 1]["report"] == found[size, 2]["report"] for size in (small, large))
    grown = [found[large, n]["megabytes"] / found[small, n]["megabytes"] - 1 for n in (1, 2)]
    faster = found[large, 1]["pack"]["wall"] / found[large, 2]["pack"]["wall"]
    screening = found[large, 1]["screen"]["wall"] / found[large, 2]["screen"]["wall"]
    print(f"{found[large, 1]['report']}; {found[large, 1]['tokens']:,} tokens")
    print(f"by one and by two processes the shards and the report are {'the same' if same else 'NOT the same'}")
    print(f"memory at ten times the corpus: {grown[0]:+.1%} with one process, {grown[1]:+.1%} with two ({FLAT:.0%} asked)")
    print(
        f"ratio={faster:.2f} times as fast by two processes, screening {screening:.2f} ({ASKED} asked), memory {max(grown):+.1%}"
    )
    raise SystemExit(0 if same and max(grown) <= FLAT else 1)


def _shown(root: Path, size: int, processes: int) -> dict[str, Any]:
    load = os.getloadavg()[0]
    took = run(root / str(size), processes)
    cells = [f"{took[what]['wall']:.1f} s ({took[what]['cpu']:.1f} s of processor)" for what in ("screen", "pack")]
    print(f"| {size} | {processes} | {cells[0]} | {cells[1]} | {took['megabytes']:.0f} MB | {load:.1f} |", flush=True)
    return took


def train_tokenizer(folder: Path, into: Path) -> None:
    """A BPE tokenizer of the first documents of a corpus."""
    from itertools import islice

    from rung.data import corpus
    from rung.lm.raw_text import bpe

    some = islice(corpus.documents(corpus.find_texts(folder, ["text.jsonl"])), 300)
    bpe.train(some, VOCABULARY).save_pretrained(into)


if __name__ == "__main__":
    main()
