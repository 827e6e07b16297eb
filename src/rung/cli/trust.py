"""The command that accepts a `.rung` folder of another user, another machine or an older version."""

from __future__ import annotations

from rung.cli.common import Folder, Json, err, out, print_json


def trust(folder: Folder, json_: Json = False) -> None:
    """Accept the .rung folder of a task as yours: fits, answers and records made by another user, machine or older version."""
    from rung.store import Store
    from rung.task import load_task
    from rung.trust import trust as sign_all

    store = Store(load_task(folder).folder, say=lambda text: err.print(text, style="dim"))
    found = sign_all(store)
    if json_:
        print_json(found)
        return
    for what in found.left:
        err.print(what, soft_wrap=True)
    parts = f"{found.lines} lines, {found.files} files, {found.fits} fits, {found.answers} answers of endpoints"
    out.print(f"signed as yours in {store.folder}: {parts}, {found.indexes} indexes", soft_wrap=True)
