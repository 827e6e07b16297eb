"""What an engine is: the three questions a model can be asked. No torch here, so that fakes and rules stay light."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from rung.types import Message

Progress = Callable[[int], None]
"""Called with the number of rows just finished."""

Heard = Callable[[int, Callable[[], str]], bool]
"""Called after each token with a prompt's number and its answer so far, to be read if wanted; False ends that answer."""

Precision = Literal["", "bfloat16"]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model answers: its kind, its name, and the folder of what was fitted on top of it."""

    kind: str
    """A name in `rung.lm.engine_kinds.KINDS`, which says what it can do."""
    name: str
    """A name for `rung.lm.models.resolve.find`, an endpoint's (`openai:NAME`, `http://host/v1#NAME`), or a rule's name."""
    digest: str
    """Content of the untouched model."""
    files: str = ""
    """Folder of what was fitted: an adapter, whole weights, a head, a rule's rows."""
    files_digest: str = ""
    precision: Precision = ""
    """In which its frozen layers are stored and multiplied on a CPU that is faster with it; empty for the machine's data type."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question, both as a chat for language models and as the bare input for rules and encoders."""

    messages: tuple[Message, ...]
    input: str
    begun: str = ""
    """The beginning of the answer, given; the model writes or chooses what follows it."""
    draw: int = 0
    """Which of several samples of one prompt this is; it changes the random draw and nothing else."""
    left_out: int = 0
    """Turns of the conversation that it leaves out, since the context has no room for them."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How an answer is sampled."""

    max_new_tokens: int = 256
    """Tokens an answer may have before it is cut."""
    temperature: float = 0.0
    """0 takes the likeliest token each time (greedy)."""
    top_p: float = 1.0
    """Sample among the likeliest tokens that together hold this probability."""
    seed: int = 0
    """A row's draws depend on the seed and the row's prompt alone, never on its batch."""
    schema: str = ""
    """A JSON schema, as text, that the answer is constrained to; empty for free text."""
    calls: bool = False
    """Whether answers may be calls of tools: these are given in the form of `rung.calls`, whatever the template's."""
    template_calls: bool = False
    """Whether `schema` is that of calls (`rung.tools.schema`), which are written in the form of the chat template."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The likeliest label of one prompt."""

    label: str
    logprob: float
    """Natural log of the probability that the model answers exactly this label and stops."""
    confidence: float | None
    """This label's share of the probability of all labels, after any bias; a lower bound where the search did not score them
    all. None where the model gives no probabilities; the log-probability is then NaN."""
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    """Of `tokens_in`: those that the provider had in its prompt cache and bills at a lower price."""
    seconds: float = 0.0
    """Wall-clock seconds of the call that gave this answer, also where it now comes from a cache; 0 for engines that batch."""
    error: str = ""
    """Why there is no answer; the other rows of the call are answered."""
    final: bool = False
    """The error is permanent: asking again would give it again."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token of an answer, with its log-probability and those of the likeliest tokens in its place."""

    text: str
    logprob: float
    """Natural log."""
    top: tuple[tuple[str, float], ...] = ()
    """Texts and log-probabilities of the likeliest tokens, the likeliest first."""


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    finished: bool = True
    """False where the answer was cut at `max_new_tokens`."""
    tokens_cached: int = 0
    """As those of a Choice, like the three that follow."""
    seconds: float = 0.0
    error: str = ""
    final: bool = False
    confidence: float | None = None
    """The probability that the answer is right, where the engine knows one."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of its tokens, without the end token, where they were asked for (`Writing.logprobs`)."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server that answered, for the record."""

    program: str
    """With its version and address."""
    model: str
    """Its name there."""
    started_here: bool
    memory_bytes: int | None
    """Of its processes, at most; None where they are not seen from here."""


@dataclass(frozen=True, slots=True)
class Writing:
    """One answer to be written in a running batch, and who follows it."""

    prompt: Prompt
    decoding: Decoding
    done: Callable[[Completion], object]
    """Receives the answer; also one that was cut because nobody wanted more."""
    failed: Callable[[Exception], object]
    """Receives what went wrong with this answer alone."""
    heard: Callable[[Callable[[], str]], bool] = lambda text: True
    """Called after each token with the answer so far, to be read if wanted; False ends it."""
    wanted: Callable[[], bool] = lambda: True
    """Asked before each step; False ends the answer where it is."""
    scope: str = ""
    """Answers of one scope find what others of it have computed; of another they never do."""
    logprobs: int | None = None
    """Likeliest tokens that are wanted beside each one with its log-probability; None for none."""


class RunningBatch(Protocol):
    """A batch of answers that others join and leave at every step."""

    def join(self, writing: Writing) -> None:
        """Write this answer from the next step on. DataError for a prompt that the context has no room for."""
        ...

    def step(self) -> None:
        """Write one token of every answer, and read a slice of the prompts that wait."""
        ...

    def __len__(self) -> int:
        """Answers that are not finished."""
        ...


class Engine(Protocol):
    """A model ready to be asked. Every method answers in the order of its prompts."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        """Write an answer to each prompt."""
        ...

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        """Log-probability of each answer, its end included, after its prompt."""
        ...

    def choose(self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None) -> list[Choice]:
        """The likeliest of the labels for each prompt."""
        ...

    def count(self, prompt: Prompt) -> int:
        """Tokens of a rendered prompt; 0 for engines that read none."""
        ...

    @property
    def context(self) -> int:
        """Most tokens a prompt and its answer may have together."""
        ...


@runtime_checkable
class ScoresLabels(Protocol):
    """An engine that gives the probability of every label, and can choose among labels with a bias."""

    def weigh(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[list[float]]:
        """Log-probability of each label, in their order, after each prompt."""
        ...

    def choose(
        self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None, bias: Sequence[float] = ()
    ) -> list[Choice]:
        """As `Engine.choose`, with `bias` added to the labels' log-probabilities before the highest is taken."""
        ...


@runtime_checkable
class Closes(Protocol):
    """An engine that holds more than memory of this process: a place on a server."""

    def close(self) -> None:
        """Free it; what is asked again is opened again."""
        ...


@runtime_checkable
class EndsServers(Protocol):
    """What has started servers."""

    def end_servers(self) -> None:
        """End all of them: another program needs their memory."""
        ...


@runtime_checkable
class InServer(Protocol):
    """An engine whose model is in a server, a process of its own."""

    @property
    def server(self) -> ServerFacts:
        """What is known of that server."""
        ...


@runtime_checkable
class Streams(Protocol):
    """An engine that can also give an answer while it is written."""

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[str]:
        """One answer, piece by piece. The pieces joined are the whole answer."""
        ...


@runtime_checkable
class StreamsTogether(Protocol):
    """An engine that writes several answers side by side and says after each token how far each one is."""

    def stream_together(self, prompts: Sequence[Prompt], decoding: Decoding, heard: Heard) -> list[Completion]:
        """As `Engine.generate`; an answer that `heard` ends is cut there and takes no more time."""
        ...


@runtime_checkable
class WritesInSteps(Protocol):
    """An engine that can write answers in a running batch."""

    def running(self) -> RunningBatch | None:
        """Its one running batch; None where this model cannot: its attention does not follow prefix trees."""
        ...
