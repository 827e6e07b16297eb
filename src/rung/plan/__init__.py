"""The plan: rungs on the available bases, each with a cost estimate."""

from __future__ import annotations

from rung.callable_folder import make_callable

make_callable(__name__)
