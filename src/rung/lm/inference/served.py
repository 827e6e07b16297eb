"""Engines of a server: one copy of a base, packed, and the adapters on it in one running batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakValueDictionary

from rung.lm import out_of_memory
from rung.lm.base import ModelRef, Writing
from rung.lm.inference.causal import CausalEngine
from rung.lm.inference.running import Running
from rung.lm.models import serving
from rung.lm.models.load import Loaded, load
from rung.lm.models.serving import AdaptedModel, Adapter
from rung.machine import Machine


@dataclass(frozen=True)
class AdapterBatch:
    """A running batch as one adapter joins it; equal for all adapters of a base."""

    batch: Running
    adapter: Adapter = field(compare=False)

    def join(self, writing: Writing) -> None:
        self.batch.join(writing, self.adapter)

    def step(self) -> None:
        self.batch.step()

    def __len__(self) -> int:
        return len(self.batch)


class ServedBase(CausalEngine):
    """An untouched base, packed, or whole weights that were fitted."""

    def __init__(self, loaded: Loaded, say: out_of_memory.Say):
        self.active = serving.prepare(loaded)
        super().__init__(loaded, say)

    def _new_batch(self) -> Running:
        return Running(self.loaded, self._checked, say=self.budget.say, active=self.active)


class ServedAdapter(CausalEngine):
    """An adapter on a served base: the base's weights and running batch, a prefix cache of its own."""

    def __init__(self, base: ServedBase, adapter: Adapter):
        self.base, self.adapter = base, adapter
        model = AdaptedModel(base.loaded.model, base.active, adapter)
        super().__init__(replace(base.loaded, model=model), base.budget.say)

    def running(self) -> AdapterBatch | None:  # type: ignore[override]
        batch = self.base.running()
        return None if batch is None else AdapterBatch(batch, self.adapter)


Bases = WeakValueDictionary[str, ServedBase]
"""Bases in use, by the digest of their content and their precision."""


def opened(folder: Path, digest: str, ref: ModelRef, machine: Machine, say: out_of_memory.Say, bases: Bases) -> CausalEngine:
    """The engine of a base in `folder`, with the fit of `ref`. A base that is in use is not opened again.

    A fit that is no plain LoRA is merged, in float32 on a CPU, whatever its precision.
    """
    files = ref.files
    lora = serving.plain_lora(folder, files) if files else None
    if files and not lora:
        return ServedBase(load(folder, machine, files), say)
    precision = ref.precision if machine.multiplies_bf16 else ""
    base = bases.get(key := digest + precision)
    if base is None:
        bases[key] = base = ServedBase(load(folder, machine, frozen="base" if precision else ""), say)
    if not lora:
        return base
    adapter = serving.read(base.loaded, lora)
    return ServedAdapter(base, adapter) if adapter else ServedBase(load(folder, machine, files), say)
