"""The engine of a causal model: generate, score and choose over prefix trees, each shared token computed once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from rung import calls
from rung.errors import DataError
from rung.lm import out_of_memory
from rung.lm.base import Choice, Completion, Decoding, Progress, Prompt
from rung.lm.inference import choose as search
from rung.lm.inference import sample
from rung.lm.models.load import Loaded
from rung.lm.trees import tree
from rung.lm.trees.forest import Forest, Forks, joined
from rung.lm.trees.forward import row_logs
from rung.types import Message

NODES = 2048
"""Nodes a pass may hold beyond the shared prefix: enough to keep the matrix products busy, small enough for caches."""
TOGETHER, OWN = 64, 16_384
"""Answers written at the same time, and places that their prompts' own parts may take, padding included: a step reads all
weights and, of every row, the keys and values of its own part."""


@dataclass(frozen=True, slots=True)
class _Forked:
    """Prompts that were read and wait to be answered."""

    rows: list[int]
    most: list[int]
    """Tokens that each answer may have."""
    forks: Forks
    logits: torch.Tensor


class CausalEngine:
    """Asks one loaded model. What all prompts of a call share in front is computed once and kept for the next call.

    `say` is told where memory runs out, and less is computed at once from then on.
    """

    def __init__(self, loaded: Loaded, say: out_of_memory.Say = lambda text: None):
        self.loaded, self.chat = loaded, loaded.chat
        self.budget = out_of_memory.Budget(NODES, say)
        self._kept: tuple[tuple[int, ...], Forest] | None = None
        self._rendered: dict[tuple[tuple[Message, ...], str], tuple[int, ...]] = {}

    @property
    def context(self) -> int:
        return self.loaded.room

    def count(self, prompt: Prompt) -> int:
        return len(self._ids(prompt))

    def forget(self) -> None:
        """Drop the kept prefix; needed when the weights have changed."""
        self._kept = None

    def _ids(self, prompt: Prompt) -> tuple[int, ...]:
        """A prompt's tokens, kept from counting to asking."""
        key = (prompt.messages, prompt.begun)
        if key not in self._rendered:
            if len(self._rendered) > 4096:
                self._rendered.clear()
            self._rendered[key] = self.chat.prompt(*key)
        return self._rendered[key]

    @torch.no_grad()
    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        rows = [self.chat.row(prompt.messages, answer, begun=prompt.begun) for prompt, answer in zip(prompts, answers)]
        self._check_lengths([row.tokens for row in rows], 0)
        totals = np.zeros(len(rows))

        def read(part: list[int]) -> NDArray:
            logs, owner = row_logs(self.loaded.model, [rows[i] for i in part], self.loaded.trees)
            return np.bincount(owner.cpu().numpy(), logs.double().cpu().numpy(), minlength=len(part))

        for part, found in out_of_memory.in_parts(_sorted(rows), self.budget, partial(tree.cut, rows), read):
            totals[part] = found
        return totals.tolist()

    def read(self, texts: Sequence[str], before: Sequence[str]) -> list[tuple[float, int]]:
        """Bare texts, without a chat: of each the log-probability behind what stands `before` it, and its tokens.

        The first token of all is foretold only behind a begin token. What is longer than the context is cut into windows
        that see nothing of each other.
        """
        from rung.lm.raw_text.perplexity import read  # late: it brings the trainer with it

        return read(self.loaded, texts, before)

    def choose(
        self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None, bias: Sequence[float] = ()
    ) -> list[Choice]:
        answers = self.chat.answers(labels)
        if not self.loaded.trees:
            return self._choose_plainly(prompts, labels, progress, bias)
        ids = [self._ids(prompt) for prompt in prompts]
        self._check_lengths(ids, max(len(answer) for answer in answers))
        labelled = search.label_tree(answers, bias)
        out: list[Choice | None] = [None] * len(ids)
        for part, searches in self._searched(ids, labelled):
            for i, found in zip(part, searches):
                score, label = found.done[0]
                log = -score - (bias[label] if bias else 0.0)
                out[i] = Choice(labels[label], log, found.confidence(), len(ids[i]), found.opened)
            if progress:
                progress(len(part))
        return [choice for choice in out if choice is not None]

    def weigh(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[list[float]]:
        """Log-probability of every label after each prompt: the search goes on until all are finished."""
        if not self.loaded.trees:
            return [self.score([prompt] * len(labels), labels) for prompt in prompts]
        answers = self.chat.answers(labels)
        ids = [self._ids(prompt) for prompt in prompts]
        self._check_lengths(ids, max(len(answer) for answer in answers))
        labelled = search.label_tree(answers)
        out: list[list[float]] = [[]] * len(ids)
        for part, searches in self._searched(ids, labelled, whole=True):
            for i, found in zip(part, searches):
                out[i] = [-score for score, _ in sorted(found.done, key=lambda pair: pair[1])]
        return out

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        ids = [self._ids(prompt) for prompt in prompts]
        self._check_lengths(ids, 1)
        out: list[Completion | None] = [None] * len(ids)
        for part, tokens in self._written(ids, decoding, [prompt.draw for prompt in prompts]):
            for i, written in zip(part, tokens):
                finished = bool(written) and written[-1] in self.chat.stops
                text = self.chat.decode(written[:-1] if finished else written).strip()
                text = calls.normalise_output(text) if decoding.calls else text
                out[i] = Completion(text, len(ids[i]), len(written), finished)
            if progress:
                progress(len(part))
        return [completion for completion in out if completion is not None]

    def samples(self, ids: Sequence[tuple[int, ...]], count: int, decoding: Decoding) -> list[list[tuple[int, ...]]]:
        """`count` answers to each prompt as tokens, the end token included; a prompt is computed once for all of them."""
        self._check_lengths(ids, 1)
        done = self._written(ids, decoding, [0] * len(ids), count)
        out = {row: tuple(written) for part, tokens in done for row, written in zip(part, tokens)}
        return [[out[i * count + k] for k in range(count)] for i in range(len(ids))]

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[str]:
        """One answer, piece by piece as it is written. The pieces joined are the whole answer."""
        ids = self._ids(prompt)
        self._check_lengths([ids], 1)
        written: list[int] = []
        said = ""
        for token in self._tokens(ids, decoding):
            if token in self.chat.stops:
                break
            written.append(token)
            text = self.chat.decode(written).strip()  # blanks at the end may yet be the answer's last: they wait
            if not text.endswith("\ufffd"):  # half a character: wait for the rest of its bytes
                yield text[len(said) :]
                said = text
        yield self.chat.decode(written).strip()[len(said) :]

    # --- prompts to forests -------------------------------------------------------------------------------------

    def _grown(self, ids: Sequence[tuple[int, ...]], room: int) -> Iterator[tuple[list[int], Forest, list]]:
        """Parts of the prompts, each grown behind the shared prefix: (which, forest, [(end node, logits there)]).

        `room`: nodes to leave for each prompt's answers in the budget of a pass.
        """
        if not ids:
            return
        if len(ids) == 1:
            forest, logits = self._one(ids[0])
            try:
                yield [0], forest, [(len(forest) - 1, logits)]
            finally:
                forest.crop(len(ids[0]))
            return
        shared = tree.shared_front(ids)
        forest = self._prefix(shared)
        rows = [tree.Row(tokens[len(shared) :] + (0,) * room, (False,) * (len(tokens) - len(shared) + room)) for tokens in ids]
        base = len(shared)
        for part in tree.cut(rows, _sorted(rows), self.budget.tokens):
            merged = tree.trie([ids[i][base:] for i in part])
            parents = np.where(merged.parent >= 0, merged.parent + base, base - 1)
            ends = [int(path[-1]) for path in merged.paths]
            wanted = sorted(set(ends))
            logits = forest.grow(merged.tokens.tolist(), parents.tolist(), wanted)
            place = {node: k for k, node in enumerate(wanted)}
            try:
                yield part, forest, [(node + base, logits[place[node]]) for node in ends]
            finally:
                forest.crop(base)

    def _prefix(self, shared: tuple[int, ...]) -> Forest:
        """The forest that holds exactly the shared tokens; kept from the last call where that began the same way."""
        if self._kept is None:
            self._kept = ((), Forest(self.loaded.model))
        tokens, forest = self._kept
        same = tree.common_prefix(np.asarray(tokens, np.int64), np.asarray(shared, np.int64))
        forest.crop(same)
        self._kept = (tokens[:same], forest)
        self._lengthened(forest, shared, len(shared))
        return forest

    def _lengthened(self, forest: Forest, ids: tuple[int, ...], size: int) -> None:
        """The kept prefix gone on with to the first `size` of these tokens, so many at once as the budget allows."""
        while (have := len(forest)) < size:
            part = ids[have : min(size, have + self.budget.tokens)]
            forest.grow(part, range(have - 1, have - 1 + len(part)), [])
            self._kept = (ids[: have + len(part)], forest)

    def _searched(
        self, ids: Sequence[tuple[int, ...]], labelled: search.LabelTree, whole: bool = False
    ) -> Iterator[tuple[list[int], list[search.Search]]]:
        """Parts of the prompts and what was found of the labels behind each; of all labels where `whole`."""

        def work(left: list[int]) -> Iterator[tuple[list[int], list[search.Search]]]:
            for part, forest, ends in self._grown([ids[i] for i in left], len(labelled.tokens) if whole else 4):
                yield [left[k] for k in part], search.on_forest(forest, ends, labelled, whole)

        return out_of_memory.until_done(range(len(ids)), self.budget, work, self.forget)

    def _choose_plainly(
        self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None, bias: Sequence[float]
    ) -> list[Choice]:
        """Score every label of every prompt; for models that cannot take a tree."""
        out = []
        for prompt in prompts:
            logs = np.array(self.score([prompt] * len(labels), labels))
            scores = logs + np.array(bias or 0.0)
            best = int(scores.argmax())
            share = float(1 / np.exp(scores - scores[best]).sum())
            out.append(Choice(labels[best], float(logs[best]), share, self.count(prompt), len(labels)))
            if progress:
                progress(1)
        return out

    # --- writing ------------------------------------------------------------------------------------------------

    def _written(
        self, ids: Sequence[tuple[int, ...]], decoding: Decoding, draws: Sequence[int], each: int = 1
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Answers as they are done, `each` to a prompt; the k-th to prompt i is row i * each + k, draw `draws[i]` + k."""
        names = [(*tokens, *[-k] * bool(k)) for tokens, draw in zip(ids, draws) for k in range(draw, draw + each)]

        def work(left: list[int]) -> Iterator[tuple[list[int], list[list[int]]]]:
            if self.loaded.trees:
                yield from self._written_together(ids, left, names, decoding, each)
            else:
                for row in left:
                    yield [row], [list(self._tokens(ids[row // each], decoding, names[row]))]

        return out_of_memory.until_done(range(len(names)), self.budget, work, self.forget)

    def _written_together(
        self, ids: Sequence[tuple[int, ...]], left: list[int], names: Sequence[tuple[int, ...]], decoding: Decoding, each: int
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """The rows `left`, many at a time: a step of writing reads all weights, whether for one row or for many."""
        most, own, rows_of = self.budget.share(TOGETHER), self.budget.share(OWN), defaultdict(list)
        for row in left:
            rows_of[row // each].append(row)
        asked, waiting = list(rows_of), list[_Forked]()
        for part, forest, ends in self._grown([ids[i] for i in asked], room=0):
            front = len(self._kept[0]) if self._kept else 0  # what was grown stands behind it
            size = max(1, min(most, own // max(1, *(len(ids[asked[k]]) - front for k in part))))
            rows = [(row, *end) for k, end in zip(part, ends) for row in rows_of[asked[k]]]
            for k in range(0, len(rows), size):
                numbers, nodes, logits = zip(*rows[k : k + size])
                most_each = [self.loaded.left(ids[row // each], decoding) for row in numbers]
                forked = _Forked(list(numbers), most_each, forest.fork(nodes, front), torch.stack(logits))
                count = len(forked.rows) + sum(len(one.rows) for one in waiting)
                if waiting and (count > most or count * max(one.forks.real.shape[1] for one in (*waiting, forked)) > own):
                    yield self._finished(waiting, forest, names, decoding)
                    waiting = []
                waiting.append(forked)
        if waiting:
            yield self._finished(waiting, forest, names, decoding)

    def _finished(
        self, waiting: list[_Forked], forest: Forest, names: Sequence[tuple[int, ...]], decoding: Decoding
    ) -> tuple[list[int], list[list[int]]]:
        """Answers to prompts already read, written together."""
        rows = [row for one in waiting for row in one.rows]
        forks, first = joined([one.forks for one in waiting]), torch.cat([one.logits for one in waiting])
        most = [count for one in waiting for count in one.most]
        drawers = [sample.Drawer(decoding, names[row], self.chat.guide(decoding.schema), k) for row, k in zip(rows, most)]
        return rows, sample.write(forest.model, forks, first, drawers, self.chat.stops)

    def _tokens(self, ids: tuple[int, ...], decoding: Decoding, name: tuple[int, ...] = ()) -> Iterator[int]:
        """Tokens of one answer, its end token included, as they come. The draws hang on `name`; by default the prompt."""
        draw = sample.Drawer(decoding, name or ids, self.chat.guide(decoding.schema))
        if not self.loaded.trees:
            yield from self._tokens_plainly(ids, draw, decoding)
            return
        forest, logits = self._one(ids)
        try:
            for _ in range(self.loaded.left(ids, decoding)):
                token = draw(logits)
                yield token
                if token in self.chat.stops:
                    return
                logits = forest.grow([token], [len(forest) - 1], [0])[0]
        finally:
            forest.crop(len(ids))

    def _tokens_plainly(self, ids: tuple[int, ...], draw: sample.Drawer, decoding: Decoding) -> Iterator[int]:
        """The same, reading everything again for each token; for models that cannot take a tree."""
        so_far = list(ids)
        for _ in range(self.loaded.left(ids, decoding)):
            with torch.no_grad():
                logits = self.loaded.model(torch.tensor([so_far], device=self.loaded.device)).logits[0, -1].float()
            so_far.append(draw(logits))
            yield so_far[-1]
            if so_far[-1] in self.chat.stops:
                return

    def _one(self, ids: tuple[int, ...]) -> tuple[Forest, torch.Tensor]:
        """One prompt grown in a single pass on as much of the kept prefix as it begins with, and its last logits.

        The whole prompt is kept: what the next one has in common with it, the static front, is not computed again.
        """
        kept = self._kept[0] if self._kept else ()
        same = min(tree.common_prefix(np.asarray(kept, np.int64), np.asarray(ids, np.int64)), len(ids) - 1)
        forest = self._prefix(ids[:same])
        self._lengthened(forest, ids, same + (len(ids) - 1 - same) // self.budget.tokens * self.budget.tokens)
        have = len(forest)
        logits = forest.grow(ids[have:], range(have - 1, len(ids) - 1), [len(ids) - have - 1])
        self._kept = (ids, forest)
        return forest, logits[0]

    def _check_lengths(self, ids: Sequence[tuple[int, ...]], room: int) -> None:
        for tokens in ids:
            if len(tokens) + room > self.loaded.room:
                raise DataError(
                    f"a prompt of {len(tokens)} tokens and an answer of up to {room} do not fit the model's context of "
                    f"{self.loaded.room}.",
                    remedy="Shorten the inputs, use fewer demonstrations, or name a base with a longer context.",
                )


def _sorted(rows: Sequence[tree.Row]) -> list[int]:
    """Rows in the order of their tokens: those that share a front stand together and are computed together."""
    return sorted(range(len(rows)), key=lambda i: rows[i].tokens)
