"""The models of a server: each fitted rung of each task, and the untouched bases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from rung.climbing.answering import Answering, answering
from rung.climbing.climb import chosen
from rung.climbing.project import Project
from rung.climbing.selecting import with_threshold
from rung.errors import RungError
from rung.lm.base import Decoding, ModelRef
from rung.lm.data_policy import require_data_policy
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.lm.inference import thinking
from rung.planning.api_settings import settings
from rung.predictor import Predictor
from rung.serve.answering import tool_requests
from rung.serve.endpoints.chat import Chat
from rung.serve.endpoints.refused import Refused
from rung.tools import Tools

OPEN = 4
"""Models in memory at once; of more, the one that was asked longest ago is closed."""
CHECKED = "its answers are checked against its passages"
CLOSED = "it gives one whole answer out of a closed set"
BARE = Decoding(max_new_tokens=512)
"""How an untouched base answers where the client says nothing."""


@dataclass(frozen=True, eq=False)
class Served:
    """One model of the server."""

    name: str
    """As clients name it: the task's folder, or folder:rung; a base by its own name."""
    project: Project
    model: ModelRef
    predictor: Predictor | None = None
    """None: the untouched base, asked with the client's messages alone."""
    rung: str = ""
    notice: str = ""
    """What its user should know: that it was not measured, or did not meet the goal."""

    @property
    def engines(self) -> Engines:
        return self.project.engines

    @property
    def writes(self) -> bool:
        """Whether it writes free text, so that decoding and stop texts mean something; others choose out of a closed set."""
        return can(self.model).writes and not (self.predictor and self.predictor.labels)

    @property
    def tools(self) -> Tools | None:
        """The tools that its answers call; None of a model that calls none."""
        return self.predictor.tools if self.predictor else None

    @property
    def decoding(self) -> Decoding:
        return self.predictor.decoding if self.predictor else BARE

    def check(self, chat: Chat) -> None:
        """Refused with 400 for what has a meaning for other models alone."""
        tool_requests.check(self.name, self.tools, self.decoding.schema, chat)
        if not can(self.model).writes and any(turn.role == "system" for turn in chat.messages):
            raise self._refused("messages", "it reads the last message alone and follows no system message")
        if chat.raw and self.predictor is None and not can(self.model).continues:
            raise self._refused("prompt", "it answers messages and continues no text: use /v1/chat/completions")
        if chat.schema and (not self.writes or (self.predictor and self.predictor.lookup)):
            why = (
                "its answers are checked against its passages" if self.writes else "it gives one whole answer out of a closed set"
            )
            raise self._refused("response_format", why)
        if chat.logprobs is not None and (why := self._no_logprobs):
            raise self._refused("logprobs", why)
        if self.writes:
            return
        if chat.temperature or (chat.top_p or 1.0) < 1.0:
            name = "temperature" if chat.temperature else "top_p"
            raise self._refused(name, "it draws nothing at random: leave it out, or send a temperature of 0")
        if chat.stop or chat.n > 1:
            raise self._refused("stop" if chat.stop else "n", CLOSED)
        self._check_room(chat)

    @property
    def _no_logprobs(self) -> str:
        """Why there are no log-probabilities of an answer; empty where there are."""
        if self.predictor and self.predictor.thinking:
            return "it reasons before it answers"
        if self.predictor and self.predictor.cascade:
            return "two models answer for it"
        if self.predictor and self.predictor.lookup and self.writes:
            return CHECKED
        return "" if can(self.model).logprobs else "its engine gives none"

    def _check_room(self, chat: Chat) -> None:
        if chat.max_tokens and self.predictor and self.predictor.labels and can(self.model).writes:
            room = thinking.max_label_tokens(self.predictor.labels, self.engines.chat(self.model))
            if not self.predictor.thinking and chat.max_tokens < room:
                raise self._refused("max_tokens", f"its longest label has {room} tokens, and labels are never cut")

    def _refused(self, param: str, why: str) -> Refused:
        return Refused(
            400, f"{param!r} cannot be followed by the model {self.name!r}: {why}.", param=param, code="unsupported_value"
        )

    def decoded(self, chat: Chat) -> Decoding:
        """The model's own decoding with what the client asks for otherwise; the seed is left as it is."""
        own = self.decoding
        return replace(
            own,
            max_new_tokens=own.max_new_tokens if chat.max_tokens is None else chat.max_tokens,
            temperature=own.temperature if chat.temperature is None else chat.temperature,
            top_p=own.top_p if chat.top_p is None else chat.top_p,
            schema=chat.schema or own.schema,
            calls=own.calls and not chat.schema,
            template_calls=own.template_calls and not chat.schema,
        )


class Shelf:
    """The models of a running server. They are replaced all at once: a request finds the old ones or the new ones."""

    def __init__(self, models: Mapping[str, Served]):
        self.models = models


def opened(
    folders: Sequence[Path], project_of: Callable[[Path], Project], before: Mapping[str, Served] | None = None
) -> Mapping[str, Served]:
    """The models of these task folders by name, the first one first. RungError for two of one name.

    Nothing is left open: what a fit needed is closed, and the engine thread opens its own. Tasks whose models all run here
    share what is in memory; one that asks an API has its own limits, and engines of its own. `before`: models of the same
    folders whose engines are taken over, with what they have in memory.
    """
    found: dict[str, Served] = {}
    shared = next((one.engines for one in (before or {}).values() if _all_local(one.project)), None)
    for folder in folders:
        project = project_of(folder)
        local = _all_local(project)
        own = settings(project.task, project.store)
        engines = shared if shared and local else Engines(project.machine, project.say, own, most=OPEN, serving=True)
        shared = engines if local else shared
        for served in _of(project, replace(project, shared_engines=engines)):
            known = found.get(served.name)
            if known and served.predictor is None:  # the base of two tasks: float32 if one of them has it so
                if known.predictor is None and known.model.precision and not served.model.precision:
                    found[served.name] = served
                continue
            if known:
                raise RungError(
                    f"two folders would be the model {served.name!r}.",
                    where=f"{known.project.task.folder}, {served.project.task.folder}",
                    remedy="Give one of them another name, or serve it on its own.",
                )
            found[served.name] = served
    return MappingProxyType(found)


def _all_local(project: Project) -> bool:
    return all(can(start.model).local for start in project.starts.values())


def _of(project: Project, fresh: Project) -> Iterator[Served]:
    """The models of a project, to be asked through `fresh`, the same project with nothing open."""
    name = project.task.folder.name
    best = answering(project)
    yield _served(name, fresh, best)
    for rung in project.store.read("decision.json").get("fits", {best.rung: []}):
        try:
            found = best.predictor if rung == best.rung else with_threshold(project, chosen(project, rung))
            for one in filter(None, (found, found.then)):
                require_data_policy(project.task, one.model.name, "the model to be asked is", "rung.yaml needs.data_may_leave")
        except RungError:
            continue  # a rung that was not fitted is no model
        yield _served(f"{name}:{rung}", fresh, Answering(rung, found, best.notice if rung == best.rung else ""))
    for base, start in project.starts.items():
        yield Served(base, fresh, start.model)


def _served(name: str, project: Project, found: Answering) -> Served:
    return Served(name, project, found.predictor.model, found.predictor, found.rung, found.notice)
