"""A folder that vLLM serves, with the line that starts it: merged weights, or a base and its adapter as a LoRA module."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rung import files
from rung.errors import RungError
from rung.export import texts
from rung.export.source import Source, public
from rung.export.targets import hf
from rung.export.targets.base import Form, Made, Target

if TYPE_CHECKING:
    from rung.lm.export.vllm_server import Vllm

SCRIPT = "serve.sh"
BASE, ADAPTER = "base", "adapter"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes for --max-lora-rank."""
DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


def write(source: Source, form: Form, folder: Path) -> Made:
    """Write the files and the script, check what vLLM needs of them, and load them: by vLLM where one is named, else by
    transformers, which the proof says."""
    from rung.lm.export import vllm_process

    if form.adapter:
        made = _with_adapter(source, folder)
        check_adapter(folder / ADAPTER)
    else:
        made = hf.write(source, form, folder)
    check_model(folder / BASE if form.adapter else folder)
    files.write_text(folder / SCRIPT, script(source, form, folder))
    (folder / SCRIPT).chmod(0o755)
    if not vllm_process.python():
        made.reader.engine += f"; vLLM was not asked, as {vllm_process.PYTHON} names no Python with it: with vLLM it is unproven"
        return made
    made.reader.close()
    return replace(made, reader=_asked(source, form, folder))


def options(source: Source, form: Form, folder: Path, place: Path = Path()) -> list[str]:
    """vLLM's command line behind its name; files lie in `place`."""
    name = served_name(source)
    if not form.adapter:
        return ["--model", str(place), "--served-model-name", name, "--dtype", DTYPES[form.kind]]
    rank = json.loads((folder / ADAPTER / "adapter_config.json").read_text(encoding="utf-8"))["r"]
    most = next(one for one in RANKS if one >= rank)
    lora = ["--enable-lora", "--max-lora-rank", str(most), "--lora-modules", f"{name}={place / ADAPTER}"]
    return ["--model", str(place / BASE), "--served-model-name", f"{name}-base", "--dtype", DTYPES[form.kind], *lora]


def script(source: Source, form: Form, folder: Path) -> str:
    """The script that starts vLLM."""
    words = shlex.join(options(source, form, folder))
    return (
        "#!/bin/sh\n# Further options are passed on: ./serve.sh --host 127.0.0.1 --port 8000\n"
        f'cd "$(dirname "$0")" && exec python -m vllm.entrypoints.openai.api_server {words} "$@"\n'
    )


def served_name(source: Source) -> str:
    """The name that clients ask for."""
    return re.sub(r"[^\w.-]", "-", source.rung)


def check_model(folder: Path) -> None:
    """RungError for a folder that vLLM could not load."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not config.get("architectures") or not list(folder.glob("*.safetensors")) or not (folder / "tokenizer.json").exists():
        raise RungError(
            "vLLM needs weights in safetensors, tokenizer.json, and `architectures` in config.json.",
            where="rung export --to vllm",
            remedy="Export it --to hf.",
        )


def check_adapter(folder: Path) -> None:
    """RungError for an adapter that vLLM does not take as a LoRA module."""
    from rung.lm.export.lora_settings import more_than_plain, settings

    found = settings(folder)
    wrong = more_than_plain(found) + ([f"its rank is over {RANKS[-1]}"] if found.get("r", 0) > RANKS[-1] else [])
    if wrong:
        raise RungError(
            f"vLLM takes no such adapter: {', '.join(wrong)}.",
            where="rung export --to vllm --adapter",
            remedy="Leave --adapter out: merged weights are served as any model.",
        )


def _with_adapter(source: Source, folder: Path) -> Made:
    """The untouched base and the adapter, each in its folder."""
    from rung.lm.export import hf_folder
    from rung.lm.export.merged import adapter_of, merged
    from rung.lm.export.plain import PlainTransformers

    place, adapter = adapter_of(source.base.folder, source.predictor.model.files)
    (folder / ADAPTER).mkdir()
    hf_folder.write_adapter(adapter, source.chat, public(source), folder / ADAPTER)
    hf_folder.write(merged(place, ""), folder / BASE, "f32", source.predictor.decoding)
    return Made(PlainTransformers(folder / ADAPTER, folder / BASE))


def _asked(source: Source, form: Form, folder: Path) -> Vllm:
    from rung.lm.export.vllm_server import Vllm

    room = ["--max-model-len", str(texts.longest(source)), "--max-num-seqs", "4"]
    return Vllm([*options(source, form, folder, folder), *room], served_name(source))


def use(source: Source, form: Form) -> str:
    """How to start and ask it."""
    name = served_name(source)
    kinds = (
        f"`base/` is the untouched base and `adapter/` a LoRA module: the server answers as `{name}` with it and as "
        f"`{name}-base` without. Further adapters of this base are added behind `--lora-modules` as `NAME=FOLDER`."
        if form.adapter
        else f"The server answers as `{name}`."
    )
    return (
        f"`./{SCRIPT}` starts vLLM, which must be installed; options such as `--port 8000` are passed on. {kinds}\n\n"
        "Send the messages in `prompt.json`, with the input in place of `{input}`, to `/v1/chat/completions`. "
        f"`generation_config.json` has the decoding that it was measured with.{_tools(source)}"
    )


def _tools(source: Source) -> str:
    """Of a rung that calls tools: how vLLM is given them and reads the calls."""
    known = source.predictor.tools
    if known is None:
        return ""
    if known.in_text:
        return "\n\nThe answer is a JSON list of calls of tools; the messages list the tools."
    form = source.chat.tool_form
    parser = "hermes" if form and form.before.startswith("<tool_call>") else "PARSER"
    return (
        "\n\nSend `tools` of `prompt.json` too. Started with "
        f"`./{SCRIPT} --enable-auto-tool-choice --tool-call-parser {parser}` the server reads the calls from the answer."
        + (" PARSER is vLLM's name for this template's form." if parser == "PARSER" else "")
    )


VLLM = Target(
    "vllm",
    "a folder for vLLM with its launch line",
    tuple(DTYPES),
    write,
    use,
    "transformers",
    adapter_kinds=("f32",),
    brings_base=True,
)
