"""Bringing an index of 1,000 files up to date after one of them changed, against making it the first time.

The files are plain English made up by the program, about 250 words each, with headings; the embedder is the real one.
Median of several changes, each of another file. --files N for a smaller trial.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import knowledge
from common import machine, median, timed

from rung.lm.engines import Engines
from rung.retrieve import index
from rung.retrieve.sqlite import Sqlite

LINES = (
    "the a of and to in is for on with as by at from after before each every one two ten order parcel refund delay card account "
    "customer desk team letter address country week month price tax form step button page menu report number note rule case "
    "driver door engine cable window sensor river bridge garden bread butter paper music winter summer school doctor teacher "
    "send open close check write read keep move find lose pay ask answer change return start stop build break clean cut carry "
    "small large early late red green open quiet heavy light public private local common simple broken free full empty first last"
)
WORDS = LINES.split()


def document(rng: random.Random, words: int) -> str:
    parts = []
    for heading in range(3):
        sentences = []
        while sum(map(len, sentences)) < words // 3:
            sentences.append(rng.choices(WORDS, k=rng.randint(6, 16)))
        told = " ".join(" ".join(sentence).capitalize() + "." for sentence in sentences)
        parts.append(f"## {' '.join(rng.choices(WORDS, k=3)).title()} {heading}\n\n{told}\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="files of 100 words")
    parser.add_argument("--files", type=int, default=1000)
    args = parser.parse_args()
    machine()
    rng, folder = random.Random(0), Path(tempfile.mkdtemp())
    root = folder / "docs"
    root.mkdir()
    words = 100 if args.quick else 250
    for i in range(args.files):
        (root / f"{i:04}.md").write_text(document(rng, words), encoding="utf-8")
    engines = Engines()
    embedder = engines.embedder(knowledge.EMBEDDER)
    embedder.embed(["warm up"])
    store, made = Sqlite(folder / "index"), index.index_config(embedder, knowledge.EMBEDDER, "benchmark")

    def bring_up_to_date() -> None:
        said.append(index.update(index.Folder(root), store, embedder, made))

    said: list[index.Changes] = []
    first = timed(bring_up_to_date)
    health = store.health()
    print(f"first index: {first:.1f} s, {health.documents} files, {health.passages} passages, whole: {health.whole}")
    again = []
    for i in rng.sample(range(args.files), 7):
        (root / f"{i:04}.md").write_text(document(rng, words), encoding="utf-8")
        again.append(timed(bring_up_to_date))
        assert len(said[-1].changed) == 1 and said[-1].unchanged == args.files - 1
    assert store.health().whole
    print(f"one file changed: {median(again):.3f} s (median of {len(again)}), {median(again) / first:.2%} of the first; 2% asked")
    print(f"nothing changed: {timed(bring_up_to_date):.3f} s")
    print(f"ratio={first / median(again):.1f} times faster than the first index")


if __name__ == "__main__":
    main()
