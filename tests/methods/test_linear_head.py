"""The head on vectors: what it chooses by cross-validation, and what the names of labels add."""

from __future__ import annotations

import numpy as np
import pytest

from rung.methods.linear_head import LabelTexts, LinearHead, fit_head, label_text, log_likelihoods

LABELS = ("east", "north", "west")
WIDTH = 30
AXES = np.eye(3, WIDTH)
NONE = LabelTexts(LABELS, AXES)


def rows(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Vectors around three of the axes."""
    rng = np.random.default_rng(seed)
    vectors = np.concatenate([AXES[k] + noise * rng.normal(size=(count, WIDTH)) for k in range(3)])
    return vectors, [label for label in LABELS for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "description", "text"),
    [
        ("card_arrival", "", "card arrival"),
        ("CardArrival", "", "Card Arrival"),
        ("billing/refund-status", "where the money is", "billing refund status: where the money is"),
        ("VAT", "", "VAT"),
        ("-", "", "-"),
    ],
)
def test_a_label_in_words(name: str, description: str, text: str) -> None:
    assert label_text(name, description) == text


def test_names_that_say_what_rows_say_are_used_and_help() -> None:
    vectors, outputs = rows(5, 0.7)
    head = fit_head(vectors, outputs, (1.0,), (0.0, 8.0), LabelTexts(LABELS, 2 * AXES), 0)
    assert head.name_weight == 8.0
    test, wanted = rows(400, 0.7, seed=1)
    plain = fit_head(vectors, outputs, (1.0,), (0.0,), NONE, 0)

    def share(one: object) -> float:
        scores = test @ one.weight.T + one.bias  # type: ignore[attr-defined]
        return float(np.mean([one.labels[k] == w for k, w in zip(scores.argmax(1), wanted)]))  # type: ignore[attr-defined]

    assert share(head) > share(plain) + 0.02


def test_names_that_mislead_are_left_out() -> None:
    vectors, outputs = rows(10, 0.3)
    head = fit_head(vectors, outputs, (1.0, 10.0), (0.0, 20.0), LabelTexts(LABELS, AXES[[1, 2, 0]]), 0)
    assert head.name_weight == 0.0


def test_two_labels_have_two_rows_of_weights() -> None:
    vectors, outputs = rows(5, 0.1)
    head = fit_head(vectors[:10], outputs[:10], (1.0,), (0.0, 1.0), NONE, 0)
    assert head.weight.shape == (2, WIDTH)
    assert head.labels == ("east", "north")


def test_a_label_with_a_single_row_takes_the_middle_strength_and_no_names() -> None:
    vectors, outputs = rows(1, 0.1)
    head = fit_head(vectors, outputs, (1.0, 3.0, 10.0), (0.0, 2.0), NONE, 0)
    assert (head.strength, head.name_weight) == (3.0, 0.0)


def test_a_weight_that_is_asked_for_alone_is_used() -> None:
    vectors, outputs = rows(4, 0.1)
    assert fit_head(vectors, outputs, (1.0,), (2.0,), NONE, 0).name_weight == 2.0


def uneven(seed: int, common: int = 160, rare: int = 16) -> tuple[np.ndarray, list[str]]:
    """Overlapping labels, one of them common and two rare."""
    rng = np.random.default_rng(seed)
    counts = (common, rare, rare)
    vectors = np.concatenate([AXES[k] + 0.4 * rng.normal(size=(count, WIDTH)) for k, count in enumerate(counts)])
    return vectors, [label for label, count in zip(LABELS, counts) for _ in range(count)]


def test_rare_labels_weigh_more_where_the_metric_counts_labels_alike() -> None:
    from sklearn.metrics import f1_score

    vectors, outputs = uneven(0)
    alike = fit_head(vectors, outputs, (0.3,), (0.0,), NONE, 0, "auto", by_label=True)
    rows_alike = fit_head(vectors, outputs, (0.3,), (0.0,), NONE, 0, "auto")
    assert alike.balanced and not rows_alike.balanced
    test, wanted = uneven(1, 800, 80)

    def macro(head: LinearHead) -> float:
        said = [head.labels[k] for k in (test @ head.weight.T + head.bias).argmax(1)]
        return float(f1_score(wanted, said, average="macro"))

    assert macro(alike) > macro(rows_alike) + 0.02


def test_even_labels_are_not_weighted_and_options_are_followed() -> None:
    vectors, outputs = rows(20, 0.5)
    assert not fit_head(vectors, outputs, (1.0, 10.0), (0.0,), NONE, 0, "auto", by_label=True).balanced
    assert fit_head(*uneven(0), (1.0, 10.0), (0.0,), NONE, 0, "always").balanced
    assert not fit_head(*uneven(0), (1.0, 10.0), (0.0,), NONE, 0, "never", by_label=True).balanced


@pytest.mark.parametrize("strength", [0.01, 100.0])
def test_the_head_is_calibrated_on_rows_it_has_not_seen(strength: float) -> None:
    """Regularised too much it is not sure enough, too little it is too sure; the temperature mends most of both."""
    from rung.selective.choosing import calibration_error

    vectors, outputs = rows(100, 0.7)
    test, wanted = rows(1000, 0.7, seed=1)
    head = fit_head(vectors, outputs, (strength,), (0.0,), NONE, 0)
    plain = fit_head(vectors, outputs, (strength,), (0.0,), NONE, 0, temperature=1.0)
    assert head.weight == pytest.approx(plain.weight / head.temperature)
    assert (head.temperature > 1) == (strength > 1)

    def error(one: LinearHead) -> float:
        logs = one.logits(test) - np.logaddexp.reduce(one.logits(test), axis=1, keepdims=True)
        right = [one.labels[k] == w for k, w in zip(logs.argmax(1), wanted)]
        return calibration_error(np.exp(logs.max(1)), np.array(right, float))

    assert error(head) < 0.5 * error(plain)


def test_rows_held_back_once_choose_by_their_likelihood() -> None:
    vectors, outputs = rows(20, 0.6)
    held = list(range(0, 60, 5))
    head = fit_head(vectors, outputs, (0.1, 10.0), (0.0,), NONE, 0, held=held)
    likely = {c: log_likelihoods(vectors, outputs, held, c).mean() for c in (0.1, 10.0)}
    assert head.strength == max(likely, key=lambda c: likely[c])
    assert head.held is not None and 0 < head.held <= 1
    again = fit_head(vectors, outputs, (0.1, 10.0), (0.0,), NONE, 0)
    assert again.temperature != head.temperature


def test_a_label_that_only_held_back_rows_have_is_not_scored() -> None:
    vectors, outputs = rows(10, 0.1)
    held = [i for i, label in enumerate(outputs) if label == LABELS[2]] + [0, 10]
    assert fit_head(vectors, outputs, (1.0, 10.0), (0.0,), NONE, 0, held=held).held == 1.0
