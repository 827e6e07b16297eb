"""One resolver of sources: usual spellings are known, what is not known is undecided, and no spelling opens what is closed."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest

from rung.sources import Documents, join_sources, names_document, split_sources
from rung.types import Source

ROOT = "/data/team/support"
NFD = unicodedata.normalize("NFD", "docs/hr/Gehälter.md")
KNOWN = Documents(
    ["docs/open.md", "docs/pay.md", "docs/hr/pay.md", "docs/hr/wages #2.md", NFD, "docs/faq/notes.v2.md", "../wiki/a;b.md"], ROOT
)


@pytest.mark.parametrize(
    ("source", "path", "section"),
    [
        ("docs/open.md", "docs/open.md", ""),
        ("docs/open.md#Opening hours", "docs/open.md", "Opening hours"),
        ("docs/open.md#Opening%20hours", "docs/open.md", "Opening hours"),
        ("docs/hr/wages #2.md", "docs/hr/wages #2.md", ""),
        ("docs/hr/wages #2.md#Grade #3", "docs/hr/wages #2.md", "Grade #3"),
        ("docs/hr/wages%20%232.md", "docs/hr/wages #2.md", ""),
        ("docs/hr/wages+%232.md", "docs/hr/wages #2.md", ""),
        ("docs%2Fhr%2Fpay.md", "docs/hr/pay.md", ""),
        ("docs\\hr\\pay.md", "docs/hr/pay.md", ""),
        ("DOCS/HR/PAY.MD", "docs/hr/pay.md", ""),
        ("docs/hr/pay", "docs/hr/pay.md", ""),
        ("hr/pay", "docs/hr/pay.md", ""),
        ("notes.v2", "docs/faq/notes.v2.md", ""),
        ("./docs/hr/../hr/pay.md", "docs/hr/pay.md", ""),
        ("/docs/hr/pay.md", "docs/hr/pay.md", ""),
        (f"{ROOT}/docs/pay.md", "docs/pay.md", ""),
        (f"file://{ROOT}/docs/pay.md", "docs/pay.md", ""),
        ("C:\\Users\\me\\support\\docs\\pay.md", "docs/pay.md", ""),
        ("docs/hr/Gehälter.md", NFD, ""),
        ("GEHÄLTER", NFD, ""),
        ("ｄｏｃｓ／ｏｐｅｎ．ｍｄ", "docs/open.md", ""),
        ("  docs/open.md \u200b", "docs/open.md", ""),
        ("docs / open.md", "docs/open.md", ""),
        ("[the page](docs/open.md)", "docs/open.md", ""),
        ('"docs/open.md"', "docs/open.md", ""),
        ("wiki/a;b.md", "../wiki/a;b.md", ""),
        ("../wiki/a;b.md#x", "../wiki/a;b.md", "x"),
    ],
)
def test_a_document_is_known_in_its_usual_spellings(source: str, path: str, section: str) -> None:
    [found] = KNOWN.find(source)
    assert (found.path, found.section) == (path, section)


@pytest.mark.parametrize(
    "source",
    ["docs/hr/pya.md", "docs/hr", "Gehalter.md", "docs/hr/pay.docx", "#x", "nan", "docs/pay#2.md", "docs/hrr/pay.md", "##" * 40],
)
def test_what_names_no_document_is_undecided(source: str) -> None:
    [found] = KNOWN.find(source)
    assert (found.path, found.may, found.canonical) == ("", (), source)


def test_what_could_be_two_documents_is_undecided_with_both() -> None:
    [found] = KNOWN.find("pay.md")
    assert found.path == "" and set(found.may) == {"docs/pay.md", "docs/hr/pay.md"}


def test_a_spelling_that_differs_in_signs_only_is_not_guessed() -> None:
    """`pay#2` reads as a section of the one or as the other misspelt."""
    [found] = Documents(["docs/pay.md", "docs/pay #2.md"]).find("docs/pay#2")
    assert found.path == "" and set(found.may) == {"docs/pay.md", "docs/pay #2.md"}


def test_a_path_letter_by_letter_is_its_document_and_tells_what_else_it_may_mean() -> None:
    [found] = Documents(["pay.md", "hr/pay.md"]).find("pay.md")
    assert found.path == "pay.md" and set(found.may) == {"pay.md", "hr/pay.md"}
    [found] = Documents(["Pay.md", "pay.md"]).find("pay.md")
    assert found.path == "pay.md" and set(found.may) == {"Pay.md", "pay.md"}


@pytest.mark.parametrize(
    "source",
    [
        '["docs/open.md", "docs/hr/pay.md"]',
        "docs/open.md; docs/hr/pay.md",
        "docs/open.md, docs/hr/pay.md",
        "docs/open.md\ndocs/hr/pay.md",
        "docs/open.md|hr/pay",
    ],
)
def test_several_sources_in_one_cell_are_each_found(source: str) -> None:
    assert [one.path for one in KNOWN.find(source)] == ["docs/open.md", "docs/hr/pay.md"]
    assert split_sources(join_sources(KNOWN.find(source))) == ("docs/open.md", "docs/hr/pay.md")


def test_of_several_sources_the_misspelt_one_is_undecided() -> None:
    assert [(one.given, one.path) for one in KNOWN.find("docs/open.md; docs/hr/pya.md")] == [
        ("docs/open.md", "docs/open.md"),
        ("docs/hr/pya.md", ""),
    ]


@pytest.mark.parametrize(
    "source", ["docs/open.md#a; docs/hr/pay.md", "docs/open.md#a; hr/pay", "docs/open.md#a docs/hr/pay.md#b"]
)
def test_a_second_source_behind_a_section_is_told(source: str) -> None:
    assert "docs/hr/pay.md" in {path for one in KNOWN.find(source) for path in one.may}


def test_the_nearest_names_are_offered() -> None:
    assert KNOWN.nearest("docs/hr/pya.md")[0] == "docs/hr/pay.md"
    assert KNOWN.nearest("Gehalter.md") == (NFD,)
    assert KNOWN.nearest("~~~~") == ()


def test_what_is_canonical_names_the_same_again() -> None:
    for source in ("docs/hr/wages%20%232.md#Grade%20%233", "GEHÄLTER", "hr/pay, open", "docs/hr/pya.md"):
        once = join_sources(KNOWN.find(source))
        assert join_sources(KNOWN.find(once)) == once
        assert [one.path for one in KNOWN.find(once)] == [one.path for one in KNOWN.find(source)]


def test_a_passage_is_named_by_its_document_and_section() -> None:
    passage = Source("1", "docs/hr/wages #2.md", "Grade #3", "", "")
    for source in ("docs/hr/wages #2.md", "wages #2.md#grade-3", quote("docs/hr/wages #2.md"), '["x.md", "docs/hr/wages #2.md"]'):
        assert passage.is_named(source), source
    for source in ("docs/hr/wages.md", "docs/hr/wages #2.md#Grade 4", "ages #2.md", ""):
        assert not passage.is_named(source), source
    assert names_document("docs/open.md#x", "docs/open.md", "X") and not names_document("docs/open.md#x", "docs/open.md", "y")
