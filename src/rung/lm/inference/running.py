"""A running batch: answers join and leave it at every step, and prompts are read in slices between.

What prompts have in common is computed once and kept in a radix tree, by content, within a bound of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from rung.lm import out_of_memory
from rung.lm.base import Writing
from rung.lm.inference import texts
from rung.lm.inference.running_rows import Ids, Row, Waiting
from rung.lm.inference.sample import Sampler
from rung.lm.inference.step_layout import Layout, Query, Slice, layout
from rung.lm.models.load import Loaded
from rung.lm.models.serving import Active, Adapter
from rung.lm.trees import tree, virtual
from rung.lm.trees.radix import Node, Radix, States
from rung.lm.trees.slots import Slots
from rung.lm.trees.tree import Ints

ROWS = 64
"""Answers written at the same time; more wait."""
SLICE, FIRST_SLICE = 64, 512
"""Tokens of prompts that are read in one step: while answers are written, which wait for them, and while none is."""
COPIED, SLOT = 64, 128
"""Tokens of a row's own: the end of its prompt up to COPIED, and what it writes, up to SLOT; more go into a node of its own.

Rows with a node each are attended to one after the other, rows of a slot all at once."""
CACHE_BYTES = 2**30
"""Keys and values of prompts that are kept for the next ones."""


class Running:
    """The running batch of one model. Not for several threads."""

    def __init__(
        self,
        loaded: Loaded,
        ids: Callable[[Writing], Ids],
        most: int = CACHE_BYTES,
        say: out_of_memory.Say = lambda text: None,
        active: Active | None = None,
    ):
        """`ids`: the tokens of a prompt, or DataError where it is too long. `most`: bytes that the cache may have. `active`:
        tells the model which adapters a pass adds.
        """
        self.loaded, self.ids, self.most, self.say = loaded, ids, most, say
        self.active = active or Active()
        self.model = virtual.base(loaded.model)
        self.radix = Radix(self._root)
        self.slots = Slots(SLOT)
        self.rows: list[Row] = []
        """In the order of their slots."""
        self.waiting: list[Waiting] = []

    def __len__(self) -> int:
        return len(self.rows) + len(self.waiting)

    def join(self, writing: Writing, adapter: Adapter | None = None) -> None:
        """As in `RunningBatch`; `adapter` is added to the model for this answer."""
        ids, decoding, draw = self.ids(writing), writing.decoding, writing.prompt.draw
        guide, limit = self.loaded.chat.guide(decoding), self.loaded.max_new_tokens(ids, decoding)
        sampler = Sampler(decoding, (*ids, *[-draw] * bool(draw)), guide, limit, writing.logprobs)
        scope = f"{adapter.digest if adapter else ''} {writing.scope}"  # never a name: other weights are another scope
        self.waiting.append(Waiting(writing, ids, sampler, scope, adapter))

    @torch.no_grad()
    def step(self) -> None:
        self._drop_unwanted()
        for row, one in enumerate(self.rows):
            if one.length == SLOT:
                self._spill(row, one)
        reading, slices = self._slices()
        if not (self.rows or slices):
            return
        try:
            laid, logits = self._pass(slices)
            self._keep(reading, slices, laid)
        except Exception as error:
            self._failed(error, reading)
            return
        self._write(logits)
        self.radix.shrink(self.most)

    def clear(self) -> None:
        """Drop what is kept of earlier prompts."""
        self.radix.shrink(0)

    # --- one step --------------------------------------------------------------------------------------------------------

    def _slices(self) -> tuple[list[Waiting], list[Slice]]:
        """What is read in this step: of the prompt that waits longest, then of the shortest, as much as a step may take."""
        room, left = ROWS - len(self.rows), SLICE if self.rows else FIRST_SLICE
        waiting = self.waiting[:room]
        for one in waiting:
            self._look_up(one)
        reading, slices = list[Waiting](), list[Slice]()
        for one in [*waiting[:1], *sorted(waiting[1:], key=lambda one: len(one.ids) - one.known)]:
            assert one.node, "it was looked up"
            beside = [_common(other.tokens, one.rest) for other in slices if other.node is one.node]
            shared = max(beside, default=0)
            count = min(len(one.rest), shared + left)
            if count == shared and count < len(one.rest):
                continue  # what it shares is read for another; the rest follows
            left -= count - shared
            reading.append(one)
            slices.append(Slice(one.node, one.rest[:count], one.ids[-1] if count == len(one.rest) else None, one.adapter))
        return reading, slices

    def _look_up(self, one: Waiting) -> None:
        node, known = self.radix.match(one.scope, one.ids[:-1])
        self._hold(one, node, known)
        if one.cached < 0:
            one.cached = known

    def _hold(self, one: Waiting, node: Node | None, known: int = 0) -> None:
        """Have the tree keep a node for a prompt, and no longer the one before."""
        if node:
            node.users += 1
        if one.node:
            one.node.users -= 1
        one.node, one.known = node, known

    def _pass(self, slices: Sequence[Slice]) -> tuple[Layout, torch.Tensor]:
        """The forward pass: its layout, and the logits of the rows, (rows, vocabulary)."""
        device = self.loaded.device
        asked = [Query(one.chain, one.tokens[-1], one.depth, one.length, one.adapter) for one in self.rows]
        laid = layout(asked, slices, self.slots, device)
        rows = laid.step.rows
        with self.active.of(ranges=laid.ranges):
            out = self.model(
                input_ids=torch.from_numpy(laid.tokens)[None].to(device),
                position_ids=torch.from_numpy(laid.step.depth)[None].to(device),
                step=laid.step,
                # the output head fails on an empty index: keep one position if none is wanted
                logits_to_keep=torch.from_numpy(rows if len(rows) else np.zeros(1, np.int64)).to(device),
                use_cache=False,
            )
        return laid, out.logits[0, : len(rows)].float()

    def _keep(self, reading: Sequence[Waiting], slices: Sequence[Slice], laid: Layout) -> None:
        """Put what was read into the radix tree. Prompts that were read to their end become rows."""
        nodes: list[Node] = []
        try:  # all copies come first: where memory runs out, the step has not been
            for one, part, path in zip(reading, slices, laid.paths):
                nodes.append(self._added(one, part, path, laid.step.fresh))
        except BaseException:
            for node in nodes:
                node.pins -= 1
            raise
        for row in self.rows:
            row.length, row.depth = row.length + 1, row.depth + 1
        for one, part, node in zip(reading, slices, nodes):
            if part.last is None:
                self._hold(one, node, one.known + len(part.tokens))
                node.pins -= 1
            else:
                self._hold(one, None)
                self.waiting.remove(one)
                self.rows.append(Row(one.writing, one.ids, one.cached, one.sampler, node, node.end + 1, one.scope, one.adapter))
                self._copy_end(len(self.rows) - 1, self.rows[-1])

    def _added(self, one: Waiting, part: Slice, path: Ints, fresh: States) -> Node:
        """The node at the end of a slice, pinned."""
        at = torch.from_numpy(path).to(self.loaded.device)
        states = [(keys.index_select(1, at), values.index_select(1, at)) for keys, values in fresh]
        node = self.radix.add(one.scope, one.ids[: one.known + len(part.tokens)], states, one.known)
        node.pins += 1
        if part.last is not None:
            self.radix.trim(node)
        return node

    def _copy_end(self, number: int, row: Row) -> None:
        """Copy the last nodes of a row's prompt into its slot, so that it is read together with those of other rows."""
        nodes: list[Node] = []
        node = row.node
        while node.parent is not None and row.length + node.size <= COPIED:
            nodes, row.length, node = [node, *nodes], row.length + node.size, node.parent
        if nodes:
            self.slots.put_before(number, nodes)
            row.node.pins -= 1
            node.pins += 1
            row.node = node

    def _write(self, logits: torch.Tensor) -> None:
        """Draw the next token of every row. Rows that end leave."""
        stops = self.loaded.chat.stops
        for one, scores in [*zip(self.rows, logits)]:
            try:
                one.tokens.append(one.sampler(scores))
                tokens = tuple(one.tokens)
                more = tokens[-1] not in stops and len(tokens) < one.sampler.limit
                if not (more and one.writing.heard(partial(texts.so_far, self.loaded.chat, tokens))):
                    self._finish(one)
            except Exception as error:
                self._leave(one)
                one.writing.failed(error)

    # --- rows that end ---------------------------------------------------------------------------------------------------

    def _finish(self, row: Row) -> None:
        self._keep_answer(row)
        self._leave(row)
        cached, seen = max(0, row.cached), row.sampler.seen
        found = texts.completion(self.loaded.chat, row.ids, row.tokens, row.writing.decoding, cached, seen)
        row.writing.done(found)

    def _keep_answer(self, row: Row) -> None:
        """Put what was written into the radix tree: the next question of a conversation begins with it."""
        if row not in self.rows or not row.tokens:
            return
        states = self.slots.read(self.rows.index(row), row.length)
        size = row.length
        if row.own:
            states = [
                (torch.cat([keys, more_keys], 1), torch.cat([values, more_values], 1))
                for (keys, values), (more_keys, more_values) in zip(map(row.own.layer, range(len(states))), states)
            ]
            size += row.own.size
        whole = (*row.ids, *row.tokens)[: row.depth - self._before]
        self.radix.trim(self.radix.add(row.scope, whole, states, len(whole) - size))

    def _leave(self, row: Row) -> None:
        """Take a row out; the last one takes its slot."""
        if row not in self.rows:
            return
        number, last = self.rows.index(row), len(self.rows) - 1
        row.node.pins -= 1
        if number < last:
            self.slots.move(last, number)
            self.rows[number] = self.rows[last]
        self.rows.pop()

    def _drop_unwanted(self) -> None:
        for row in [row for row in self.rows if not row.writing.wanted()]:
            self._finish(row)
        for one in [one for one in self.waiting if not one.writing.wanted()]:
            self._give_up(one)
            one.writing.done(texts.completion(self.loaded.chat, one.ids, (), one.writing.decoding))

    def _give_up(self, one: Waiting) -> None:
        self._hold(one, None)
        self.waiting.remove(one)

    def _failed(self, error: Exception, reading: Sequence[Waiting]) -> None:
        """A pass failed. Where memory ran out, what is kept goes first, then the longest prompt, then the longest answer.

        Any other error is one of all that took part.
        """
        waiting, rows = list(reading), list(self.rows)
        if out_of_memory.ran_out(error):
            freed = self.radix.shrink(0)
            self.say("out of memory: what was kept of earlier prompts is dropped" if freed else "out of memory: one answer ends")
            if freed:
                return
            waiting = sorted(waiting, key=lambda one: len(one.ids))[-1:]
            rows = [] if waiting else sorted(rows, key=lambda row: row.depth)[-1:]
        for one in waiting:
            if one in self.waiting:
                self._give_up(one)
                one.writing.failed(error)
        for row in rows:
            self._leave(row)
            row.writing.failed(error)

    # --- memory ----------------------------------------------------------------------------------------------------------

    @property
    def _before(self) -> int:
        return virtual.size(self.loaded.model)

    def _root(self, scope: str) -> States:
        """Keys and values of a model's virtual tokens."""
        return [(keys[0], values[0]) for keys, values in virtual.keys_values(self.loaded.model)]

    def _spill(self, number: int, row: Row) -> None:
        """Move a full slot into a node of the row's own."""
        states = self.slots.read(number, row.length)
        tokens = np.zeros(row.length, np.int64)  # found by nobody, so they need no names
        if row.own:
            row.own.append(tokens, states)
        else:
            row.own = Node(row.node, tokens, row.depth - row.length, [(k.clone(), v.clone()) for k, v in states])
        row.length = 0


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return tree.common_prefix(np.asarray(a, np.int64), np.asarray(b, np.int64))
