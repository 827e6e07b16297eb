"""The commands about serving: the server itself, and its keys."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.common import Folder, Json, err, out, print_json, project_of
from rung.cli.knowledge import Access
from rung.cli.screens.console import status
from rung.errors import RungError, TaskError

if TYPE_CHECKING:
    from rung.climbing.project import Project
    from rung.serve.answering.models import Served

keys = typer.Typer(no_args_is_help=True, help="API keys of a task, for `rung serve`.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who holds it; in logs.")]


def serve(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER…", help="One or more task folders, or folders of documents.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on; other than loopback it takes keys.")] = "127.0.0.1",
    waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait; the next one is refused with 429.")] = 64,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request is given up.")] = 120.0,
    log: Annotated[
        Path | None, typer.Option("--log", help="The request log, an SQLite file; by default in the first FOLDER's .rung.")
    ] = None,
    no_log: Annotated[bool, typer.Option("--no-log", help="Write no request log.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Index documents again as they change.")] = False,
    log_days: Annotated[float, typer.Option(min=0.0, help="Days that a logged request is kept.")] = 30.0,
    engine: Annotated[
        str,
        typer.Option(metavar="NAME", help="What writes free text: own, llamacpp, vllm, vllm=http://…, or auto, which measures."),
    ] = "own",
) -> None:
    """Answer over HTTP in the shape of OpenAI's API, with the rung that the last climb chose and every other fitted one.

    A folder of documents without a rung.yaml is answered from as it is. The page for browsers is at the same address. Needs
    the extra: pip install 'rung\\[serve]'.
    """
    check_installed("rung serve")
    from rung.serve import run
    from rung.serve.answering import models
    from rung.serve.backends.choose import choose
    from rung.serve.request_log import FILE
    from rung.serve.spans import from_environment as spans_from_environment
    from rung.serve.watch import Watcher

    def reopened(before: Mapping[str, Served] | None = None) -> Mapping[str, Served]:
        found = models.opened(folders, task_or_documents, before)
        choose(found, engine, lambda text: err.print(text, style="dim", soft_wrap=True))
        return found

    found = reopened()
    path = None if no_log else log or next(iter(found.values())).project.store.folder / FILE
    spans, note = spans_from_environment()
    if note:
        err.print(note, style="dim", soft_wrap=True)
    made = run.server(found, host, run.Limits(waiting, timeout), run.Logging(path, log_days), spans)
    given = {(place if place.is_dir() else place.parent).resolve(): place for place in folders}  # one may be a single document
    again = (lambda folder: task_or_documents(given[folder.resolve()])) if watch else None
    watcher = Watcher(made.shelf, made.line, reopened, again)
    run.serve(made, host, port, lambda url: _ready(url, list(found.values()), path), watcher)


def mcp(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER…", help="One or more task folders.")],
    access: Access = [],  # noqa: B006  # typer copies it
) -> None:
    """Give the models to an MCP client as the tools ask, search and predict, on standard input and output.

    For the configuration of a desktop client; over HTTP `rung serve` has the same tools at /mcp.
    Needs the extra: pip install 'rung\\[mcp]'.
    """
    if missing := [name for name in ("mcp", "fastapi") if importlib.util.find_spec(name) is None]:
        raise RungError(f"{missing[0]} is not installed.", where="rung mcp", remedy="Run: pip install 'rung[mcp]'")
    from rung.serve.answering import models
    from rung.serve.mcp import stdio

    stdio.run(models.opened(folders, task_or_documents), access)


def check_installed(command: str) -> None:
    """RungError where the extra for serving is missing."""
    if missing := [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]:
        raise RungError(f"{missing[0]} is not installed.", where=command, remedy="Run: pip install 'rung[serve]'")


def task_or_documents(folder: Path, base: str = "") -> Project:
    """The project of a task's folder, or that of answering from the documents in a folder without a task.

    `base`: for documents, the model that answers. The index is built or brought up to date here.
    """
    from rung.climbing.answering import unmeasured
    from rung.climbing.project import Project
    from rung.retrieve.parse import listing
    from rung.task.alone import documents_alone, is_task

    if is_task(folder):
        return project_of(folder)
    task = documents_alone(folder, base)
    if not listing(task.folder, task.data.documents).files:
        raise TaskError(
            "there is neither a rung.yaml nor a document that can be read.",
            where=str(folder),
            remedy="Name a task's folder, or a folder of documents.",
        )
    project = Project(task, say=lambda text: err.print(text, style="dim"))
    with status("reading the documents") as update:
        unmeasured(project, lambda text, share: update(f"{share:.0%} {text}"))
    return project


def _ready(url: str, found: list[Served], path: Path | None) -> None:
    out.print(f"{url}/v1 answers, with these models:", soft_wrap=True)
    for served in found:
        what = f"the rung {served.rung}" if served.rung else "the untouched base"
        out.print(f"  {served.name}: {what}", soft_wrap=True)
    out.print(f"{url}/ is the page for browsers", soft_wrap=True)
    for notice in sorted({served.notice for served in found if served.notice}):
        err.print(notice, style="dim", soft_wrap=True)
    out.print(f"requests are logged in {path}" if path else "requests are not logged", style="dim", soft_wrap=True)


@keys.command("add")
def add(
    folder: Folder,
    name: Name,
    access: Access = [],  # noqa: B006  # typer copies it
    admin: Annotated[bool, typer.Option("--admin", help="It may also read /metrics.")] = False,
    requests_per_minute: Annotated[int, typer.Option(min=0, help="Requests it may make in a minute; 0 for no limit.")] = 0,
    tokens_per_minute: Annotated[
        int, typer.Option(min=0, help="Tokens it may use in a minute, read and written together; 0 for no limit.")
    ] = 0,
) -> None:
    """Make a key and print it, once: only its hash is kept."""
    from rung.retrieve.asker import allowed
    from rung.serve.access import keys as kept

    project = project_of(folder)
    allowed(project.task, access)
    secret = kept.add(
        project.store, name, access, "admin" if admin else "ask", requests=requests_per_minute, tokens=tokens_per_minute
    )
    out.print(secret, soft_wrap=True, highlight=False)


@keys.command("list")
def list_(folder: Folder, json_: Json = False) -> None:
    """The keys of a task: their names, never themselves."""
    from dataclasses import asdict

    from rung.serve.access import keys as kept

    found = kept.load(project_of(folder).store)
    if json_:
        shown = [{name: value for name, value in asdict(key).items() if name != "digest"} for key in found]
        print_json(shown)
        return
    for key in found:
        made = time.strftime("%Y-%m-%d", time.gmtime(key.made))
        labels = f", documents: {', '.join(key.access)}" if key.access else ""
        limits = [(key.requests_per_minute, "requests"), (key.tokens_per_minute, "tokens")]
        most = "".join(f", {limit:,} {what} a minute" for limit, what in limits if limit)
        out.print(f"{key.name}: {key.role}, made {made}{labels}{most}", soft_wrap=True)


@keys.command("revoke")
def revoke(folder: Folder, name: Name) -> None:
    """Take a key away. A running server refuses it from the next request on."""
    from rung.serve.access import keys as kept

    kept.revoke(project_of(folder).store, name)
    out.print(f"revoked {name}", soft_wrap=True)
