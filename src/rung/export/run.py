"""One export from begin to end: written to a folder of its own, loaded, asked beside the original, described; or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rung import files
from rung.errors import RungError
from rung.export import asking, card, compare, modelfile, scores
from rung.export.kinds import Form
from rung.export.limits import BYTES
from rung.export.proof import Proof
from rung.export.source import Source
from rung.types import plain
from rung.version import __version__

if TYPE_CHECKING:
    from rung.lm.export.merged import Merged
    from rung.lm.export.reader import Reader
    from rung.lm.export.reference import Reference

PROOF = "proof.json"
"""In each exported folder; a folder without it is not one, and is never overwritten."""
MOST = 64
"""Tokens at which answers are cut while an export is proven."""

Progress = Callable[[str], object]


class Differs(RungError):
    """The export does not answer as the original does."""

    exit_code = 1


@dataclass(frozen=True)
class Exported:
    """An export that passed."""

    folder: Path
    proof: Proof
    bytes: int
    limits: tuple[str, ...]
    """What `rung ask` does for this rung that the files alone do not."""


Original: TypeAlias = "tuple[Reference, compare.Asked]"
"""The rung's own model with its answers."""


def export(
    source: Source, form: Form, out: Path, progress: Progress = lambda text: None, original: Original | None = None
) -> Exported:
    """Write the rung to the folder `out` and prove it.

    The folder appears whole, with its proof and its card, or not at all. Differs where the export is over its limits: it then
    lies in `OUT.failed`. RungError where `out` holds something else, or the disk has no room. `original`: for several exports
    of one rung, what `ask_original` gives, so that it is asked once.
    """
    check_place(out)
    _check_space(source, form, out)
    with files.whole_folder(out) as part:
        progress("writing the files")
        reader, changed = _write(source, form, part)
        try:
            proof = prove(source, form, reader, original or ask_original(source, progress), progress)
        finally:
            reader.close()
        files.write_json(part / PROOF, report(source, form, proof, changed))
        files.write_json(part / "prompt.json", asking.content(source))
        files.write_text(part / "README.md", card.text(source, form, proof))
        size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
        if not proof.passed:
            raise _failed(part, out, proof)
    return Exported(out, proof, size, tuple(asking.limits(source)))


def prove(source: Source, form: Form, reader: Reader, original: Original, progress: Progress) -> Proof:
    """Ask the export what the original was asked, and score both."""
    engine, asked = original
    proof, written = compare.compare(engine, asked, reader, form.kind, progress)
    return replace(proof, scores=scores.scored(source, asked.written, written))


def ask_original(source: Source, progress: Progress = lambda text: None) -> Original:
    """The original in float32 on the CPU with its answers."""
    from rung.lm.export.reference import Reference
    from rung.lm.inference.causal import CausalEngine
    from rung.lm.models.load import load

    progress("asking the original")
    engines, predictor = source.project.engines, source.predictor
    machine = replace(engines.machine, device="cpu", dtype="float32")
    original = Reference(CausalEngine(load(source.base.folder, machine, predictor.model.files)))
    prompts = predictor.prompts(source.rows, engines)
    most = min(MOST, predictor.decoding.max_new_tokens + (predictor.thinking.tokens if predictor.thinking else 0))
    return original, compare.ask(original, [row.id for row in source.rows], prompts, most)


def report(source: Source, form: Form, proof: Proof, changed: int) -> dict[str, Any]:
    """What `proof.json` holds."""
    return {
        "made_by": f"rung {__version__}",
        "rung": source.rung,
        "to": form.name,
        "predictor": source.predictor.digest,
        "base": {"name": card.public(source), "digest": source.base.digest},
        "tensors_changed_by_merging": changed,
        "passed": proof.passed,
        "agreed": proof.agreed,
        "largest_margin": proof.margin,
        **plain(proof),
    }


def check_place(out: Path) -> None:
    """RungError where `out` is there and no earlier export."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise RungError("there is a file or a link of this name.", where=str(out), remedy="Name another folder with --out.")
    if out.is_dir() and any(out.iterdir()) and not is_export(out):
        raise RungError(
            "the folder holds something that is no export.", where=str(out), remedy="Name another or an empty folder with --out."
        )


def is_export(folder: Path) -> bool:
    """Whether a folder was written by `rung export`."""
    try:
        found = json.loads((folder / PROOF).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and str(found.get("made_by", "")).startswith("rung ")


def _write(source: Source, form: Form, part: Path) -> tuple[Reader, int]:
    """Write the model's files and load them. Returns how many tensors merging changed, too."""
    from rung.lm.export import hf_folder
    from rung.lm.export.merged import adapter_of, merged
    from rung.lm.export.plain import PlainTransformers

    ref, base = source.predictor.model, source.base.folder
    if form.adapter:
        folder, adapter = adapter_of(base, ref.files)
        chat = source.project.engines.chat(ref)
        assert chat, "only models with a chat template are exported"
        hf_folder.write_adapter(adapter, chat, card.public(source), part)
        return PlainTransformers(part, folder), 0
    made = merged(base, ref.files, form.kind if form.to == "hf" else "f32")
    if form.to == "hf":
        hf_folder.write(made, part, form.kind, source.predictor.decoding)
        return PlainTransformers(part), made.changed
    return _write_gguf(source, form, part, made), made.changed


def _write_gguf(source: Source, form: Form, part: Path, made: Merged) -> Reader:
    """Write the GGUF file, for Ollama with a Modelfile, and load it: in llama.cpp where that is installed, else in rung."""
    from rung.lm.export import gguf_file, llama_cpp

    file = part / f"model-{form.kind}.gguf"
    gguf_file.write(made, file, form.kind, source.rung, source.base.licence)
    if form.to == "ollama":
        files.write_text(part / "Modelfile", modelfile.text(source, file.name))
    if llama_cpp.installed():
        engines, model = source.project.engines, source.predictor.model
        longest = max(engines.tokens(model, one, "")[0] for one in source.predictor.prompts(source.rows, engines))
        reader: Reader = llama_cpp.LlamaCpp(file, engines.machine.threads, longest + 2 * MOST, made.chat.begin)
    else:
        reader = _read_back(file, made)
    return modelfile.Rendering(reader, source) if form.to == "ollama" else reader


def _read_back(file: Path, made: Merged) -> Reader:
    """The file read by rung's own GGUF loader: shows that it holds the weights, not that llama.cpp computes the same."""
    import tempfile

    from rung.lm.export.plain import PlainTransformers
    from rung.lm.models import gguf

    with tempfile.TemporaryDirectory(prefix="rung-export-") as place:
        gguf.convert(file, Path(place), say=lambda text: None)
        note = ", the GGUF file read back by rung: llama.cpp was not asked, as xllamacpp is not installed"
        return PlainTransformers(Path(place), note=note)


def _check_space(source: Source, form: Form, out: Path) -> None:
    from rung.lm.export.merged import bytes_of

    weights = bytes_of(source.base.folder, source.predictor.model.files) / 4
    needed = 50e6 + (0 if form.adapter else weights * BYTES[form.kind])
    place = next(one for one in (out, *out.absolute().parents) if one.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise RungError(
            f"the disk is too full: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free.",
            where=str(place),
            remedy="Make room, or name a folder on another disk with --out.",
        )


def _failed(part: Path, out: Path, proof: Proof) -> Differs:
    """Put a failed export beside its place; the error that says what differs."""
    beside = out.with_name(out.name + ".failed")
    if beside.is_dir() and is_export(beside):
        shutil.rmtree(beside)
    part.replace(beside)  # written into: the folder under way, which goes beside its place
    return Differs(
        f"the export does not answer as the original: {'; '.join(proof.faults)}.",
        where=str(out),
        remedy=f"It lies in {beside} with its proof; do not use it in place of the rung. {_advice(proof)}",
    )


def _advice(proof: Proof) -> str:
    same = proof.rendered == proof.rows and proof.cut == proof.rows and proof.texts_same == proof.texts
    return "Take a --kind with more bits." if same and proof.kind != "f32" else "Export it --to hf."
