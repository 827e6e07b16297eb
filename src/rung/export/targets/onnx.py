"""An encoder with its head as one ONNX graph, for onnxruntime in any language."""

from __future__ import annotations

from pathlib import Path

from rung.export.source import Source
from rung.export.targets.base import Form, Made, Target
from rung.export.targets.hf_encoder import opened

USE = """The graph answers with the place of the `label` in `labels.json` and with `probabilities` in that order; the head is
inside. `tokenizer.json` cuts and pads.

```python
import json

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

model, tokenizer = onnxruntime.InferenceSession("model.onnx"), Tokenizer.from_file("tokenizer.json")
labels = json.load(open("labels.json", encoding="utf-8"))
cut = tokenizer.encode_batch(["the text to answer"])
tokens = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
given = {one.name: np.array([getattr(text, tokens[one.name]) for text in cut]) for one in model.get_inputs()}
odds, places = model.run(["probabilities", "label"], given)
print(labels[places[0]], odds[0, places[0]])
```"""


def write(source: Source, form: Form, folder: Path) -> Made:
    """Write graph, tokenizer and labels, and load them by onnxruntime."""
    from rung.lm.export import onnx_file

    onnx_file.check_installed()
    made = opened(source)
    onnx_file.write(made, folder, form.kind)
    return Made(onnx_file.OnnxRuntime(folder, source.project.engines.machine.threads), original=made)


ONNX = Target("onnx", "of an encoder, one graph", ("f32", "int8"), write, lambda source, form: USE, "onnx", encoders=True)
