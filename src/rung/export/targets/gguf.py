"""One GGUF file with weights, tokenizer and chat template, for llama.cpp and what is built on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rung.export import texts
from rung.export.source import Source
from rung.export.targets.base import Form, Made, Target

if TYPE_CHECKING:
    from rung.lm.export.merged import Merged
    from rung.lm.export.reader import Reader


def write(source: Source, form: Form, folder: Path) -> Made:
    """Write the file and load it: in llama.cpp where that is installed, else in rung."""
    from rung.lm.export import gguf_file, llama_cpp
    from rung.lm.export.merged import merged

    made = merged(source.base.folder, source.predictor.model.files)
    file = folder / file_name(form)
    gguf_file.write(made, file, form.kind, source.rung, source.base.licence)
    if not llama_cpp.installed():
        return Made(_read_back(file, made), made.changed)
    threads = source.project.engines.machine.threads
    return Made(llama_cpp.LlamaCpp(file, threads, texts.longest(source), made.chat.begin), made.changed)


def file_name(form: Form) -> str:
    """What the file is called."""
    return f"model-{form.kind}.gguf"


def _read_back(file: Path, made: Merged) -> Reader:
    """The file read by rung's own GGUF loader: shows that it holds the weights, not that llama.cpp computes the same."""
    import tempfile

    from rung.lm.export.plain import PlainTransformers
    from rung.lm.models import gguf

    with tempfile.TemporaryDirectory(prefix="rung-export-") as place:
        gguf.convert(file, Path(place), say=lambda text: None)
        note = ", the GGUF file read back by rung: llama.cpp was not asked, as xllamacpp is not installed"
        return PlainTransformers(Path(place), note=note)


def use(source: Source, form: Form) -> str:
    """Where the messages are."""
    return "See `prompt.json` for the messages that this model was fitted and measured with."


GGUF = Target("gguf", "one file for llama.cpp", ("f16", "f32", "q8_0"), write, use, "gguf")
