"""The commands about a task's documents: index them, search them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.cluster import Gpus, On, Parallel, executor_of
from rung.cli.common import Folder, Json, out, print_json, project_of
from rung.cli.screens.console import status, styled
from rung.errors import TaskError
from rung.visible import one_line

if TYPE_CHECKING:
    from rung.climbing.project import Project
    from rung.retrieve.index import Changes
    from rung.retrieve.lookup import Lookup
    from rung.retrieve.store import Health

Access = Annotated[
    list[str], typer.Option("--access", help="A label the asker holds (data.access); repeatable. Default: open documents only.")
]

SHOWN = 5
"""Passages that a search shows if no rung sets the number."""


def index(
    folder: Folder,
    store: Annotated[str, typer.Option("--store", help="Move the index to lance://FOLDER, or to a folder for SQLite.")] = "",
    on: On = "",
    parallel: Parallel = 0,
    gpus: Gpus = None,
    json_: Json = False,
) -> None:
    """Build or update the index of data.documents; list what was added, changed, deleted or refused."""
    from rung.climbing.reindex import reindex
    from rung.retrieve import knowledge
    from rung.retrieve.store import move
    from rung.retrieve.unread import not_read

    executor = executor_of(on, parallel, gpus)
    project = _project(folder)
    texts = project.inputs.data.documents
    home = project.store.folder
    with status("reading") as update:
        if store and store != knowledge.place(home):
            with project.store.locked():
                move(knowledge.opened(knowledge.place(home)), knowledge.opened(store))
                knowledge.point(home, store)
        changes = reindex(project, lambda text, share: update(f"{share:.0%} {text}"), executor)
        place = knowledge.place(home)
        found, stale = knowledge.looked_over(texts, knowledge.open_kept(place, project.engines))
    if json_:
        print_json({"changes": changes, "health": found, "stale": stale, "store": place, "not_read": texts.ignored})
        return
    _print_changes(changes, found, stale, place)
    if texts.ignored:
        out.print(styled("[yellow]not read[/] {}", one_line(not_read(texts.ignored))), soft_wrap=True)


def search(
    folder: Folder,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The question or words to search for.")],
    count: Annotated[int, typer.Option("-k", min=0, help="Passages to show; 0 uses the rung's own number, or 5.")] = 0,
    under: Annotated[str, typer.Option(help="Search only this folder or file.")] = "",
    access: Access = [],  # noqa: B006  # typer copies it
    defaults: Annotated[bool, typer.Option("--defaults", help="Use the default settings, not the fitted rung's.")] = False,
    json_: Json = False,
) -> None:
    """Find passages, with BM25 and cosine scores; uses the chosen rung's search settings and prints them."""
    from dataclasses import replace

    from rung.retrieve import knowledge, lookup
    from rung.retrieve.asker import allowed

    project = _project(folder)
    allow = allowed(project.task, access, under)
    rung, found = (None if defaults else _fitted(project)) or ("", _plain(project))
    if not knowledge.open_kept(found.index, project.engines).config():
        made = knowledge.config_of(project.engines, found.embedder)
        knowledge.bring_up_to_date(project.inputs.data.documents, found.index, project.engines, made)
    found = replace(found, settings=replace(found.settings, k=count or found.settings.k))
    [hits] = lookup.sources(found, [text], project.engines, allow)
    if json_:
        searched = {"settings": found.settings, "reranker": found.reranker, "index": knowledge.followed(found.index)}
        print_json({"rung": rung, **searched, "hits": hits})
        return
    for number, hit in enumerate(hits, 1):
        legs = [
            f"BM25 {hit.lexical:.2f}" if hit.lexical is not None else "",
            f"cosine {hit.dense:.2f}" if hit.dense is not None else "",
        ]
        where = one_line(hit.passage.where)
        out.print(styled("[bold]{}.[/] [cyan]{}[/]  [dim]{}[/]", number, where, ", ".join(filter(None, legs))), soft_wrap=True)
        out.print(hit.passage.text.strip(), soft_wrap=True)
        out.print()
    if not hits:
        out.print("nothing was found.")
    how = f"as {rung} does" if rung else "with the defaults"
    out.print(styled("[dim]searched {}: {}[/]", how, _settings(found)), soft_wrap=True)


def _fitted(project: Project) -> tuple[str, Lookup] | None:
    """Name and search settings of the chosen rung, else of the last measured rung that retrieves, if its index exists."""
    from rung.retrieve import knowledge

    content = project.store.read("decision.json")
    name = content["decision"]["chosen"] if content else ""
    rungs = [(name, content["fits"][name])] if name else []
    rungs += [(one.rung, one.provenance.fits or ()) for one in reversed(project.store.records()) if one.status == "done"]
    for rung, keys in rungs:
        fitted = project.store.fitted(keys[-1]) if keys else None
        if fitted and fitted.lookup and knowledge.is_there(fitted.lookup.index):
            return rung, fitted.lookup
    return None


def _plain(project: Project) -> Lookup:
    from rung.retrieve import knowledge
    from rung.retrieve.lookup import Lookup
    from rung.retrieve.search import Settings

    return Lookup(knowledge.place(project.store.folder), "", project.task.place(project.task.encoder), Settings(k=SHOWN))


def _settings(found: Lookup) -> str:
    settings, tuned = found.settings, found.reranker
    legs = {"lexical": "words", "dense": "meaning"}
    parts = [" and ".join(legs[leg] for leg in settings.legs)]
    if len(settings.legs) > 1:
        parts.append(f"fused by {settings.fusion}, {settings.weight:g} of it meaning")
    parts.append(f"depth {settings.depth}")
    if tuned:
        parts.append(f"the first {tuned.read} reranked by a tuned cross-encoder, {tuned.weight:g} of it")
    elif settings.rerank:
        parts.append(f"reranked by {settings.rerank}")
    return ", ".join(parts)


def _project(folder: Path) -> Project:
    """The project of a task with documents; TaskError if it names none."""
    project = project_of(folder)
    if not project.task.data.documents:
        raise TaskError("the task names no documents.", where="rung.yaml", remedy="Add them under data.documents: docs/")
    return project


def _print_changes(changes: Changes, found: Health, stale: int, place: str) -> None:
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
        out.print(styled("[yellow]refused[/] {}: {}", one_line(path), one_line(reason)), soft_wrap=True)
    dense = "" if found.dense is None else f", {found.dense} by meaning"
    whole = styled("[green]whole[/]") if found.whole and not stale else styled("[yellow]{} stale[/]", stale)
    totals = f"{found.documents} documents, {found.passages} passages: {found.lexical} searchable by words{dense}"
    out.print(styled("{}; {}.", totals, whole))
    out.print(str(place), style="dim", soft_wrap=True)
