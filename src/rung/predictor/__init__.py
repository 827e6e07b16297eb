"""The Predictor: frozen data that says how a row is answered. Its fields, its prompts, its answers, its folder."""

from __future__ import annotations

from rung.predictor.answering import CHUNK, Predictor
from rung.predictor.saving import FILE, FOLDERS, folder_digest, load, save
from rung.predictor.value import PROMPT_VERSION, Calibration, Cascade, Demos, Threshold

__all__ = [
    "CHUNK",
    "FILE",
    "FOLDERS",
    "PROMPT_VERSION",
    "Calibration",
    "Cascade",
    "Demos",
    "Predictor",
    "Threshold",
    "folder_digest",
    "load",
    "save",
]
