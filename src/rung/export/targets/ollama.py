"""A GGUF file with a Modelfile beside it, for Ollama."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rung import files
from rung.export import modelfile
from rung.export.source import Source
from rung.export.targets import gguf
from rung.export.targets.base import Form, Made, Target


def write(source: Source, form: Form, folder: Path) -> Made:
    """Write both; llama.cpp loads the file, and rung fills in the Modelfile's template. An adapter stands beside its base."""
    modelfile.check_tools(source)
    made = gguf.write_with_adapter(source, form, folder, folder) if form.adapter else gguf.write(source, form, folder)
    adapter = gguf.ADAPTER if form.adapter else ""
    files.write_text(folder / "Modelfile", modelfile.text(source, gguf.file_name(form), adapter))
    return replace(made, reader=modelfile.Rendering(made.reader, source))


def use(source: Source, form: Form) -> str:
    """The command that takes it in."""
    return "`ollama create NAME` in this folder. See `prompt.json` for the messages that this model was fitted and measured with."


OLLAMA = Target(
    "ollama", "a GGUF file with a Modelfile", gguf.GGUF.kinds, write, use, "gguf", adapter_kinds=("f16", "f32"), brings_base=True
)
