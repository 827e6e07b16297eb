"""A folder asked by vLLM, in a process of its own (`rung.lm.export.vllm_process`)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from rung.errors import ModelError
from rung.lm.export.reader import Tokens, Turns, Written
from rung.lm.export.vllm_process import VllmProcess


class Vllm:
    """A server on a folder, or on a base with adapters. `options`: its command line behind the module's name, without a port.

    `model`: the name to ask. ModelError where it does not start; its last lines are in the message.
    """

    def __init__(self, options: Sequence[str], model: str):
        self._model = model
        self._process = VllmProcess([*options, "--enforce-eager"])
        try:
            self.engine = f"vLLM {self._get('version')['version']}"
        except BaseException:
            self.close()
            raise

    def render(self, turns: Turns, tools: Turns) -> str:
        asked = {"model": self._model, "messages": list(turns), "add_generation_prompt": True, "add_special_tokens": False}
        found = self._post("tokenize", {**asked, **({"tools": list(tools)} if tools else {})})
        return str(self._post("detokenize", {"model": self._model, "tokens": found["tokens"]})["prompt"])

    def cut(self, text: str) -> Tokens:
        return tuple(self._post("tokenize", {"model": self._model, "prompt": text, "add_special_tokens": False})["tokens"])

    def write(self, prompt: Tokens, most: int) -> Written:
        found = self._complete(prompt, most)
        tokens, ended = tuple(found["token_ids"]), found["finish_reason"] == "stop"
        bare = tokens[:-1] if ended else tokens
        return Written(bare, str(found["text"]).strip(), ended, tokens[len(bare) :])

    def likeliest(self, prompt: Tokens, answer: Tokens) -> list[int]:
        if not answer:
            return []
        places = self._complete(prompt + answer, 1, prompt_logprobs=1)["prompt_logprobs"][len(prompt) :]
        return [min((one["rank"], int(token)) for token, one in place.items())[1] for place in places]

    def close(self) -> None:
        self._process.close()

    def _complete(self, prompt: Tokens, most: int, **more: Any) -> dict[str, Any]:
        how = {"temperature": 0, "max_tokens": most, "return_token_ids": True, "skip_special_tokens": True}
        found: dict[str, Any] = self._post("v1/completions", {"model": self._model, "prompt": list(prompt), **how, **more})[
            "choices"
        ][0]
        return found

    def _get(self, path: str) -> dict[str, Any]:
        return self._ask(path)

    def _post(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        return self._ask(path, json.dumps(value).encode())

    def _ask(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._process.key}"}
        return _answered(urllib.request.Request(f"{self._process.url}/{path}", body, headers))


def _answered(request: urllib.request.Request) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(request, timeout=600) as said:
            found: dict[str, Any] = json.load(said)
    except urllib.error.HTTPError as error:
        raise ModelError(f"vLLM refused: {error.read(500).decode(errors='replace')}", where="rung export") from error
    except OSError as error:
        raise ModelError(f"vLLM did not answer ({error}).", where="rung export") from error
    return found
