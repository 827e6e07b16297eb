"""Several labels a row: the encoder's heads, one prompt for the whole list, and one prompt a label, on the same made rows.

Tickets are made of one to three complaints out of twelve; a third of the wordings stands in test rows alone. `--quick`: 240
train rows, 80 test rows, without LoRA. Last line: micro F1 of the encoder over that of one prompt a label, and of the others.
"""

from __future__ import annotations

import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import common

from rung import label_sets, methods
from rung.lm.base import Decoding
from rung.lm.engines import Engines
from rung.methods.base import Run
from rung.metrics import METRICS, score
from rung.predictor import Predictor
from rung.types import Example, Interval, Prediction, TrainData

WORDINGS = {
    "broken_part": (
        "the handle snapped off",
        "a leg is cracked",
        "the hinge gave way after two days",
        "one of the screws sheared",
        "it fell apart in my hands",
        "the clasp does not close any more",
    ),
    "wrong_item": (
        "you sent me the blue one and I ordered the grey one",
        "this is not what I asked for",
        "there is another model in the box",
        "I got somebody else's parcel",
        "the size is not the one on my order",
        "I received a tent when I wanted a rucksack",
    ),
    "late": (
        "it was due on Monday and has not come",
        "I have been waiting for three weeks",
        "the tracking page has not moved since Friday",
        "where is my parcel",
        "the courier never turned up",
        "still nothing at my door",
    ),
    "refund": (
        "I want my money back",
        "please return what I paid",
        "when do I see the amount on my card again",
        "cancel it and repay me",
        "credit my account, please",
        "I expect to be reimbursed",
    ),
    "invoice": (
        "the bill has no tax number on it",
        "I need a receipt for my accountant",
        "please send the invoice as a PDF",
        "the address on the bill is wrong",
        "my company needs its name on the receipt",
        "the paperwork for my expenses is missing",
    ),
    "charged_twice": (
        "the payment went out two times",
        "my statement shows the same sum twice",
        "I was billed again for an order that I had paid",
        "there is a second debit of the same day",
        "you took the money double",
        "a duplicate charge is on my card",
    ),
    "login": (
        "I cannot sign in",
        "the password link does not arrive",
        "my account is locked",
        "the code from the text message is refused",
        "your site says that my user does not exist",
        "I am logged out every minute",
    ),
    "address_change": (
        "I have moved; send it to the new street",
        "please deliver to my office instead",
        "the flat number must be 12 and not 21",
        "can it go to my neighbour",
        "change the place of delivery",
        "I will be at another house next week",
    ),
    "warranty": (
        "is this covered by the guarantee",
        "how long does the warranty run",
        "it is only a year old, so you must repair it for free",
        "I registered the guarantee card",
        "do I have cover for this",
        "within two years you owe me a replacement",
    ),
    "spare_part": (
        "can I buy the lid alone",
        "where do I get a new filter",
        "do you sell the charger separately",
        "I need another set of bolts",
        "is there a replacement cushion to order",
        "a single wheel would be enough",
    ),
    "rude_staff": (
        "the man on the phone was insulting",
        "your driver shouted at me",
        "I was laughed at in the shop",
        "nobody has the manners to call back",
        "the lady at the till was unfriendly",
        "I will not be talked to like that",
    ),
    "praise": (
        "otherwise I love it",
        "thank you for the quick help last time",
        "the colour is wonderful",
        "your advice in the shop was excellent",
        "my children are delighted with it",
        "well made, I must say",
    ),
}
LABELS = tuple(sorted(WORDINGS))
OPENINGS = ("Hello,", "Good morning,", "To whom it may concern:", "Hi there,", "")
TASK = "Name everything that the customer's ticket is about."
SEEN = 4
"""Wordings of a label that train rows have; test rows have all."""


def tickets(count: int, seen: int, seed: int) -> tuple[Example, ...]:
    """Made tickets of one to three labels, with the first `seen` wordings of each."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        labels = rng.sample(LABELS, rng.choice((1, 1, 2, 2, 3)))
        said = ". ".join(rng.choice(WORDINGS[label][:seen]) for label in labels)
        rows.append(Example(f"{rng.choice(OPENINGS)} {said}. Order {1000 + number}".strip(), label_sets.dump(labels, LABELS)))
    return tuple(rows)


def start(engines: Engines, rows: tuple[Example, ...]) -> Predictor:
    most = max(len(label_sets.split(row.output)) for row in rows)
    return Predictor(
        kind="classify",
        model=engines.reference("smollm2-135m-instruct"),
        encoder="all-minilm-l6-v2",
        instruction=TASK,
        label_set=LABELS,
        descriptions=("",) * len(LABELS),
        decoding=Decoding(max_new_tokens=64, schema=label_sets.schema(LABELS, 1, most)),
    )


def one_prompt_a_label(asked: Predictor, rows: tuple[Example, ...], engines: Engines) -> list[Prediction]:
    """Yes or no to every label by a prompt of its own; the likelier answer counts."""
    given: list[list[str]] = [[] for _ in rows]
    for label in LABELS:
        question = replace(
            asked,
            instruction=f"Is the customer's ticket about {label.replace('_', ' ')}? Answer with yes or no.",
            label_set=(),
            labels=("no", "yes"),
            descriptions=("", ""),
            decoding=Decoding(),
            show_labels=False,
        )
        for own, answer in zip(given, question.predict(rows, engines)):
            own += [label] if answer.output == "yes" else []
    return [Prediction(row.id, label_sets.dump(own, LABELS)) for row, own in zip(rows, given)]


def measured(name: str, rows: tuple[Example, ...], answers: list[Prediction], seconds: float) -> Interval:
    """Micro F1 of the answers; prints it with the other scores and the CPU time."""
    found = score(METRICS["micro_f1"], rows, answers, "test")
    also = ", ".join(f"{metric} {one}" for metric, one in found.others.items())
    print(f"  {name:20s} micro_f1 {found.overall}, {also}; {1000 * seconds / len(rows):.0f} CPU-ms a row", flush=True)
    return found.overall


def main() -> None:
    given = common.arguments(__doc__ or "")
    engines = Engines(common.machine(), say=lambda text: None)
    train, test = tickets(240, SEEN, 1), tickets(80 if given.quick else 400, 6, 2)
    asked, found = start(engines, train), {}
    print(f"{len(train)} train rows, {len(test)} test rows, {len(LABELS)} labels", flush=True)
    rungs = ("encoder", "zero-shot", "few-shot-similar") if given.quick else ("encoder", "zero-shot", "few-shot-similar", "lora")
    for rung in rungs:
        with tempfile.TemporaryDirectory() as folder:
            fitted, cpu = asked, time.process_time()
            for method in methods.rung(rung, {}):
                fitted = method.fit(fitted, TrainData(train, label_set=LABELS), Run(Path(folder), engines))
            print(f"  {rung}: {time.process_time() - cpu:.0f} CPU-s to fit", flush=True)
            cpu = time.process_time()
            answers = fitted.predict(test, engines)
            found[rung] = measured(rung, test, answers, time.process_time() - cpu)
    cpu = time.process_time()
    answers = one_prompt_a_label(asked, test, engines)
    alone = measured("one prompt a label", test, answers, time.process_time() - cpu)
    times = {rung: one.value / max(alone.value, 1e-9) for rung, one in found.items()}
    others = ", ".join(f"{rung} {times[rung]:.2f}" for rung in rungs[1:])
    print(f"ratio={times['encoder']:.2f} times the micro F1 of one prompt a label by the encoder ({others})")


if __name__ == "__main__":
    main()
