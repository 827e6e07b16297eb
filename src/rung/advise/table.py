"""The decision table as data: for each family of methods, which answers lead to which advice, why, and by which source.

The first rule whose conditions all hold is the family's advice. The table is a prior compiled from the named sources; the
measured leaderboard decides. `{key}` in a reason is replaced by that answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rung.advise.questions import Value
from rung.methods.base import Family

Verdict = Literal["do", "later", "don't"]
"""do: try it; later: try it if earlier rungs miss the goal; don't: it cannot pay off here."""

When = tuple[str, Literal["<", ">=", "==", "!="], Value]


@dataclass(frozen=True, slots=True)
class Rule:
    verdict: Verdict
    bet: int
    """How likely it is to score best here, 0 (hardly) to 3 (usually). The first choice is the highest bet among `do`."""
    why: str
    sources: tuple[str, ...]
    when: tuple[When, ...] = ()


JUDGEMENT = "judgement"
MEASURED = "measured"
SOURCES: Mapping[str, str] = {
    "part 1": "Methods for adapting large language models, https://ai.meta.com/blog/adapting-large-language-models-llms/",
    "part 2": "To fine-tune or not to fine-tune, https://ai.meta.com/blog/when-to-fine-tune-llms-vs-other-techniques/",
    "part 3": "How to fine-tune: focus on effective datasets, "
    "https://ai.meta.com/blog/how-to-fine-tune-llms-peft-dataset-curation/",
    "DSPy": "DSPy's guide to its optimizers, https://dspy.ai/learn/optimization/optimizers/",
    MEASURED: "benchmarks/RESULTS.md of this project, on a base of 135 M parameters",
    JUDGEMENT: "the authors' judgement; no source settles it",
}
"""Sources by short name; any other name is an arXiv number."""

NO_ROWS: When = ("rows", "<", 1)
CLOSED: When = ("open_weights", "==", "no")
SMALL: When = ("small_base", "==", "yes")

TABLE: Mapping[Family, tuple[Rule, ...]] = {
    Family.BASELINE: (
        Rule("don't", 0, "there are no rows to take an answer from", (JUDGEMENT,), (NO_ROWS,)),
        Rule("do", 0, "they cost nothing, and a rung that does not beat them is not worth its cost", (JUDGEMENT,)),
    ),
    Family.PROMPTING: (
        Rule(
            "do", 0, "it costs nothing to build; a model this small follows instructions poorly", ("part 1", MEASURED), (SMALL,)
        ),
        Rule(
            "do",
            1,
            "it costs nothing to build and is the first thing to try; searching for a better prompt pays where the answer's form "
            "is what fails, and in half of the published runs it did not pay",
            ("part 1", "2604.14585"),
        ),
    ),
    Family.DEMONSTRATIONS: (
        Rule("don't", 0, "there are no rows to show", ("part 1",), (NO_ROWS,)),
        Rule(
            "later",
            2,
            "at {volume} calls a month every call pays for its demonstrations again; trained weights answer more cheaply",
            ("2205.05638",),
            (("volume", ">=", 1_000_000), ("rows", ">=", 50)),
        ),
        Rule("do", 2, "with {rows} rows, show them rather than train on them", ("part 1", "DSPy"), (("rows", "<", 50),)),
        Rule(
            "do",
            2,
            "with {labels} labels, rows similar to the input show the few labels that matter; they come last in the prompt",
            ("2309.10954", "2311.06102", "2510.16092"),
            (("labels", ">=", 20),),
        ),
        Rule(
            "do",
            1,
            "cheap to try; a model this small copies its demonstrations more than it learns from them",
            ("2101.06804", MEASURED),
            (SMALL,),
        ),
        Rule("do", 2, "many demonstrations come near to fine-tuning on many tasks", ("2404.11018", "2405.00200")),
    ),
    Family.RETRIEVAL: (
        Rule(
            "later",
            3,
            "answers need facts from outside, and there are no documents to look them up in: name them under data.documents",
            ("part 2", "2312.05934"),
            (("documents", "<", 1), ("external_knowledge", "==", "yes")),
        ),
        Rule("don't", 0, "there are no documents to look things up in", ("part 2",), (("documents", "<", 1),)),
        Rule(
            "do",
            2,
            "answers need facts from outside: look them up; a model this small then makes little of them without training",
            ("part 2", "2312.05934", "2403.10131"),
            (("external_knowledge", "==", "yes"), ("rows", ">=", 50), SMALL),
        ),
        Rule(
            "do",
            3,
            "the facts change, and weights trained on them would go stale",
            ("part 1", "part 2"),
            (("external_knowledge", "==", "yes"), ("changing", "==", "yes")),
        ),
        Rule(
            "do",
            3,
            "an answer must name its source, and only what was looked up has one",
            ("part 2",),
            (("must_cite", "==", "yes"),),
        ),
        Rule(
            "do",
            3,
            "answers need facts from outside: looking them up beats training them in, for known and for new facts",
            ("2312.05934", "part 2"),
            (("external_knowledge", "==", "yes"),),
        ),
        Rule(
            "do",
            2,
            "nothing may be invented, and what was looked up can be checked",
            ("part 2",),
            (("hallucination", "==", "never"), ("labels", "<", 1)),
        ),
        Rule("later", 1, "there are documents, but the answers do not lean on them", ("part 2",)),
    ),
    Family.ENCODER: (
        Rule("don't", 0, "there is no closed set of labels to choose from", (JUDGEMENT,), (("labels", "<", 2),)),
        Rule(
            "later",
            1,
            "{rows_per_label} rows a label is too thin to train a head on",
            ("2311.06102",),
            (("rows_per_label", "<", 2),),
        ),
        Rule(
            "do",
            1,
            "it reads the beginning of an input only, and these are {input_tokens} tokens long",
            (JUDGEMENT,),
            (("input_tokens", ">=", 256),),
        ),
        Rule(
            "do",
            3,
            "for closed labels a small encoder beats a language model of this size, and it costs least to run",
            ("2311.06102", "2209.11055", MEASURED),
            (SMALL,),
        ),
        Rule(
            "do",
            2,
            "for closed labels it comes near to far larger models, and it costs least to run",
            ("2311.06102", "2209.11055"),
        ),
    ),
    Family.ADAPTERS: (
        Rule("don't", 0, "the base model's weights are not here to be trained", ("part 1",), (CLOSED,)),
        Rule("don't", 0, "there are no rows to train on", ("part 3",), (NO_ROWS,)),
        Rule("later", 1, "{rows} rows are few to train on; show them first", ("part 1", "part 3"), (("rows", "<", 50),)),
        Rule(
            "later",
            2,
            "the examples contradict each other: a small clean set beats a large one with mistakes, so mend them first",
            ("part 3",),
            (("labels_clean", "==", "no"),),
        ),
        Rule(
            "later",
            2,
            "training is a poor way to put facts in; look them up first, and train for what is then still missing",
            ("2312.05934", "part 2", "2403.10131"),
            (("external_knowledge", "==", "yes"), ("documents", ">=", 1), ("own_style", "==", "no")),
        ),
        Rule("do", 3, "tone, form and vocabulary are what fine-tuning is for", ("part 2",), (("own_style", "==", "yes"),)),
        Rule(
            "do",
            2,
            "trained on labels it needs no list of them in the prompt; dearer than a small encoder, and it reads long inputs",
            ("part 2", MEASURED),
            (("labels", ">=", 2), SMALL),
        ),
        Rule(
            "do",
            3,
            "{rows} rows suffice, it costs a few percent of full fine-tuning, and it forgets less",
            ("part 3", "2405.09673", "2205.05638"),
        ),
    ),
    Family.HYBRID: (
        Rule("don't", 0, "there are no documents to look things up in", ("part 2",), (("documents", "<", 1),)),
        Rule("don't", 0, "the base model's weights are not here to be trained", ("part 1",), (CLOSED,)),
        Rule("later", 1, "{rows} rows are few to train on; look things up first", ("part 1", "part 2"), (("rows", "<", 50),)),
        Rule(
            "do",
            3,
            "a model this small must be trained to use what was looked up",
            ("2403.10131", "part 2"),
            (("external_knowledge", "==", "yes"), SMALL),
        ),
        Rule(
            "do",
            2,
            "where both facts and form are missing, doing both is usually best; training teaches to pass over what misleads",
            ("part 2", "2403.10131", "2401.08406"),
            (("external_knowledge", "==", "yes"),),
        ),
        Rule("later", 1, "there are documents, but the answers do not lean on them", ("part 2",)),
    ),
    Family.DISTILLATION: (
        Rule("don't", 0, "there are no inputs without an answer for a teacher to label", ("part 2",), (("unlabelled", "<", 1),)),
        Rule("later", 0, "no stronger model is named that could label the inputs", ("part 2",), (("teacher", "==", "none"),)),
        Rule(
            "don't",
            0,
            "the teacher stands behind an API, and the data may not leave the house",
            (JUDGEMENT,),
            (("teacher", "==", "remote"), ("data_may_leave", "==", "no")),
        ),
        Rule(
            "do",
            2,
            "with {rows} labelled rows, a teacher's labels are the cheapest way to more",
            ("part 2",),
            (("rows", "<", 500),),
        ),
        Rule("later", 2, "there are rows enough to train on first", ("part 2",)),
    ),
    Family.FULL: (
        Rule("don't", 0, "the base model's weights are not here to be trained", ("part 1",), (CLOSED,)),
        Rule("don't", 0, "there are no rows to train on", ("part 3",), (NO_ROWS,)),
        Rule(
            "don't",
            0,
            "weights, gradients and optimizer take about {full_memory_gb} GB, and there are {memory_gb}",
            (JUDGEMENT,),
            (("full_fits", "==", "no"),),
        ),
        Rule(
            "later",
            1,
            "it forgets more of the general skills, which must survive: only where adapters leave a gap",
            ("2405.09673", "2308.08747"),
            (("keep_general_skills", "==", "yes"),),
        ),
        Rule(
            "later",
            1,
            "it needs experience: without, it overfits and forgets sooner",
            ("part 3",),
            (("expertise", "==", "none"),),
        ),
        Rule("later", 2, "after adapters, where they leave a gap that matters", ("part 1", "part 3", "2405.09673")),
    ),
    Family.PREFERENCE: (
        Rule("don't", 0, "there are no pairs of a better and a worse answer", (JUDGEMENT,), (("pairs", "<", 1),)),
        Rule("don't", 0, "the base model's weights are not here to be trained", ("part 1",), (CLOSED,)),
        Rule(
            "do",
            2,
            "there are pairs and hardly any right answers: they are what can be learnt from",
            (JUDGEMENT,),
            (("rows", "<", 50),),
        ),
        Rule("later", 2, "pairs sharpen the tone of a model that has learnt the task from examples", (JUDGEMENT,)),
    ),
    Family.REWARD: (
        Rule(
            "don't",
            0,
            "no program can tell a right answer from a wrong one, so nothing can be rewarded",
            (JUDGEMENT,),
            (("checkable", "==", "no"),),
        ),
        Rule("don't", 0, "the base model's weights are not here to be trained", ("part 1",), (CLOSED,)),
        Rule(
            "later", 1, "a model this small seldom hits on a right answer, and only those can be rewarded", (JUDGEMENT,), (SMALL,)
        ),
        Rule("later", 2, "after examples have taught the form of an answer; it takes many samples a row", (JUDGEMENT,)),
    ),
    Family.CONTINUED: (
        Rule("don't", 0, "there is no raw domain text", ("part 1",), (("corpus_tokens", "<", 1),)),
        Rule("don't", 0, "the base model's weights are not here to be trained", ("part 1",), (CLOSED,)),
        Rule(
            "don't",
            0,
            "one pass over {corpus_tokens} tokens takes {corpus_hours} hours on {hardware}",
            ("part 1",),
            (("corpus_hours", ">=", 336),),
        ),
        Rule(
            "later",
            2,
            "the base hardly knows the language: raw text teaches it, with about a quarter of general text replayed",
            ("2403.08763", "part 1"),
            (("new_language", "==", "yes"),),
        ),
        Rule(
            "later",
            0,
            "{corpus_tokens} tokens are little to learn a domain from; it begins to pay at about ten million",
            ("2311.08545", "2403.08763"),
            (("corpus_tokens", "<", 10_000_000),),
        ),
        Rule(
            "later",
            1,
            "a last step, with a few percent of general text replayed and adapters on top",
            ("2403.08763", "2311.08545"),
        ),
    ),
    Family.PRETRAINING: (
        Rule(
            "later",
            0,
            "only where nothing else fits: there is text, and there are machines for it",
            ("part 1",),
            (("corpus_tokens", ">=", 10_000_000_000), ("gpu", "==", "yes"), ("corpus_hours", "<", 2000)),
        ),
        Rule("don't", 0, "Llama 2 70B took 1.7 million GPU hours; you have {hardware}", ("part 1", "2307.09288")),
    ),
}
"""Lightest change first."""


def source(name: str) -> str:
    """A source's title and link, or its arXiv address."""
    return SOURCES.get(name) or f"https://arxiv.org/abs/{name}"
