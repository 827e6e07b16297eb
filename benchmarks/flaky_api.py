"""2,000 rows through an API on loopback that fails one call in ten: all answered, none paid twice, the bill as the server's.

The failures are mixed: 429 with and without Retry-After, 500, 502, 503, garbage, a web page, half an answer, no answer,
silence. The server counts whole answers by row and adds up their tokens. Beside rung stands the plain loop that such a
job is usually begun with: the same client library and threads, no retries. `ratio` is rung's share of rows that were
answered and paid just once; the program ends with an error where its bill is more than 1% off the server's.
"""

from __future__ import annotations

import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import common
import httpx2

from rung.lm.base import Decoding, Prompt
from rung.lm.engines import Engines
from rung.lm.remote.prices import Price
from rung.lm.remote.settings import Settings
from rung.types import Message

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "lm"))
from servers import Server, serving, slow

FAULTS = ("429", "429:0.2", "500", "502", "503", "garbage", "html", "half", "nothing", "empty", "error", "hang")
PRICE = Price(0.15, 0.60)
THREADS = 16


def script(seed: int = 0):
    """One move in ten is a fault, for ever."""
    rng = random.Random(seed)
    while True:
        yield rng.choice(FAULTS) if rng.random() < 0.1 else "ok"


def answer(body: dict) -> tuple[str, int, int]:
    """A row's own answer, so that a mix-up of rows shows."""
    number = body["messages"][-1]["content"].split()[-1]
    return f"answer to {number}", 40 + int(number) % 60, 5 + int(number) % 20


def asked(rows: int) -> list[Prompt]:
    system = Message("system", "Answer the question.")
    return [Prompt((system, Message("user", f"What of row {row}")), "") for row in range(rows)]


def plain_loop(url: str, prompts: list[Prompt]) -> int:
    """Rows answered by the loop without retries."""

    def one(prompt: Prompt) -> bool:
        body = {"model": "m", "messages": [{"role": m.role, "content": m.content} for m in prompt.messages]}
        try:
            found = http.post(f"{url}/chat/completions", json=body).raise_for_status().json()
            return bool(found["choices"][0]["message"]["content"])
        except (httpx2.HTTPError, ValueError, KeyError):
            return False

    with httpx2.Client(timeout=1.0, trust_env=False) as http, ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(one, prompts))


def main() -> None:
    args = common.arguments(__doc__)
    rows, seconds = 2000, 0.005 if args.quick else 0.05
    prompts = asked(rows)
    with serving(Server(script(), slow(answer, seconds))) as server:
        began = common.time.perf_counter()
        alone = plain_loop(server.url, prompts)
        print(f"plain loop: {alone} of {rows} rows answered in {common.time.perf_counter() - began:.1f} s")

    with tempfile.TemporaryDirectory() as folder, serving(Server(script(), slow(answer, seconds))) as server:
        settings = Settings(folder=Path(folder), concurrency=THREADS, timeout_s=1.0, prices={"m": PRICE})
        engines = Engines(api=settings)
        engine = engines.open(engines.reference(f"{server.url}#m"))
        began = common.time.perf_counter()
        found = engine.generate(prompts, Decoding(max_new_tokens=32))
        took = common.time.perf_counter() - began
        again = engine.generate(prompts, Decoding(max_new_tokens=32))
        spent, failed = engines.ledger.spent(), server.moves.total() - server.moves["ok"]
        billed = PRICE.usd(server.tokens_in, server.tokens_out)

    right = [one.text == f"answer to {row}" and not one.error for row, one in enumerate(found)]
    once = [count == 1 for count in server.answered.values()]
    share = sum(r and server.answered[p.messages[-1].content] == 1 for r, p in zip(right, prompts)) / rows
    print(f"rung: {sum(right)} of {rows} rows answered in {took:.1f} s; {failed} of {server.moves.total()} calls failed")
    print(f"paid more than once: {len(once) - sum(once)}; asked a second time, the same answers at no call: {again == found}")
    print(f"spent ${spent.usd:.6f}, the server's own bill ${billed:.6f}; in doubt, of {spent.unsure} calls broken off: ", end="")
    print(f"at most ${spent.unsure_usd:.6f}")
    off = abs(spent.usd / billed - 1)
    assert off < 0.01, f"the bill is {off:.2%} off"
    assert again == found and spent.calls == server.moves.total()
    print(f"ratio={share:.4f} rows answered and paid once, of all; the plain loop {alone / rows:.3f}; bill off by {off:.2%}")


if __name__ == "__main__":
    main()
