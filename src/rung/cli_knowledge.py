"""The commands about a task's documents: index them, search them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rung.errors import TaskError

if TYPE_CHECKING:
    from rung.retrieve.index import Changes
    from rung.retrieve.store import Health
    from rung.site import Site
    from rung.types import Texts

Folder = Annotated[Path, typer.Argument(help="The task folder, or its rung.yaml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs; progress goes to standard error.")]

out, err = Console(highlight=False), Console(stderr=True, highlight=False)


def index(
    folder: Folder,
    store: Annotated[str, typer.Option("--store", help="Move the index there: lance://FOLDER, or a folder for SQLite.")] = "",
    json_: Json = False,
) -> None:
    """Build the index of data.documents or bring it up to date; says what was added, changed, deleted, refused."""
    from rich.status import Status

    from rung.cli import print_json, site_of
    from rung.retrieve import knowledge
    from rung.retrieve.index import health
    from rung.retrieve.store import move

    site = site_of(folder)
    texts = _documents(site)
    home = site.store.folder
    with site.store.locked(), Status("reading", console=err) as status:
        if store and store != knowledge.place(home):
            old, new = knowledge.opened(knowledge.place(home)), knowledge.opened(store)
            move(old, new)
            knowledge.point(home, store)
        place = knowledge.place(home)
        how = knowledge.made(site.engines, site.start.encoder)
        changes = knowledge.bring_up_to_date(
            texts, place, site.engines, how, lambda text, share: status.update(f"{share:.0%} {text}")
        )
        opened = knowledge.open_kept(place, site.engines)
        found, stale = health(opened, site.task.folder, texts.patterns)
    if json_:
        print_json({"changes": changes, "health": found, "stale": stale, "store": place})
        return
    _told(changes, found, stale, place)


def search(
    folder: Folder,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    count: Annotated[int, typer.Option("-k", help="Passages to show.")] = 5,
    under: Annotated[str, typer.Option(help="Only in this folder or file.")] = "",
    json_: Json = False,
) -> None:
    """Passages for a question, with the score of each leg: by words and by meaning, their ranks fused."""
    from dataclasses import replace

    from rung.cli import print_json, site_of
    from rung.retrieve import knowledge, lookup
    from rung.retrieve.lookup import Lookup
    from rung.retrieve.search import Settings
    from rung.retrieve.store import Allow

    site = site_of(folder)
    texts = _documents(site)
    place = knowledge.place(site.store.folder)
    opened = knowledge.open_kept(place, site.engines)
    if opened.making() is None:
        knowledge.bring_up_to_date(texts, place, site.engines, knowledge.made(site.engines, site.start.encoder))
    found = Lookup(place, texts.digest, site.start.encoder, Settings(k=count))
    [hits] = lookup.sources(replace(found), [text], site.engines, Allow(under=under))
    if json_:
        print_json(hits)
        return
    for number, hit in enumerate(hits, 1):
        legs = [
            f"BM25 {hit.lexical:.2f}" if hit.lexical is not None else "",
            f"cosine {hit.dense:.2f}" if hit.dense is not None else "",
        ]
        out.print(f"[bold]{number}.[/] [cyan]{hit.passage.where}[/]  [dim]{', '.join(filter(None, legs))}[/]", soft_wrap=True)
        out.print(hit.passage.text.strip(), markup=False, soft_wrap=True)
        out.print()
    if not hits:
        out.print("nothing was found.")


def _documents(site: Site) -> Texts:
    texts = site.data.documents
    if not texts.files:
        raise TaskError("the task names no documents.", where="rung.yaml", remedy="Add them under data.documents: docs/")
    return texts


def _told(changes: Changes, found: Health, stale: int, place: str) -> None:
    parts = [
        f"{len(some)} {word}"
        for some, word in (
            (changes.added, "added"),
            (changes.changed, "changed"),
            (changes.renamed, "renamed"),
            (changes.deleted, "deleted"),
        )
        if some
    ]
    out.print(f"{', '.join(parts) or 'nothing changed'}; {changes.unchanged} unchanged.")
    for path, reason in {**found.refused, **changes.refused}.items():
        out.print(f"[yellow]refused[/] {path}: {reason}", soft_wrap=True)
    dense = "" if found.dense is None else f", {found.dense} by meaning"
    whole = "[green]whole[/]" if found.whole and not stale else f"[yellow]{stale} stale[/]"
    out.print(f"{found.documents} documents, {found.passages} passages: {found.lexical} searchable by words{dense}; {whole}.")
    out.print(f"[dim]{place}[/]", soft_wrap=True)
