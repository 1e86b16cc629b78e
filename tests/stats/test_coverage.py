"""The script behind docs/statistics.md: it uses the rule that decides, and the page is its own."""

import pytest

from benchmarks import coverage
from tests.support.paths import ROOT


def test_the_simulated_interval_of_levels_is_the_one_that_decides() -> None:
    coverage.check()


def test_the_block_has_every_shape_and_number_of_bases() -> None:
    lines = coverage.block(40)
    for shape in (*coverage.DIFFERENCES, *coverage.LEVELS):
        assert sum(line.startswith(f"| {shape.name} |") for line in lines) >= 1
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 3 + 4 + 4 * 3 * 2 + 6 * 3


def test_the_page_has_the_numbers_of_the_committed_script() -> None:
    """The cheap part again: coverage of differences with the same seed."""
    page = (ROOT / "docs/statistics.md").read_text()
    shape = coverage.DIFFERENCES[3]
    values = coverage._values(shape, 3, coverage.STUDIES, 5)
    found = coverage.t_covers(values, shape.mean)
    assert found == pytest.approx(0.66, abs=0.01)
    assert f"| {shape.name} | {found:.3f} |" in page


def test_the_sign_flip_test_takes_false_words_away() -> None:
    bimodal = coverage.DIFFERENCES[2]
    values = coverage._values(bimodal, 2, 4000, 10)
    plain = coverage.false_words(values, bimodal.mean, 0.05 / 6, sign_flip=False)
    both = coverage.false_words(values, bimodal.mean, 0.05 / 6, sign_flip=True)
    assert max(both) < 0.007 < min(plain)
