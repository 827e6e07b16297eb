"""What a prompt shows of the right document: passages as found, and joined with their neighbours, at the same length.

MedQuAD: a document is one whole answer under the disease's name, the question is asked in words alone (no embedding). Counted
is the share of the answer's words that stand in the passages shown of its own document, and the words shown in all. Nothing is
chosen on these rows. `--quick`: one of the two parts. Last line: the share with each of three passages joined to one
neighbour on each side, over that with six passages, which are as long.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
import tuned_retrieval

from rung.metrics.resample import bootstrap_interval, paired_bootstrap
from rung.retrieve import analyse
from rung.retrieve.around import widened
from rung.retrieve.index import Folder, index_config, update
from rung.retrieve.search import Hit, Settings, search
from rung.retrieve.sqlite import Sqlite
from rung.types import Example

FORMS = ((1, 0), (2, 0), (1, 1), (3, 0), (6, 0), (3, 1))
"""Passages, and neighbours on each side of each."""


def share(row: Example, hits: Sequence[Hit]) -> float:
    """Share of the answer's words in the passages of its own document."""
    wanted = set(analyse.terms(row.output))
    own = set(analyse.terms("\n".join(hit.passage.text for hit in hits if hit.passage.path == row.source)))
    return len(wanted & own) / len(wanted)


def main() -> None:
    given = common.arguments(__doc__ or "")
    if not (common.DATA / "medquad").is_dir():
        sys.exit("MedQuAD is absent (it is read from shared/data); nothing was measured")
    with tempfile.TemporaryDirectory(prefix="rung-parents-") as place:
        folder = Path(place)
        rows = tuned_retrieval.write(list(tuned_retrieval.medquad(given.quick)), folder, 0)
        store = Sqlite(folder / "index")
        update(Folder(folder, ("docs/",)), store, None, index_config(None))
        print(f"{len(rows)} documents, {store.health().passages} passages", flush=True)
        found = {}
        for passages, each in FORMS:
            settings = Settings(legs=("lexical",), k=passages)
            shown = [
                widened(store, hits, each) if each else hits
                for hits in (search(store, row.input, None, settings) for row in rows)
            ]
            found[passages, each] = np.array([share(row, hits) for row, hits in zip(rows, shown)])
            words = np.mean([sum(len(hit.passage.text.split()) for hit in hits) for hits in shown])
            interval = bootstrap_interval(found[passages, each], [row.group for row in rows], limits=(0.0, 1.0))
            print(f"  {passages} passages, {each} neighbours: {interval}, {words:.0f} words shown", flush=True)
    groups = [row.group for row in rows]
    for wide, plain in (((1, 1), (2, 0)), ((3, 1), (3, 0)), ((3, 1), (6, 0))):
        print(f"  {wide} less {plain}: {paired_bootstrap(found[plain], found[wide], groups)}")
    ratio = found[3, 1].mean() / found[6, 0].mean()
    print(f"ratio={ratio:.3f} times the answer's words shown, three passages with neighbours over six without")


if __name__ == "__main__":
    main()
