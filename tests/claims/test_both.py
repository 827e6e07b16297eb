"""A goal on score and coverage: the error of a wrong claim, by exact sums and in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from rung.claims import exact, selective
from rung.claims.evidence import Rows
from rung.claims.order import next_proof
from rung.claims.prospects import selective_prospect
from rung.claims.selective import AtLeast, Both
from rung.claims.shares import SCREEN, Counted, Untried, levels


def most(share: float, runs: int) -> float:
    """What a true share is exceeded by in one simulation of a thousand."""
    return share + 3.1 * (share * (1 - share) / runs) ** 0.5


@pytest.mark.parametrize("rate", [0.95, 0.9, 0.7])
def test_no_number_of_answered_rows_passes_more_often_than_the_bound_says(rate: float) -> None:
    """The bound is of the fewest rows; by the binomial distribution itself it holds for each larger number."""
    fewest, goal, found = 60, 0.95, np.array([0.001, 0.01, 0.04])
    bound = AtLeast(fewest, rate).wrong(found, goal)
    for n in range(fewest, 240):
        size, passing = (binom.sf(np.arange(-1, n + 1), n, one) for one in (goal, rate))
        for level, allowed in zip(found, bound):
            assert passing[np.argmax(size <= level)] <= allowed * (1 + 1e-9)
    assert (bound <= found * (1 + 1e-9)).all()


def test_a_rung_that_is_ruled_out_by_either_bound_leaves_its_error_to_the_others() -> None:
    goal, due, n = 0.9, 0.6, 200
    near = Both(AtLeast(110, 1.0), Counted(n, 1.0), due)
    inaccurate = Both(AtLeast(110, 0.5), Counted(n, 1.0), due)
    silent = Both(AtLeast(110, 1.0), Counted(n, 0.3), due)
    alone, halved = levels([near], goal, 0.05)[0], levels([near, near], goal, 0.05)[0]
    assert halved == pytest.approx(alone / 2, rel=0.02)
    for other in (inaccurate, silent):
        assert levels([near, other], goal, 0.05)[0] == pytest.approx(alone, rel=0.02)
    assert levels([near, Untried()], goal, 0.05)[0] == pytest.approx(alone / 2, rel=0.02)


def claimed(truths: tuple[tuple[float, float], ...], goal: float, due: float, seen: int, n: int, seed: int) -> int | None:
    """One climb: of each rung (score, coverage); the rung that is called good, if any."""
    rng, m = np.random.default_rng([seed, n]), len(truths)
    given = [(rng.random(n) < share).astype(float) for _, share in truths]
    right = [(rng.random(n) < score).astype(float) for score, _ in truths]

    def parts(rung: int, rows: int) -> tuple[Rows, Rows]:
        answered = given[rung][:rows]
        return Rows(right[rung][:rows][answered == 1]), Rows(answered)

    screen = SCREEN * 0.05 / m / 2
    candidates = []
    for rung in range(m):
        score, share = parts(rung, seen)
        high = exact.upper(score.right, len(score), screen) if len(score) else 1.0
        uppers = (high, exact.upper(share.right, seen, screen))
        candidates.append(selective.candidate(score, share, uppers, n - seen, due))
    level = levels(candidates, goal, 0.05)
    chances: list[float | None] = [selective.ahead(*parts(i, seen), due).chance(n - seen, goal, level[i]) for i in range(m)]
    proved = 0
    while (rung := next_proof(chances, proved, True)) is not None:
        score, share = parts(rung, n)
        low = exact.lower(score.right, len(score), level[rung])
        if low >= goal and exact.lower(share.right, n, level[rung]) >= due:
            return rung
        chances[rung], proved = None, proved + 1
    return None


SHORT = {
    "the score just short": ((0.949, 0.8),) * 4,
    "the coverage just short": ((1.0, 0.699),) * 4,
    "either just short": ((0.949, 0.95), (1.0, 0.699), (0.949, 0.95), (1.0, 0.699)),
    "both just short": ((0.949, 0.699),) * 3,
    "others far off": ((0.949, 0.9), (0.3, 1.0), (1.0, 0.1)),
}


@pytest.mark.parametrize("truths", SHORT.values(), ids=SHORT)
def test_a_wrong_claim_of_score_and_coverage_is_as_rare_as_stated(truths: tuple[tuple[float, float], ...]) -> None:
    runs = 400
    wrong = sum(claimed(truths, 0.95, 0.7, 150, 300, seed) is not None for seed in range(runs))
    assert wrong / runs <= most(0.05, runs)


def test_the_error_is_used_where_one_number_alone_is_short() -> None:
    """Each bound has the whole level: halving it between the two would waste half of the error."""
    runs = 600
    wrong = sum(claimed(((1.0, 0.6999),), 0.95, 0.7, 150, 300, seed) is not None for seed in range(runs))
    assert 0.015 <= wrong / runs <= most(0.05, runs)


def test_a_rung_well_above_both_is_claimed() -> None:
    assert sum(claimed(((0.995, 0.85), (0.6, 1.0)), 0.95, 0.7, 150, 300, seed) == 0 for seed in range(40)) >= 36


def test_a_rung_that_answered_nothing_is_no_candidate_for_a_claim() -> None:
    nothing = Rows([0.0] * 100)
    found = selective.candidate(Rows([]), nothing, (1.0, exact.upper(0, 100, 0.001)), 100, 0.5)
    assert found.wrong(np.array([0.04]), 0.9)[0] < 1e-9
    assert selective.ahead(Rows([]), nothing, 0.5).chance(100, 0.9, 0.04) < 1e-9


def test_what_rows_can_show_of_both() -> None:
    found = selective_prospect(200, 0.95, 0.7, 1)
    level = (1 - SCREEN) * 0.8 * 0.05
    answered = next(k for k in range(201) if binom.sf(k - 1, 200, 0.7) <= level)
    right = next(k for k in range(answered + 1) if binom.sf(k - 1, answered, 0.95) <= level)
    assert (found.coverage.needed, found.score.needed, found.possible) == (answered, right, True)
    assert not selective_prospect(30, 0.95, 0.7, 1).possible
