"""One GGUF file with weights, tokenizer and chat template, for llama.cpp and what is built on it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rung import tools
from rung.errors import RungError
from rung.export import texts
from rung.export.source import Source, public
from rung.export.targets.base import Form, Made, Target

ADAPTER = "adapter.gguf"

if TYPE_CHECKING:
    from rung.lm.export.merged import Merged
    from rung.lm.export.reader import Reader


def write(source: Source, form: Form, folder: Path) -> Made:
    """Write the file and load it: in llama.cpp where that is installed, else in rung. With an adapter, that alone."""
    from rung.lm.export.merged import merged

    _check_tools(source)
    if form.adapter:
        with TemporaryDirectory(prefix="rung-export-") as place:
            return write_with_adapter(source, form, Path(place), folder)  # llama.cpp has read the base when this returns
    made = merged(source.base.folder, source.predictor.model.files)
    file = write_file(source, form, made, folder)
    reader = _llama_cpp(source, made, file) if _installed() else _read_back(file, made)
    return Made(reader, made.changed)


def _check_tools(source: Source) -> None:
    """RungError for tools that llama.cpp shows in another way than the chat template in rung."""
    known = source.predictor.tools
    bare = [] if known is None or known.in_text else tools.without_description(known.listed)
    if bare:
        raise RungError(
            f"the tool {bare[0]!r} has no description, and llama.cpp would show the model an empty one.",
            where="rung export --to gguf",
            remedy="Describe it in the file of tools and fit the rung again, or export it --to hf.",
        )


def write_with_adapter(source: Source, form: Form, base: Path, folder: Path) -> Made:
    """Write the untouched base to the folder `base` and the adapter to `folder`. RungError where llama.cpp cannot be asked."""
    from rung.lm.export import gguf_lora
    from rung.lm.export.merged import adapter_of, merged

    if not _installed():
        raise RungError(
            "an adapter as GGUF is proven by llama.cpp alone, which is not installed.",
            where="rung export --adapter",
            remedy="pip install 'rung[llamacpp]'",
        )
    place, adapter = adapter_of(source.base.folder, source.predictor.model.files)
    made = merged(place, "")
    gguf_lora.write(adapter, made.model.config, folder / ADAPTER, source.rung)
    return Made(_llama_cpp(source, made, write_file(source, form, made, base), folder / ADAPTER))


def write_file(source: Source, form: Form, made: Merged, folder: Path) -> Path:
    """Write the model's file to a folder."""
    from rung.lm.export import gguf_file

    file = folder / file_name(form)
    gguf_file.write(made, file, form.kind, source.rung, source.base.licence)
    return file


def file_name(form: Form) -> str:
    """What the model's file is called."""
    return f"model-{form.kind}.gguf"


def _installed() -> bool:
    from rung.lm import llama_cpp

    return llama_cpp.installed()


def _llama_cpp(source: Source, made: Merged, file: Path, adapter: Path | None = None) -> Reader:
    from rung.lm.export.llama_cpp import LlamaCpp

    return LlamaCpp(file, source.project.engines.machine.threads, texts.longest(source), made.chat.begin, adapter)


def _read_back(file: Path, made: Merged) -> Reader:
    """The file read by rung's own GGUF loader: shows that it holds the weights, not that llama.cpp computes the same."""
    from rung.lm.export.plain import PlainTransformers
    from rung.lm.models import gguf

    with TemporaryDirectory(prefix="rung-export-") as place:
        gguf.convert(file, Path(place), say=lambda text: None)
        note = ", the GGUF file read back by rung: llama.cpp was not asked, as xllamacpp is not installed"
        return PlainTransformers(Path(place), note=note)


def use(source: Source, form: Form) -> str:
    """Where the messages are, and what loads an adapter."""
    asked = "See `prompt.json` for the messages that this model was fitted and measured with."
    if source.predictor.tools and not source.predictor.tools.in_text:
        asked += " Send `tools` of that file too: `llama-server --jinja` shows them by the template."
    if not form.adapter:
        return asked
    return f"`llama-server -m BASE.gguf --lora {ADAPTER}`, BASE being `{public(source)}` as GGUF in any type. {asked}"


GGUF = Target("gguf", "one file for llama.cpp", ("f16", "f32", "q8_0"), write, use, "gguf", adapter_kinds=("f32",))
