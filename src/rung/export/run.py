"""One export from begin to end: written to a folder of its own, loaded, asked beside the original, described; or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung import files
from rung.errors import RungError
from rung.export import asking, card, texts
from rung.export.limits import BYTES
from rung.export.proof import Proof, Proven
from rung.export.source import Source, public
from rung.export.targets import Form
from rung.version import __version__

PROOF = "proof.json"
"""In each exported folder; a folder without it is not one, and is never overwritten."""

Progress = Callable[[str], object]


class Differs(RungError):
    """The export does not answer as the original does."""

    exit_code = 1


@dataclass(frozen=True)
class Exported:
    """An export that passed."""

    folder: Path
    proof: Proven
    bytes: int
    limits: tuple[str, ...]
    """What `rung ask` does for this rung that the files alone do not."""


def export(
    source: Source, form: Form, out: Path, progress: Progress = lambda text: None, original: texts.Original | None = None
) -> Exported:
    """Write the rung to the folder `out` and prove it.

    The folder appears whole, with its proof and its card, or not at all. Differs where the export is over its limits: it then
    lies in `OUT.failed`. RungError where `out` holds something else, or the disk has no room. `original`: for several exports
    of one rung, what `texts.ask_original` gives, so that it is asked once.
    """
    check_place(out)
    _check_space(source, form, out)
    with files.whole_folder(out) as part:
        progress("writing the files")
        made = form.target.write(source, form, part)
        try:
            proof = form.target.prove(source, form, made, original, progress)
        finally:
            made.reader.close()
        files.write_json(part / PROOF, report(source, form, proof, made.changed))
        if not (source.encoder or form.target.prover):
            files.write_json(part / "prompt.json", asking.content(source))
        files.write_text(part / "README.md", card.text(source, form, proof))
        size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
        if not proof.passed:
            raise _failed(part, out, proof)
    return Exported(out, proof, size, tuple(form.target.limits(source)))


def report(source: Source, form: Form, proof: Proven, changed: int) -> dict[str, Any]:
    """What `proof.json` holds."""
    return {
        "made_by": f"rung {__version__}",
        "rung": source.rung,
        "to": form.name,
        "predictor": source.predictor.digest,
        "base": {"name": public(source), "digest": source.base.digest},
        "tensors_changed_by_merging": changed,
        **proof.report(),
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


def _check_space(source: Source, form: Form, out: Path) -> None:
    from rung.lm.export.merged import bytes_of

    files = "" if source.encoder else source.predictor.model.files
    weights = bytes_of(source.base.folder, files) / 4
    alone = form.adapter and not form.target.brings_base
    needed = 50e6 + (0 if alone else weights * BYTES[form.kind])
    place = next(one for one in (out, *out.absolute().parents) if one.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise RungError(
            f"the disk is too full: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free.",
            where=str(place),
            remedy="Make room, or name a folder on another disk with --out.",
        )


def _failed(part: Path, out: Path, proof: Proven) -> Differs:
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


def _advice(proof: Proven) -> str:
    rounded = proof.kind != "f32" and (not isinstance(proof, Proof) or proof.same_prompts)
    return "Take a --kind with more bits." if rounded else "Export it --to hf."
