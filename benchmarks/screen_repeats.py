"""The second pass of a screening, which looks for repeats over all documents: seconds a document at eight times the documents.

    python benchmarks/screen_repeats.py --quick     # 100,000 and 800,000 documents; half a gigabyte of temporary files

The signatures are random, with one document in fifty a copy. A real screening has up to 4,096 ranges and files of four million
keys. Here both are 256 times fewer, so that a range puts as many keys into a file as in a corpus of 10^9 documents. Seconds are
of the processor.

Last line: seconds a document at the larger size over those at the smaller; 1.2 counts as linear.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from rung.data.screening import repeats, signatures
from rung.data.screening.survey import DIGESTS

ASKED, THRESHOLD, RANGES, KEYS = 1.2, 0.8, 16, 1 << 14


def make(root: Path, count: int) -> repeats.Surveyed:
    """A survey of so many documents."""
    chance = np.random.default_rng(0)
    folders = [root / f"{i:05}" for i in range(RANGES)]
    size = count // RANGES
    for folder in folders:
        folder.mkdir()
        digests = chance.integers(2**64, size=size, dtype=np.uint64)
        numbers = chance.integers(2**32, size=(size, signatures.NUMBERS), dtype=np.uint32)
        digests[1::100], numbers[1::50] = digests[::100], numbers[::50]
        digests.tofile(folder / DIGESTS)
        numbers.tofile(folder / signatures.SIGNATURES)
        signatures.write_bands(folder, THRESHOLD)
    starts = np.arange(RANGES + 1) * size
    return repeats.Surveyed(tuple(folders), starts, np.zeros(count, np.uint8))


def measure(count: int) -> tuple[float, float]:
    """Seconds of the processor a document, for exact and for near repeats."""
    with tempfile.TemporaryDirectory(prefix="repeats-") as name:
        found = make(Path(name), count)
        marks = [time.process_time()]
        repeats.mark_equal(found)
        marks.append(time.process_time())
        repeats.mark_near(found, THRESHOLD)
        marks.append(time.process_time())
        assert np.count_nonzero(found.reasons) >= count // 51
    return (marks[1] - marks[0]) / count, (marks[2] - marks[1]) / count


def main() -> None:
    """Measure both sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100,000 documents and eight times as many, instead of 500,000")
    small = 100_000 if parser.parse_args().quick else 500_000
    repeats.MOST_KEYS = KEYS
    print("| documents | exact, a document | near, a document |\n|---|---|---|")
    found = {}
    for count in (small, 8 * small):
        found[count] = measure(count)
        print(f"| {count:,} | {found[count][0] * 1e6:.2f} µs | {found[count][1] * 1e6:.2f} µs |", flush=True)
    print(f"ratio={sum(found[8 * small]) / sum(found[small]):.2f} times the seconds a document ({ASKED} asked)")


if __name__ == "__main__":
    main()
