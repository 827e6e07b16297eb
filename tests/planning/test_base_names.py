"""Short names of bases, and rungs named with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.errors import TaskError
from rung.task import base_names


@pytest.mark.parametrize(
    ("bases", "names"),
    [
        (["smollm2-135m-instruct", "openai:gpt-4o-mini"], ["smollm2-135m-instruct", "gpt-4o-mini"]),
        (["http://host:8000/v1#llama3:8b", "./models/ours/"], ["llama3:8b", "ours"]),
        (["openai:m", "http://a:1/v1#m", "http://b:1/v1#m"], ["openai/m", "a:1/v1/m", "b:1/v1/m"]),
        (["m", "org/m", "x/org/m"], ["m", "org/m", "x/org/m"]),
    ],
)
def test_a_name_is_as_short_as_it_can_be(bases: list[str], names: list[str]) -> None:
    assert base_names.short(bases) == dict(zip(names, bases))


part = st.text(st.sampled_from("ab.:@-"), min_size=1, max_size=3)
a_base = st.builds("/".join, st.lists(part, min_size=1, max_size=3))


@given(st.lists(a_base, min_size=1, max_size=5, unique=True))
def test_every_base_is_found_by_its_name_and_no_other(bases: list[str]) -> None:
    names = base_names.short(bases)
    assert list(names.values()) == bases
    for name, base in names.items():
        assert base_names.parse(f"few-shot+lora@{name}", names) == ("few-shot+lora", name)
        if base not in names:  # what is one base's short name is not read as another's whole one
            assert base_names.parse(f"lora@{base}", names) == ("lora", name)


def test_a_rung_without_a_base_names_none() -> None:
    assert base_names.parse("few-shot+lora", {"m": "org/m"}) == ("few-shot+lora", "")


def test_an_unknown_base_is_told_the_known_ones() -> None:
    with pytest.raises(TaskError, match=r"there is no base .x.\. Known: m, n"):
        base_names.parse("lora@x", {"m": "org/m", "n": "n"})


def test_a_base_that_stands_there_twice_is_refused() -> None:
    assert base_names.distinct(("a/m", "m")) == ("a/m", "m")
    with pytest.raises(ValueError, match="'a/m/' is listed twice"):
        base_names.distinct(("a/m", "a/m/"))


def test_names_are_explained_only_where_they_speak_of_bases() -> None:
    assert base_names.describe({"zero-shot": "m", "lora": "m"}) == ""
    assert base_names.describe({"zero-shot": "m", "zero-shot@b": "openai:b"}) == "rungs without @ on m, @b on openai:b"
    assert base_names.describe({"lora@b": "org/b"}) == "@b on org/b"
