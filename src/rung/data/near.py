"""Near-duplicate texts: finds all pairs with enough token overlap exactly, without comparing all pairs.

Prefix filtering (Bayardo, Ma and Srikant, WWW 2007): sets that overlap enough share one of their rarest tokens. Medium-sized
sets must share two (2-prefix scheme of Wang, Li and Feng, SIGMOD 2012), so only rows that share a rare pair are compared, and
only those with enough tokens after the pair (positional bound of PPJoin, Xiao et al., WWW 2008). Tokens are numbered by rarity
and stored in flat arrays.
"""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

# Scripts written without spaces give a token a character; elsewhere a token is a word, or a sign such as + or €.
UNSPACED = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")

Tokens = frozenset[str]

BOILERPLATE_SHARE = 0.8
"""Words in at least this share of the texts are boilerplate (a system prompt, an instruction) and ignored; otherwise all
rows with a long shared prompt would be near-duplicates. Applies from MIN_BOILERPLATE_TEXTS texts on."""
MIN_BOILERPLATE_TEXTS = 20
MAX_PAIRED_SIZE = 60
"""Sets up to this size are looked up by token pairs, larger ones by single tokens, as pairs grow quadratically."""
BATCH = 8192
"""Sets per lookup batch."""
SCAN_LIMIT = 16
"""Up to this many rows of a key are scanned; beyond, only those of fitting size and position."""
_SIZE_BITS = _PLACE_BITS = 12
_TOP = 2**_SIZE_BITS - 1
_KEYS = 2**39
EPS = 1e-9


def tokens(text: str) -> Tokens:
    """The set of words and signs of a normalised text."""
    return frozenset(_TOKEN.findall(text))


@dataclass(frozen=True, slots=True)
class _Sets:
    """Many sets of tokens, each its tokens' ranks in rising order: the rarest first."""

    starts: Any
    flat: Any
    unknown: Any
    """Tokens of each set that the index does not know; they would stand first."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> Any:
        return self.starts[1:] - self.starts[:-1] + self.unknown


@dataclass(frozen=True, slots=True)
class _Table:
    """Where rows may be met: for each key (tokens that must be shared) the rows that hold it among their rarest."""

    shared: int
    """Tokens of a key: 1 or 2."""
    entries: array[int]
    """Key, size of the set and place of the key's last token in it, as one number; sorted."""
    rows: Sequence[int]
    """The row of each entry."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index for `neighbours` and `near_many`."""

    threshold: float
    """Minimum Jaccard overlap of near sets."""
    ranks: Mapping[str, int]
    """Token ranks by rarity, without boilerplate."""
    frame: Tokens
    flat: Sequence[int]
    starts: Sequence[int]
    sets: _Sets
    single: _Table
    pairs: _Table


def index(sets: Iterable[Tokens], threshold: float = 0.8) -> Index:
    """Index the sets in order. `threshold`: minimum Jaccard overlap."""
    import numpy as np

    ids: dict[str, int] = {}
    flat, ends = array("i"), array("q", [0])
    for one in sets:
        flat.extend([ids.setdefault(token, len(ids)) for token in one])
        ends.append(len(flat))
    rows = len(ends) - 1
    found, starts = np.frombuffer(flat, np.int32) if flat else np.empty(0, np.int32), np.frombuffer(ends, np.int64)
    counts = np.bincount(found, minlength=len(ids))
    framed = (counts >= BOILERPLATE_SHARE * rows) & (rows >= MIN_BOILERPLATE_TEXTS)
    rank = np.empty(len(ids), np.int64)
    rank[np.argsort(np.where(framed, rows + 1, counts), kind="stable")] = np.arange(len(ids))
    names = list(ids)
    frame = frozenset(names[i] for i in np.flatnonzero(framed))
    ranks = {token: place for token, place in zip(names, rank.tolist()) if token not in frame}
    made = _sorted(np.repeat(np.arange(rows), np.diff(starts)), rank[found], ~framed[found], rows)
    # what is looked up by single tokens may meet sets a little smaller or larger
    small = math.floor(1 / threshold + EPS)
    single = _table(made, threshold, 1, lambda n: (n <= small / threshold + EPS) | (n >= threshold * MAX_PAIRED_SIZE - EPS))
    pairs = _table(made, threshold, 2, lambda n: (n >= 2) & (n <= MAX_PAIRED_SIZE / threshold + EPS))
    flat, ends = _array("i", made.flat.astype(np.int32)), _array("q", made.starts)
    return Index(threshold, ranks, frame, flat, ends, made, single, pairs)


def neighbours(found_in: Index, one: Tokens) -> Iterator[int]:
    """Rows of the index whose token set is near `one`, each once, in no order. Lazy: stop when you have enough."""
    for found in _near(found_in, _known(found_in, [one])):
        yield from found


def near_many(found_in: Index, sets: Iterable[Tokens], most: int) -> Iterator[list[int]]:
    """For each set the rows of the index near it, `most` at most, the same ones each time; many sets are looked up at once."""
    left = iter(sets)
    while part := list(islice(left, BATCH)):
        for found in _near(found_in, _known(found_in, part)):
            yield list(islice(found, most))


def near_within(found_in: Index, most: int) -> Iterator[list[int]]:
    """For each row of the index those near it, itself included, `most` at most."""
    for start in range(0, len(found_in.sets), BATCH):
        end = min(start + BATCH, len(found_in.sets))
        whole = found_in.sets
        starts = whole.starts[start : end + 1]
        part = _Sets(starts - starts[0], whole.flat[starts[0] : starts[-1]], whole.unknown[start:end])
        for found in _near(found_in, part):
            yield list(islice(found, most))


def _known(found_in: Index, sets: Sequence[Tokens]) -> _Sets:
    import numpy as np

    rows, flat, unknown = array("q"), array("q"), array("q")
    for row, one in enumerate(sets):
        known = [rank for token in one if (rank := found_in.ranks.get(token)) is not None]
        flat.extend(known)
        rows.extend([row] * len(known))
        unknown.append(len(one) - len(known) - sum(token in found_in.frame for token in one))
    made = _sorted(np.array(rows, np.int64), np.array(flat, np.int64), None, len(sets))
    return _Sets(made.starts, made.flat, np.array(unknown, np.int64))


def _sorted(rows: Any, ranks: Any, kept: Any, count: int) -> _Sets:
    import numpy as np

    if kept is not None:
        rows, ranks = rows[kept], ranks[kept]
    width = int(ranks.max()) + 1 if len(ranks) else 1
    both = rows * width + ranks
    both.sort()
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=count), out=starts[1:])
    return _Sets(starts, both % width, np.zeros(count, np.int64))


def _array(code: str, values: Any) -> array[int]:
    """Numbers as an array of Python's, whose items are quicker to take one by one."""
    made = array(code)
    made.frombytes(memoryview(values).cast("B"))
    return made


# Keys


def _table(sets: _Sets, threshold: float, shared: int, wanted: Any) -> _Table:
    import numpy as np

    entries, rows = [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
    for group, keys, places, size in _keys(sets, threshold, shared, wanted):
        entry = (keys << (_SIZE_BITS + _PLACE_BITS)) + (min(size, _TOP) << _PLACE_BITS) + np.minimum(places, _TOP)[None, :]
        entries.append(entry.ravel().astype(np.uint64))
        rows.append(np.repeat(group, keys.shape[1]).astype(np.int32))
    every, of = np.concatenate(entries), np.concatenate(rows)
    del entries, rows  # a key takes 12 bytes here, and a row has a dozen keys
    order = np.argsort(every, kind="stable")
    every, of = every[order], of[order]
    del order
    return _Table(shared, _array("Q", every), _array("i", of))


def _keys(sets: _Sets, threshold: float, shared: int, wanted: Any) -> Iterator[tuple[Any, Any, Any, int]]:
    """The sets of one size and with as many unknown tokens: their rows, a line of keys each, the place of each key, the size."""
    import numpy as np

    sizes = sets.sizes
    groups = np.flatnonzero(wanted(sizes) & (sizes > 0))
    kinds, of = np.unique(np.stack([sizes[groups], sets.unknown[groups]]), axis=1, return_inverse=True)
    order = np.argsort(of.ravel(), kind="stable")
    bounds = np.searchsorted(of.ravel()[order], np.arange(kinds.shape[1] + 1))
    for kind in range(kinds.shape[1]):
        size, unknown = int(kinds[0, kind]), int(kinds[1, kind])
        longest = min(size, size - math.ceil(threshold * size - EPS) + shared) - unknown
        if longest < shared:
            continue
        group = groups[order[bounds[kind] : bounds[kind + 1]]]
        first = sets.flat[sets.starts[group][:, None] + np.arange(longest)[None, :]]
        if shared == 1:
            yield group, first, unknown + np.arange(longest), size
        else:
            i, j = np.triu_indices(longest, 1)
            yield group, (first[:, i] * 2_654_435_761 + first[:, j]) % _KEYS, unknown + j, size


# Looking up


def _near(found_in: Index, asked: _Sets) -> Iterator[Iterator[int]]:
    """For each set that is asked the rows near it."""
    small = math.floor(1 / found_in.threshold + EPS)
    spans: list[list[tuple[int, int, int]]] = [[] for _ in range(len(asked))]
    _collect_spans(found_in.single, asked, found_in.threshold, lambda n: (n <= small) | (n > MAX_PAIRED_SIZE), spans)
    _collect_spans(found_in.pairs, asked, found_in.threshold, lambda n: (n > small) & (n <= MAX_PAIRED_SIZE), spans)
    sizes, starts = asked.sizes.tolist(), asked.starts.tolist()
    for row, found in enumerate(spans):
        size = sizes[row]
        table = found_in.single if size <= small or size > MAX_PAIRED_SIZE else found_in.pairs
        mine = frozenset(asked.flat[starts[row] : starts[row + 1]].tolist()) if found else frozenset()
        yield _checked(found_in, table, found, mine, size)


def _collect_spans(table: _Table, asked: _Sets, threshold: float, wanted: Any, spans: list[list[tuple[int, int, int]]]) -> None:
    """Add to each set's `spans` where its keys stand in the table: from, to, and the place of the key in the set."""
    import numpy as np

    entries, below = np.frombuffer(table.entries, np.uint64), np.uint64(_SIZE_BITS + _PLACE_BITS)
    for group, keys, places, _ in _keys(asked, threshold, table.shared, wanted):
        low = np.searchsorted(entries, keys.astype(np.uint64) << below)
        high = np.searchsorted(entries, (keys + 1).astype(np.uint64) << below)
        line, key = np.nonzero(high > low)
        found = zip(group[line].tolist(), low[line, key].tolist(), high[line, key].tolist(), places[key].tolist())
        for row, first, last, place in found:
            spans[row].append((first, last, place))


def _checked(
    found_in: Index, table: _Table, spans: Sequence[tuple[int, int, int]], mine: frozenset[int], size: int
) -> Iterator[int]:
    share = found_in.threshold / (1 + found_in.threshold)
    starts, flat, rows = found_in.starts, found_in.flat, table.rows
    tried: set[int] = set()
    for low, high, place in spans:
        for a, b in [(low, high)] if high - low <= SCAN_LIMIT else _fitting(table, low, high, size, place, found_in.threshold):
            for at in range(a, b):
                row = rows[at]
                if row in tried:
                    continue
                tried.add(row)
                start, end = starts[row], starts[row + 1]
                needed = share * (size + end - start) - EPS
                if min(size, end - start) >= needed and len(mine.intersection(flat[start:end])) >= needed:
                    yield row


def _fitting(table: _Table, low: int, high: int, size: int, place: int, threshold: float) -> Iterator[tuple[int, int]]:
    """Of the entries of one key those of a size, and with the key at a place, that leave enough tokens to share."""
    share = threshold / (1 + threshold)
    key = table.entries[low] >> (_SIZE_BITS + _PLACE_BITS) << (_SIZE_BITS + _PLACE_BITS)
    for other in range(math.ceil(threshold * size - EPS), math.floor(size / threshold + EPS) + 1):
        if other >= _TOP:  # sizes from here on are not told apart
            yield bisect_left(table.entries, key + (_TOP << _PLACE_BITS), low, high), high
            return
        needed = math.ceil(share * (size + other) - EPS)
        if table.shared + size - 1 - place < needed:
            return  # and larger ones need still more
        front = key + (other << _PLACE_BITS)
        first = bisect_left(table.entries, front, low, high)
        last = bisect_left(table.entries, front + table.shared + other - needed, first, high)
        if last > first:
            yield first, last
