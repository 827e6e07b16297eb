"""The resolver of sources under anything: no traceback, and no way to write a closed document opens it.

The fast suite runs a few hundred inputs; `-m slow` runs ten thousand.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rung.retrieve.knowledge import is_open, open_to_all, with_sources
from rung.retrieve.named import findings
from rung.sources import Documents, join_sources, names_document, split_sources
from rung.types import Example, Texts

FEW = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))

ROOT = "/data/team/support"
SIGNS = "ab#%.;,| -_+&é\u0308ßŁ工😀/\\[]()\"'2~\u200b\u00a0"
STEP = st.text(SIGNS.replace("/", "").replace("\\", ""), min_size=1, max_size=6).map(
    lambda text: text.strip(" .\u00a0\u200b") or "x"
)
PATH = st.builds(
    lambda steps, end: "/".join(steps) + end, st.lists(STEP, min_size=1, max_size=3), st.sampled_from([".md", ".txt"])
)
PATHS = st.lists(PATH, min_size=1, max_size=6, unique=True)
ANYTHING = st.one_of(st.text(max_size=60), st.text(SIGNS, max_size=40), st.binary(max_size=30).map(lambda b: b.decode("latin-1")))

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda path: path,
    "composed": lambda path: unicodedata.normalize("NFC", path),
    "decomposed": lambda path: unicodedata.normalize("NFD", path),
    "upper case": str.upper,
    "backslashes": lambda path: path.replace("/", "\\"),
    "escaped": quote,
    "all escaped": lambda path: quote(path, safe=""),
    "dotted": lambda path: f"./{path}",
    "rooted": lambda path: f"/{path}",
    "absolute": lambda path: f"{ROOT}/{path}",
    "absolute elsewhere": lambda path: f"/home/me/support/{path}",
    "blanks around": lambda path: f" \t{path}\u00a0\n",
    "invisible": lambda path: f"\ufeff{path}\u200b",
    "without ending": lambda path: path.rpartition(".")[0],
    "name only": lambda path: path.rpartition("/")[2],
}
AROUND: dict[str, Callable[[str], str]] = {
    "bare": lambda path: path,
    "with a section": lambda path: f"{path}#Grade 3",
    "quoted": lambda path: f'"{path}"',
    "listed": lambda path: json.dumps([path]),
}

SPELT = st.lists(st.sampled_from(sorted(SPELLINGS)), max_size=2, unique=True)


def task(paths: list[str], closed: str) -> Texts:
    files = tuple(f"{ROOT}/{path}" for path in paths)
    pattern = "".join(f"[{sign}]" if sign in "*?" else sign for sign in closed)
    return Texts(files, "", ROOT, (".",), 0, contents=("",) * len(files), access=((pattern, "hr"),))


def no_traceback(paths: list[str], source: str) -> None:
    found = Documents(paths, ROOT).find(source)
    assert all(not one.path or one.path in one.may for one in found) and all(set(one.may) <= set(paths) for one in found)
    assert bool(found) == bool(source.strip())
    again = Documents(paths, ROOT).find(join_sources(found))
    assert {one.path for one in again} >= {one.path for one in found if one.path}, "what is canonical names the same document"
    split_sources(source), names_document(source, paths[0], "x"), Documents(paths).nearest(source)
    texts = task(paths, paths[0])
    row = with_sources(Example("q", "a", source=source, where="rows.csv line 2"), texts)
    assert (row in open_to_all([row], texts)) == is_open(row.source, texts)
    findings({"train": [row], "test": [row]}, texts)


def stays_closed(paths: list[str], spelt: list[str], around: str) -> None:
    """The first document is closed. However its path is written, alone or beside an open one, the row is closed."""
    texts, source = task(paths, paths[0]), paths[0]
    for name in spelt:
        source = SPELLINGS[name](source)
    if any(source.endswith(f"/support/{path}") for path in paths[1:]):
        return  # two spellings one after the other have made another document's own path behind the folder's name
    source = AROUND[around](source)
    assert not is_open(source, texts), "as the row has it"
    assert not is_open(with_sources(Example("q", "a", source=source), texts).source, texts), "as citations spell it"
    for beside in paths[1:]:
        for several in (json.dumps([beside, source]), f"{beside}\n{source}"):
            assert not is_open(several, texts), several


@FEW
@given(PATHS, ANYTHING)
@example(["a.md"], "[" * 5000)
@example(["a.md"], "#" * 5000)
@example(["a.md"], "\ud800\0/..")
def test_anything_may_stand_in_a_source(paths: list[str], source: str) -> None:
    no_traceback(paths, source)


@FEW
@given(PATHS, SPELT, st.sampled_from(sorted(AROUND)))
@example(['#".md', '".md'], [], "listed")
@example(["2/2.md", "2.md"], ["name only", "absolute"], "bare")
@example(["2/2.md", "2.md"], ["name only", "absolute elsewhere"], "bare")
def test_no_spelling_opens_a_closed_document(paths: list[str], spelt: list[str], around: str) -> None:
    stays_closed(paths, spelt, around)


@pytest.mark.slow
@MANY
@given(PATHS, ANYTHING)
def test_anything_may_stand_in_a_source_ten_thousand_times(paths: list[str], source: str) -> None:
    no_traceback(paths, source)


@pytest.mark.slow
@MANY
@given(PATHS, SPELT, st.sampled_from(sorted(AROUND)))
def test_no_spelling_opens_a_closed_document_ten_thousand_times(paths: list[str], spelt: list[str], around: str) -> None:
    stays_closed(paths, spelt, around)
