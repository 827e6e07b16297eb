"""How a task's APIs are called: its settings as those of `rung.lm.remote`, with the cache in its store."""

from __future__ import annotations

from functools import partial

from rung.lm.remote.prices import Price
from rung.lm.remote.settings import Limits, Settings
from rung.store import NAME, Store
from rung.store.api_calls import calls_of
from rung.task import Task


def settings(task: Task, store: Store | None = None) -> Settings:
    """API settings of the task: how to call, spending limits, and the cache in `.rung`, or in a store that is shared."""
    api, most = task.api, task.budget
    return Settings(
        folder=task.folder / NAME,
        shared=partial(calls_of, store) if store and store.address else None,
        key_env=api.key_env,
        concurrency=api.concurrency,
        timeout_s=api.timeout_s,
        retries=api.retries,
        cache=api.cache,
        prices={model: Price(price.input, price.output, price.cached) for model, price in task.prices.items()},
        limits=Limits(calls=most.calls, tokens=most.tokens, usd=most.usd),
    )
