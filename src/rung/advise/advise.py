"""From answers to advice: applies the decision table, picks the first choice, finds assumptions that would change it. Pure."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from string import Formatter

from rung.advise.questions import Answer, Value
from rung.advise.questions import alternatives as other_values
from rung.advise.table import TABLE, Rule, Verdict, When
from rung.methods.base import Family

OPERATORS = {"<": operator.lt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne}
ORDER: tuple[Verdict, ...] = ("do", "later", "don't")

Answers = Mapping[str, Answer]
Listed = Mapping[str, tuple[Family | None, ...]]
"""Rungs in display order, each with the families of its methods."""
Bases = Mapping[str, tuple[Answers, Listed]]
"""By base, the default first: its answers and its rungs."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The table's advice on one family, or on a rung."""

    family: str
    verdict: Verdict
    bet: int
    why: str
    sources: tuple[str, ...] = ()
    deciding: tuple[str, ...] = ()
    """Keys of the answers that the rule tests or its reason mentions."""


@dataclass(frozen=True, slots=True)
class Flip:
    """An assumed answer whose change would change the advice."""

    key: str
    assumed: Value
    instead: Value
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """The flowchart's result for one task."""

    answers: tuple[Answer, ...]
    advice: tuple[Advice, ...]
    """By family, lightest change first."""
    rungs: Mapping[str, Advice]
    """By rung, in display order: its methods' most cautious advice, with their highest bet."""
    first: str
    """The rung most likely to score best among those to try; empty if there is none."""
    flips: tuple[Flip, ...] = ()
    bases: Mapping[str, tuple[Advice, ...]] = field(default_factory=dict)
    """For each further base, by its short name: the advice that differs from the default base's."""


def chart(
    answers: Answers,
    listed: Listed,
    table: Mapping[Family, Sequence[Rule]] = TABLE,
    others: Mapping[str, tuple[Answers, Listed]] | None = None,
    closed: Collection[str] = (),
) -> Chart:
    """Apply the table to the answers, for the rungs that can be tried.

    `others`: answers and rungs of further bases, by short name; assumptions are shared by all bases.
    `closed`: rungs ruled out by their cost estimate; none of them can be the first choice.
    """
    bases = {"": (answers, listed), **(others or {})}
    found = _chart(bases, table, closed)
    flips = [
        Flip(answer.key, answer.value, value, changes)
        for answer in answers.values()
        if answer.origin == "assumed"
        for value in other_values(answer)
        if (changes := _changes(found, _chart(_with_answer(bases, replace(answer, value=value)), table, closed)))
    ]
    return replace(found, flips=tuple(flips))


def _with_answer(bases: Bases, answer: Answer) -> Bases:
    """The bases with this answer replaced."""
    return {name: ({**answers, answer.key: answer}, listed) for name, (answers, listed) in bases.items()}


def _chart(bases: Bases, table: Mapping[Family, Sequence[Rule]], closed: Collection[str]) -> Chart:
    by_base = {
        name: {family: _advice(family, table[family], answers) for family in table} for name, (answers, _) in bases.items()
    }
    usual, *others = bases
    rungs = {rung: _rung_advice(families, by_base[name]) for name, (_, some) in bases.items() for rung, families in some.items()}
    differing = {
        name: tuple(one for family, one in by_base[name].items() if one.verdict != by_base[usual][family].verdict)
        for name in others
    }
    return Chart(tuple(bases[usual][0].values()), tuple(by_base[usual].values()), rungs, _first(rungs, closed), (), differing)


def _advice(family: Family, rules: Sequence[Rule], answers: Answers) -> Advice:
    """Advice of the first matching rule; each family ends with a rule without conditions."""
    rule = next(rule for rule in rules if all(_holds(when, answers) for when in rule.when))
    words = {key: _format(answer.value) for key, answer in answers.items()}
    mentioned = (key for _, key, _, _ in Formatter().parse(rule.why) if key)
    deciding = tuple(dict.fromkeys([*(key for key, _, _ in rule.when), *mentioned]))
    return Advice(family.value, rule.verdict, rule.bet, rule.why.format_map(words), rule.sources, deciding)


def _holds(when: When, answers: Answers) -> bool:
    key, sign, value = when
    return bool(OPERATORS[sign](answers[key].value, value))


def _rung_advice(families: tuple[Family | None, ...], advice: Mapping[Family, Advice]) -> Advice:
    """Advice on a rung: that of its most cautious method, unless the table has rules for the combination."""
    if {Family.RETRIEVAL, Family.ADAPTERS} <= set(families):
        families = (*(one for one in families if one not in (Family.RETRIEVAL, Family.ADAPTERS)), Family.HYBRID)
    parts = [advice[family] for family in families if family is not None]
    if not parts:
        return Advice("", "do", 0, "the flowchart has no advice on this rung")
    worst = max(parts, key=lambda part: ORDER.index(part.verdict))
    return replace(worst, bet=max(part.bet for part in parts))


def _first(rungs: Mapping[str, Advice], closed: Collection[str]) -> str:
    open_ = [rung for rung, one in rungs.items() if one.verdict != "don't" and rung not in closed]
    return min(open_, key=lambda rung: (ORDER.index(rungs[rung].verdict), -rungs[rung].bet), default="")


def _changes(now: Chart, then: Chart) -> tuple[str, ...]:
    pairs = [(b, a) for b, a in zip(now.advice, then.advice, strict=True) if b.verdict != a.verdict]
    families = {after.family for _, after in pairs}
    moved = [f"{after.family}: {before.verdict} becomes {after.verdict}" for before, after in pairs]
    moved += [
        f"{rung}: {before.verdict} becomes {after.verdict}"
        for rung, before in now.rungs.items()
        if before.verdict != (after := then.rungs[rung]).verdict and not families & {before.family, after.family}
    ]  # on a base with different advice
    if now.first != then.first:
        moved.append(f"the first choice becomes {then.first or 'none'}")
    return tuple(moved)


def _format(value: Value) -> str:
    """A number for people: whole if large, two digits if small."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
