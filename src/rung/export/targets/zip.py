"""A zip with the model and ten lines of Python that answer as `rung ask` does, without rung."""

from __future__ import annotations

import importlib.metadata
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from rung import files
from rung.errors import RungError
from rung.export import answers_proof, asking
from rung.export.source import Source
from rung.export.targets import hf, onnx
from rung.export.targets.base import Form, Made, Progress, Target

PROGRAM, PROMPT, REQUIREMENTS, MODEL = "answer.py", "prompt.json", "requirements.txt", "model"

TEXT = '''"""Answers each text on the command line with a line of JSON."""
import json
import sys

from transformers import AutoModelForCausalLM, AutoTokenizer

asked = json.load(open("prompt.json", encoding="utf-8"))
tokenizer, model = AutoTokenizer.from_pretrained("model"), AutoModelForCausalLM.from_pretrained("model").eval()
*turns, last = asked["messages"]
for text in sys.argv[1:]:
    chat = [*turns, last | {"content": last["content"].replace("{input}", text)}]
    shown = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(shown, add_special_tokens=False, return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=asked["max_new_tokens"])[0, ids["input_ids"].shape[1] :]
    print(json.dumps({"answer": tokenizer.decode(written, skip_special_tokens=True).strip()}))
'''

CHOICE = '''"""Answers each text on the command line with the likeliest label, as a line of JSON."""
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

asked = json.load(open("prompt.json", encoding="utf-8"))
tokenizer, model = AutoTokenizer.from_pretrained("model"), AutoModelForCausalLM.from_pretrained("model").eval()
*turns, last = asked["messages"]
labels, bias = asked["label_tokens"], torch.tensor(asked.get("label_bias", [0.0] * len(asked["labels"])))
for text in sys.argv[1:]:
    chat = [*turns, last | {"content": last["content"].replace("{input}", text)}]
    shown = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    prompt, scores = tokenizer(shown, add_special_tokens=False).input_ids, []
    for label in labels:
        with torch.no_grad():
            logits = model(torch.tensor([prompt + label])).logits[0, len(prompt) - 1 : -1]
        scores.append(logits.log_softmax(-1)[range(len(label)), label].sum())
    odds = (torch.stack(scores) + bias).softmax(0)
    print(json.dumps({"answer": asked["labels"][odds.argmax()], "confidence": odds.max().item()}))
'''

ENCODER = '''"""Answers each text on the command line with the likeliest label, as a line of JSON."""
import json
import sys

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

model, tokenizer = onnxruntime.InferenceSession("model/model.onnx"), Tokenizer.from_file("model/tokenizer.json")
labels = json.load(open("model/labels.json", encoding="utf-8"))
parts = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
for text in sys.argv[1:]:
    cut = tokenizer.encode(text)
    given = {one.name: np.array([getattr(cut, parts[one.name])]) for one in model.get_inputs()}
    [odds], [place] = model.run(["probabilities", "label"], given)
    print(json.dumps({"answer": labels[place], "confidence": float(odds[place])}))
'''


def write(source: Source, form: Form, folder: Path) -> Made:
    """Write the zip, and unzip it elsewhere. RungError for a rung that needs more than a model and a fixed prompt."""
    from rung.lm.export.answering import Unzipped

    check(source)
    with TemporaryDirectory(prefix="rung-export-") as place:
        inside = Path(place)
        (inside / MODEL).mkdir()
        made = (onnx if source.encoder else hf).write(source, form, inside / MODEL)
        made.reader.close()
        program, needed = _program(source)
        files.write_text(inside / PROGRAM, program)
        files.write_text(inside / REQUIREMENTS, "".join(f"{one}=={_version(one)}\n" for one in needed))
        if not source.encoder:
            labels = {"label_tokens": source.chat.answers(source.predictor.labels)} if source.predictor.labels else {}
            files.write_json(inside / PROMPT, {**asking.content(source), **labels, "not_in_these_files": limits(source)})
        _pack(inside, folder / zip_name(source))
    return Made(Unzipped(folder / zip_name(source), PROGRAM), made.changed)


def zip_name(source: Source) -> str:
    """What the zip is called."""
    return f"{source.rung}.zip"


def prove(source: Source, form: Form, made: Made, progress: Progress) -> answers_proof.AnswersProof:
    """Run the program on the dev rows beside rung's engine in float32."""
    progress("asking the unzipped program")
    engines, asked = source.project.engines, source.predictor
    if source.encoder:
        original = [one.output for one in asked.predict(source.rows, engines)]
    else:
        from rung.lm.export.reference import float32_engine

        engine = float32_engine(source.base.folder, asked.model.files, engines.machine)
        original = asked.answers(engine, asked.prompts(source.rows, engines))
    return answers_proof.prove(source, form.kind, made.reader, original)


def limits(source: Source) -> list[str]:
    """What `rung ask` does that the program does not."""
    if source.encoder:
        return []
    return [
        "`rung ask` breaks up special tokens that stand in an input, so that no input can end its turn. The program does not."
    ]


def use(source: Source, form: Form) -> str:
    """How to run it."""
    shown = " `confidence` is the label's share of the probability of all labels." if source.predictor.labels else ""
    return (
        f"Unzip `{zip_name(source)}` into a folder of its own. It needs the packages in `{REQUIREMENTS}`, not rung.\n\n"
        f'```bash\npip install -r {REQUIREMENTS}\npython {PROGRAM} "the text to answer" "another"\n```\n\n'
        f"Each text is answered by a line of JSON.{shown}"
    )


def _program(source: Source) -> tuple[str, tuple[str, ...]]:
    """The program and the packages that it needs."""
    if source.encoder:
        return ENCODER, ("numpy", "onnxruntime", "tokenizers")
    return CHOICE if source.predictor.labels else TEXT, ("torch", "transformers", "jinja2")


def _version(package: str) -> str:
    """The version that the proof ran with, without what names a build."""
    return importlib.metadata.version(package).partition("+")[0]


def _pack(inside: Path, file: Path) -> None:
    """Weights hardly compress: files are stored as they are."""
    with files.whole(file) as part, zipfile.ZipFile(part, "w") as packed:
        for path in sorted(inside.rglob("*")):
            if path.is_file():
                packed.write(path, path.relative_to(inside))


def check(source: Source) -> None:
    """RungError where the rung does more than put a text into a prompt and ask a model."""
    asked = source.predictor
    more = {
        "looks up passages": bool(asked.lookup),
        "picks demonstrations like the input": bool(asked.demos.similar),
        "reasons before it answers": bool(asked.thinking),
        "follows a JSON schema": bool(asked.decoding.schema),
        "calls tools": asked.decoding.calls,
        "samples its answers": asked.decoding.temperature > 0,
        "answers in conversations": any(row.history or row.after for row in source.rows),
    }
    if found := [what for what, is_so in more.items() if is_so]:
        raise RungError(
            f"{source.rung} {' and '.join(found)}, which ten lines of Python do not.",
            where="rung export --to zip",
            remedy="Answer with `rung ask` or `rung serve`, or export another rung.",
        )


ZIP = Target("zip", "a zip that answers without rung", ("f32",), write, use, "transformers", limits=limits, prover=prove)
ZIP_ENCODER = Target("zip", "of an encoder too", ("f32",), write, use, "onnx", encoders=True, limits=limits, prover=prove)
