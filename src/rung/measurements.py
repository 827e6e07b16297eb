"""What is measured of a rung, as frozen values: intervals, costs, latency, forgetting, and what a repeat needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval and its n."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}], n={self.n}"


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a rung: estimated before it runs, measured after. Seconds are wall clock on this machine."""

    fit_seconds: float = 0.0
    row_seconds: float = 0.0
    """Seconds per answer, in a batch."""
    memory_bytes: int = 0
    once_usd: float = 0.0
    per_month_usd: float = 0.0
    per_1k_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds per request, one at a time, as of a served model."""

    p50: Interval
    p95: Interval


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Loss of general ability against the untouched model on the same passages and questions."""

    loss: Interval
    """Rise in cross-entropy on general text, in `unit`; n passages."""
    accuracy: Interval
    """Change in the share of general questions answered right; n questions."""
    unit: str
    """`nats a token`, or `bits a byte` if the tokenizers differ."""
    rises: tuple[float, ...]
    """Per passage, in nats; bounds at other error levels are computed from these."""
    tokens: tuple[int, ...]
    """Tokens per passage, by the untouched model's tokenizer."""

    @property
    def rise(self) -> float:
        """Nats per token of the untouched model's tokenizer, so that rungs are comparable."""
        return sum(self.rises) / sum(self.tokens)


@dataclass(frozen=True, slots=True)
class Attack:
    """How one Predictor answers passages with planted instructions."""

    rate: Interval | None
    """Share of the attacked answers that contain the planted word; None where nothing could be attacked."""
    kinds: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By kind of instruction: answers that contain the word, and answers."""
    skipped: str = ""
    """Why nothing was attacked."""


@dataclass(frozen=True, slots=True)
class Raced:
    """The interim analyses of a raced rung, and where it stopped; `rung.sequential.race.analysis_of` reads it."""

    sizes: tuple[int, ...]
    """Rows asked up to each analysis."""
    spend: tuple[float, ...]
    """Share of the error that each analysis may use."""
    largest: int
    """Rows of the largest group."""
    asked: int
    """Rows asked when it stopped."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which answers a rung gives, and which it leaves as not sure. Chosen on train; measured on dev and test."""

    at: float = 0.0
    """The confidence from which it answers, after calibration; 0 answers every row."""
    slope: float = 1.0
    """Calibration: the log-odds of the confidence times `slope` plus `shift` are the log-odds of being right."""
    shift: float = 0.0
    rows: int = 0
    """Train rows that it was chosen on."""
    folds: int = 0
    """Parts of train, each answered by a fit on the others; 0 where the rung learns nothing from rows and answered itself."""
    score: float | None = None
    """On these rows, of those answered."""
    coverage: float | None = None
    """Share of these rows answered."""
    auc: float | None = None
    """The chance that a right answer has a higher confidence than a wrong one, on these rows; None if they are all alike."""
    calibration_error: tuple[float, float] | None = None
    """Mean difference between confidence and share right over ten bins, before and after calibration."""
    why: str = ""
    """Why nothing could be chosen, so that every row is answered that the rung does not leave open itself; empty if it was."""
    seconds: float = 0.0
    """Wall clock of the fits and answers that choosing took."""
    usd: float = 0.0
    """What endpoints asked for them, in US dollars."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a repeat of a measurement needs: code, packages, machine, data, options, and what was noted on the way.

    None means not recorded, by a rung that failed or by an earlier version; such a field is not written.
    """

    revision: str | None = None
    """Git revision of the task folder; empty outside a repository."""
    uncommitted: str | None = None
    """Whether files differ from the revision: `unknown`, as no git is run."""
    packages: Mapping[str, str] | None = None
    """Versions by package name."""
    machine: Mapping[str, Any] | None = None
    """The fields of `rung.machine.Machine`, as they were then."""
    key: str | None = None
    """Content name of the measurement; the last record with a key counts."""
    raw_quote: Cost | None = None
    """The cost estimate before corrections by earlier measurements."""
    formulas: int | None = None
    """Version of the formulas that made `raw_quote`."""
    remote: bool | None = None
    """Whether an API was asked, to fit or to answer."""
    api: Mapping[str, int | float] | None = None
    """Calls, tokens and dollars of the task so far, where an API was asked."""
    writes: bool | None = None
    """Whether answers are written token by token, or chosen among labels."""
    base: str | None = None
    """Digest of the base model."""
    train: str | None = None
    """Digest of the training data."""
    dev: str | None = None
    """Digest of the dev rows."""
    test: str | None = None
    """Digest of the test rows."""
    fits: tuple[str, ...] | None = None
    """Keys of the fits, in order."""
    plugins: tuple[str, ...] | None = None
    """Packages with versions whose plug-ins were used."""
    options: tuple[Mapping[str, Any], ...] | None = None
    """Of each method: its name under `method`, and its options."""
    given: Mapping[str, Any] | None = None
    """`methods` of rung.yaml, as given."""
    seed: int | None = None
    precision: Mapping[str, str] | None = None
    """Of the frozen layers of a language model here: `trained`, where something was trained beside them, and `answered`;
    `bfloat16`, or the data type of `machine`."""
    notes: tuple[Mapping[str, Any], ...] | None = None
    """What each fit noted: losses, spreads, tuned thresholds."""
    attack: Attack | None = None
    errors: int | None = None
    """Rows with an error."""
    failed: int | None = None
    """Of these: rows whose error says nothing about the model."""
    shortened: int | None = None
    """Rows that were asked without the earliest turns of their conversation, where there are any."""
    again: int | None = None
    """Rows that the next climb asks again."""
    race: Raced | None = None
    """None where all rows were asked at once."""
    traceback: str | None = None
    """Of a rung that failed."""
    lost: bool | None = None
    """Of a rung that failed: its machines or workers did, which says nothing about the rung."""
    ran: Mapping[str, Any] | None = None
    """Where a rung was measured other than in the climb's own process: `executor`, `node`, `share` of its threads, `latency`
    (`alone`: nothing else of rung ran on the machine), `paused_seconds` for the latencies of other rungs."""
    server: Mapping[str, Any] | None = None
    """The server that the model of this rung was in: `program`, `model` (its name there), `started_here`, and `memory_bytes` of
    its processes, which is then the rung's memory; None where they are not seen from here, and the rung's memory is rung's own
    alone. Latency and seconds a row are those of requests to it."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields that another version wrote and this one does not know; written again unchanged."""

    @property
    def shortened_text(self) -> str:
        """What `shortened` says, as a sentence; empty if no row was."""
        rows = f"{self.shortened} dev row{'s were' if self.shortened != 1 else ' was'} asked without the earliest turns"
        return f"{rows} of the conversation, which the context has no room for" if self.shortened else ""

    def to_json(self) -> dict[str, Any]:
        """The recorded fields, then the unknown ones, as plain values."""
        content = asdict(self)
        extra = content.pop("extra")
        return {name: value for name, value in content.items() if value is not None} | extra

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Reads `to_json`'s form: what is no field goes to `extra`."""
        from pydantic_core import core_schema

        known = {one.name for one in fields(cls)} - {"extra"}

        def sort(content: Any) -> Any:
            if not isinstance(content, Mapping):
                return content
            extra = {name: value for name, value in content.items() if name not in known}
            return {name: value for name, value in content.items() if name in known} | {"extra": extra}

        return core_schema.no_info_before_validator_function(sort, handler(source))
