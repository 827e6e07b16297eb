"""A vLLM server as it is asked over HTTP: its models, adapters by name, completions of tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

from rung.errors import ModelError

TIMEOUT = httpx2.Timeout(120.0, connect=10.0)
SHORT = httpx2.Timeout(10.0)
MANY = httpx2.Timeout(1800.0, connect=10.0)
"""For many answers in one request: nothing is sent until the last is written."""
MAX_RANK = 64
"""Of adapters, on servers that rung starts."""
START = f"""Start it with --enable-lora --max-lora-rank {MAX_RANK} and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, where it can read the \
task's folder."""


class AbsentError(ModelError):
    """The server has no model of this name, or no longer."""


class Server:
    """A vLLM server with one base. `key`: what it wants to be asked with, if anything."""

    def __init__(self, url: str, key: str = ""):
        self.url = url
        self._loaded: set[str] = set()
        """Adapters that were loaded by this."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False)

    def models(self) -> list[dict[str, Any]]:
        """Its models: the base, and adapters that name their base as `parent`."""
        return list(self._json("GET", "/v1/models")["data"])

    @property
    def version(self) -> str:
        return str(self._json("GET", "/version").get("version", "?"))

    def load(self, name: str, folder: Path) -> None:
        """Load an adapter under a name that says its content. ModelError where the server refuses it."""
        if self._has(name):
            return
        try:
            self._json("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        except ModelError:
            if not self._has(name):  # else another process has loaded it in the meantime
                raise
            return
        self._loaded.add(name)

    def unload(self, name: str) -> None:
        """Free the place of an adapter that was loaded by this; what another process loaded stays."""
        if name in self._loaded:
            self._loaded.remove(name)
            with suppress(AbsentError):
                self._json("POST", "/v1/unload_lora_adapter", {"lora_name": name}, SHORT)

    def _has(self, name: str) -> bool:
        return name in {str(one["id"]) for one in self.models()}

    def tokens(self, model: str, text: str) -> list[int]:
        """How it cuts a text, without tokens in front."""
        asked = {"model": model, "prompt": text, "add_special_tokens": False}
        return list(self._json("POST", "/tokenize", asked)["tokens"])

    def completions(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """Completions of several prompts in one request, in their order."""
        found = self._json("POST", "/v1/completions", asked, MANY)
        return sorted(found["choices"], key=lambda one: int(one["index"]))

    def events(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a streamed completion."""
        try:
            with self.client.stream("POST", "/v1/completions", json=asked) as found:
                if found.status_code != 200:
                    found.read()
                    raise self._refused(found)
                for line in found.iter_lines():
                    data = line.removeprefix("data:").strip()
                    if data and data != "[DONE]":
                        yield json.loads(data)
        except (httpx2.HTTPError, ValueError) as error:
            raise self._silent(error) from error

    def _json(
        self, method: str, path: str, body: dict[str, Any] | None = None, timeout: httpx2.Timeout = TIMEOUT
    ) -> dict[str, Any]:
        try:
            found = self.client.request(method, path, json=body, timeout=timeout)
            if found.status_code != 200:
                raise self._refused(found)
            value = found.json() if found.headers.get("content-type", "").startswith("application/json") else {}
        except (httpx2.HTTPError, ValueError) as error:
            raise self._silent(error) from error
        return value if isinstance(value, dict) else {}

    def _refused(self, found: httpx2.Response) -> ModelError:
        remedy = ""
        if "adapter" in str(found.request.url):
            remedy = START
        if "rammar" in found.text:
            remedy = """Start it with --structured-outputs-config '{"backend": "guidance"}'."""
        kind = AbsentError if found.status_code == 404 else ModelError
        return kind(f"vLLM answered {found.status_code}: {found.text[:300]}", where=str(found.request.url), remedy=remedy)

    def _silent(self, error: Exception) -> ModelError:
        return ModelError(f"vLLM did not answer ({error}).", where=self.url, remedy="See whether it runs.")
