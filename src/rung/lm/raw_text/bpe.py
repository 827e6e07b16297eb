"""A byte-level BPE tokenizer trained on raw text; lossless for any Unicode text. https://arxiv.org/abs/1508.07909"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rung.errors import ModelError
from rung.lm.models.template import PLAIN_TEMPLATE

PAD, BEGIN, END = SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>")

MIN_VOCABULARY = 256 + len(SPECIAL)
"""One token for every byte, so that no text is unknown."""


def train(texts: Iterable[str], size: int) -> Any:
    """A PreTrainedTokenizerFast of at most `size` tokens; fewer if the text has too few pairs to merge.

    It begins every text with its begin token and has the plain chat template of `rung.lm.models.template`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if size < MIN_VOCABULARY:
        raise ModelError(f"a vocabulary must have at least {MIN_VOCABULARY} tokens (all bytes), got {size}.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, SPECIAL.index(BEGIN))])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        chat_template="{{ bos_token }}" + PLAIN_TEMPLATE,
    )
