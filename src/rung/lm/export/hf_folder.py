"""A folder as transformers loads it: weights or an adapter, the tokenizer with its chat template, how answers end."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

from rung import files
from rung.lm.base import Decoding
from rung.lm.export.merged import DTYPES, Merged
from rung.lm.models import weights
from rung.lm.models.chat import Chat
from rung.lm.quiet import quiet

SHARD = "5GB"
OURS = ("_name_or_path", "name_or_path", "is_local", "local_files_only")
"""Keys of configurations that say where files lay on this machine."""
LEFT = ("README.md", "before", "four_bit", "work")
"""What lies beside a stored adapter and is no part of it."""


def write(made: Merged, folder: Path, kind: str, decoding: Decoding) -> None:
    """Write the model in the type `kind` with its tokenizer and generation config. The model is in that type afterwards."""
    _decode(made.model, decoding)
    with quiet():
        made.model.to(DTYPES[kind]).save_pretrained(folder, max_shard_size=SHARD)  # written into: the export's folder
    write_tokenizer(made.chat, folder)
    _clean(folder / "config.json")


def write_adapter(adapter: Path, chat: Chat, base: str, folder: Path) -> None:
    """Write an adapter of peft with the tokenizer. `base`: the name under which others find the model that it stands on."""
    shutil.copytree(adapter, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*LEFT))
    place = folder / weights.ADAPTER_CONFIG
    config = json.loads(place.read_text(encoding="utf-8"))
    files.write_json(place, {**config, "base_model_name_or_path": base, "inference_mode": True})
    write_tokenizer(chat, folder)


def write_tokenizer(chat: Chat, folder: Path) -> None:
    """Write the tokenizer with the chat template that prompts were rendered with."""
    made = deepcopy(chat.tokenizer)
    if not isinstance(made.chat_template, dict):
        made.chat_template = chat.template
    with quiet():
        made.save_pretrained(folder)  # written into: the export's folder
    _clean(folder / "tokenizer_config.json")


def _decode(model: Any, decoding: Decoding) -> None:
    """Say in the generation config how rung decodes, so that a plain `generate` answers the same."""
    config = model.generation_config
    sampled = decoding.temperature > 0
    config.do_sample = sampled
    config.temperature, config.top_p = (decoding.temperature, decoding.top_p) if sampled else (None, None)
    config.top_k = 0 if sampled else None
    config.max_new_tokens, config.max_length = decoding.max_new_tokens, None


def _clean(path: Path) -> None:
    """Take paths of this machine out of a configuration."""
    content = json.loads(path.read_text(encoding="utf-8"))
    files.write_json(path, {key: value for key, value in content.items() if key not in OURS})
