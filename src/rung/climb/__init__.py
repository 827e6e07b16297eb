"""The climb: a task made ready, its rungs fitted and measured in order, the decision, the test rows opened once."""

from __future__ import annotations

from rung.callable_folder import make_callable

make_callable(__name__)
