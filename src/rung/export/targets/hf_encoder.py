"""A folder for sentence-transformers with the head beside it; of an encoder trained whole, one for transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rung.errors import RungError
from rung.export.source import Source
from rung.export.targets.base import Form, Made, Target

if TYPE_CHECKING:
    from rung.lm.export.heads import Headed

SENTENCES = """Unit vectors by sentence-transformers, and on them a softmax: `head.safetensors` holds `weight` (labels, width) and
`bias` (labels), both float32; `labels.json` lists the labels in that order.

```python
import json

import numpy as np
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

head, labels = load_file("head.safetensors"), json.load(open("labels.json", encoding="utf-8"))
vectors = SentenceTransformer(".").encode(["the text to answer"])
logits = vectors @ head["weight"].T + head["bias"]
odds = np.exp(logits - logits.max(1, keepdims=True))
odds /= odds.sum(1, keepdims=True)
print(labels[odds[0].argmax()], odds[0].max())
```"""

OTHER = """Unit vectors by sentence-transformers, and on them a softmax: `head.safetensors` holds `weight` (labels, width) and
`bias` (labels), both float32; `labels.json` lists the labels in that order. `other.json` says when the answer is that a text is
unlike all of them: the probability of that is the logistic function of `slope` times the log-odds of the likeliest label, plus
`shift`.

```python
import json

import numpy as np
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

head, labels = load_file("head.safetensors"), json.load(open("labels.json", encoding="utf-8"))
other = json.load(open("other.json", encoding="utf-8"))
[vector] = SentenceTransformer(".").encode(["the text to answer"])
logits = head["weight"] @ vector + head["bias"]
odds = np.exp(logits - logits.max())
odds /= odds.sum()
best = odds.argmax()
sure = np.log(odds[best] / np.delete(odds, best).sum())
unlike = 1 / (1 + np.exp(-(other["slope"] * sure + other["shift"])))
print((other["label"], unlike) if unlike >= 0.5 else (labels[best], odds[best] * (1 - unlike)))
```"""

CLASSIFIER = """The head is part of the model; `config.json` has the labels in `id2label`.

```python
from transformers import pipeline

answer = pipeline("text-classification", model=".", truncation=True)
print(answer("the text to answer"))
```"""


def opened(source: Source) -> Headed:
    """The encoder and its head as plain modules. RungError where more than these decide the answer."""
    from rung.lm.export import heads

    if source.predictor.calibration:
        raise RungError(
            f"{source.rung} adds a bias to the labels, which no exported head holds.",
            where="rung export",
            remedy=f"Export {source.rung.rpartition('+')[0]}, or answer with `rung ask`.",
        )
    return heads.opened(source.base.folder, Path(source.predictor.model.files), source.project.engines.machine)


def write(source: Source, form: Form, folder: Path) -> Made:
    """Write the folder and load it by the library that it is meant for."""
    from rung.lm.export import head_readers, heads

    made = opened(source)
    heads.write(made, folder)
    reader = head_readers.PlainSentences(folder) if made.head else head_readers.PlainClassifier(folder)
    return Made(reader, original=made)


def use(source: Source, form: Form) -> str:
    """Python that asks the folder, of the head nothing but numpy."""
    from rung.lm.inference.encoder import HEAD, load_other

    files = Path(source.predictor.model.files)
    if not (files / HEAD).exists():
        return CLASSIFIER  # the head is inside
    return OTHER if load_other(files) else SENTENCES


HF_ENCODER = Target(
    "hf", "of an encoder, a folder for sentence-transformers", ("f32",), write, use, "sentence-transformers", encoders=True
)
