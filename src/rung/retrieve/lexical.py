"""The lexical leg: BM25 in tantivy, in a folder derived from the store's file and stamped with its generation.

tantivy is given text that `analyse` has already cut, and questions as plain term queries: nothing is parsed, so no sign in
a question means anything. Two rules help where the index does not hold a question's word as it stands. A compound
(Rückgabebedingungen) is also looked for as two words that the index knows; an unknown word also as the beginning of known
ones. Both act on the question alone, so that what a passage is filed under never depends on other passages.
"""

from __future__ import annotations

import heapq
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rung import files
from rung.retrieve import analyse
from rung.retrieve.passage import Passage, embedded_text
from rung.retrieve.store import tags

BESIDE = 0.5
"""Weight of a term that the question holds only as part or beginning of a word. On XQuAD German nDCG@10 rises from 0.943
to 0.950; beginnings of words that are known lowered it."""
BEGINNINGS = 8
MEMORY = 50_000_000
"""tantivy's buffer while writing, bytes."""


FORMAT = 2
"""Raise when the same passage would now be filed in another way."""

Read = Callable[[Sequence[int]], Iterable[tuple[int, int, Passage]]]
"""From numbers of documents to (row, document, passage) of all their passages, in the order of the numbers and then of rows."""


@dataclass(frozen=True, slots=True)
class Stamp:
    store: str
    """The store's own name, so that an index of another store is never taken for this one's; and what it was written by."""
    generation: int
    documents: frozenset[int]
    """Numbers of the documents that are filed."""


@dataclass(frozen=True, slots=True)
class Lexical:
    """One generation of the lexical index, ready to be searched."""

    index: Any
    searcher: Any

    def search(self, question: str, depth: int, clauses: Sequence[frozenset[str]]) -> list[tuple[int, float]]:
        """The `depth` best passages that carry a tag of each clause, and those as good as the last: (row, BM25), best first."""
        from tantivy import Occur, Query

        words = list(self._words(analyse.question_terms(question)))
        if not words or not depth:
            return []
        query = Query.boolean_query([(Occur.Should, word) for word in words])
        if clauses:
            sets = [Query.term_set_query(self.index.schema, "tags", sorted(clause)) for clause in clauses]
            must = [(Occur.Must, Query.const_score_query(one, 0.0)) for one in sets]
            query = Query.boolean_query([(Occur.Must, query), *must])
        hits, most = [], depth + 1
        while len(hits := self.searcher.search(query, most, count=False).hits) == most and hits[-1][0] == hits[depth - 1][0]:
            most *= 4
        hits = [hit for hit in hits if hit[0] >= hits[min(depth, len(hits)) - 1][0]]
        rows = self.searcher.fast_field_values("row", [address for _, address in hits])
        return sorted(((row, score) for row, (score, _) in zip(rows, hits)), key=lambda hit: (-hit[1], hit[0]))

    def count(self) -> int:
        return self.searcher.num_docs

    def _words(self, terms: Iterable[str]) -> Iterator[Any]:
        from tantivy import Query

        weights: dict[str, float] = dict.fromkeys(terms, 1.0)
        for term in list(weights):
            for other in self._split(term) or self._beginnings(term):
                weights.setdefault(other, BESIDE)
        for term, weight in weights.items():
            word = Query.term_query(self.index.schema, "words", term, "freq")
            yield word if weight == 1 else Query.boost_query(word, weight)

    def _split(self, term: str) -> tuple[str, ...]:
        """A compound's two parts, where both are words that the index knows."""
        return next((pair for pair in analyse.compound(term) if all(self._known(part) for part in pair)), ())

    def _beginnings(self, term: str) -> list[str]:
        if len(term) < analyse.SHORTEST_PART or not term.isalpha() or self._known(term):
            return []
        return [other for other, _ in self.searcher.terms_with_prefix("words", term, limit=BEGINNINGS)]

    def _known(self, term: str) -> bool:
        return self.searcher.doc_freq("words", term) > 0


def catch_up(folder: Path, store: str, generation: int, documents: Iterable[int], read: Read) -> None:
    """Bring the index to this generation: it is written anew, in the order of `documents`. One process at a time.

    Taking passages out of a tantivy index leaves them in its statistics until segments happen to merge, and even then
    lengths are estimated, so scores would depend on what the folder once held. Written anew it is the index that a first
    run would make, to the last bit. What was filed before is copied as it was analysed, which is the costly part.

    `documents` are the numbers of all there are; a changed document has a new number.
    """
    store = f"{store}, format {FORMAT}, analysis {analyse.VERSION}, tantivy {version('tantivy')}"  # of older ones nothing is kept
    old, order = _read(folder), {document: place for place, document in enumerate(documents)}
    if old and (old.store, old.generation) == (store, generation):
        return
    had = old.documents if old and old.store == store else frozenset()
    if had and had == order.keys():
        _write(folder, Stamp(store, generation, had))
        return
    part = _empty(folder.with_name(folder.name + ".part"))
    writer = _open(part).writer(MEMORY, 1)
    new = (
        (order[document], row, _filed(row, document, passage))
        for row, document, passage in read([document for document in order if document not in had])
    )
    kept = _kept(folder, {document: order[document] for document in had & order.keys()}) if had else ()
    for _, _, filed in heapq.merge(kept, new, key=lambda one: one[:2]):
        writer.add_document(filed)
    writer.commit()
    writer.wait_merging_threads()
    _write(part, Stamp(store, generation, frozenset(order)))
    shutil.rmtree(folder, ignore_errors=True)  # killed here, the next process finds no stamp and starts again
    part.replace(folder)


def _kept(folder: Path, order: Mapping[int, int]) -> Iterator[tuple[int, int, Any]]:
    """What is filed of these documents, by their places and rows."""
    from tantivy import Query

    searcher = _open(folder).searcher()
    hits = searcher.search(Query.all_query(), max(1, searcher.num_docs), count=False).hits
    addresses = [address for _, address in hits]
    documents, rows = (searcher.fast_field_values(field, addresses) for field in ("document", "row"))
    found = ((order[document], row, i) for i, (document, row) in enumerate(zip(documents, rows)) if document in order)
    for place, row, i in sorted(found):
        yield place, row, searcher.doc(addresses[i])


def load(folder: Path) -> Lexical:
    """The index of the last stamp."""
    index = _open(folder)
    return Lexical(index, index.searcher())


def _filed(row: int, document: int, passage: Passage) -> Any:
    from tantivy import Document

    filed = Document()
    filed.add_text("words", " ".join(analyse.terms(f"{passage.path}\n{embedded_text(passage)}")))
    for tag in tags(passage):
        filed.add_text("tags", tag)
    filed.add_integer("document", document)
    filed.add_integer("row", row)
    return filed


def _open(folder: Path) -> Any:
    from tantivy import Index, SchemaBuilder

    schema = SchemaBuilder()
    schema.add_text_field("words", stored=True, tokenizer_name="whitespace", index_option="freq")
    schema.add_text_field("tags", stored=True, tokenizer_name="raw", index_option="basic")
    schema.add_integer_field("document", stored=True, fast=True)
    schema.add_integer_field("row", stored=True, fast=True)
    return Index(schema.build(), str(folder))


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _read(folder: Path) -> Stamp | None:
    path = folder / "stamp.json"
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        return Stamp(found["store"], found["generation"], frozenset(found["documents"]))
    except (ValueError, TypeError, KeyError):  # damaged: what it speaks of is derived, and made anew
        return None


def _write(folder: Path, stamp: Stamp) -> None:
    files.write_json(folder / "stamp.json", {**asdict(stamp), "documents": sorted(stamp.documents)})
