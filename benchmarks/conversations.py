"""Training on every answer of a conversation against the last answer alone: the same conversations, steps and sequences.

Orders of a print shop are made, of four answers each: three ask for what is missing, the last repeats the order. Some of the
wordings and values stand in test conversations alone. LoRA on the default model learns from both; scored by exact match are every
answer and the last ones, with intervals over conversations. `--quick`: 40 train and 30 test conversations. Last line: the score
on every answer of the one over the other.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import common

from rung import methods
from rung.climbing.decide import compare
from rung.data.conversations import scored_turns
from rung.lm.base import Decoding
from rung.lm.engines import Engines
from rung.methods.base import Run
from rung.metrics import METRICS, score
from rung.predictor import Predictor
from rung.types import Example, Message, Record, Scores, TrainData

TASK = "Take orders of a print shop."
ITEMS = ("posters", "flyers", "menus", "postcards", "labels", "booklets", "tickets", "banners", "calendars", "stickers")
SIZES = ("A2", "A3", "A4", "A5", "A6", "B4", "B5")
COLOURS = ("blue", "red", "green", "black", "orange", "purple", "yellow", "white", "brown", "pink")
OPENINGS = (
    "I need some {item}.",
    "Can you print {item} for me?",
    "Good morning, I would like to order {item}.",
    "We want {item} for our fair.",
    "Hello, {item} please",
    "How soon could you make {item}?",
)
SIZE_SAID = ("{size}", "{size} please", "I think {size}.", "Make them {size}.", "In {size}, as last time.")
COLOUR_SAID = ("{colour}", "{colour} please", "All {colour}.", "They should be {colour}.", "I am for {colour}.")
NUMBER_SAID = ("{number}", "{number} please", "We need {number}.", "Let us say {number}.", "{number} will do.")
SEEN = 0.7
"""Share of wordings and values that train conversations have; test conversations have all."""


def conversations(count: int, seen: float, seed: int) -> tuple[Example, ...]:
    """Made conversations of four exchanges, the last answer of each as its output."""
    rng, rows = random.Random(seed), []

    def one(values: tuple[str, ...]) -> str:
        return rng.choice(values[: round(seen * len(values))])

    for _ in range(count):
        item, size, colour, number = one(ITEMS), one(SIZES), one(COLOURS), str(rng.randrange(5, 400))
        asked = [
            one(OPENINGS).format(item=item),
            one(SIZE_SAID).format(size=size),
            one(COLOUR_SAID).format(colour=colour),
            one(NUMBER_SAID).format(number=number),
        ]
        answers = [
            f"{item.capitalize()}, gladly. Which size?",
            f"{size} {item}. Which colour?",
            f"{colour.capitalize()} {size} {item}. How many?",
            f"Noted: {number} {item}, {size}, {colour}.",
        ]
        turns = [Message(*turn) for pair in zip(asked, answers) for turn in zip(("user", "assistant"), pair)]
        rows.append(Example(turns[-2].content, turns[-1].content, tuple(turns[:-2])))
    return tuple(rows)


def trained(rows: tuple[Example, ...], every: bool, engines: Engines, folder: Path) -> Predictor:
    """LoRA on the conversations; prints the time of its fit."""
    asked = Predictor(
        kind="generate",
        model=engines.reference("smollm2-135m-instruct"),
        instruction=TASK,
        decoding=Decoding(max_new_tokens=32),
    )
    cpu = time.process_time()
    for method in methods.rung("lora", {"lora": {"epochs": 4, "patience": 0}}):
        asked = method.fit(asked, TrainData(rows, every_answer=every), Run(folder, engines))
    print(f"  {'every answer' if every else 'the last alone'}: {time.process_time() - cpu:.0f} CPU-s to fit", flush=True)
    return asked


def measured(asked: Predictor, rows: tuple[Example, ...], engines: Engines) -> tuple[Scores, Scores]:
    """Scores on every answer and on the last ones."""
    every = scored_turns(rows)
    found = asked.predict(every, engines)
    last = [k for k, row in enumerate(every) if len(row.history) == 6]
    metric = METRICS["exact_match"]
    return (
        score(metric, every, found, "test", kind="generate"),
        score(metric, [every[k] for k in last], [found[k] for k in last], "test", kind="generate"),
    )


def main() -> None:
    given = common.arguments(__doc__ or "")
    engines = Engines(common.machine(), say=lambda text: None)
    train, test = conversations(40 if given.quick else 200, SEEN, 1), conversations(30 if given.quick else 150, 1.0, 2)
    turns = {row.id: row for row in scored_turns(test)}
    print(f"{len(train)} train and {len(test)} test conversations of four answers", flush=True)
    found = {}
    for every in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            found[every] = measured(trained(train, every, engines, Path(folder)), test, engines)
            for what, one in zip(("every answer", "the last ones"), found[every]):
                print(f"    exact match on {what}: {one.overall}", flush=True)
    last, whole = (Record(rung=str(every), status="done", scores=found[every][0]) for every in (False, True))
    gain = compare(last, whole, turns, {name: row.group for name, row in turns.items()}).difference
    print(f"  every answer less the last alone, paired: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], n={gain.n}")
    values = [found[every][0].overall.value for every in (True, False)]
    print(f"ratio={values[0] / max(values[1], 1 / len(turns)):.2f} times the score on every answer, of training on every answer")


if __name__ == "__main__":
    main()
