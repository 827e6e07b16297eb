"""Loading the stored answers of a Predictor: pydantic's reader of whole lines, against the reader by hand that it replaced.

Both check every line's signature. `python benchmarks/load_records.py [--quick]` prints seconds of each and their ratio.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rung import files, signed
from rung.store import Store
from rung.types import Prediction, Source

ROWS = 20_000
SOURCE = Source(
    "f0.2", "docs/returns.md", "Returns", "docs/returns.md > Returns, line 4", "Goods can be returned within 30 days. " * 6
)


def by_hand(folder: Path, digest: str) -> dict[str, Prediction]:
    """The reader before: JSON to a dict, the signature over the text, then each value built from its keys."""
    name = f"predictions/{digest}.jsonl"
    found = {}
    for _, text in files.lines(folder / name):
        value = json.loads(text)
        value.pop(signed.FIELD)
        tail = signed.TAIL.search(text, max(0, len(text) - 2 * signed.SIZE - 80))
        assert tail
        body = name.encode() + b"\0" + text[: tail.start()].encode("utf-8", "surrogatepass")
        mac = hmac.digest(signed._key(signed.key_path()), body, "sha256").hex()[: signed.SIZE]
        assert hmac.compare_digest(tail[1], mac)
        one = _made(value)
        found[one.id] = one
    return found


def _made(content: dict[str, Any]) -> Prediction:
    sources = tuple(Source(**{**one, "left_out": tuple(one.get("left_out", ()))}) for one in content.get("sources", ()))
    return Prediction(**{**content, "sources": sources})


def seconds(load: Callable[[], object]) -> float:
    """Processor time, so that other work on the machine weighs less."""
    began = time.process_time()
    load()
    return time.process_time() - began


def compare(rows: int, sources: tuple[Source, ...], rounds: int) -> tuple[float, float]:
    """Median seconds by hand and by the store, measured in turns; both give the same values."""
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place))
        answer = "The order is on its way, and should be there by Tuesday."
        store.keep_predictions("d", [Prediction(f"{i:016x}", answer, 0.93, 512, 12, 0.012, sources=sources) for i in range(rows)])
        assert by_hand(store.folder, "d") == Store(Path(place)).predictions("d")
        times = [
            (seconds(lambda: by_hand(store.folder, "d")), seconds(lambda: Store(Path(place)).predictions("d")))
            for _ in range(rounds)
        ]
    hand, ours = zip(*times)
    return statistics.median(hand), statistics.median(ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Fewer rows and rounds.")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as place:
        os.environ[signed.KEY_FILE] = str(Path(place) / "key")
        for what, sources in (("without sources", ()), ("with three sources each", (SOURCE,) * 3)):
            rows, rounds = (2_000, 3) if quick else (ROWS, 7)
            hand, ours = compare(rows, sources, rounds)
            print(f"{rows} predictions {what}: by hand {hand:.3f} s, store {ours:.3f} s, ratio={ours / hand:.2f}")


if __name__ == "__main__":
    main()
