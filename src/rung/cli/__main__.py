"""`python -m rung.cli`."""

from __future__ import annotations

from rung.cli.commands import main

main()
