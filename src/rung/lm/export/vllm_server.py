"""A folder asked by vLLM, in a process of its own: vLLM needs other versions of torch and transformers than rung.

`RUNG_VLLM_PYTHON` names the Python of the environment that has it. The server listens on a free port of 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import IO, Any

from rung.errors import ModelError
from rung.lm.export.reader import Tokens, Turns, Written

PYTHON = "RUNG_VLLM_PYTHON"
MODULE = "vllm.entrypoints.openai.api_server"
START_SECONDS = 600
"""Most that vLLM may take until it answers."""
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
"""Environment of the server: it sends nothing anywhere."""


def python() -> str:
    """The Python that has vLLM; empty where none is named."""
    return os.environ.get(PYTHON, "")


class Vllm:
    """A server on a folder, or on a base with adapters. `options`: its command line behind the module's name, without a port.

    `model`: the name to ask. ModelError where it does not start; its last lines are in the message.
    """

    def __init__(self, options: Sequence[str], model: str):
        self._model = model
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 closed by close()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        words = [python(), "-m", MODULE, *options, "--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=os.environ | QUIET,
            start_new_session=True,
        )
        try:
            self._wait()
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
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def _complete(self, prompt: Tokens, most: int, **more: Any) -> dict[str, Any]:
        how = {"temperature": 0, "max_tokens": most, "return_token_ids": True, "skip_special_tokens": True}
        found: dict[str, Any] = self._post("v1/completions", {"model": self._model, "prompt": list(prompt), **how, **more})[
            "choices"
        ][0]
        return found

    def _wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise ModelError(f"vLLM ended at its start: {_tail(self._log)}", where=python(), remedy=f"Mend {PYTHON}.")
            try:
                with urllib.request.urlopen(f"{self._url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        raise ModelError(f"vLLM did not answer within {START_SECONDS} s: {_tail(self._log)}", where=python())

    def _get(self, path: str) -> dict[str, Any]:
        return _ask(f"{self._url}/{path}")

    def _post(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(value).encode()
        return _ask(urllib.request.Request(f"{self._url}/{path}", body, {"Content-Type": "application/json"}))


def _ask(request: str | urllib.request.Request) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(request, timeout=600) as said:
            found: dict[str, Any] = json.load(said)
    except urllib.error.HTTPError as error:
        raise ModelError(f"vLLM refused: {error.read(500).decode(errors='replace')}", where="rung export") from error
    except OSError as error:
        raise ModelError(f"vLLM did not answer ({error}).", where="rung export") from error
    return found


def _tail(log: IO[str]) -> str:
    """The last lines that a server wrote."""
    log.seek(0)
    return " ".join(log.read().strip().splitlines()[-3:])[-600:] or "it wrote nothing"
