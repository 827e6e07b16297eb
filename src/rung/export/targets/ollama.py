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
    """Write both; llama.cpp loads the file, and rung fills in the Modelfile's template."""
    made = gguf.write(source, form, folder)
    files.write_text(folder / "Modelfile", modelfile.text(source, gguf.file_name(form)))
    return replace(made, reader=modelfile.Rendering(made.reader, source))


def use(source: Source, form: Form) -> str:
    """The command that takes it in."""
    return "`ollama create NAME` in this folder. " + gguf.use(source, form)


OLLAMA = Target("ollama", "the same with a Modelfile", gguf.GGUF.kinds, write, use, "gguf")
