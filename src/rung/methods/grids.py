"""What `rung tune` tries by default: for each method a few values of the options that change its result most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rung.methods.base import Method
from rung.methods.calibrated import Calibrated
from rung.methods.continued import Continued
from rung.methods.distil import Distil
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
from rung.methods.rag_tuned import RagTuned
from rung.methods.reasoning import Reasoning
from rung.methods.reward import Reward


@dataclass(frozen=True)
class Times:
    """Multiples of the present value, rounded for a whole number. None of 0, which lets the method choose."""

    factors: tuple[float, ...]

    def of(self, present: float) -> tuple[float, ...]:
        """The values, three digits each."""
        if isinstance(present, int):
            return tuple(max(1, round(present * factor)) for factor in self.factors) if present else ()
        return tuple(float(f"{present * factor:.3g}") for factor in self.factors)


RATES = Times((0.3, 3.0))
"""Learning rates are searched on a scale of multiples: Bengio 2012, https://arxiv.org/abs/1206.5533, section 3.2."""

TWOFOLD = Times((0.5, 2.0))

PROPOSED: Mapping[type, Mapping[str, Times | tuple[Any, ...]]] = {
    FewShot: {"shots": (2, 4, 8, 16)},
    Reasoning: {"thought": TWOFOLD},
    Calibrated: {"over": ("inputs", "bland"), "rows": TWOFOLD},
    PromptSearch: {"shots": (4, 8, 16)},
    Rag: {"passages": (1, 3, 5), "around": (0, 1), "size": (100,)},
    RagTuned: {"learning_rate": RATES, "passages": (1, 3, 5)},
    EncoderContrastive: {"learning_rate": RATES, "steps": TWOFOLD},
    EncoderFull: {"learning_rate": (1.5e-5, 1.5e-4, 1.5e-3), "epochs": TWOFOLD},  # the default depends on the encoder's size
    Distil: {"least": (0.6, 0.8, 0.9)},
    Lora: {"learning_rate": RATES, "rank": (8, 16, 32)},
    QLora: {"learning_rate": RATES, "rank": (8, 16, 32)},
    Peft: {"learning_rate": RATES, "size": TWOFOLD},
    Full: {"learning_rate": RATES, "epochs": TWOFOLD},
    Preferring: {"learning_rate": RATES, "beta": RATES},
    Reward: {"learning_rate": RATES},
    Grpo: {"learning_rate": RATES},
    Continued: {"learning_rate": RATES, "replay": (0.05, 0.2)},
    Pretrain: {"learning_rate": RATES},
}
"""Method → option → values. A method that is not here chooses by itself, or has nothing to choose."""


def proposed(method: Method) -> dict[str, tuple[Any, ...]]:
    """The values to try of each option, the present one first."""
    found = {}
    for option, given in PROPOSED.get(type(method), {}).items():
        present = getattr(method, option)
        values = given.of(present) if isinstance(given, Times) else given
        found[option] = (present, *(value for value in values if value != present))
    return found
