"""Calls of tools by the default model: written freely and by the tools' schema, untrained, behind examples, and trained.

Requests are made for five tools; some of the wordings and of the values stand in test rows alone. A row is one call. Printed are
whole calls, names and arguments, each with its interval. `--quick`: 160 train and 80 test rows. Last line: whole calls of LoRA,
constrained, over those of the untrained model writing freely.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import common

from rung import calls, methods, tools
from rung.lm.base import Decoding
from rung.lm.engines import Engines
from rung.methods.base import Run
from rung.metrics import METRICS, score
from rung.predictor import Predictor
from rung.tools import Tools
from rung.types import Example, Scores, TrainData

TASK = "Call the tool that the user needs."
CITIES = ("Oslo", "Lima", "Porto", "Kyoto", "Quito", "Gdansk", "Bergen", "Tunis", "Ghent", "Davao", "Turin", "Perth")
PEOPLE = ("Ana", "Ben", "Chidi", "Dora", "Emre", "Freya", "Goran", "Hana", "Ines", "Jonas", "Kemal", "Lucia")
FOODS = ("sushi", "pizza", "curry", "tacos", "ramen", "falafel", "pho", "tapas", "dumplings", "paella", "kebab", "gnocchi")
THINGS = ("tea", "eggs", "laundry", "bread", "stew", "pasta", "nap", "oven", "rice", "cake", "parking", "call")
CURRENCIES = ("EUR", "USD", "NOK", "JPY", "PLN", "CHF", "GBP", "SEK", "CZK", "DKK", "AUD", "TRY")
NEWS = ("I am late", "lunch is off", "the key is outside", "call me", "happy birthday", "the train is cancelled")
SEEN = 0.7
"""Share of wordings and values that train rows have; test rows have all."""

Fill = Callable[[random.Random, float], dict[str, Any]]


def one(values: tuple[str, ...], rng: random.Random, seen: float) -> str:
    return rng.choice(values[: round(seen * len(values))])


def two(values: tuple[str, ...], rng: random.Random, seen: float) -> list[str]:
    return rng.sample(values[: round(seen * len(values))], 2)


def currencies(rng: random.Random, seen: float) -> dict[str, Any]:
    source, target = two(CURRENCIES, rng, seen)
    return {"amount": rng.randrange(5, 900), "source": source, "target": target}


STRING, WHOLE = {"type": "string", "maxLength": 40}, {"type": "integer"}
MADE: dict[str, tuple[str, dict[str, Any], Fill, tuple[str, ...]]] = {
    "get_weather": (
        "The weather of a city.",
        {"city": STRING, "days": WHOLE},
        lambda rng, seen: {"city": one(CITIES, rng, seen), "days": rng.randrange(2, 9)},
        (
            "What is the weather in {city} for the next {days} days?",
            "Show me a {days}-day forecast for {city}.",
            "Weather {city}, {days} days please",
            "I fly to {city} and stay {days} days. Will it rain?",
            "Do I need a coat in {city} over the coming {days} days?",
            "How warm does {city} get within {days} days?",
        ),
    ),
    "set_timer": (
        "Start a timer.",
        {"minutes": WHOLE, "label": STRING},
        lambda rng, seen: {"minutes": rng.randrange(2, 90), "label": one(THINGS, rng, seen)},
        (
            "Set a timer of {minutes} minutes for the {label}.",
            "Start a {minutes}-minute {label} timer.",
            "Remind me of the {label} in {minutes} minutes",
            "Tell me when {minutes} minutes are over, it is for the {label}.",
            "{label}: {minutes} minutes from now",
            "The {label} needs {minutes} minutes, keep an eye on the clock.",
        ),
    ),
    "send_message": (
        "Send a text message to a person.",
        {"to": STRING, "text": STRING},
        lambda rng, seen: {"to": one(PEOPLE, rng, seen), "text": one(NEWS, rng, 1.0)},
        (
            "Text {to}: {text}",
            'Send {to} a message that says "{text}".',
            "Let {to} know: {text}",
            "Write to {to}, {text}",
            'Drop {to} a line: "{text}"',
            "{to} should hear this from me: {text}",
        ),
    ),
    "find_restaurant": (
        "Find places to eat.",
        {"food": STRING, "city": STRING, "price": {"enum": ["cheap", "medium", "fancy"]}},
        lambda rng, seen: {
            "food": one(FOODS, rng, seen),
            "city": one(CITIES, rng, seen),
            "price": rng.choice(("cheap", "medium", "fancy")),
        },
        (
            "Find a {price} {food} place in {city}.",
            "Where do I get {food} in {city}? Price: {price}",
            "I would like {food} in {city}, {price}.",
            "Any {price} restaurant with {food} in {city}?",
            "Hungry for {food} while in {city}, something {price}",
            "Who serves {food} in {city}? We want it {price}.",
        ),
    ),
    "convert_currency": (
        "Convert an amount of money.",
        {"amount": WHOLE, "source": {"type": "string", "maxLength": 3}, "target": {"type": "string", "maxLength": 3}},
        currencies,
        (
            "How much is {amount} {source} in {target}?",
            "Convert {amount} {source} to {target}.",
            "{amount} {source} into {target} please",
            "I have {amount} {source} and need {target}.",
            "What would {amount} {source} be worth in {target}?",
            "Change {amount} {source} for {target}, how much do I get?",
        ),
    ),
}


def listed() -> str:
    """The tools in OpenAI's form."""
    found = [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": what,
                "parameters": {"type": "object", "properties": fields, "required": list(fields)},
            },
        }
        for name, (what, fields, _, _) in MADE.items()
    ]
    return json.dumps(found)


def requests(count: int, seen: float, seed: int) -> tuple[Example, ...]:
    """Made requests, as many for each tool, with a share `seen` of the wordings and values."""
    rng, rows, names = random.Random(seed), [], list(MADE)
    for number in range(count):
        name = names[number % len(names)]
        _, _, fill, wordings = MADE[name]
        values = fill(rng, seen)
        said = one(wordings, rng, seen).format(**values)
        rows.append(Example(said, calls.as_output([{"name": name, "arguments": values}])))
    return tuple(rows)


def start(engines: Engines, rows: tuple[Example, ...]) -> Predictor:
    """The untrained model, its calls constrained by the schema of the tools."""
    known = listed()
    return Predictor(
        kind="extract",
        model=engines.reference("smollm2-135m-instruct"),
        instruction=TASK,
        tools=Tools(known, in_text=True),
        decoding=Decoding(max_new_tokens=80, schema=tools.schema(known, [row.output for row in rows]), calls=True),
    )


def measured(name: str, asked: Predictor, rows: tuple[Example, ...], engines: Engines) -> Scores:
    """The scores of a Predictor; prints them with its CPU time a row."""
    cpu = time.process_time()
    found = score(METRICS["tool_calls"], rows, asked.predict(rows, engines), "test", kind="extract")
    cost = 1000 * (time.process_time() - cpu) / len(rows)
    parts = ", ".join(f"{metric} {value}" for metric, value in found.others.items())
    print(f"  {name:24s} tool_calls {found.overall}, {parts}; {cost:.0f} CPU-ms a row", flush=True)
    return found


def fitted(rung: str, asked: Predictor, rows: tuple[Example, ...], engines: Engines, folder: Path) -> Predictor:
    cpu = time.process_time()
    for method in methods.rung(rung, {"lora": {"epochs": 3}}):
        asked = method.fit(asked, TrainData(rows), Run(folder, engines))
    print(f"  {rung}: {time.process_time() - cpu:.0f} CPU-s to fit", flush=True)
    return asked


def main() -> None:
    given = common.arguments(__doc__ or "")
    engines = Engines(common.machine(), say=lambda text: None)
    train, test = requests(160 if given.quick else 480, SEEN, 1), requests(80 if given.quick else 400, 1.0, 2)
    asked, found = start(engines, train), {}
    print(f"{len(train)} train rows, {len(test)} test rows, {len(MADE)} tools", flush=True)
    freely = replace(asked.decoding, schema="")
    with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as trained:
        found["zero-shot, free"] = measured("zero-shot, free", replace(asked, decoding=freely), test, engines)
        found["zero-shot"] = measured("zero-shot, constrained", asked, test, engines)
        behind = fitted("few-shot", asked, train, engines, Path(few))
        found["few-shot"] = measured("few-shot, constrained", behind, test, engines)
        tuned = fitted("lora", asked, train, engines, Path(trained))
        found["lora, free"] = measured("lora, free", replace(tuned, decoding=freely), test, engines)
        found["lora"] = measured("lora, constrained", tuned, test, engines)
    least = 1 / len(test)
    whole = {name: one.overall.value for name, one in found.items()}
    none = "; none of these was right and one is assumed" if whole["zero-shot, free"] < least else ""
    times = {name: value / max(whole["zero-shot, free"], least) for name, value in whole.items()}
    also = ", ".join(f"{name} {times[name]:.1f}" for name in ("zero-shot", "few-shot", "lora, free"))
    print(f"ratio={times['lora']:.1f} times the whole calls of the untrained model writing freely{none} ({also})")


if __name__ == "__main__":
    main()
