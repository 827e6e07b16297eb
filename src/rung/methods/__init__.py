"""The table of methods, and the names of rungs: methods joined by +, in the order they are applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from rung.errors import TaskError
from rung.methods import option
from rung.methods.agent_search import AgentSearch
from rung.methods.base import Method
from rung.methods.base import options as option_values
from rung.methods.baseline import Baseline
from rung.methods.calibrated import Calibrated
from rung.methods.continued import Continued
from rung.methods.distil import Distil
from rung.methods.dspy import Dspy
from rung.methods.encoder import Encoder
from rung.methods.encoder_contrastive import EncoderContrastive
from rung.methods.encoder_full import EncoderFull
from rung.methods.few_shot import FewShot
from rung.methods.full import Full
from rung.methods.grpo import Grpo
from rung.methods.lora import Lora
from rung.methods.peft import Peft
from rung.methods.preference import Preferring
from rung.methods.pretrain import Pretrain
from rung.methods.prompt_search import PromptSearch
from rung.methods.qlora import QLora
from rung.methods.rag import Rag
from rung.methods.rag_tuned import LEAST, RagTuned
from rung.methods.reasoning import Reasoning
from rung.methods.reward import Reward
from rung.methods.structured import Structured
from rung.plugins import Table
from rung.types import Need

METHODS: dict[str, Method] = {
    "majority": Baseline(rule="majority"),
    "nearest": Baseline(rule="nearest"),
    "few-shot": FewShot(pick="fixed"),
    "few-shot-similar": FewShot(pick="similar"),
    "reasoning": Reasoning(),
    "self-consistency": Reasoning(samples=5),
    "plan-and-reflect": Reasoning(form="plan"),
    "calibrated": Calibrated(),
    "prompt-search": PromptSearch(),
    "dspy": Dspy(),
    "structured": Structured(),
    "encoder": Encoder(),
    "encoder-contrastive": EncoderContrastive(),
    "encoder-full": EncoderFull(),
    "rag": Rag(),
    "rag-tuned": RagTuned(),
    "agent-search": AgentSearch(),
    "distil": Distil(),
    "lora": Lora(),
    "rslora": Lora(rank=32, stabilised=True, learning_rate=5e-4),
    "dora": Lora(decomposed=True, learning_rate=5e-4),
    "qlora": QLora(),
    "ia3": Peft(kind="ia3", learning_rate=5e-2),
    "layernorm": Peft(kind="layernorm", learning_rate=1e-2),
    "bitfit": Peft(kind="bitfit", learning_rate=1e-2),
    "bottleneck": Peft(kind="bottleneck", size=64),
    "prompt-tuning": Peft(kind="prompt", size=20, learning_rate=1e-2),
    "prefix-tuning": Peft(kind="prefix", size=20, learning_rate=5e-2),
    "full": Full(),
    "dpo": Preferring(loss="dpo"),
    "kto": Preferring(loss="kto"),
    "orpo": Preferring(loss="orpo", learning_rate=3e-4),
    "simpo": Preferring(loss="simpo", beta=2.5, gamma=1.25),
    "reward": Reward(),
    "grpo": Grpo(),
    "continued": Continued(),
    "pretrain": Pretrain(),
}


def _accept(name: str, given: Any) -> Method:
    """A plug-in's method: an instance of a subclass of Method, or such a class."""
    try:
        method = given() if isinstance(given, type) else given
    except TypeError as error:  # it is abstract, or needs arguments
        raise ValueError(str(error)) from error
    if not isinstance(method, Method):
        raise ValueError("a method inherits from rung.methods.base.Method")
    if not hasattr(method, "name"):
        raise ValueError("it has no name")
    return method


TABLE = Table("rung.methods", "method", METHODS, _accept)
"""The methods above, and those of installed packages."""

ZERO_SHOT = "zero-shot"
"""The rung of no method: the base asked as it is."""

RUNGS = (
    "majority",
    "nearest",
    ZERO_SHOT,
    "few-shot",
    "few-shot-similar",
    "encoder",
    "rag",
    "rag+few-shot",
    "lora",
    "rag+lora",
    "continued+lora",
    "lora+dpo",
)
"""What a climb tries if the task names no rungs."""

AGENT = "agent-search"
"""Also tried on bases behind an API, where there are documents."""

TUNED, TUNED_ROWS = "rag-tuned", LEAST
"""Also tried where at least so many train rows name the document that answers them."""

ENCODER_TUNED, ENCODER_ROWS = "encoder-contrastive", 200
"""Also tried where a row has one label and train has so many rows: with few held out, one more rung costs the others too much
of the error that all share."""

UNTRAINED = ("rag", "few-shot", ZERO_SHOT)
"""Rungs that train no weights, best guess first: the first that a task has the data for answers where nothing is measured."""

MATERIAL = frozenset({Need.DOCUMENTS, Need.PREFERENCES, Need.CORPUS, Need.UNLABELLED})
"""What a team provides on purpose. A default rung that needs more of it than there is is not listed at all."""


def usual(have: set[Need]) -> tuple[str, ...]:
    """The rungs to try for a task that meets these needs and names no rungs."""
    return tuple(name for name in RUNGS if not {need for method in rung(name, {}) for need in method.needs} & MATERIAL - have)


def check(options: Mapping[str, dict[str, Any]]) -> None:
    """TaskError for an unknown method or option, or a value out of bounds, whether the method is tried or not."""
    for name, given in options.items():
        _method(name, given, "rung.yaml methods")


def rung(name: str, options: Mapping[str, dict[str, Any]]) -> tuple[Method, ...]:
    """The methods of a rung such as `lora` or `few-shot+lora`, with the task's options."""
    if name == ZERO_SHOT:
        return ()
    return tuple(_method(part, options.get(part, {}), f"rung {name!r}") for part in name.split("+"))


def _method(name: str, given: dict[str, Any], where: str) -> Method:
    method = TABLE.get(name)
    if method is None:
        known = TABLE.names()
        near = [f"Did you mean {one}? " for one in get_close_matches(name, known, 1)]
        raise TaskError(
            f"there is no method {name!r}.",
            where=where,
            remedy=f"{''.join(near)}Known: {', '.join([ZERO_SHOT, *known])}; join several with +.",
        )
    known = [field.name for field in fields(method)]
    for key in given:
        if key not in known:
            raise TaskError(
                f"the method {name} has no option {key!r}.",
                where=f"rung.yaml methods.{name}",
                remedy=f"Known: {', '.join(known)}.",
            )
    place = f"rung.yaml methods.{name}"
    right = option.checked(type(method), given, place, option_values(method))
    try:
        return replace(method, **right)
    except TaskError as error:  # of options that do not go together
        raise TaskError(error.what, where=place, remedy=error.remedy) from None
