"""How far a model agrees with people on which of two answers is better: PandaLM's test set, three people a row.

Every pair is shown in both orders, and a judge that changes its mind says tie; people's mark is that of two of the three.
Beside the judge stand the longer answer, the commonest mark and one person against another. `ratio` is the judge's share
of the very same marks over what chance alone would agree, given how often it and people say each: 1 is no judge at all.
Rows are asked in a random order until the time is up. `--model` names any engine, as `base` does: openai:NAME costs money.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Sequence

import common

from rung.lm.engines import Engines
from rung.lm.inference.judge_model import judge_with
from rung.metrics.agreement import agreement_of, kappa
from rung.metrics.judge import JudgeReply, Pair, Pairwise

MARKS = ("tie", "first", "second")
CRITERION = "The answer that does better what was asked: right, whole, to the point and well written."
CHUNK = 8
SECONDS, QUICK_SECONDS = 3600.0, 240.0
Row = tuple[Pair, tuple[str, ...]]


def rows() -> list[Row]:
    """Each pair with what each of three people said, in a random order that is always the same."""
    path = common.DATA / "pandalm" / "testset-v1.json"
    if not path.exists():
        raise SystemExit(f"{path} is absent")
    found = json.loads(path.read_text(encoding="utf-8"))
    random.Random(0).shuffle(found)
    return [
        (
            Pair("\n\n".join(filter(None, [row["instruction"], row["input"]])), str(row["response1"]), str(row["response2"])),
            tuple(MARKS[row[f"annotator{person}"]] for person in (1, 2, 3)),
        )
        for row in found
    ]


def majority(said: Sequence[str]) -> str:
    """What two of three said; a tie where all three differ."""
    [(mark, times)] = Counter(said).most_common(1)
    return mark if times > 1 else "tie"


def by_chance(people: Sequence[str], judge: Sequence[str]) -> float:
    """Share of the same marks if both said theirs as often as they did, but of rows at random."""
    left, right = Counter(people), Counter(judge)
    return sum(left[mark] * right[mark] for mark in left) / len(people) ** 2


def longer(pair: Pair) -> str:
    one, two = len(pair.first), len(pair.second)
    return "first" if one > two else "second" if two > one else "tie"


def judged(judge: Pairwise, given: Sequence[Row], seconds: float) -> list[tuple[JudgeReply, ...]]:
    """What the judge says of the first rows in both orders, as many as the time allows."""
    began, out = time.perf_counter(), list[tuple[JudgeReply, ...]]()
    while len(out) < len(given) and time.perf_counter() - began < seconds:
        out += judge.sides([pair for pair, _ in given[len(out) : len(out) + CHUNK]])
    print(f"{len(out)} of {len(given)} rows in {time.perf_counter() - began:.0f} s")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"as many rows as {QUICK_SECONDS:.0f} s allow, on two cores")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="the judge, as base is named in rung.yaml")
    args = parser.parse_args()
    engines = Engines(common.machine())
    ref = engines.reference(args.model)
    judge = Pairwise(judge_with(engines.open(ref)), ref.digest, CRITERION)
    everything = rows()
    sides = judged(judge, everything, QUICK_SECONDS if args.quick else SECONDS)
    asked, marks = everything[: len(sides)], [judge.settle(some).mark or "failed" for some in sides]
    people = [majority(said) for _, said in asked]
    found = agreement_of(judge, people, sides)
    chance = by_chance(people, marks)
    print(f"{args.model}: {found}")
    print(f"it said {dict(Counter(marks))}, people {dict(Counter(people))}; by chance the same {chance:.3f}")
    print(f"the longer answer: kappa {kappa(people, [longer(pair) for pair, _ in asked], judge.marks)}")
    print(f"one person against another: kappa {kappa(*zip(*[said[:2] for _, said in asked]), judge.marks)}")
    commonest = Counter(people).most_common(1)[0][1] / len(people)
    print(f"always the commonest mark: the same {commonest:.3f}; trusted at {found.at_least:g}: {found.trusted}")
    if spent := engines.spent():
        print(f"calls to APIs, earlier ones included: {spent}")
    same = [value / chance for value in (found.same.value, found.same.low, found.same.high)]
    print(f"ratio={same[0]:.3f} [{same[1]:.3f}, {same[2]:.3f}] of the same marks as chance, n={found.same.n}; {args.model}")


if __name__ == "__main__":
    main()
