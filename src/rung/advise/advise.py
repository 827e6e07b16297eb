"""From answers to advice: the decision table applied, the first choice, and which single answers would change it. All pure."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from string import Formatter

from rung.advise.questions import Answer, Value
from rung.advise.questions import others as other_values
from rung.advise.table import TABLE, Rule, Verdict, When
from rung.methods.base import Family

OPERATORS = {"<": operator.lt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne}
ORDER: tuple[Verdict, ...] = ("do", "later", "don't")

Answers = Mapping[str, Answer]
Listed = Mapping[str, tuple[Family | None, ...]]
"""The rungs in the order in which they are listed, each with the families of its methods."""
Bases = Mapping[str, tuple[Answers, Listed]]
"""By base, the usual one first: its answers, and the rungs on it."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What the table says of one family."""

    family: str
    verdict: Verdict
    bet: int
    why: str
    sources: tuple[str, ...] = ()
    deciding: tuple[str, ...] = ()
    """Keys of the answers that led here, and of those that the reason tells."""


@dataclass(frozen=True, slots=True)
class Flip:
    """A single assumed answer that would change the advice."""

    key: str
    assumed: Value
    instead: Value
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """All that the flowchart says of one task."""

    answers: tuple[Answer, ...]
    advice: tuple[Advice, ...]
    """By family, lightest change first."""
    rungs: Mapping[str, Advice]
    """By rung, in the order listed: of its methods' advice the most cautious, with the highest bet of them."""
    first: str
    """The rung most likely to score best among those to try; empty where none is."""
    flips: tuple[Flip, ...] = ()
    bases: Mapping[str, tuple[Advice, ...]] = field(default_factory=dict)
    """Of each base but the usual one, by its short name: the advice whose verdict is another for it."""


def chart(
    answers: Answers,
    listed: Listed,
    table: Mapping[Family, Sequence[Rule]] = TABLE,
    others: Mapping[str, tuple[Answers, Listed]] | None = None,
    closed: Collection[str] = (),
) -> Chart:
    """Apply the table to the answers, for the rungs that could be tried.

    `others`: the answers and the rungs of further bases, by their short names. What is assumed is so for all of them.
    `closed`: rungs that are ruled out by what they are quoted at; none of them is the first choice.
    """
    bases = {"": (answers, listed), **(others or {})}
    found = _chart(bases, table, closed)
    flips = [
        Flip(answer.key, answer.value, value, changes)
        for answer in answers.values()
        if answer.origin == "assumed"
        for value in other_values(answer)
        if (changes := _changes(found, _chart(_were(bases, replace(answer, value=value)), table, closed)))
    ]
    return replace(found, flips=tuple(flips))


def _were(bases: Bases, answer: Answer) -> Bases:
    """The same bases, were this the answer."""
    return {name: ({**answers, answer.key: answer}, listed) for name, (answers, listed) in bases.items()}


def _chart(bases: Bases, table: Mapping[Family, Sequence[Rule]], closed: Collection[str]) -> Chart:
    told = {name: {family: _advice(family, table[family], answers) for family in table} for name, (answers, _) in bases.items()}
    usual, *others = bases
    rungs = {rung: _of_rung(families, told[name]) for name, (_, some) in bases.items() for rung, families in some.items()}
    differing = {
        name: tuple(one for family, one in told[name].items() if one.verdict != told[usual][family].verdict) for name in others
    }
    return Chart(tuple(bases[usual][0].values()), tuple(told[usual].values()), rungs, _first(rungs, closed), (), differing)


def _advice(family: Family, rules: Sequence[Rule], answers: Answers) -> Advice:
    """The first rule that holds; a table ends each family with a rule without conditions."""
    rule = next(rule for rule in rules if all(_holds(when, answers) for when in rule.when))
    words = {key: _shown(answer.value) for key, answer in answers.items()}
    told = (key for _, key, _, _ in Formatter().parse(rule.why) if key)
    deciding = tuple(dict.fromkeys([*(key for key, _, _ in rule.when), *told]))
    return Advice(family.value, rule.verdict, rule.bet, rule.why.format_map(words), rule.sources, deciding)


def _holds(when: When, answers: Answers) -> bool:
    key, sign, value = when
    return bool(OPERATORS[sign](answers[key].value, value))


def _of_rung(families: tuple[Family | None, ...], advice: Mapping[Family, Advice]) -> Advice:
    """A rung joins methods: it is as cautious as the most cautious of them, unless the table has rules on the two."""
    if {Family.RETRIEVAL, Family.ADAPTERS} <= set(families):
        families = (*(one for one in families if one not in (Family.RETRIEVAL, Family.ADAPTERS)), Family.HYBRID)
    parts = [advice[family] for family in families if family is not None]
    if not parts:
        return Advice("", "do", 0, "the flowchart has no advice on it")
    worst = max(parts, key=lambda part: ORDER.index(part.verdict))
    return replace(worst, bet=max(part.bet for part in parts))


def _first(rungs: Mapping[str, Advice], closed: Collection[str]) -> str:
    open_ = [rung for rung, one in rungs.items() if one.verdict != "don't" and rung not in closed]
    return min(open_, key=lambda rung: (ORDER.index(rungs[rung].verdict), -rungs[rung].bet), default="")


def _changes(now: Chart, then: Chart) -> tuple[str, ...]:
    pairs = [(b, a) for b, a in zip(now.advice, then.advice, strict=True) if b.verdict != a.verdict]
    told = {after.family for _, after in pairs}
    moved = [f"{after.family}: {before.verdict} becomes {after.verdict}" for before, after in pairs]
    moved += [
        f"{rung}: {before.verdict} becomes {after.verdict}"
        for rung, before in now.rungs.items()
        if before.verdict != (after := then.rungs[rung]).verdict and not told & {before.family, after.family}
    ]  # on a base for which the advice is another
    if now.first != then.first:
        moved.append(f"the first choice becomes {then.first or 'none'}")
    return tuple(moved)


def _shown(value: Value) -> str:
    """A number as people write it: whole where it is large, two digits where small."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
