"""The distributions: the same numbers as scipy.stats, which takes too long to import."""

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats as scipy_stats
from numpy.typing import NDArray

from study.stats import distributions


@pytest.mark.parametrize("degrees", [1, 2, 9, 30])
def test_chi_square_quantiles(degrees: int) -> None:
    shares = np.linspace(0.001, 0.999, 57)
    found = distributions.chi_square_quantiles(shares, degrees)
    assert np.allclose(found, scipy_stats.chi2.ppf(shares, degrees), rtol=1e-12)


@pytest.mark.parametrize("shift", [-30.0, -4.5, 0.0, 0.3, 2.0, 12.0, 60.0])
@pytest.mark.parametrize("degrees", [1, 4, 9, 40])
def test_tail_of_the_noncentral_t(degrees: int, shift: float) -> None:
    for value in (-3.0, 0.0, 2.2622, 9.715563147132107):
        found = distributions.noncentral_t_upper_tail(value, degrees, shift)
        assert found == pytest.approx(scipy_stats.nct.sf(value, degrees, shift), abs=1e-13)


def test_a_tail_that_rounds_below_zero_is_zero() -> None:
    assert distributions.noncentral_t_upper_tail(9.715563147132107, 4, -6.58061195867403) == 0.0
    assert math.isnan(distributions.noncentral_t_upper_tail(2.0, 4, math.nan))


@pytest.mark.parametrize("trials", [1, 2, 9, 10, 57, 400])
def test_binomial_limits_and_p(trials: int) -> None:
    for successes in sorted({0, 1, trials // 3, trials // 2, trials}):
        test = scipy_stats.binomtest(successes, trials)
        limits = test.proportion_ci(0.95, method="exact")
        found = distributions.binomial_limits(successes, trials)
        assert found == pytest.approx((limits.low, limits.high), abs=1e-10)
        p = distributions.binomial_p(successes, trials)
        assert p == pytest.approx(test.pvalue, rel=1e-9)


def test_no_trial_has_a_p_and_no_limits() -> None:
    assert distributions.binomial_p(0, 0) == 1.0
    with pytest.raises(ValueError, match="at least one trial"):
        distributions.binomial_limits(0, 0)
    with pytest.raises(ValueError, match="5 successes of 4 trials"):
        distributions.binomial_limits(5, 4)
    with pytest.raises(ValueError, match="-1 successes of 4 trials"):
        distributions.binomial_p(-1, 4)


@pytest.mark.parametrize("seed", range(20))
def test_survival(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n = int(generator.integers(1, 25))
    times = np.asarray(generator.integers(1, 10, n) * 10.0, dtype=np.float64)
    ended = generator.uniform(size=n) < generator.uniform()
    data = scipy_stats.CensoredData(uncensored=times[ended], right=times[~ended])
    expected = scipy_stats.ecdf(data).sf
    at, shares = distributions.survival(times, ended)
    assert at == [float(time) for time in expected.quantiles]
    assert shares == pytest.approx(list(expected.probabilities), abs=1e-15)


def bootstrapped(values: NDArray[np.float64], resamples: int) -> tuple[float, float]:
    found = scipy_stats.bootstrap(
        (values,),
        np.mean,
        method="percentile",
        n_resamples=resamples,
        vectorized=True,
        rng=np.random.default_rng(3),
    )
    return found.confidence_interval.low, found.confidence_interval.high


@pytest.mark.parametrize("n", [2, 7, 256])
def test_bootstrap_has_the_same_digits(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(n).integers(0, 5, n) / 4.0
    expected = bootstrapped(values, 999)
    for at_once in (10**8, 100 * n, 1):
        monkeypatch.setattr(distributions, "_AT_ONCE", at_once)
        generator = np.random.default_rng(3)
        assert distributions.bootstrap_mean(values, generator, 0.95, 999) == expected


@pytest.mark.parametrize("n", [2, 3, 5, 8, 10, 13, 14, 20])
@pytest.mark.parametrize("digits", [1, 16])
def test_sign_flips_have_the_same_digits(n: int, digits: int) -> None:
    for seed in range(4):
        values = np.round(np.random.default_rng(seed).normal(0.1, 1.0, n), digits)  # 1: with ties
        test = scipy_stats.permutation_test(
            (values,),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=10_000,
            rng=np.random.default_rng(0),
        )
        found = distributions.sign_flip_p(values, np.random.default_rng(0))
        assert found == test.pvalue


def test_nothing_that_a_table_needs_imports_scipy_stats() -> None:
    code = (
        "import sys, numpy as np; from study.stats import distributions as d, intervals;"
        "d.t_quantile(.9, 4); d.noncentral_t_upper_tail(2.0, 4, 1.0); d.binomial_limits(3, 9);"
        "d.binomial_p(3, 9); d.sign_flip_p(np.ones(3), np.random.default_rng(0));"
        "d.survival(np.array([1.0]), np.array([True]));"
        "intervals.bootstrap_interval([0.0, 1.0], seed=0);"
        "print('scipy.special' in sys.modules, 'scipy.stats' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
