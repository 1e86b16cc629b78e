"""Bases that would decide a claim: the probability against simulated studies, the range against the
chi-square limits of the spread, the words.
"""

import numpy as np
import pytest

from study.stats.distributions import t_quantile
from study.stats.needed import (
    MOST,
    bases_needed,
    bases_needed_for,
    decision_chance,
    deviation_limits,
    word_in_sight,
)

STUDIES = 20_000


def simulated(mean: float, deviation: float, n: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Limits of the t-interval of many studies with n bases each."""
    rng = np.random.default_rng(1)
    values = rng.normal(mean, deviation, (STUDIES, n))
    half = t_quantile(1 - alpha / 2, n - 1) * values.std(axis=1, ddof=1) / n**0.5
    return values.mean(axis=1) - half, values.mean(axis=1) + half


@pytest.mark.parametrize(
    ("mean", "threshold", "expectation", "alpha"),
    [
        (0.08, 0.05, "positive", 0.05),
        (0.03, 0.05, "positive", 0.025),
        (-0.09, -0.05, "negative", 0.0125),
        (0.0, -0.03, "not_worse", 0.05),
        (0.02, 0.03, "not_worse", 0.05),
    ],
)
def test_a_directed_decision_falls_as_often_as_in_simulated_studies(
    mean: float, threshold: float, expectation: str, alpha: float
) -> None:
    n, deviation = 8, 0.03
    low, high = simulated(mean, deviation, n, alpha)
    decided = low > threshold if mean > threshold else high < threshold
    chance = decision_chance(mean, deviation, n, threshold, expectation, alpha)
    assert 0.05 < chance < 0.999
    assert chance == pytest.approx(float(decided.mean()), abs=0.012)


@pytest.mark.parametrize("mean", [0.0, 0.02, -0.03, 0.08, -0.09])
def test_equivalence_falls_as_often_as_in_simulated_studies(mean: float) -> None:
    n, deviation, bar = 8, 0.04, 0.05
    low, high = simulated(mean, deviation, n, 0.05)
    inside, outside = (-bar < low) & (high < bar), (low > bar) | (high < -bar)
    decided = inside if abs(mean) < bar else outside
    chance = decision_chance(mean, deviation, n, bar, "equal")
    assert chance == pytest.approx(float(decided.mean()), abs=0.012)


@pytest.mark.parametrize(
    ("mean", "threshold", "expectation"),
    [(0.08, 0.05, "positive"), (-0.02, -0.05, "negative"), (0.01, 0.05, "equal")],
)
def test_the_number_is_enough_and_one_base_less_is_not(
    mean: float, threshold: float, expectation: str
) -> None:
    needed = bases_needed(mean, 0.04, 5, threshold, expectation).n
    assert needed is not None
    chances = [decision_chance(mean, 0.04, n, threshold, expectation) for n in (needed - 1, needed)]
    assert chances[0] < 0.9 <= chances[1]


def test_the_range_is_that_of_the_limits_of_the_spread() -> None:
    rng = np.random.default_rng(2)
    deviations = rng.normal(0, 1, (STUDIES, 5)).std(axis=1, ddof=1)
    low, high = deviation_limits(1.0, 5)
    assert float(np.mean(deviations * low > 1.0)) == pytest.approx(0.1, abs=0.01)
    assert float(np.mean(deviations * high < 1.0)) == pytest.approx(0.1, abs=0.01)
    found = bases_needed(0.1, 0.06, 5, 0.05, "positive")
    assert found.low == bases_needed(0.1, 0.06 * low, 5, 0.05, "positive").n
    assert found.high == bases_needed(0.1, 0.06 * high, 5, 0.05, "positive").n
    with pytest.raises(ValueError, match="two bases"):
        deviation_limits(1.0, 1)


def test_a_mean_near_the_threshold_needs_more_than_anyone_will_run() -> None:
    found = bases_needed(0.0501, 0.06, 5, 0.05, "positive")
    assert (found.n, found.high) == (None, None)
    assert f"more than {MOST:,} bases" in found.text
    assert bases_needed(0.08, 0.0, 5, 0.05, "positive").n == 3
    assert bases_needed(0.05, 0.0, 5, 0.05, "positive").n is None


def test_values_give_what_their_mean_and_spread_give() -> None:
    values = [0.06, 0.09, 0.12, 0.07, 0.11]
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    found = bases_needed_for(values, 0.05, "positive", 0.025, 0.8)
    assert found == bases_needed(mean, deviation, 5, 0.05, "positive", 0.025, 0.8)
    assert f"about {found.n} bases ({found.low} to {found.high})" in found.text
    assert "probability 0.8" in found.text


@pytest.mark.parametrize(
    ("mean", "threshold", "expectation", "word"),
    [
        (0.06, 0.05, "positive", "REPRODUCED"),
        (-0.06, -0.05, "negative", "REPRODUCED"),
        (-0.04, -0.05, "negative", "CONTRADICTED"),
        (-0.04, -0.05, "not_worse", "REPRODUCED"),
        (0.06, 0.05, "not_worse", "CONTRADICTED"),
        (-0.04, 0.05, "equal", "REPRODUCED"),
        (-0.06, 0.05, "equal", "CONTRADICTED"),
    ],
)
def test_the_word_that_more_bases_would_give(
    mean: float, threshold: float, expectation: str, word: str
) -> None:
    assert word_in_sight(mean, threshold, expectation) == word
