"""vLLM as the engine of a climb: answers written, scored and chosen in bulk, from the tokens that rung's own engine would read.

Log-probabilities of given tokens, of answers and of the children of a node in the tree of labels, are asked for by number
(`logprob_token_ids`) after one generated token, so prompts are found in vLLM's prefix cache. Not by `prompt_logprobs`: these
leave the cache unused, and with adapters they are wrong or end the engine (https://github.com/vllm-project/vllm/issues/29955,
https://github.com/vllm-project/vllm/issues/51594).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rung.errors import DataError, ModelError
from rung.lm.backends.base import Asked
from rung.lm.backends.engine import SEEDS, BackendEngine
from rung.lm.backends.vllm import MARK, PLAIN, Started, Vllm, constrained
from rung.lm.base import Choice, Completion, Decoding, Progress, Prompt, ServerFacts
from rung.lm.inference import choose as search
from rung.lm.inference import texts

if TYPE_CHECKING:
    from rung.lm.inference.causal import CausalEngine
    from rung.lm.models.chat import Chat

PROMPTS = 32
"""Prompts of one request."""
REQUESTS = 8
"""Requests at once, so that vLLM always has a full batch: it runs up to 256 sequences by default."""
TOKEN_IDS = 128
"""Tokens whose log-probabilities one request may name: `MAX_LOGPROB_TOKEN_IDS` of vLLM."""

Ids = tuple[int, ...]


class VllmEngine(BackendEngine):
    """One model of a vLLM server. `own` opens rung's engine for what only a served model is asked: log-probabilities of what it
    writes. `started`: its server where rung started it."""

    backend: Vllm
    guided = True

    def __init__(
        self,
        backend: Vllm,
        chat: Chat,
        own: Callable[[], CausalEngine],
        started: Started | None = None,
    ):
        super().__init__(backend, chat, backend.context, own)
        self.started = started

    def close(self) -> None:
        """Free the adapter's place on a server that rung did not start; one that it started ends with the engines."""
        self.backend.close()

    @property
    def server(self) -> ServerFacts:
        """For the record."""
        held = self.started.memory() if self.started else None
        return ServerFacts(self.backend.name, self.backend.place.model, bool(self.started), held)

    # --- writing --------------------------------------------------------------------------------------------------

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        ids = [self._ids(prompt) for prompt in prompts]
        self._check(ids, 1)
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row, (tokens, prompt) in enumerate(zip(ids, prompts)):
            limit = min(decoding.max_new_tokens, self.context - len(tokens))
            alike[limit, (decoding.seed + prompt.draw) % SEEDS].append(row)
        sampled: dict[str, Any] = {"temperature": decoding.temperature, "top_p": decoding.top_p, "return_token_ids": True}
        sampled |= {"stop_token_ids": self.backend.stops, **PLAIN, **constrained(self.chat.grammar(decoding))}
        asked = [
            (rows, {**sampled, "max_tokens": limit, "seed": seed})
            for (limit, seed), together in alike.items()
            for rows in _parts(together, PROMPTS)
        ]
        out: dict[int, Completion] = {}
        for rows, choices in self._bulk([(rows, [ids[row] for row in rows], how) for rows, how in asked]):
            for row, choice in zip(rows, choices):
                out[row] = texts.completion(self.chat, ids[row], choice["token_ids"], decoding)
            if progress:
                progress(len(rows))
        return [out[row] for row in range(len(ids))]

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[str]:
        """One answer, piece by piece as it is written. The pieces joined are the whole answer."""
        ids = self._ids(prompt)
        self._check([ids], 1)
        limit = min(decoding.max_new_tokens, self.context - len(ids))
        whole = sent = ""
        asked = Asked(ids, decoding, limit, decoding.seed % SEEDS, grammar=self.chat.grammar(decoding))
        for piece in self.backend.pieces(asked):
            whole += piece
            text = whole.strip()  # trailing blanks wait: they may be the end of the answer
            yield text[len(sent) :]
            sent = text

    # --- scoring --------------------------------------------------------------------------------------------------

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        rows = [self.chat.row(prompt.messages, answer, begun=prompt.begun) for prompt, answer in zip(prompts, answers)]
        self._check([row.tokens for row in rows], 0)
        wanted, owner = [], []
        for i, row in enumerate(rows):
            targets = [at for at, target in enumerate(row.targets) if target]
            wanted += [(row.tokens[:at], row.tokens[at : at + 1]) for at in targets]
            owner += [i] * len(targets)
        out = [0.0] * len(rows)
        for i, (_, [token]), logs in zip(owner, wanted, self._following(wanted)):
            out[i] += logs[token]
        return out

    # --- labels ---------------------------------------------------------------------------------------------------

    def choose(
        self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None, bias: Sequence[float] = ()
    ) -> list[Choice]:
        ids, found = self._searched(prompts, labels, bias)
        out = []
        for tokens, one in zip(ids, found):
            score, label = one.done[0]
            log = -score - (bias[label] if bias else 0.0)
            out.append(Choice(labels[label], log, one.confidence(), len(tokens), one.expanded))
        if progress:
            progress(len(out))
        return out

    def weigh(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[list[float]]:
        _, found = self._searched(prompts, labels, exhaustive=True)
        return [[-score for score, _ in sorted(one.done, key=lambda pair: pair[1])] for one in found]

    def _searched(
        self, prompts: Sequence[Prompt], labels: Sequence[str], bias: Sequence[float] = (), exhaustive: bool = False
    ) -> tuple[list[Ids], list[search.Search]]:
        """Each prompt's tokens, and the search for its label."""
        answers = self.chat.answers(labels)
        ids = [self._ids(prompt) for prompt in prompts]
        self._check(ids, max(map(len, answers)))
        tree = search.label_tree(answers, bias)
        before = search.paths(tree)

        def expand(asks: list[tuple[int, tuple[int, ...]]]) -> list[list[search.Logs]]:
            nodes = [(question, node) for question, chain in asks for node in chain]
            wanted = [(ids[question] + before[node], _tokens(tree, tree.children[node])) for question, node in nodes]
            following = iter(self._following(wanted))
            return [[next(following) for _ in chain] for _, chain in asks]

        roots = _tokens(tree, tree.roots)
        first = self._following([(tokens, roots) for tokens in ids])
        most = search.EXPAND_BATCH * (len(tree.tokens) if exhaustive else 1)
        return ids, search.choose(tree, first, expand, most, exhaustive)

    def _following(self, wanted: Sequence[tuple[Ids, Ids]]) -> list[Mapping[int, float]]:
        """After each sequence of tokens, the log-probabilities of the tokens named beside it."""
        out: list[dict[int, float]] = [{} for _ in wanted]
        parts = []
        for together, tokens in _named(wanted):
            how = {"max_tokens": 1, "temperature": 0.0, "logprobs": 1, "return_tokens_as_token_ids": True}
            parts.append((together, [wanted[row][0] for row in together], {**how, "logprob_token_ids": tokens}))
        for rows, choices in self._bulk(parts):
            for row, choice in zip(rows, choices):
                [logs] = choice["logprobs"]["top_logprobs"]
                out[row] |= {int(name.removeprefix(MARK)): float(log) for name, log in logs.items()}
        for found, (_, named) in zip(out, wanted):
            if missing := set(named) - found.keys():
                raise ModelError(
                    f"vLLM gave no log-probability of the tokens {sorted(missing)[:5]}.",
                    where=self.backend.name,
                    remedy="Take vLLM 0.32 or later: labels are chosen by `logprob_token_ids` of its completions.",
                )
        return list(out)

    # --- asking ---------------------------------------------------------------------------------------------------

    def _bulk(
        self, asked: Sequence[tuple[Sequence[int], list[Ids], dict[str, Any]]]
    ) -> Iterator[tuple[Sequence[int], list[dict[str, Any]]]]:
        """Several requests at once, each as rows, their tokens, and how they are asked; the completions of each as they come."""
        place, pool = self.backend.place, self._pool
        running = {
            pool.submit(place.completions, {"model": place.model, "prompt": [list(one) for one in tokens], **how}): rows
            for rows, tokens, how in asked
        }
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            for left in running:
                left.cancel()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(REQUESTS, "vllm")

    def _check(self, ids: Sequence[Ids], answer: int) -> None:
        for tokens in ids:
            if len(tokens) + answer > self.context:
                raise DataError(
                    f"a prompt of {len(tokens)} tokens and an answer of up to {answer} do not fit the context of {self.context} "
                    "that vLLM was started with.",
                    remedy="Shorten the inputs, use fewer demonstrations, or start it with a longer --max-model-len.",
                )


def _tokens(tree: search.LabelTree, nodes: Sequence[int]) -> Ids:
    return tuple(tree.tokens[node] for node in nodes)


def _parts(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _named(wanted: Sequence[tuple[Ids, Ids]]) -> Iterator[tuple[list[int], list[int]]]:
    """Requests: rows, and the tokens that are named for all of them, at most as many of both as one request may have.

    Rows that name the same tokens stand together; a row that names too many is in several requests.
    """
    pieces = sorted((part, row) for row, (_, tokens) in enumerate(wanted) for part in map(tuple, _parts(tokens, TOKEN_IDS)))
    rows: list[int] = []
    named: set[int] = set()
    for tokens, row in pieces:
        if rows and (len(rows) == PROMPTS or len(named | {*tokens}) > TOKEN_IDS or row in rows):
            yield rows, sorted(named)
            rows, named = [], set()
        rows.append(row)
        named |= {*tokens}
    if rows:
        yield rows, sorted(named)
