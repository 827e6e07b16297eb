"""A stand-in for vLLM's server: the calls that its documentation publishes, answered by a small model without rung's trees."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from rung.lm.models.load import Loaded, load
from rung.machine import Machine

MAX_TOKEN_IDS = 128


class RefusedError(Exception):
    """A request that vLLM answers with an error."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


class StandIn:
    """One base in `folder`, and adapters that are loaded by name. `key`: what it wants to be asked with."""

    def __init__(self, folder: Path, machine: Machine, context: int = 500, key: str = "", names_ids: bool = True):
        self.folder, self.machine, self.context, self.key, self.names_ids = folder, machine, context, key, names_ids
        self.loaded = load(folder, machine)
        self.models: dict[str, Any] = {"base": plain(self.loaded)}
        self.asked: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.hidden = False
        """Whether lists of models leave adapters out, until one is loaded a second time."""
        self.lock = threading.Lock()

    def get(self, path: str) -> Any:
        listed = [
            {"id": name, "parent": None if name == "base" else "base", "max_model_len": self.context}
            for name in self.models
            if name == "base" or not self.hidden
        ]
        return {"/v1/models": {"data": listed}, "/version": {"version": "0.32.0"}, "/health": {}}[path]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        self.calls.append(path)
        if path == "/tokenize":
            return {"tokens": self.loaded.chat.tokens(body["prompt"])}
        if path == "/v1/load_lora_adapter":
            if body["lora_name"] in self.models:
                self.hidden = False
                raise RefusedError(400, "The lora adapter has already been loaded.")
            self.models[body["lora_name"]] = plain(load(self.folder, self.machine, body["lora_path"]))
            return None
        if path == "/v1/unload_lora_adapter":
            if body["lora_name"] not in self.models:
                raise RefusedError(404, "the lora adapter cannot be found")
            del self.models[body["lora_name"]]
            return None
        self.asked.append(body)
        return {"choices": [self.choice(k, ids, body) for k, ids in enumerate(self.prompts(body))], "usage": {}}

    def prompts(self, body: dict[str, Any]) -> list[list[int]]:
        if body["model"] not in self.models:
            raise RefusedError(404, f"The model `{body['model']}` does not exist.")
        prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
        if any(len(ids) + body["max_tokens"] > self.context for ids in prompts):
            raise RefusedError(400, "This model's maximum context length is exceeded.")
        if "prompt_logprobs" in body:
            raise RefusedError(500, "EngineCore encountered an issue: adapters are enabled.")
        if len(body.get("logprob_token_ids") or ()) > MAX_TOKEN_IDS:
            raise RefusedError(400, "Requested logprob_token_ids are more than allowed.")
        return prompts

    @torch.no_grad()
    def choice(self, index: int, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        model, found, logs = self.models[body["model"]], list[int](), []
        guide = self.guide(body)
        random = torch.Generator().manual_seed(body.get("seed") or 0)
        while len(found) < body["max_tokens"] and not (found and found[-1] in (body.get("stop_token_ids") or ())):
            logs.append(model(torch.tensor([ids + found])).logits[0, -1].float().log_softmax(-1))
            masked = guide.mask(logs[-1]) if guide else logs[-1]
            heat = body["temperature"]
            token = int(torch.multinomial((masked / heat).softmax(-1), 1, generator=random)) if heat else int(masked.argmax())
            if guide:
                guide.accept(token)
            found.append(token)
        ended = found[-1] in (body.get("stop_token_ids") or ())
        text = self.loaded.chat.decode(found[:-1] if ended else found)
        out = {"index": index, "text": text, "finish_reason": "stop" if ended else "length"}
        if body.get("return_token_ids"):
            out["token_ids"] = found
        if body.get("logprobs") is not None:
            out["logprobs"] = {"top_logprobs": [self.top(one, body) for one in logs]}
        return out

    def top(self, logs: torch.Tensor, body: dict[str, Any]) -> dict[str, float]:
        assert body["return_tokens_as_token_ids"]
        named = (body.get("logprob_token_ids") or []) if self.names_ids else []
        return {f"token_id:{token}": float(logs[token]) for token in {int(logs.argmax()), *named}}

    def guide(self, body: dict[str, Any]) -> Any:
        from rung.lm.models.json_guide import Guide, vocabulary

        if grammar := (body.get("structured_outputs") or {}).get("grammar"):
            return Guide(vocabulary(self.loaded.chat.tokenizer, self.loaded.chat.end), grammar)
        return None


def plain(loaded: Loaded) -> Any:
    """A copy with transformers' own attention."""
    model = copy.deepcopy(loaded.model)
    model.set_attn_implementation("sdpa")
    return model


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(lambda: stand_in.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if body.get("stream"):
                self.answer(lambda: stand_in.post(self.path, body), self.stream)
            else:
                self.answer(lambda: stand_in.post(self.path, body))

        def stream(self, answered: dict[str, Any]) -> None:
            [choice] = answered["choices"]
            self.send_response(200)
            self.end_headers()
            for k, letter in enumerate(choice["text"]):
                end = choice["finish_reason"] if k == len(choice["text"]) - 1 else None
                event = {"choices": [{"text": letter, "finish_reason": end}]}
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def answer(self, made: Callable[[], Any], sent: Callable[[Any], None] | None = None) -> None:
            status, value = 200, None
            if stand_in.key and self.path.startswith("/v1") and self.headers["Authorization"] != f"Bearer {stand_in.key}":
                status, value = 401, {"error": "Unauthorized"}
            else:
                try:
                    with stand_in.lock:
                        value = made()
                except RefusedError as refused:
                    status, value = refused.status, {"error": {"message": str(refused)}}
            if sent and status == 200:
                sent(value)
                return
            data = json.dumps(value).encode() if value is not None else b"Success"
            self.send_response(status)
            self.send_header("content-type", "application/json" if value is not None else "text/plain")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            """Silent."""

    return Handler


@contextmanager
def listening(stand_in: StandIn) -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stand_in))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def paths(calls: Sequence[str]) -> list[str]:
    """Calls about adapters."""
    return [call for call in calls if "adapter" in call]
