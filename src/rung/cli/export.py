"""The command that writes a fitted rung as files for other engines, and proves them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.common import Folder, Json, err, out, print_json, project_of, resumable
from rung.cli.screens.console import status, styled
from rung.errors import RungError

if TYPE_CHECKING:
    from rung.export.push import Place
    from rung.export.targets import Form


def export(
    folder: Folder,
    rung: Annotated[str, typer.Argument(metavar="RUNG", help="The rung to export; by default the one last chosen.")] = "",
    to: Annotated[str, typer.Option("--to", help="hf, gguf, ollama, vllm or zip; of an encoder hf, onnx or zip.")] = "hf",
    into: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to write; by default exports/RUNG-… in the task's folder."),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="hf, vllm: f32 (default), bf16, f16. gguf, ollama: f16 (default), f32, q8_0. onnx: f32 (default), int8.",
        ),
    ] = "",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="hf, gguf: the adapter alone. vllm, ollama: beside its base.")
    ] = False,
    rows: Annotated[
        int | None,
        typer.Option("--rows", min=1, help="Dev rows of the proof; by default 32, of an encoder 1,000."),
    ] = None,
    push: Annotated[
        str,
        typer.Option("--push", metavar="OWNER/NAME", help="With --to hf: upload it to the Hugging Face hub once proven."),
    ] = "",
    public: Annotated[bool, typer.Option("--public", help="With --push: everybody may see it; else it is private.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --push: upload without asking.")] = False,
    json_: Json = False,
) -> None:
    """Write a fitted rung as files for other engines, load them there, and prove that they answer as the rung does.

    Exit code 1 if they do not; the files then lie in a folder that ends in .failed.
    """
    from rung.cli.screens import export as screen
    from rung.export import push as upload
    from rung.export import run
    from rung.export.source import source
    from rung.export.targets import form

    project = project_of(folder)
    found = source(project, rung, rows or 0)
    wanted = form(found, to, kind, adapter)
    name = re.sub(r"[^\w.+@-]", "-", f"{found.rung}-{wanted.name}")
    place = into or project.task.folder / "exports" / name
    run.check_place(place)
    hub = _hub(push, wanted, public, yes, json_)
    with resumable("Nothing was written; run the same command again."), status("reading the rung") as update:
        done = run.export(found, wanted, place, update)
    if json_:
        pushed = {"pushed": upload.push(hub, done.folder, found.rung)} if hub else {}
        print_json({"folder": str(done.folder), "bytes": done.bytes, **pushed, **done.proof.report()})
        return
    out.print(screen.exported(found.rung, done))
    if hub:
        out.print(screen.uploading(hub, upload.contents(done.folder), upload.of_the_data(found)))
        agreed = yes or _agreed()
        said = f"Uploaded to {upload.push(hub, done.folder, found.rung)}" if agreed else "Nothing was uploaded."
        out.print(said, soft_wrap=True)
    if found.record is None:
        err.print(f"{found.rung} was never measured here: run `rung fit {folder} {found.rung}` for its scores.", style="dim")


def _hub(repo: str, wanted: Form, public: bool, yes: bool, json_: bool) -> Place | None:
    """Where the export is to be uploaded, checked before anything is written; None without --push."""
    from rung.export import push as upload

    if not repo:
        if public or yes:
            raise RungError("--public and --yes are about an upload.", where="rung export", remedy="Give --push OWNER/NAME too.")
        return None
    if not yes and (json_ or not sys.stdin.isatty()):
        raise RungError("nobody is there to ask before the upload.", where="rung export --push", remedy="Give --yes.")
    return upload.place(repo, wanted, public)


def _agreed() -> bool:
    out.print(styled("Upload it? [dim](y/N)[/] "), end="")
    return sys.stdin.readline().strip().casefold() in ("y", "yes")
