"""A folder asked by plain transformers, as anybody would: nothing of rung's engine takes part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from rung.lm.export.reader import Tokens, Turns, Written
from rung.lm.quiet import quiet


class PlainTransformers:
    """A folder in transformers, float32 arithmetic on the CPU. `base`: the folder of the base where this one is an adapter."""

    def __init__(self, folder: Path, base: Path | None = None, note: str = ""):
        with quiet():
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            self._model: Any = AutoModelForCausalLM.from_pretrained(
                base or folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
            if base:
                from peft import PeftModel

                self._model = PeftModel.from_pretrained(self._model, folder)
        self._model.eval()
        ends = self._model.generation_config.eos_token_id
        own = self._tokenizer.eos_token_id
        self._ends = ends if isinstance(ends, list) else [one for one in (ends,) if one is not None]
        if base:  # the base's generation config need not know how this chat ends
            self._ends = sorted({*self._ends, *([own] if own is not None else [])})
        self.engine = f"transformers {transformers.__version__}{note}"

    def render(self, turns: Turns, tools: Turns) -> str:
        more = {"tools": list(tools)} if tools else {}
        return self._tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=True, **more)

    def cut(self, text: str) -> Tokens:
        return tuple(self._tokenizer(text, add_special_tokens=False).input_ids)

    @torch.no_grad()
    def write(self, prompt: Tokens, most: int) -> Written:
        ids = torch.tensor([prompt])
        how = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "max_new_tokens": most}
        pad = self._ends[0] if self._ends else None
        with quiet():
            found = self._model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), eos_token_id=self._ends or None, pad_token_id=pad, **how
            )
        tokens = tuple(found[0, len(prompt) :].tolist())
        ended = bool(tokens) and tokens[-1] in self._ends
        tokens = tokens[:-1] if ended else tokens
        return Written(tokens, self._tokenizer.decode(tokens, skip_special_tokens=True).strip(), ended)

    @torch.no_grad()
    def likeliest(self, prompt: Tokens, answer: Tokens) -> list[int]:
        logits = self._model(torch.tensor([prompt + answer]), use_cache=False).logits[0]
        # places are counted from the end: virtual tokens stand in front
        return logits[-len(answer) - 1 : -1].argmax(-1).tolist() if answer else []

    def close(self) -> None:
        del self._model
