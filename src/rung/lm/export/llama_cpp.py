"""A GGUF file asked by llama.cpp, in this process, through the package xllamacpp."""

from __future__ import annotations

import importlib.metadata
import json
import urllib.request
from pathlib import Path
from typing import Any

from rung.errors import ModelError
from rung.lm import llama_cpp
from rung.lm.export.reader import Tokens, Turns, Written


class LlamaCpp:
    """One file in llama.cpp on the CPU; keys and values in float32 and no flash attention, so that the file is what differs.

    `context`: the longest prompt and answer together. `begin`: the begin token that it sets before any prompt, which its own
    rendering leaves out. `adapter`: a LoRA adapter on the file's model. Its server listens on a free port of 127.0.0.1.
    """

    def __init__(self, file: Path, threads: int, context: int, begin: str = "", adapter: Path | None = None):
        import xllamacpp as llama

        how = llama.CommonParams()
        how.model.path = str(file)
        how.n_ctx, how.n_parallel, how.n_gpu_layers = context, 1, 0
        how.cpuparams.n_threads = how.cpuparams_batch.n_threads = threads
        how.cache_type_k = how.cache_type_v = llama.ggml_type.GGML_TYPE_F32
        how.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        how.hostnames, how.port = ["127.0.0.1"], 0
        how.warmup, how.fit_params, how.ui, how.offline, how.verbosity = False, False, False, True, 0
        if adapter:
            added = llama.CommonAdapterLoraInfo()
            added.path, added.scale = str(adapter), 1.0
            how.lora_adapters = [added]
        self._server: Any = llama.Server(how)
        llama_cpp.wait(self._server.listening_address)
        self._begin = begin
        self.engine = f"llama.cpp (xllamacpp {importlib.metadata.version('xllamacpp')})"

    def render(self, turns: Turns, tools: Turns) -> str:
        asked = {"messages": list(turns), **({"tools": list(tools)} if tools else {})}
        return self._begin + str(self._post("apply-template", asked)["prompt"]).removeprefix(self._begin)

    def cut(self, text: str) -> Tokens:
        return tuple(self._post("tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"])

    def write(self, prompt: Tokens, most: int) -> Written:
        found = self._complete(prompt, most)
        tokens, ended = tuple(found["tokens"]), found["stop_type"] == "eos"
        bare = tokens[:-1] if ended else tokens
        return Written(bare, str(found["content"]).strip(), ended, tokens[len(bare) :])

    def likeliest(self, prompt: Tokens, answer: Tokens) -> list[int]:
        return [int(self._complete(prompt + answer[:place], 1)["tokens"][0]) for place in range(len(answer))]

    def close(self) -> None:
        self._server = None

    def _complete(self, prompt: Tokens, most: int) -> dict[str, Any]:
        how = {"temperature": 0, "samplers": ["temperature"], "return_tokens": True, "cache_prompt": True}
        return self._post("completion", {"prompt": list(prompt), "n_predict": most, **how})

    def _post(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        asked = urllib.request.Request(
            f"{self._server.listening_address}/{path}", json.dumps(value).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=600) as said:
                found: dict[str, Any] = json.load(said)
        except OSError as error:
            raise ModelError(f"llama.cpp did not answer ({error}).", where="rung export") from error
        return found
