"""The tools of an MCP server on standard input and output, for the one user who started it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rung.retrieve.asker import allowed
from rung.serve import run as servers
from rung.serve.access.askers import Asker
from rung.serve.access.keys import Key
from rung.serve.answering.models import Served


def run(models: Mapping[str, Served], access: Sequence[str] = ()) -> None:
    """Answer until standard input ends.

    `access`: labels of documents that may be seen. TaskError for one that no document has.
    """
    from rung.serve.mcp.tools import mcp_server

    tasks = {served.project.task.folder: served.project.task for served in models.values()}
    for task in tasks.values():
        allowed(task, access)
    asker = Asker({folder: Key("stdio", "", tuple(access)) for folder in tasks})
    made = servers.server(models, "127.0.0.1", servers.Limits())
    servers.structured_logs()
    made.worker.start()
    try:
        mcp_server(made, lambda context: asker).run("stdio")
    finally:
        made.worker.stop(servers.DRAIN)
