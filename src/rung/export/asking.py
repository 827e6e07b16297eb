"""How an export must be asked: the messages around an input, and what rung does beside them that files cannot."""

from __future__ import annotations

import dataclasses
from typing import Any

from rung import tools
from rung.export.source import Source
from rung.lm.inference import thinking
from rung.types import Example

INPUT = "{input}"
"""Stands for the text to be answered."""
SPECIAL = "`rung ask` breaks up special tokens that stand in an input, so that no input can end its turn. Do so as well."


def content(source: Source) -> dict[str, Any]:
    """What `prompt.json` holds: the messages with `{input}` in the last, how to decode, the labels, what is left to the asker."""
    asked = source.predictor
    plain = dataclasses.replace(asked, lookup=None)  # passages are put in by whoever looks them up
    chat = source.chat
    turns, listed = chat.form(plain.render(Example("", "")).messages)
    turns[-1] = {**turns[-1], "content": turns[-1]["content"] + INPUT}
    return {
        "task": source.project.task.task,
        "messages": turns,
        "stop": [chat.tokenizer.decode([token]) for token in sorted(chat.stops)],
        "max_new_tokens": asked.decoding.max_new_tokens,
        "temperature": asked.decoding.temperature,
        "top_p": asked.decoding.top_p,
        **({"labels": list(asked.labels)} if asked.labels else {}),
        **({"label_bias": list(asked.calibration.bias)} if asked.calibration else {}),
        **({"json_schema": asked.decoding.schema} if asked.decoding.schema and not asked.decoding.template_calls else {}),
        **({"tools": listed, "tool_calls": _written_calls(source)} if listed else {}),
        **({"answer_behind": thinking.MARKER} if asked.thinking else {}),
        "not_in_these_files": limits(source),
    }


def _written_calls(source: Source) -> dict[str, Any]:
    """How the chat template writes calls of tools, and how many an answer has."""
    form, (fewest, most) = source.chat.tool_form, tools.counts(source.predictor.decoding.schema)
    assert form, "only a template with a form for calls is given the tools"
    return {**dataclasses.asdict(form), "fewest": fewest, "most": most}


def limits(source: Source) -> list[str]:
    """What `rung ask` does for this rung that whoever asks the files alone must do, or do without."""
    asked, found = source.predictor, []
    if source.encoder:
        return []  # it reads nothing but the text, and answers with nothing but a label
    if asked.demos.fixed:
        found.append(
            f"The weights know no examples: send the {len(asked.demos.fixed)} demonstrations in `prompt.json` with every input."
        )
    if asked.demos.similar:
        found.append(
            f"`rung ask` picks the {asked.demos.similar} of {len(asked.demos.pool)} demonstrations most like each input. "
            "They are not in `prompt.json`; without them answers differ."
        )
    if asked.lookup:
        found.append(
            "`rung ask` looks up passages in your documents, puts them in front of the question, checks the citations and gives "
            "no answer where the evidence is weak. These files know none of the documents."
        )
    if asked.labels:
        biased = ", with the bias in `prompt.json` added," if asked.calibration else ""
        found.append(
            f"`rung ask` compares the probabilities of the {len(asked.labels)} labels{biased} and always answers with one of "
            "them, with its confidence. A model that writes freely may write something else."
        )
    if asked.thinking:
        votes = f" and takes the most frequent answer of {asked.thinking.samples}" if asked.thinking.samples > 1 else ""
        found.append(
            f"`rung ask` lets the model reason first, then takes what stands behind `{thinking.MARKER}`{votes}. "
            "Other engines return the whole text."
        )
    if asked.tools and not asked.tools.in_text:
        found.append(
            "`rung ask` constrains the answer to calls of the tools in `prompt.json`, with arguments that follow their schemas. "
            "A model that writes freely may write something else: check the arguments."
        )
    elif asked.decoding.schema:
        found.append("`rung ask` constrains the answer to the JSON schema in `prompt.json`; pass it to your engine.")
    return [*found, SPECIAL]
