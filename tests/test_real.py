"""The real default models, fetched once: what a user gets from the first command on."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rung.lm.base import Decoding, Prompt
from rung.lm.engines import Engines
from rung.lm.inference.causal import CausalEngine
from rung.lm.models.load import load
from rung.types import Message

pytestmark = pytest.mark.model
TICKETS = Path(__file__).parent.parent / "examples" / "tickets"


@pytest.fixture(scope="module")
def engines() -> Engines:
    return Engines()


@pytest.fixture(scope="module")
def engine(engines: Engines) -> CausalEngine:
    return CausalEngine(load(engines.find("smollm2-135m-instruct").folder, engines.machine))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (TICKETS / "data" / "tickets.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def asked(rows: list[dict[str, str]], shots: int = 6) -> list[Prompt]:
    turns = [Message("system", "Name the intent of the message.")]
    for row in rows[-shots:]:
        turns += [Message("user", row["text"]), Message("assistant", row["intent"])]
    return [Prompt((*turns, Message("user", row["text"])), row["text"]) for row in rows[:4]]


def test_it_takes_trees_and_never_pads_with_an_end_token(engine: CausalEngine) -> None:
    assert engine.loaded.trees
    assert engine.chat.tokenizer.pad_token_id not in engine.chat.stops
    assert engine.chat.tokenizer.decode([engine.chat.end]) == "<|im_end|>"


def test_the_chosen_label_is_the_likeliest_of_all(engine: CausalEngine, rows: list[dict[str, str]]) -> None:
    labels, prompts = sorted({row["intent"] for row in rows}), asked(rows)
    chosen = engine.choose(prompts, labels)
    for prompt, choice in zip(prompts, chosen):
        scores = engine.score([prompt] * len(labels), labels)
        best = max(range(len(labels)), key=scores.__getitem__)
        assert choice.label == labels[best]
        # both come out of logits of about 20, whose last bits hang on the order of the sums
        assert choice.logprob == pytest.approx(scores[best], rel=1e-4, abs=1e-4)


def test_greedy_text_is_that_of_transformers(engine: CausalEngine, rows: list[dict[str, str]]) -> None:
    prompts = asked(rows, shots=2)[:2]
    ours = engine.generate(prompts, Decoding(max_new_tokens=12))
    model = engine.loaded.model
    model.set_attn_implementation("sdpa")
    try:
        for prompt, completion in zip(prompts, ours):
            ids = torch.tensor([engine.chat.prompt(prompt.messages)])
            said = model.generate(ids, max_new_tokens=12, do_sample=False, attention_mask=torch.ones_like(ids))
            assert engine.chat.decode(said[0, ids.shape[1] :].tolist()).strip() == completion.text
    finally:
        model.set_attn_implementation("rung_tree")


def test_a_newcomer_climbs_the_example_and_asks(tmp_path: Path) -> None:
    """The example as `make demo` climbs it: a verdict with its test number, and a second climb that does nothing again."""
    task = tmp_path / "tickets"
    (task / "data").mkdir(parents=True)
    for name in ("rung.yaml", "data/tickets.csv"):
        (task / name).write_bytes((TICKETS / name).read_bytes())
    first = json.loads(_rung("climb", str(task), "--json"))
    assert first["verdict"] == "meets" and first["chosen"] == "encoder"
    assert first["test"]["n"] == 109 and first["test"]["low"] < first["test"]["value"] < first["test"]["high"]
    again = json.loads(_rung("climb", str(task), "--json"))
    assert again["rungs"] == first["rungs"] and again["seals_broken"] == 1
    answer = json.loads(_rung("ask", str(task), "the charger gets hot and the battery stays at zero", "--json"))
    assert answer["output"] == "battery_charging"


def _rung(*words: str) -> str:
    return subprocess.run([sys.executable, "-m", "rung.cli", *words], check=True, capture_output=True, text=True).stdout


def test_the_default_model_cuts_digits_apart_and_reads_back() -> None:
    from transformers import AutoTokenizer

    from rung.lm.models.resolve import DEFAULT, find

    tokenizer = AutoTokenizer.from_pretrained(find(DEFAULT).folder)
    assert tokenizer.tokenize("in  2024") == ["in", "ĠĠ", "2", "0", "2", "4"]
    for text in ("a  1\n\n  22\t 333", "東京は2024年12月、3人です。", "👩‍👩‍👧 has 3 😀s and ½ ٣٤", "x1[0:10] + 0x1F  # don't"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
