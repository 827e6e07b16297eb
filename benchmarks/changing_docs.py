"""A product's documentation that changes: index v0.8.0, ask its FAQ; move the folder to v0.18.0; ask what only that knows.

The documents are docs_axolotl. A question of the FAQ is found when one of the first five passages lies in faq.qmd and holds
the beginning of the answer. No passage may come from a file that the newer version has not, nor from a text that is gone.
Settings are the defaults: nothing is chosen on these questions. Last line: the share found of the questions that only the
newer FAQ answers.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

import knowledge
from common import DATA

from rung.lm.engines import Engines
from rung.metrics.stats import wilson
from rung.retrieve import index
from rung.retrieve.search import Settings, search
from rung.retrieve.sqlite import Sqlite

K, START = 5, 8
"""Passages looked at, and words of an answer's beginning that one of them must hold."""
FAQ = "docs/faq.qmd"


def questions(faq: Path) -> dict[str, str]:
    """Question to answer of a FAQ in the form `**Q: …**` and `> A: …`; questions in a row share the answer below them."""
    text, out = faq.read_text(encoding="utf-8"), {}
    for match in re.finditer(r"^\*\*Q:\s*(.+?)\*\*\s*$", text, re.MULTILINE):
        answer = re.search(r"^>\s*A:\s*(.+)$", text[match.end() :], re.MULTILINE)
        out[match[1]] = answer[1] if answer else ""
    return out


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def asked(store: Sqlite, embedder, pairs: dict[str, str], root: Path) -> list[bool]:
    out = []
    for question, vector in zip(pairs, embedder.embed(list(pairs))):
        hits = search(store, question, vector, Settings(k=K))
        for hit in hits:
            path = root / hit.passage.path
            assert path.exists(), f"{hit.passage.path} was deleted and is still found"
            text = words(path.read_text(encoding="utf-8"))
            assert set(words(hit.passage.text)) <= set(text), f"{hit.passage.where} is no longer what the file says"
        start = " ".join(words(pairs[question])[:START])
        out.append(any(hit.passage.path == FAQ and start in " ".join(words(hit.passage.text)) for hit in hits))
        print(f"  {'found ' if out[-1] else 'MISSED'} {question[:100]}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same; it takes under two minutes")
    parser.parse_args()
    old, new = DATA / "docs_axolotl/v0.8.0", DATA / "docs_axolotl/v0.18.0"
    if not old.exists():
        sys.exit("docs_axolotl is absent; nothing was measured")
    before, after = questions(old / "faq.qmd"), questions(new / "faq.qmd")
    known_before = {tuple(words(question)) for question in before}
    fresh = {question: answer for question, answer in after.items() if tuple(words(question)) not in known_before}
    folder = Path(tempfile.mkdtemp())
    root = folder / "team"
    shutil.copytree(old, root / "docs")
    engines = Engines()
    embedder = engines.embedder(knowledge.EMBEDDER)
    store, made = Sqlite(folder / "index"), index.index_config(embedder, knowledge.EMBEDDER, "benchmark")
    index.update(index.Folder(root, ["docs"]), store, embedder, made)
    print(f"v0.8.0: {store.health().passages} passages; the {len(before)} questions of its FAQ:")
    known = asked(store, embedder, before, root)
    shutil.rmtree(root / "docs")
    shutil.copytree(new, root / "docs")
    changes = index.update(index.Folder(root, ["docs"]), store, embedder, made)
    counts = {name: len(getattr(changes, name)) for name in ("added", "changed", "deleted", "renamed", "refused")}
    print(f"moved to v0.18.0: {counts}, unchanged {changes.unchanged}, {changes.embedded} texts embedded")
    assert store.health().whole
    print(f"the {len(fresh)} questions that only the newer FAQ answers:")
    found = asked(store, embedder, fresh, root)
    print(f"older FAQ, top {K}: {wilson(sum(known), len(known))}; newer questions, top {K}: {wilson(sum(found), len(found))}")
    print(f"ratio={sum(found) / len(found):.2f} of the new questions found in the top {K}, none from a deleted file; 0.8 asked")


if __name__ == "__main__":
    main()
