"""Training on one to many GPUs of a kind: time and dollars of each rung, and from which size on a GPU's memory is too small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rung.machine import EFFICIENCY
from rung.methods.base import Family, Method
from rung.methods.chain import estimate_rung
from rung.methods.facts import Facts
from rung.methods.multiprocess import TRAINS
from rung.methods.shared_options import StepOptions
from rung.planning.machines import PEAK_SHARE, SCALING_EFFICIENCY, by_name, parsed
from rung.planning.step_floor import LAUNCH_SECONDS, LAUNCHES, floor_seconds
from rung.planning.steps import Step

WHOLE = (Family.FULL, Family.CONTINUED, Family.PRETRAINING)
SMALLEST, LARGEST = 1_000_000, 10**13
"""Parameters between which the largest model that fits is looked for."""
SPARE = 0.8
"""Share of a GPU's memory that split states may take; activations take the rest."""

ASSUMPTIONS = (
    f"Matrix products reach {PEAK_SHARE:.0%} of the nominal 16-bit peak, and a training step {EFFICIENCY:.0%} of that.",
    f"Every GPU holds all weights (data parallel), and each further one adds {SCALING_EFFICIENCY:.0%} of the first.",
    "No more GPUs are of use than a step has rows: the others stay idle, and are paid.",
    f"No step takes less than launching {LAUNCHES} kernels for each layer of the model in each pass, {1e6 * LAUNCH_SECONDS:g} µs "
    "each, and one reduction of gradients.",
    "Reading data, checkpoints and a cluster's start are not counted.",
)


@dataclass(frozen=True, slots=True)
class OnGpus:
    """One fit on so many GPUs."""

    gpus: int
    seconds: float
    usd: float


@dataclass(frozen=True, slots=True)
class TrainingQuote:
    """A rung that trains a language model."""

    rung: str
    memory_bytes: int
    """Of each GPU."""
    batch: int
    """Rows of a step."""
    fits: bool
    """Whether one GPU's memory is enough."""
    on: tuple[OnGpus, ...]
    """On 1, 2, 4, … GPUs."""
    largest: int
    """Parameters of the largest model that this rung trains within one GPU's memory; 0 where even a million is too large."""
    split_over: int
    """GPUs that hold its states at least, where another program splits them: weights, gradients and moments of trained ones."""
    whole: bool
    """Whether it is one training of all weights, which torchtitan does as well."""


@dataclass(frozen=True, slots=True)
class ClusterQuote:
    """All training rungs of a plan on a kind of GPU."""

    gpu: str
    memory_bytes: int
    usd_per_hour: float
    """Of one."""
    rungs: tuple[TrainingQuote, ...]
    assumptions: tuple[str, ...] = ASSUMPTIONS


def quotes(steps: Sequence[Step], name: str) -> ClusterQuote:
    """The quotes of a machine's name such as h100x8. RungError for an unknown one."""
    kind, count = parsed(name)
    one = by_name(kind)
    training = [step for step in steps if not step.parts and any(method.family in TRAINS for method in step.methods)]
    return ClusterQuote(
        one.device_name, one.memory_bytes, one.usd_per_hour, tuple(_quote(step, kind, count) for step in training)
    )


def _quote(step: Step, kind: str, count: int) -> TrainingQuote:
    one = by_name(kind)
    facts = step.base.facts
    found = estimate_rung(step.methods, facts, one)
    batch = max(1, *(int(getattr(method, "batch", 1)) for method in step.methods))

    def fit(gpus: int) -> OnGpus:
        useful = min(gpus, batch)
        computing = found.fit_seconds / (1 + SCALING_EFFICIENCY * (useful - 1))
        seconds = max(computing, floor_seconds(step.methods, facts, useful))  # a GPU computes while the next kernels are launched
        return OnGpus(gpus, seconds, gpus * one.usd(seconds))

    def needed(parameters: int) -> int:
        return estimate_rung(*sized(step.methods, facts, parameters), one).memory_bytes

    states = estimate_rung(tuple(map(_without_activations, step.methods)), facts, one).memory_bytes
    return TrainingQuote(
        rung=step.rung,
        memory_bytes=found.memory_bytes,
        batch=batch,
        fits=found.memory_bytes <= one.memory_bytes,
        on=tuple(map(fit, counts(count))),
        largest=_largest(needed, one.memory_bytes),
        split_over=max(1, -(-states // round(SPARE * one.memory_bytes))),
        whole=len(step.methods) == 1 and step.methods[0].family in WHOLE and not getattr(step.methods[0], "rank", 0),
    )


def _without_activations(method: Method) -> Method:
    """The method with one token computed at once, so that its memory is that of its states."""
    return replace(method, tokens=1) if isinstance(method, StepOptions) else method


def sized(methods: Sequence[Method], facts: Facts, parameters: int) -> tuple[tuple[Method, ...], Facts]:
    """The same rung of a model of another size: of the base, or of a model that its first method makes."""
    first, *rest = methods
    if first.own_model and hasattr(first, "parameters"):
        return (replace(first, parameters=parameters), *rest), facts  # type: ignore[call-arg]
    return tuple(methods), replace(facts, parameters=parameters)


def counts(most: int) -> tuple[int, ...]:
    """1, 2, 4, … and the number itself."""
    return tuple(sorted({*(2**k for k in range(most.bit_length())), most}))


def _largest(needed: Callable[[int], int], memory: int) -> int:
    """The most parameters whose need of memory fits, to a hundredth; 0 where the smallest does not."""
    low, high = SMALLEST, LARGEST
    if needed(low) > memory:
        return 0
    while high > 1.01 * low:
        middle = round((low * high) ** 0.5)
        low, high = (middle, high) if needed(middle) <= memory else (low, middle)
    return low
