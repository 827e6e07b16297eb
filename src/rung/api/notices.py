"""Notices to the user: on standard error in a program, under the cell in a notebook."""

from __future__ import annotations

import sys

from rung.visible import visible


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, so that HTML is shown."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell else None
    return running is not None and hasattr(running, "kernel")


def notice(text: str) -> None:
    """One line for the user."""
    print(visible(text), file=sys.stdout if in_notebook() else sys.stderr)
