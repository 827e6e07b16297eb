"""The command that opens the page: a task's, or that of a folder of documents."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from rung.cli.common import err, out
from rung.cli.serve import check_installed, task_or_documents

HOST = "127.0.0.1"


def chat(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A task's folder, or a folder of documents.")],
    base: Annotated[str, typer.Option(help="For documents without a task: the model that answers.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open nothing.")] = False,
) -> None:
    """Chat in the browser with a task's rung, or with a folder of documents: no rung.yaml and no questions are needed.

    Answers come with their passages. Only this machine can reach the page, and what is asked is not logged; feedback given on
    the page is kept in the folder's .rung. Needs the extra: pip install 'rung\\[serve]'.
    """
    check_installed("rung chat")
    from rung.serve import run
    from rung.serve.answering import models

    found = models.opened([folder], lambda place: task_or_documents(place, base))
    made = run.server(found, HOST)
    notices = sorted({served.notice for served in found.values() if served.notice})
    run.serve(made, HOST, port, lambda url: _ready(url, notices, not no_browser))


def _ready(url: str, notices: list[str], browser: bool) -> None:
    out.print(f"{url}/ is the page; Ctrl-C ends it.", soft_wrap=True)
    for notice in notices:
        err.print(notice, style="dim", soft_wrap=True)
    if browser:
        import webbrowser

        threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
