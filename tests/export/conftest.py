"""A tiny task with a fitted LoRA rung on a tiny random model, made once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from commands import command

from rung.hardware import fingerprint
from rung.machine import Machine

WORDS = {"refund": ["money", "back", "repay"], "delivery": ["parcel", "courier", "late"]}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, machine: Machine) -> Callable[[Path], Path]:
    """`made(base)` is the folder of a task on this base, with `lora` fitted and measured; one for each base."""
    done: dict[Path, Path] = {}

    def make(base: Path) -> Path:
        if base not in done:
            folder = tmp_path_factory.mktemp("task")
            done[base] = _task(folder, base)
            _home(folder / "home", machine)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("RUNG_HOME", str(folder / "home"))
                patch.setenv("HF_HUB_OFFLINE", "1")
                fitted = command("fit", folder, "lora")
            assert fitted.returncode == 0, fitted.stdout + fitted.stderr
        return done[base]

    return make


@pytest.fixture(scope="session")
def made_encoder(tmp_path_factory: pytest.TempPathFactory, machine: Machine, encoder: Path) -> Callable[[str], Path]:
    """`made_encoder(rung)` is the folder of a task on a tiny encoder with this rung fitted and measured."""
    folder = tmp_path_factory.mktemp("task")
    _task(folder, Path("fake"), f"encoder: {encoder}\nrungs: [encoder, encoder-full, encoder-contrastive]\n", "")
    _home(folder / "home", machine)

    def make(rung: str) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RUNG_HOME", str(folder / "home"))
            patch.setenv("HF_HUB_OFFLINE", "1")
            fitted = command("fit", folder, rung)
        assert fitted.returncode == 0, fitted.stdout + fitted.stderr
        return folder

    return make


TOPICS = {"refund": "money back", "delay": "parcel late", "damage": "arrived broken", "login": "cannot sign in"}


@pytest.fixture(scope="session")
def made_unlike(tmp_path_factory: pytest.TempPathFactory, machine: Machine, encoder: Path) -> Path:
    """The folder of a task with `other: true` and `encoder` fitted."""
    folder = tmp_path_factory.mktemp("task")
    rows = [f"{words} {'xyz'[i % 3] * (1 + i // 3)},{label}" for i in range(24) for label, words in TOPICS.items()]
    (folder / "rows.csv").write_text("text,topic\n" + "\n".join(rows) + "\n")
    (folder / "rung.yaml").write_text(
        "task: Name the topic.\nkind: classify\nother: true\ndata: {examples: rows.csv, input: text, output: topic}\n"
        f"base: fake\nencoder: {encoder}\nrungs: [encoder]\ngoal: {{at_least: 0.5}}\n"
    )
    _home(folder / "home", machine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNG_HOME", str(folder / "home"))
        fitted = command("fit", folder, "encoder")
    assert fitted.returncode == 0, fitted.stdout + fitted.stderr
    return folder


RUNGS = "rungs: [majority, nearest, zero-shot, few-shot, lora]\n"
LORA = "methods: {lora: {epochs: 2, rank: 4, learning_rate: 0.02, patience: 0}}\n"


def _home(folder: Path, machine: Machine) -> None:
    folder.mkdir()
    (folder / f"machine-{fingerprint()}.json").write_text(json.dumps(asdict(machine)))


def _task(folder: Path, base: Path, rungs: str = RUNGS, methods: str = LORA) -> Path:
    rows = [f'"my {word} case {i} {label[0]}{i}",{label}' for i in range(12) for label, words in WORDS.items() for word in words]
    (folder / "rows.csv").write_text("text,intent\n" + "\n".join(rows) + "\n")
    (folder / "rung.yaml").write_text(
        "task: Name the intent.\nkind: classify\ndata: {examples: rows.csv, input: text, output: intent}\n"
        f"base: {base}\n{rungs}{methods}goal: {{metric: accuracy, at_least: 0.5}}\n"
    )
    return folder
