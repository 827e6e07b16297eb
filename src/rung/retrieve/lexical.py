"""Lexical search: BM25 in tantivy, in a folder derived from the store and stamped with its generation.

tantivy gets text that `analyse` has already tokenized, and questions as plain term queries: there is no query syntax, so no
character of a question has a special meaning. A question's words are stemmed in its own language and in those of the index.
Two rules help if the index does not contain a word. A compound (Rückgabebedingungen) is also searched as two words of the
index, in German and Dutch even where the index contains it; an unknown word also as a prefix of known ones. Both apply to the
question alone, so that a passage's terms never depend on other passages.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rung import files
from rung.retrieve import analyse
from rung.retrieve.passage import Passage, embedded_text
from rung.retrieve.store import tags

EXPANSION_WEIGHT = 0.5
"""Weight of a term that matches only a part or a prefix of a question's word. On XQuAD German nDCG@10 rises from 0.943 to
0.950; prefixes of known words lowered it."""
MAX_PREFIX_MATCHES = 8
LEAST_SHARE = 0.01
"""Share of the passages from which a language counts as one of the index's: a few short passages are always misjudged."""
MEMORY = 50_000_000
"""tantivy's write buffer, in bytes."""


FORMAT = 3
"""Increase when the same passage is indexed in another way."""

Read = Callable[[Sequence[int]], Iterable[tuple[int, int, Passage]]]
"""From document numbers to (row, document, passage) of all their passages, ordered by document and row."""


@dataclass(frozen=True, slots=True)
class Stamp:
    store: str
    """The store's id, so that the index of another store is never used, and the versions that wrote it."""
    generation: int
    documents: frozenset[int]
    """Numbers of the indexed documents."""


@dataclass(frozen=True, slots=True)
class Lexical:
    """One generation of the lexical index."""

    index: Any
    searcher: Any
    languages: frozenset[str]
    """Those of the passages, by their stop words."""

    def search(self, question: str, depth: int, clauses: Sequence[frozenset[str]]) -> list[tuple[int, float]]:
        """The `depth` best passages with a tag of each clause, and any that tie with the last: (row, BM25), best first."""
        from tantivy import Occur, Query

        words = list(self._words(analyse.question_terms(question, self.languages)))
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

    def _words(self, terms: Mapping[str, float]) -> Iterator[Any]:
        from tantivy import Query

        weights = dict(terms)
        for term in terms:
            split = () if self._known(term) and self.languages.isdisjoint(analyse.COMPOUNDING) else self._split(term)
            for other in split or self._prefix_matches(term):
                weights.setdefault(other, EXPANSION_WEIGHT)
        for term, weight in weights.items():
            word = Query.term_query(self.index.schema, "words", term, "freq")
            yield word if weight == 1 else Query.boost_query(word, weight)

    def _split(self, term: str) -> tuple[str, ...]:
        """A compound's two parts, if the index contains both."""
        return next((pair for pair in analyse.compound(term) if all(self._known(part) for part in pair)), ())

    def _prefix_matches(self, term: str) -> list[str]:
        if len(term) < analyse.MIN_PART_LENGTH or not term.isalpha() or self._known(term):
            return []
        return [other for other, _ in self.searcher.terms_with_prefix("words", term, limit=MAX_PREFIX_MATCHES)]

    def _known(self, term: str) -> bool:
        return self.searcher.doc_freq("words", term) > 0


def catch_up(folder: Path, store: str, generation: int, documents: Iterable[int], read: Read) -> None:
    """Update the index to this generation: rebuilds it in the order of `documents`. One process at a time.

    Passages deleted from a tantivy index stay in its statistics until segments happen to merge, and even then lengths are
    estimated, so scores would depend on earlier contents. The rebuilt index equals that of a first run, to the last bit.
    Documents already indexed are copied with their terms, since analysis is the costly part.

    `documents`: the numbers of all documents; a changed document has a new number.
    """
    store = f"{store}, format {FORMAT}, analysis {analyse.VERSION}, tantivy {version('tantivy')}"  # not reused if older
    old, order = _read(folder), {document: place for place, document in enumerate(documents)}
    if old and (old.store, old.generation) == (store, generation):
        return
    had = old.documents if old and old.store == store else frozenset()
    if had and had == order.keys():
        _write(folder, Stamp(store, generation, had))
        return
    new = (
        (order[document], row, _indexed(row, document, passage))
        for row, document, passage in read([document for document in order if document not in had])
    )
    kept = _kept(folder, {document: order[document] for document in had & order.keys()}) if had else ()
    files.sweep_beside(folder)
    with files.whole_folder(folder) as part:
        writer = _open(part).writer(MEMORY, 1)
        for _, _, entry in heapq.merge(kept, new, key=lambda one: one[:2]):
            writer.add_document(entry)
        writer.commit()
        writer.wait_merging_threads()
        _write(part, Stamp(store, generation, frozenset(order)))


def _kept(folder: Path, order: Mapping[int, int]) -> Iterator[tuple[int, int, Any]]:
    """Indexed entries of these documents, by their places and rows."""
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
    searcher = index.searcher()
    least = max(1.0, LEAST_SHARE * searcher.num_docs)
    found = frozenset(language for language in analyse.STOPWORDS if searcher.doc_freq("language", language) >= least)
    return Lexical(index, searcher, found)


def _indexed(row: int, document: int, passage: Passage) -> Any:
    from tantivy import Document

    entry = Document()
    text = f"{passage.path}\n{embedded_text(passage)}"
    language = analyse.detect(text)
    entry.add_text("words", " ".join(analyse.terms(text, language)))
    entry.add_text("language", language)
    for tag in tags(passage):
        entry.add_text("tags", tag)
    entry.add_integer("document", document)
    entry.add_integer("row", row)
    return entry


def _open(folder: Path) -> Any:
    from tantivy import Index, SchemaBuilder

    schema = SchemaBuilder()
    schema.add_text_field("words", stored=True, tokenizer_name="whitespace", index_option="freq")
    schema.add_text_field("language", stored=True, tokenizer_name="raw", index_option="basic")
    schema.add_text_field("tags", stored=True, tokenizer_name="raw", index_option="basic")
    schema.add_integer_field("document", stored=True, fast=True)
    schema.add_integer_field("row", stored=True, fast=True)
    return Index(schema.build(), str(folder))


def _read(folder: Path) -> Stamp | None:
    path = folder / "stamp.json"
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        return Stamp(found["store"], found["generation"], frozenset(found["documents"]))
    except (ValueError, TypeError, KeyError):  # damaged: the data are derived and can be rebuilt
        return None


def _write(folder: Path, stamp: Stamp) -> None:
    files.write_json(folder / "stamp.json", {**asdict(stamp), "documents": sorted(stamp.documents)})
