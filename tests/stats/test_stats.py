"""The estimators against slow references written from the definitions, and their properties."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.stats.comparisons import (
    bases_to_decide,
    compare,
    detection_power,
    holm,
    minimum_detectable_effect,
    paired_differences,
)
from study.stats.estimators import avg_at_k, maj_at_k, pass_at_k
from study.stats.intervals import bootstrap_interval, t_interval

COUNTS = st.integers(1, 7).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n), min_size=1, max_size=6))
)


def slow_pass_at_k(counts: list[int], n: int, k: int) -> float:
    """Every way to draw k of the n samples, counted one by one."""
    total = Fraction(0)
    for correct in counts:
        samples = [True] * correct + [False] * (n - correct)
        draws = list(itertools.combinations(samples, k))
        total += Fraction(sum(any(draw) for draw in draws), len(draws))
    return float(total / len(counts))


@given(COUNTS, st.data())
def test_pass_at_k_is_the_mean_over_all_draws(
    case: tuple[int, list[int]], data: st.DataObject
) -> None:
    n, counts = case
    k = data.draw(st.integers(1, n))
    assert pass_at_k(counts, n, k) == pytest.approx(slow_pass_at_k(counts, n, k), abs=1e-12)


@given(COUNTS)
def test_pass_at_k_limits_and_order(case: tuple[int, list[int]]) -> None:
    n, counts = case
    scores = [pass_at_k(counts, n, k) for k in range(1, n + 1)]
    assert scores[0] == pytest.approx(avg_at_k(counts, n))
    assert scores[-1] == pytest.approx(sum(count > 0 for count in counts) / len(counts))
    assert all(low <= high + 1e-12 for low, high in itertools.pairwise(scores))


def test_pass_at_k_of_many_samples_does_not_overflow() -> None:
    assert pass_at_k([1], 4096, 2048) == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [[], [-1], [4], [0.5]])
def test_counts_outside_the_samples_are_refused(bad: list[int]) -> None:
    with pytest.raises(ValueError, match="counts"):
        avg_at_k(bad, 3)


def test_more_draws_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 5"):
        pass_at_k([1], 4, 5)


@given(
    st.lists(
        st.lists(st.sampled_from(["1", "2", "3", None]), min_size=1, max_size=5),
        min_size=1,
        max_size=4,
    ),
    st.randoms(),
)
def test_majority_is_the_mean_over_random_tie_breaks(
    answers: list[list[str | None]], random: "np.random.Generator"
) -> None:
    references = ["1"] * len(answers)
    expected = []
    for votes in answers:
        counts = {answer: votes.count(answer) for answer in set(votes) - {None}}
        top = [answer for answer, count in counts.items() if count == max(counts.values())]
        expected.append(top.count("1") / len(top) if top else 0.0)
    assert maj_at_k(answers, references) == pytest.approx(sum(expected) / len(expected))
    shuffled = [random.sample(votes, len(votes)) for votes in answers]  # type: ignore[attr-defined]
    assert maj_at_k(shuffled, references) == maj_at_k(answers, references)


def test_majority_ties_and_silence() -> None:
    assert maj_at_k([["1", "2"]], ["1"]) == 0.5
    assert maj_at_k([["1", None, None]], ["1"]) == 1.0
    assert maj_at_k([[None, None]], ["1"]) == 0.0
    with pytest.raises(ValueError, match="2 problems"):
        maj_at_k([["1"], ["2"]], ["1"])


def test_t_interval_by_hand() -> None:
    interval = t_interval([0.1, 0.2, 0.6])
    half = 4.302652729911275 * math.sqrt(0.07) / math.sqrt(3)  # t_{.975, 2} from a printed table
    assert interval.mean == pytest.approx(0.3)
    assert (interval.low, interval.high, interval.n) == (
        pytest.approx(0.3 - half),
        pytest.approx(0.3 + half),
        3,
    )


def test_one_base_has_no_interval() -> None:
    assert t_interval([0.4]).low is None
    assert compare([0.4]).p_value is None
    with pytest.raises(ValueError, match="finite"):
        t_interval([0.4, float("nan")])


def test_t_interval_covers_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(1.0, 2.0, size=(4000, 4))
    intervals = [t_interval(row) for row in draws.tolist()]
    covered = [each.low <= 1.0 <= each.high for each in intervals]  # type: ignore[operator]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)


def test_bootstrap_depends_on_its_seed_alone() -> None:
    values = np.random.default_rng(1).random(64).tolist()
    np.random.seed(1)
    first = bootstrap_interval(values, seed=7)
    np.random.seed(2)
    assert bootstrap_interval(values, seed=7) == first
    assert bootstrap_interval(values, seed=8) != first


def test_bootstrap_agrees_with_a_loop() -> None:
    values = np.random.default_rng(2).random(40)
    generator = np.random.default_rng(3)
    means = [values[generator.integers(0, 40, 40)].mean() for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    interval = bootstrap_interval(values.tolist(), seed=0, resamples=4000)
    assert (interval.low, interval.high) == (
        pytest.approx(low, abs=0.01),
        pytest.approx(high, abs=0.01),
    )
    assert bootstrap_interval([0.5, 0.5], seed=0).low == 0.5


def test_pairs_are_never_dropped() -> None:
    assert paired_differences({1: 0.5, 0: 0.25}, {0: 0.5, 1: 0.25}) == {0: -0.25, 1: 0.25}
    with pytest.raises(ValueError, match=r"bases \[2\]"):
        paired_differences({0: 0.5, 2: 0.1}, {0: 0.5})


def test_paired_p_by_permutation_of_the_definition() -> None:
    comparison = compare([0.2, 0.3, 0.1, 0.4])
    draws = np.random.default_rng(4).normal(size=(200_000, 4))
    statistic = abs(draws.mean(axis=1)) / (draws.std(axis=1, ddof=1) / 2)
    assert comparison.deviation is not None
    observed = comparison.interval.mean / (comparison.deviation / 2)
    assert comparison.p_value == pytest.approx(np.mean(statistic > observed), abs=0.003)
    assert (compare([0.0, 0.0]).p_value, compare([0.1, 0.1]).p_value) == (1.0, 0.0)


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {
        "a": pytest.approx(0.03),
        "c": pytest.approx(0.06),
        "b": pytest.approx(0.06),
    }


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=6))
def test_holm_is_between_p_and_bonferroni(p_values: dict[str, float]) -> None:
    for name, adjusted in holm(p_values).items():
        assert p_values[name] <= adjusted <= min(1.0, len(p_values) * p_values[name])
    ordered = sorted(p_values, key=lambda key: (p_values[key], key))
    assert [holm(p_values)[key] for key in ordered] == sorted(holm(p_values).values())


@settings(max_examples=5, deadline=None)
@given(st.integers(3, 6), st.floats(0.02, 0.5))
def test_minimum_detectable_effect_by_simulation(n: int, deviation: float) -> None:
    effect = minimum_detectable_effect(deviation, n)
    draws = np.random.default_rng(5).normal(effect, deviation, size=(4000, n))
    p_values = [compare(row).p_value for row in draws.tolist()]
    found = np.mean([p_value < 0.05 for p_value in p_values])  # type: ignore[operator]
    assert found == pytest.approx(0.8, abs=0.03)
    assert detection_power(0.0, deviation, n) == pytest.approx(0.05)


def test_bases_to_decide() -> None:
    assert bases_to_decide(-0.3, 0.05, -0.1) == 3
    assert (
        bases_to_decide(-0.2, 0.1, -0.1) == 7
    )  # 2.447 * 0.1 / sqrt(7) = 0.0925 < 0.1, and 2.571 * 0.1 / sqrt(6) = 0.105
    assert bases_to_decide(-0.1, 0.1, -0.1) is None
