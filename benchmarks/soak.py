"""A server under mixed load: two tenants with an adapter each, documents under access labels, and clients that misbehave.

Clients ask, stream, embed, hang up in the middle, send broken, oversized and unauthorised requests. Each whole answer is
compared with the one that the same Predictor gives offline. A program of its own serves, so that its memory is measured alone.
--quick runs for ten minutes, otherwise an hour. Every prompt is asked once before, so that what is kept of prompts for the next
ones, up to a bound, is kept by then. Promised: no 5xx but stated 503s, no growth of memory after the first minute, no document
of another label, no answer of another adapter. The last line is the share of answers that are the offline ones; 0 where a
promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import servers

from rung.climbing.answering import answering
from rung.climbing.project import Project
from rung.lm.base import Decoding
from rung.lm.engines import Engines
from rung.predictor import Predictor
from rung.retrieve.store import Allow
from rung.rows import Example
from rung.serve import run
from rung.serve.access import keys
from rung.serve.answering.models import Served
from rung.store import Store
from rung.task import load_task

TENANTS = ("north", "south")
STAFF = "staff"
TOKENS, CLIENTS, PROMPTS = 16, 6, 12
LONGEST = 64
"""Tokens of an answer that a client asks for and does not wait for."""
GROWTH = 1.03
"""Memory in the last minute over that in the second one."""
KINDS = {"chat": 34, "stream": 16, "staff": 12, "other": 10, "cancelled": 10, "malformed": 8, "oversized": 4, "unauthorised": 6}
"""Requests in a hundred of each kind."""
BROKEN: list[tuple[bytes, int]] = [
    (b"{", 400),
    (b"[]", 400),
    (b'{"model": "north"}', 400),
    (b'{"model": "north", "messages": [{"role": "user", "content": 7}]}', 400),
    (b'{"model": "north", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}', 400),
    (b'{"model": "north", "messages": [{"role": "user", "content": "x"}], "temperature": -1}', 400),
    (b'{"model": "nobody", "messages": [{"role": "user", "content": "x"}]}', 404),
    (b'{"model": "north", "messages": [{"role": "user", "content": "\\ud800"}], "max_tokens": 0}', 400),
    (b"[" * 100_000, 400),
]
"""Bodies, and the status that each must get."""


# --- what is served ---------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> dict[str, str]:
    """Write the tasks and the adapters; the secrets of the keys."""
    rows = [f"message {k} to the shop: where is my order?,on its way" for k in range(40)]
    for name in TENANTS:
        _task(folder / name, "generate", {"rows.csv": "q,a\n" + "\n".join(rows) + "\n"}, "input: q, output: a")
    hours = "# Hours\n\nThe bicycle shop is open from nine to five on weekdays.\n"
    wages = "# Wages\n\nThe bicycle shop pays mechanics nineteen crowns an hour.\n"
    asked = [f"when is the bicycle shop open on day {k},nine to five,docs/hours.md" for k in range(40)]
    files = {"docs/hours.md": hours, "docs/wages.md": wages, "rows.csv": "q,a,s\n" + "\n".join(asked) + "\n"}
    data = "input: q, output: a, source: s, documents: docs, access: {docs/wages.md: hr}"
    _task(folder / STAFF, "answer", files, data)
    for seed, name in enumerate(TENANTS, 1):
        servers.random_adapter(folder / "adapters" / name, seed)
    found = {name: keys.add(Store(folder / name), name) for name in TENANTS}
    store = Store(folder / STAFF)
    return found | {"hr": keys.add(store, "reader", ["hr"]), "guest": keys.add(store, "guest")}


def _task(folder: Path, kind: str, files: dict[str, str], data: str) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "rung.yaml").write_text(
        f"task: Answer the customer of a bicycle shop.\nkind: {kind}\nbase: smollm2-135m-instruct\n"
        f"data: {{examples: rows.csv, {data}}}\ngoal: {{at_least: 0.5}}\n",
        encoding="utf-8",
    )


def models(folder: Path) -> dict[str, Served]:
    """The models of the server: one adapter for each tenant, and answers from documents."""
    found: dict[str, Served] = {}
    engines: Engines | None = None
    for name in (*TENANTS, STAFF):
        project = Project(load_task(folder / name), say=lambda text: None)
        engines = engines or Engines(project.machine, project.say, most=4)
        shared = replace(project, shared_engines=engines)
        if name == STAFF:
            best = answering(project)
            predictor = replace(best.predictor, decoding=Decoding(max_new_tokens=TOKENS))
            found[name] = Served(name, shared, predictor.model, predictor, best.rung)
        else:
            found[name] = servers.with_adapter(shared, name, folder / "adapters" / name, TOKENS)
    return found


def serve(folder: Path) -> None:
    """Serve on loopback, with keys required as on any other address."""
    made = run.server(models(folder), "0.0.0.0", run.Limits(), run.Logging(folder / "requests.sqlite"))
    run.serve(made, "127.0.0.1", 0, lambda url: print(url, flush=True))


# --- what is asked ----------------------------------------------------------------------------------------------------


@dataclass
class Offline:
    """The right answers, by tenant and prompt, and by key and question."""

    prompts: list[str]
    questions: list[str]
    answers: dict[tuple[str, str], str]


def offline(folder: Path) -> Offline:
    """What the same Predictors answer without a server."""
    served = models(folder)
    prompts = [
        f"Write to customer {k} about the {what}." for k in range(PROMPTS // 3) for what in ("bell", "late parcel", "bill")
    ]
    questions = ["When is the bicycle shop open?", "What does the bicycle shop pay mechanics?", "Who owns the moon?"]
    answers: dict[tuple[str, str], str] = {}

    def ask(key: str, predictor: Predictor, texts: list[str], allow: Allow = Allow()) -> None:
        rows = [Example(text, "") for text in texts]
        for text, found in zip(texts, predictor.predict(rows, served[STAFF].engines, allow=allow)):
            answers[key, text] = found.output or ("I don't know." if found.abstained else "")

    for name in TENANTS:
        ask(name, served[name].predictor, prompts)
    for key, labels in (("hr", {"hr"}), ("guest", set())):
        ask(key, served[STAFF].predictor, questions, Allow(frozenset(labels)))
    return Offline(prompts, questions, answers)


@dataclass
class Soak:
    """The load, and what came of it."""

    url: str
    secrets: dict[str, str]
    right: Offline
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    compared: int = 0
    same: int = 0

    async def warm(self, http: httpx.AsyncClient) -> None:
        """Ask all that will be asked, with answers as long as any that will be cut."""
        asks = [({**_body(key, text), "max_tokens": LONGEST}, key) for key in TENANTS for text in self.right.prompts]
        asks += [(_body(STAFF, text), key) for key in ("hr", "guest") for text in self.right.questions]
        at_once = asyncio.Semaphore(CLIENTS)

        async def ask(content: Any, key: str) -> None:
            async with at_once:
                (await self._post(http, "/chat/completions", content, key)).raise_for_status()

        await asyncio.gather(*(ask(content, key) for content, key in asks))

    async def one(self, http: httpx.AsyncClient) -> None:
        """One request of a kind that is drawn."""
        [kind] = self.draw.choices(list(KINDS), list(KINDS.values()))
        call: Callable[[httpx.AsyncClient], Awaitable[int]] = getattr(self, f"_{kind}")
        self._seen(kind, await call(http))

    def _seen(self, kind: str, status: int) -> None:
        self.statuses[kind, status] += 1
        if status >= 500 and status != 503:
            self.broken.append(f"{kind}: status {status}")

    async def _post(self, http: httpx.AsyncClient, path: str, content: Any, key: str) -> httpx.Response:
        return await http.post(self.url + path, json=content, headers={"authorization": f"Bearer {self.secrets[key]}"})

    def _compare(self, key: str, asked: str, said: str) -> None:
        self.compared += 1
        right = self.right.answers[key, asked]
        self.same += said == right
        others = {who for (who, text), answer in self.right.answers.items() if text == asked and answer == said and who != key}
        if said != right and others:
            self.broken.append(f"{key} got the answer of {', '.join(sorted(others))}: {said!r}")
        elif said != right:
            print(f"another answer for {key}: {said!r} instead of {right!r}", flush=True)

    async def _chat(self, http: httpx.AsyncClient) -> int:
        key, text = self.draw.choice(TENANTS), self.draw.choice(self.right.prompts)
        found = await self._post(http, "/chat/completions", _body(key, text), key)
        if found.status_code == 200:
            self._compare(key, text, found.json()["choices"][0]["message"]["content"])
        return found.status_code

    async def _stream(self, http: httpx.AsyncClient) -> int:
        key, text = self.draw.choice(TENANTS), self.draw.choice(self.right.prompts)
        found = await self._post(http, "/chat/completions", {**_body(key, text), "stream": True}, key)
        if found.status_code != 200:
            return found.status_code
        lines = [line.removeprefix("data: ") for line in found.text.split("\n\n") if line]
        if lines[-1] != "[DONE]":
            self.broken.append(f"a stream ended with {lines[-1]!r}")
            return 200
        parts = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines[:-1]]
        self._compare(key, text, "".join(parts))
        return 200

    async def _staff(self, http: httpx.AsyncClient) -> int:
        key, text = self.draw.choice(("hr", "guest")), self.draw.choice(self.right.questions)
        found = await self._post(http, "/chat/completions", _body(STAFF, text), key)
        if found.status_code == 200:
            choice = found.json()["choices"][0]
            self._compare(key, text, choice["message"]["content"])
            documents = {one["document"] for one in choice["rung"]["citations"]}
            if key == "guest" and ("docs/wages.md" in documents or "nineteen" in found.text):
                self.broken.append("a guest saw a document with the label hr")
        return found.status_code

    async def _other(self, http: httpx.AsyncClient) -> int:
        key, text = self.draw.choice(TENANTS), self.draw.choice(self.right.prompts)
        path, content = self.draw.choice(
            [
                ("/completions", {"model": key, "prompt": text}),
                ("/responses", {"model": key, "input": text}),
                ("/embeddings", {"model": key, "input": [text, "another text"]}),
            ]
        )
        found = await self._post(http, path, content, key)
        if found.status_code == 200 and path == "/completions":
            self._compare(key, text, found.json()["choices"][0]["text"])
        if found.status_code == 200 and path == "/responses":
            self._compare(key, text, found.json()["output"][0]["content"][0]["text"])
        return found.status_code

    async def _cancelled(self, http: httpx.AsyncClient) -> int:
        key, text = self.draw.choice(TENANTS), self.draw.choice(self.right.prompts)
        content = {**_body(key, text), "max_tokens": LONGEST, "stream": self.draw.random() < 0.5}
        header = {"authorization": f"Bearer {self.secrets[key]}"}
        try:
            async with asyncio.timeout(self.draw.uniform(0.05, 1.5)):
                async with http.stream("POST", f"{self.url}/chat/completions", json=content, headers=header) as found:
                    async for _ in found.aiter_lines():
                        break
                    return found.status_code
        except TimeoutError:
            return 0

    async def _malformed(self, http: httpx.AsyncClient) -> int:
        raw, wanted = self.draw.choice(BROKEN)
        headers = {"authorization": f"Bearer {self.secrets['north']}", "content-type": "application/json"}
        found = await http.post(f"{self.url}/chat/completions", content=raw, headers=headers)
        return self._wanted(found, {wanted})

    async def _oversized(self, http: httpx.AsyncClient) -> int:
        text, wanted = self.draw.choice([("x " * 600_000, 413), ("late " * 9000, 400)])
        return self._wanted(await self._post(http, "/chat/completions", _body("north", text), "north"), {wanted})

    async def _unauthorised(self, http: httpx.AsyncClient) -> int:
        header, wanted = self.draw.choice(
            [({}, 401), ({"authorization": "Bearer rk-wrong"}, 401), ({"authorization": f"Bearer {self.secrets['south']}"}, 404)]
        )
        found = await http.post(f"{self.url}/chat/completions", json=_body("north", "hello"), headers=header)
        return self._wanted(found, {wanted})

    def _wanted(self, found: httpx.Response, statuses: set[int]) -> int:
        if found.status_code not in statuses:
            self.broken.append(f"status {found.status_code} instead of {statuses}: {found.text[:200]}")
        return found.status_code


def _body(model: str, text: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


async def load(soak: Soak, server: psutil.Process, seconds: float) -> list[tuple[float, int]]:
    """Ask until the time is over; the server's memory as it went, in seconds and bytes."""
    async with httpx.AsyncClient(timeout=600) as http:
        await soak.warm(http)
    started = time.monotonic()
    memory: list[tuple[float, int]] = []

    async def client(http: httpx.AsyncClient) -> None:
        while time.monotonic() - started < seconds:
            await soak.one(http)

    async def watch() -> None:
        while time.monotonic() - started < seconds:
            memory.append((time.monotonic() - started, server.memory_info().rss))
            if len(memory) % 30 == 0:
                done = f"{sum(soak.statuses.values())} requests, {soak.same} of {soak.compared} answers the same"
                print(f"{memory[-1][0]:4.0f} s: {memory[-1][1] / 2**20:.0f} MiB, {done}, {len(soak.broken)} broken", flush=True)
            await asyncio.sleep(2)

    async with httpx.AsyncClient(timeout=150) as http:
        await asyncio.gather(watch(), *(client(http) for _ in range(CLIENTS)))
    return memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten minutes instead of an hour")
    parser.add_argument("--seconds", type=float, default=0.0, help="another time, for a trial")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    seconds = args.seconds or (600.0 if args.quick else 3600.0)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        secrets = prepare(folder)
        right = offline(folder)
        differ = sum(right.answers[TENANTS[0], text] != right.answers[TENANTS[1], text] for text in right.prompts)
        print(
            f"{len(right.answers)} offline answers; the adapters differ on {differ} of {len(right.prompts)} prompts", flush=True
        )
        with (folder / "server.log").open("w") as log:
            line = [sys.executable, __file__, "--serve", name]
            process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log, text=True)
            try:
                assert process.stdout
                url = process.stdout.readline().strip() + "/v1"
                soak = Soak(url, secrets, right)
                memory = asyncio.run(load(soak, psutil.Process(process.pid), seconds))
                alive = process.poll() is None
            finally:
                process.terminate()
                code = process.wait(180)
        report(soak, memory, seconds, alive, code, (folder / "server.log").read_text().count('"traceback"'))


def report(soak: Soak, memory: list[tuple[float, int]], seconds: float, alive: bool, code: int, tracebacks: int) -> None:
    """Print what came of it."""
    for kind in KINDS:
        found = {status: count for (one, status), count in sorted(soak.statuses.items()) if one == kind}
        print(f"{kind:13} " + ", ".join(f"{status or 'hung up'}: {count}" for status, count in found.items()))
    early = [size for at, size in memory if 60 <= at < 120] or [memory[0][1]]
    late = [size for at, size in memory if at >= seconds - 60]
    growth = statistics.median(late) / statistics.median(early)
    sizes = f"{statistics.median(early) / 2**20:.0f} MiB in the second minute, {statistics.median(late) / 2**20:.0f} in the last"
    print(f"memory: {sizes} (x{growth:.3f})")
    total = sum(soak.statuses.values())
    print(f"{total} requests in {seconds:.0f} s; {soak.compared} answers compared, {soak.same} the same as offline")
    for one, count in Counter(soak.broken).most_common(20):
        print(f"broken, {count} times: {one}")
    kept = alive and code == 0 and not soak.broken and not tracebacks and growth <= GROWTH
    share = soak.same / max(1, soak.compared)
    told = f"broken={len(soak.broken)} tracebacks={tracebacks} growth={growth:.3f} exit={code}"
    print(f"ratio={share if kept else 0.0:.4f} requests={total} compared={soak.compared} {told}")


if __name__ == "__main__":
    main()
