"""Variance components from several training seeds per base: known ones come back, the formulas are
those of a one-way analysis of variance.
"""

import numpy as np
import pytest

from study.stats.repeats import RepeatComponents, repeat_components


def test_known_components_come_back_also_from_unequal_numbers_of_repeats() -> None:
    rng = np.random.default_rng(7)
    found: list[RepeatComponents] = []
    for _ in range(400):
        sizes = [3, 2, 2, 1, 2, 3, 1, 2]
        bases = rng.normal(0, 0.05, len(sizes))
        groups = [base + rng.normal(0, 0.03, size) for base, size in zip(bases, sizes, strict=True)]
        components = repeat_components([group.tolist() for group in groups])
        assert components is not None
        found.append(components)
    assert float(np.mean([one.repeat for one in found])) == pytest.approx(0.03**2, rel=0.05)
    # Negative estimates are taken as 0, which lifts the mean a little.
    assert float(np.mean([one.base for one in found])) == pytest.approx(0.05**2, rel=0.1)


def test_equal_repeats_give_the_analysis_of_variance() -> None:
    values = [[0.1, 0.3], [0.4, 0.6], [0.9, 0.7]]
    found = repeat_components(values)
    assert found is not None
    means = [0.2, 0.5, 0.8]
    assert found.repeats == pytest.approx(2.0)
    assert found.repeat == pytest.approx(0.02)
    assert found.base == pytest.approx(float(np.var(means, ddof=1)) - 0.02 / 2)
    assert found.deviation(2) == pytest.approx(float(np.std(means, ddof=1)))
    assert found.deviation(1) > found.deviation(2) > found.deviation(8) > found.base**0.5


def test_bases_that_differ_less_than_their_repeats_have_no_variance_of_their_own() -> None:
    found = repeat_components([[0.0, 1.0], [1.0, 0.0]])
    assert found is not None
    assert (found.base, found.repeat) == (0.0, pytest.approx(0.5))


@pytest.mark.parametrize("values", [[[0.1], [0.2]], [[0.1, 0.2]], [], [[0.1, 0.2], []]])
def test_without_repeats_on_two_bases_nothing_is_said(values: list[list[float]]) -> None:
    assert repeat_components(values) is None
