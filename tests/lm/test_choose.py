"""Best-first search over labels against scoring them all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.lm.inference import choose as search

END, VOCABULARY = 0, 4
LABELS = st.lists(st.lists(st.integers(1, 3), max_size=5).map(tuple), min_size=1, max_size=12, unique=True)


class Model:
    """Random log-probabilities: what follows a question and some tokens hangs on the seed and on those tokens alone."""

    def __init__(self, seed: int, sharpness: float):
        self.seed, self.sharpness, self.calls = seed, sharpness, 0

    def after(self, question: int, tokens: tuple[int, ...]) -> np.ndarray:
        logits = self.sharpness * np.random.default_rng([self.seed, question, *tokens]).normal(size=VOCABULARY)
        return logits - np.logaddexp.reduce(logits)

    def score(self, question: int, answer: tuple[int, ...]) -> float:
        return float(sum(self.after(question, answer[:k])[token] for k, token in enumerate(answer)))


def run(
    model: Model, answers: list[tuple[int, ...]], questions: int, width: int, bias: list[float] | None = None, whole: bool = False
) -> list[search.Search]:
    tree = search.label_tree(answers, bias or [])
    parent = {child: node for node, children in enumerate(tree.children) for child in children}

    def path(node: int | None) -> tuple[int, ...]:
        return () if node is None else (*path(parent.get(node)), tree.tokens[node])

    def expand(asks):
        model.calls += 1
        for _, chain in asks:  # a chain goes down the tree without a gap
            assert all(parent.get(b) == a for a, b in itertools.pairwise(chain))
        return [[model.after(q, path(node)) for node in chain] for q, chain in asks]

    first = np.stack([model.after(q, ()) for q in range(questions)])
    return search.choose(tree, first, expand, width, whole)


@given(LABELS, st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 1.0, 4.0]), st.integers(1, 3), st.integers(1, 40))
def test_the_winner_is_the_one_that_brute_force_finds(labels, seed: int, sharpness: float, questions: int, width: int) -> None:
    answers = [(*label, END) for label in labels]
    model = Model(seed, sharpness)
    nodes = len(search.label_tree(answers).tokens)
    for question, found in enumerate(run(model, answers, questions, width)):
        scores = np.array([model.score(question, answer) for answer in answers])
        score, label = found.done[0]
        assert -score == pytest.approx(scores.max(), abs=1e-9)
        assert scores[label] == pytest.approx(scores.max(), abs=1e-9)  # equal ones may change places
        share = np.exp(scores.max() - np.logaddexp.reduce(scores))
        assert 0 < found.confidence() <= share + 1e-9
        assert found.expanded <= nodes - len(answers)  # leaves are not expanded


@given(LABELS, st.data(), st.integers(0, 10**6), st.sampled_from([0.3, 1.0, 4.0]), st.integers(1, 40))
def test_with_a_bias_the_winner_is_still_the_one_that_brute_force_finds(labels, data, seed: int, sharpness: float, width) -> None:
    answers = [(*label, END) for label in labels]
    bias = data.draw(st.lists(st.floats(-20, 20), min_size=len(labels), max_size=len(labels)))
    model = Model(seed, sharpness)
    for question, found in enumerate(run(model, answers, 2, width, bias)):
        scores = np.array([model.score(question, answer) for answer in answers]) + bias
        score, label = found.done[0]
        assert -score == pytest.approx(scores.max(), abs=1e-9)
        assert scores[label] == pytest.approx(scores.max(), abs=1e-9)
        assert 0 < found.confidence() <= np.exp(scores.max() - np.logaddexp.reduce(scores)) + 1e-9


def test_a_bias_as_large_as_the_odds_does_not_cost_more_than_opening_all() -> None:
    answers = [(1 + i % 3, 1 + i // 3 % 3, 1 + i // 9 % 3, END) for i in range(27)]
    sure = run(Model(3, 30.0), answers, 1, 1, [0.1 * (i % 2) for i in range(27)])[0]
    assert sure.expanded <= 6 < 3 + 9 + 27


@given(LABELS, st.integers(0, 10**6), st.integers(1, 40))
def test_the_whole_search_scores_every_label(labels, seed: int, width: int) -> None:
    answers = [(*label, END) for label in labels]
    model = Model(seed, 1.0)
    (found,) = run(model, answers, 1, width, whole=True)
    scores = {label: -score for score, label in found.done}
    assert not found.frontier
    assert [scores[i] for i in range(len(labels))] == pytest.approx([model.score(0, answer) for answer in answers], abs=1e-9)
    logs = np.array(list(scores.values()))
    assert found.confidence() == pytest.approx(np.exp(logs.max() - np.logaddexp.reduce(logs)))


@given(LABELS, st.integers(0, 10**6), st.integers(2, 4))
def test_a_question_gets_the_same_answer_alone_and_in_company(labels, seed: int, questions: int) -> None:
    answers = [(*label, END) for label in labels]
    together = run(Model(seed, 1.0), answers, questions, 16)
    alone = run(Model(seed, 1.0), answers, 1, 16)
    assert alone[0].done[0] == together[0].done[0]


def test_a_sure_model_opens_one_path_of_many() -> None:
    answers = [(1 + i % 3, 1 + i // 3 % 3, 1 + i // 9 % 3, END) for i in range(27)]
    found = run(Model(3, 30.0), answers, 1, 1)[0]
    assert found.expanded <= 6 < 3 + 9 + 27


def test_the_confidence_is_the_share_where_all_is_open() -> None:
    found = run(Model(0, 0.5), [(END,), (1, END)], 1, 16)[0]
    scores = [Model(0, 0.5).score(0, answer) for answer in [(END,), (1, END)]]
    assert found.confidence() <= np.exp(max(scores) - np.logaddexp.reduce(scores)) + 1e-9


def test_one_label_wins_whatever_the_odds() -> None:
    found = run(Model(1, 4.0), [(2, 2, END)], 1, 16)[0]
    assert found.done[0][1] == 0
    assert found.confidence() == pytest.approx(1.0)


def test_a_model_that_gives_no_number_is_an_error() -> None:
    tree = search.label_tree([(1, END), (2, END)])
    with pytest.raises(FloatingPointError):
        search.choose(tree, np.full((1, VOCABULARY), np.nan), lambda asks: [])


def test_a_label_that_is_the_front_of_another_can_win_and_lose() -> None:
    answers = [(1, END), (1, 2, END)]
    winners = {run(Model(seed, 2.0), answers, 1, 16)[0].done[0][1] for seed in range(40)}
    assert winners == {0, 1}


def test_an_open_branch_that_is_a_little_likelier_is_followed() -> None:
    """Stopping at once looks best of the finished, 0.45; going on is 0.5 and then all but sure: 0.495."""
    tree = search.label_tree([(END,), (1, END)])
    after = {(): [0.45, 0.5, 0.025, 0.025], (1,): [0.99, 0.004, 0.003, 0.003]}
    first = np.log([after[()]])
    (found,) = search.choose(tree, first, lambda asks: [[np.log(after[1,])] for _ in asks], 1)
    assert (found.done[0][1], found.expanded) == (1, 1)
    assert np.exp(-found.done[0][0]) == pytest.approx(0.495)
    assert found.confidence() == pytest.approx(0.495 / (0.495 + 0.45))
