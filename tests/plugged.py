"""Packages with entry points, written to a folder as an installer would leave them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent


def write(site: Path, package: str, version: str, code: str, entries: Mapping[str, str]) -> None:
    """A package with one module of its name, whose entry points are given as `group name: attribute`."""
    module = package.replace("-", "_")
    site.mkdir(exist_ok=True)
    (site / f"{module}.py").write_text(dedent(code))
    for old in site.glob(f"{module}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    info = site / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = []
    for entry, attribute in entries.items():
        group, name = entry.split()
        lines += [f"[rung.{group}]", f"{name} = {module}:{attribute}", ""]
    (info / "entry_points.txt").write_text("\n".join(lines))


LOUD = '''
    """Everything in capital letters."""
    import json
    from dataclasses import dataclass, replace
    from typing import ClassVar

    import numpy as np
    from rung.lm.base import Completion
    from rung.lm.engine_kinds import Capabilities, EngineKind
    from rung.lm.inference.fake import FakeEngine
    from rung.methods.base import Method
    from rung.metrics import Metric
    from rung.retrieve.formats.blocks import Blocks

    @dataclass(frozen=True, kw_only=True)
    class Loud(Method):
        name: ClassVar[str] = "loud"

        marks: int = 1
        """Exclamation marks behind the instruction."""

        def estimate(self, start, facts, machine):
            return start

        def fit(self, start, data, run):
            return replace(start, instruction=start.instruction.upper() + "!" * self.marks)

    def same(output, reference, example):
        return float(output.casefold() == reference.casefold())

    metric = Metric("any_case", ("answer", "classify"), same, binary=True)

    def read(data):
        blocks = Blocks()
        blocks.heading(1, "Loud")
        blocks.add(data.decode().upper(), 1, 1)
        return blocks

    class Shouting(FakeEngine):
        def generate(self, prompts, decoding, progress=None):
            return [Completion(p.input.upper(), 1, 1) for p in prompts]

    kind = EngineKind(name="loud", can=Capabilities(writes=True), open=lambda engines, ref: Shouting())
    sending = EngineKind(name="sending", can=Capabilities(local=False, open_weights=False), open=lambda engines, ref: Shouting())

    def fetch(name, folder):
        from safetensors.numpy import save_file
        save_file({"w": np.zeros((2, 3), np.float32)}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": name}))
        (folder / "code.py").write_text("raise SystemExit")
        (folder / "odd.bin").write_text("pickle")
        return "7"
'''
LOUD_ENTRIES = {
    "methods loud": "Loud",
    "metrics any_case": "metric",
    "formats loud": "read",
    "engines loud": "kind",
    "engines sending": "sending",
    "model_sources shop": "fetch",
}
