"""The choice of an engine for each served model that writes: as asked, or by a trial on the task's own rows."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rung import files
from rung.errors import ModelError, RungError
from rung.hardware import fingerprint
from rung.home import home
from rung.lm.backends import table
from rung.lm.backends.engine import BackendEngine
from rung.lm.backends.table import BackendChoice
from rung.lm.base import ModelRef, Prompt
from rung.lm.data_policy import require_data_policy
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.planning.api_settings import settings
from rung.serve.answering.models import Served
from rung.serve.backends import trial
from rung.types import Message, digest
from rung.version import __version__

ROWS = 2 * trial.SHARE + 2
"""Rows of a task that both engines are asked at most."""
SECONDS = 90.0
"""Seconds after which `--engine auto` measures no more."""

Say = Callable[[str], object]


def choose(models: Mapping[str, Served], asked: str, say: Say) -> None:
    """Have each model that writes free text answered by the engine that `asked` names: own, a backend, or auto.

    Models that have a backend already keep it. RungError where a backend that was asked for cannot load a model, or answers
    otherwise than an export of its kind may. With auto each such model stays with rung's own engine, and `say` tells why.
    """
    if asked == table.OWN:
        return
    until, named = time.monotonic() + SECONDS, None if asked == table.AUTO else table.choice(asked)
    for served in _writers(models):
        found, why = _as_asked(served, named) if named else _by_trial(served, until)
        if found:
            served.engines.backends[served.model] = found
        say(f"{served.name} is written by {found.said if found else 'the own engine'}: {why}.")


def _writers(models: Mapping[str, Served]) -> Iterator[Served]:
    """One of each model in this process that writes free text, those with a Predictor first."""
    seen: set[ModelRef] = set()
    for served in sorted(models.values(), key=lambda one: one.predictor is None):
        able = can(served.model)
        new = served.model not in seen and served.model not in served.engines.backends
        if served.writes and able.replaceable and new:
            seen.add(served.model)
            yield served


def _as_asked(served: Served, chosen: BackendChoice) -> tuple[BackendChoice | None, str]:
    if chosen.address:
        name = f"{chosen.address}/v1#{served.model.name}"
        require_data_policy(served.project.task, name, "the server to be asked is", "rung serve --engine")
    other, prompts = _opened(served, chosen)
    if not prompts:
        return chosen, "as asked; it was not compared, since the task has no rows"
    found = trial.agreement(other, prompts)
    if found.faults:
        raise RungError(
            f"{chosen.said} answers {served.name!r} otherwise than rung's own engine: {found.faults}.",
            where="rung serve --engine",
            remedy="Serve with --engine own.",
        )
    return chosen, f"as asked; {found}"


def _by_trial(served: Served, until: float) -> tuple[BackendChoice | None, str]:
    device = served.engines.machine.device
    if (chosen := table.candidate(device)) is None:
        known = ", ".join(kind.name for kind in table.TABLE.values() if kind.device == device)
        return None, f"no other is installed ({known})"
    model = [served.model.digest, served.model.files_digest, *filter(None, [served.model.precision])]
    key = digest([*model, chosen.said, chosen.kind.version(), __version__])
    path = home() / f"engines-{fingerprint()}.json"
    if before := _remembered(path).get(key):
        return (chosen if before["taken"] else None), f"{before['why']} (measured {before['at']})"
    if time.monotonic() > until:
        return None, f"{SECONDS:.0f} s of measuring were over"
    try:
        taken, why = _measured(served, chosen, until)
    except ModelError as error:
        return None, f"{chosen.said} cannot load it: {error.what}"
    if why:
        said = {"taken": taken, "why": why, "at": time.strftime("%Y-%m-%d")}
        files.write_json(path, _remembered(path) | {key: said})
        return (chosen if taken else None), why
    return None, "the task has no rows to measure with"


def _measured(served: Served, chosen: BackendChoice, until: float) -> tuple[bool, str]:
    """Whether to take the backend, and why; nothing where the task has no rows."""
    other, prompts = _opened(served, chosen)
    if not prompts:
        return False, ""
    agreed = trial.agreement(other, prompts)
    if agreed.faults:
        return False, f"{chosen.said} answers otherwise: {agreed.faults}"
    found = trial.speed(other, prompts, until)
    return found.gain > 1, f"{chosen.said} is {found.gain:.2g} times as fast ({found}); {agreed}"


def _opened(served: Served, chosen: BackendChoice) -> tuple[BackendEngine, list[Prompt]]:
    """The model in both, apart from what the server has in memory, and prompts of the task's own dev rows."""
    project = served.project
    engines = Engines(project.machine, project.say, settings(project.task, project.store), serving=True)
    dev = project.inputs.splits.dev
    drawn = random.Random(project.task.seed).sample(range(len(dev)), min(ROWS, len(dev)))
    rows = [dev[i] for i in sorted(drawn)]
    if served.predictor:
        prompts = served.predictor.prompts(rows, engines) if rows else []
    else:
        prompts = [Prompt((*row.history, Message("user", row.input)), row.input) for row in rows]
    engines.close()
    engines.backends[served.model] = chosen
    other = engines.open(served.model)
    assert isinstance(other, BackendEngine), "a model with a backend is opened by it"
    return other, prompts


def _remembered(path: Path) -> dict[str, dict[str, Any]]:
    """What was measured on this machine, by the content of the model."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
