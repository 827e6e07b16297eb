"""The models as tools of an MCP server: ask, search, predict. https://modelcontextprotocol.io

Over HTTP they stand at /mcp, under the keys and checks of the other endpoints; `rung mcp` has them on standard input and output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from rung.rows import Message
from rung.serve.access.askers import Asker
from rung.serve.access.guard import BODY
from rung.serve.answering import passages
from rung.serve.answering.job import Outcome
from rung.serve.answering.models import Served
from rung.serve.endpoints import asking
from rung.serve.endpoints.chat import Chat
from rung.serve.endpoints.refused import Refused
from rung.serve.endpoints.wire import ChatAsked
from rung.serve.server import Server
from rung.version import __version__

COUNT = 50
"""Most passages of one search."""

INSTRUCTIONS = "Models that a team adapted to its tasks, and the documents behind them."

Who = Callable[[Context], Asker]
"""Who calls a tool. Refused where he may not."""

Model = Annotated[str, Field(description="A model of /v1/models. Left out: the first one that this is possible with.")]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=COUNT)]


class Citation(BaseModel):
    """A passage behind an answer or found by a search."""

    number: Annotated[int, Field(description="As [1] in an answer's text.")]
    document: str
    section: str
    where: str
    text: str


class Answer(BaseModel):
    """An answer to a question."""

    model: str
    answer: str
    confidence: Annotated[float | None, Field(description="Of a label: its probability among the task's labels.")] = None
    citations: Annotated[list[Citation], Field(description="The passages that the answer cites.")] = []
    abstained: Annotated[str | None, Field(description="Why no answer was given.")] = None


class Label(BaseModel):
    """The label of a text."""

    model: str
    label: Annotated[str, Field(description="Empty where the model is not sure enough to name one.")]
    confidence: Annotated[float | None, Field(description="Its probability among the task's labels.")]
    guess: Annotated[str | None, Field(description="The likeliest label where the model is not sure.")] = None


class Passages(BaseModel):
    """What a search found, best first."""

    model: str
    passages: list[Citation]


def mcp_server(server: Server, who: Who) -> MCPServer:
    """The tools of a server. A tool that no model can follow is not offered."""
    made = MCPServer("rung", version=__version__, log_level="ERROR", instructions=INSTRUCTIONS)
    models = server.models.values()

    @made.tool()
    async def ask(question: Text, ctx: Context, model: Model = "") -> Answer:
        """Ask a model a question. Answers from documents cite their passages, and say so where they do not know."""
        served, asker = _chosen(server, who, ctx, model, lambda one: True)
        outcome = await _asked(server, asker, served, question)
        about: dict[str, Any] = outcome.about
        cited = [
            Citation(**{key: one[key] for key in Citation.model_fields}) for one in about.get("citations", []) if one["cited"]
        ]
        return Answer(
            model=served.name,
            answer=outcome.text,
            confidence=about.get("confidence"),
            citations=cited,
            abstained=about.get("abstained"),
        )

    if any(map(_labels, models)):

        @made.tool()
        async def predict(text: Text, ctx: Context, model: Model = "") -> Label:
            """Sort a text into one of the task's labels."""
            served, asker = _chosen(server, who, ctx, model, _labels)
            outcome = await _asked(server, asker, served, text)
            guess = outcome.about.get("guess")
            label = "" if guess else outcome.text
            return Label(model=served.name, label=label, confidence=outcome.about.get("confidence"), guess=guess)

    if any(passages.lookup_of(one) for one in models):

        @made.tool()
        async def search(query: Text, ctx: Context, count: Count = 5, model: Model = "") -> Passages:
            """Find passages of the documents by words and by meaning."""
            everyone = list(server.models.values())
            served, asker = _chosen(server, who, ctx, model, lambda one: passages.lookup_of(one, everyone) is not None)
            found = passages.lookup_of(served, everyone)
            with _told():
                server.rates.admit(asker.key(served), 0)
                hits = await asking.run(server, passages.search(served, found, query, count, asker.allow(served)))
            sources = [source for _, source in hits]
            shown = [
                Citation(number=k, document=one.path, section=one.section, where=one.where, text=one.text)
                for k, one in enumerate(sources, 1)
            ]
            return Passages(model=served.name, passages=shown)

    return made


class Endpoint:
    """ASGI application of /mcp: each request stands on its own and is checked for its key first."""

    def __init__(self, server: Server):
        def who(context: Context) -> Asker:
            return server.askers.of((context.headers or {}).get("authorization"))

        self.server = server
        made = mcp_server(server, who)
        checked = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # rung.serve.access.guard has checked the host
        made.streamable_http_app(json_response=True, stateless_http=True, max_request_body_size=BODY, transport_security=checked)
        self.manager = made.session_manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.server.asker(Request(scope))
        await self.manager.handle_request(scope, receive, send)


class _told:
    """What is refused in here is an error of the tool, with its reason."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Refused):
            raise ToolError(error.what) from error


def _labels(served: Served) -> bool:
    return bool(served.predictor and served.predictor.labels)


def _chosen(server: Server, who: Who, context: Context, name: str, fits: Callable[[Served], bool]) -> tuple[Served, Asker]:
    """The model to be asked, and who asks."""
    with _told():
        asker = who(context)
        if name:
            served = server.served(asker, name)
            if not fits(served):
                raise Refused(400, f"the model {name!r} cannot do this.", param="model", code="unsupported_value")
            return served, asker
        for served in server.models.values():
            if asker.may_ask(served) and fits(served):
                return served, asker
        raise Refused(404, "no model of yours can do this.", code="model_not_found")


async def _asked(server: Server, asker: Asker, served: Served, text: str) -> Outcome:
    asked = ChatAsked(Chat(served.name, (Message("user", text),)))
    with _told():
        [[outcome]] = await asking.answered(asking.Call(server, asker, asked, served))
    return outcome
