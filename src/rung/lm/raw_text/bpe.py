"""A byte-level BPE tokenizer trained on raw text: any Unicode goes in and comes out as it was. https://arxiv.org/abs/1508.07909"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rung.errors import ModelError
from rung.lm.models.template import PLAIN_TEMPLATE

PAD, BEGIN, END = SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>")

SMALLEST = 256 + len(SPECIAL)
"""Every byte is a token of its own, so nothing is unknown."""


def train(texts: Iterable[str], size: int) -> Any:
    """A PreTrainedTokenizerFast of at most `size` tokens: fewer where the text is too small to have so many pairs.

    It begins every text with its begin token, and carries the plain chat template of `rung.lm.models.template`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if size < SMALLEST:
        raise ModelError(f"a vocabulary of {size} cannot hold all bytes.", remedy=f"Ask for {SMALLEST} tokens or more.")
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, SPECIAL.index(BEGIN))])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        chat_template="{{ bos_token }}" + PLAIN_TEMPLATE,
    )
