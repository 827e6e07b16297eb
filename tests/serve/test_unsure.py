"""Served answers that are not sure, and cascades."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path
from typing import Any

import pytest
from serving import CHAT, body, client, made

from rung import api

pytest.importorskip("fastapi")

WORDS = {"refund": "money back account", "delay": "late parcel waiting", "other": "hours shop open"}


def task(folder: Path, rungs: str, goal: str) -> Path:
    """120 rows of three intents; a third of them hold the words of two."""
    folder.mkdir()
    labels = list(WORDS)
    rows = [
        (f"{WORDS[labels[i % 3]]} {WORDS[labels[(i + i // 3) % 3]] if i % 2 else ''} {i * 7919}", labels[i % 3])
        for i in range(240)
    ]
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("input", "output"), *rows])
    lines = ["task: sort", "kind: classify", "data: {examples: rows.csv}", "base: fake", f"rungs: {rungs}", f"goal: {goal}"]
    (folder / "rung.yaml").write_text("\n".join([*lines, ""]))
    api.climb(folder, everything=True, progress=False)
    return folder


def asked(folder: Path, model: str, text: str) -> dict[str, Any]:
    async def go() -> dict[str, Any]:
        with made(folder) as one:
            async with client(one) as browser:
                found = await browser.post(CHAT, json=body(model, text))
                assert found.status_code == 200, found.text
                choice: dict[str, Any] = found.json()["choices"][0]
                return choice

    return asyncio.run(go())


def test_an_answer_that_is_not_sure_is_served_as_a_guess(tmp_path: Path) -> None:
    folder = task(tmp_path / "unsure", "[nearest]", "{at_least: 0.7, coverage: 0.4}")
    sure, unsure = asked(folder, "unsure", "late parcel waiting 0"), asked(folder, "unsure", "zzz")
    assert sure["message"]["content"] == "delay" and "guess" not in sure["message"].get("rung", sure.get("rung", {}))
    text, about = unsure["message"]["content"], unsure["message"].get("rung") or unsure["rung"]
    assert text.startswith(f"Not sure. Best guess: {about['guess']} (") and about["guess"] in WORDS
    assert about["abstained"].startswith("not sure: its confidence of")


def test_a_cascade_is_served_under_its_name(tmp_path: Path) -> None:
    folder = task(tmp_path / "both", '["nearest>zero-shot"]', "{at_least: 0.5}")
    found = asked(folder, "both:nearest>zero-shot", "late parcel waiting 0")
    assert found["message"]["content"] in WORDS
