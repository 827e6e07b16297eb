"""Before anything is spent: the rungs on the bases at hand, each with its quote."""

from __future__ import annotations

from rung.callable_folder import make_callable

make_callable(__name__)
