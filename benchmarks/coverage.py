"""How often the interval over bases covers the true mean, and how often chance gives a word:
simulated for shapes that contrasts have. Writes its block of docs/statistics.md.

    python -m benchmarks.coverage

Every number is the share of 20,000 simulated studies (standard error at most .0035), with a fixed
seed; about a minute on one core.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.stats.decision import Rule, decide
from study.stats.distributions import t_quantile
from study.stats.intervals import FRACTION, span_interval

BEGIN, END = "<!-- coverage:begin -->", "<!-- coverage:end -->"
STUDIES, BASES, SEED = 20_000, (5, 10, 20), 0
FAMILY = 6  # the largest that the sign-flip test of eight bases can pass
Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Values]


@dataclass(frozen=True)
class Shape:
    """Values of bases. mean: the true one."""

    name: str
    draw: Draw
    mean: float


def _lognormal(generator: np.random.Generator, size: tuple[int, int]) -> Values:
    return np.exp(generator.normal(0.0, 0.75, size))


def _two_heaps(generator: np.random.Generator, size: tuple[int, int]) -> Values:
    side = np.where(generator.random(size) < 0.5, -1.0, 1.0)
    return side + generator.normal(0.0, 0.1, size)


def _one_in_five(generator: np.random.Generator, size: tuple[int, int]) -> Values:
    differs = np.where(generator.random(size) < 0.2, 1.0, 0.0)
    return differs + generator.normal(0.0, 0.05, size)


DIFFERENCES = (
    Shape("normal", lambda generator, size: generator.normal(0.0, 1.0, size), 0.0),
    Shape("skewed (log-normal, sigma .75)", _lognormal, float(np.exp(0.75**2 / 2.0))),
    Shape("bimodal 50:50", _two_heaps, 0.0),
    Shape("one base in five differs", _one_in_five, 0.2),
)


def _beta(mean: float, deviation: float) -> Shape:
    total = mean * (1.0 - mean) / deviation**2 - 1.0
    return Shape(
        f"mean {mean:g}, sd {deviation:g}",
        lambda generator, size: generator.beta(mean * total, (1.0 - mean) * total, size),
        mean,
    )


def _some_fail(generator: np.random.Generator, size: tuple[int, int]) -> Values:
    level = np.where(generator.random(size) < 0.2, 0.4, 0.95)
    return level + generator.uniform(-0.03, 0.03, size)


def _all_or_nothing(generator: np.random.Generator, size: tuple[int, int]) -> Values:
    level = np.where(generator.random(size) < 0.5, 0.05, 0.95)
    return level + generator.uniform(-0.03, 0.03, size)


LEVELS = (
    _beta(0.5, 0.1),
    _beta(0.9, 0.05),
    _beta(0.9, 0.1),
    _beta(0.97, 0.03),
    Shape("bimodal 50:50, .05 and .95", _all_or_nothing, 0.5),
    Shape("one base in five differs, .40 and .95", _some_fail, 0.84),
)


def t_covers(values: Values, mean: float) -> float:
    """Return how often the plain t-interval holds the mean."""
    centre, error = _moments(values)
    return float(np.mean(np.abs(centre - mean) <= _critical(values) * error))


def logit_of_mean_covers(values: Values, mean: float) -> float:
    """Return how often the interval for fractions holds the mean (`span_interval`)."""
    centre, error = _moments(values)
    half = _critical(values) * error / (centre * (1.0 - centre))
    return float(np.mean(np.abs(_logit(centre) - _logit(np.array(mean))) <= half))


def mean_of_logits_covers(values: Values, mean: float) -> float:
    """Return how often a t-interval of the values' logits holds that of the mean: what was not
    chosen. Values are moved off 0 and 1 as (x N + .5) / (N + 1) with N = 1,024 samples.
    """
    centre, error = _moments(_logit((values * 1024 + 0.5) / 1025))
    inside = np.abs(centre - _logit(np.array(mean))) <= _critical(values) * error
    return float(np.mean(inside))


def false_words(values: Values, mean: float, alpha: float, sign_flip: bool) -> tuple[float, float]:
    """Return how often the rule says that the mean is above and below its own true value."""
    rule = Rule("positive", mean, alpha, sign_flip=sign_flip)
    words = [decide(each, rule).word for each in values.tolist()]
    return words.count("REPRODUCED") / len(words), words.count("CONTRADICTED") / len(words)


def _moments(values: Values) -> tuple[Values, Values]:
    n = values.shape[1]
    return values.mean(axis=1), values.std(axis=1, ddof=1) / n**0.5


def _critical(values: Values) -> float:
    return t_quantile(0.975, values.shape[1] - 1)


def _logit(share: Values) -> Values:
    return np.log(share / (1.0 - share))


def block(studies: int = STUDIES) -> list[str]:
    """Return the lines of the page's block."""
    return [
        f"{studies:,} simulated studies per number, written by `python -m benchmarks.coverage`.",
        "",
        "### Differences: coverage of the 95 % t-interval",
        "",
        *_table(("Shape of the bases", *(f"n = {n}" for n in BASES)), _coverage(studies)),
        "",
        "### Differences: false words",
        "",
        "The threshold is the true mean, so every word is false. Nominal: half of alpha on each"
        f" side. Level: a claim alone (alpha .05), and the strictest of a family of {FAMILY}"
        f" (alpha .05 / {FAMILY}).",
        "",
        *_table(
            (
                "Shape of the bases",
                "n",
                "alpha",
                "t: above",
                "t: below",
                "t and sign-flip: above",
                "t and sign-flip: below",
            ),
            _errors(studies),
        ),
        "",
        "### Levels between 0 and 1: coverage of 95 % intervals",
        "",
        *_table(
            (
                "Shape of the bases",
                "n",
                "plain t",
                "logit of the mean (used)",
                "mean of logits",
                "plain t beyond 0 or 1",
            ),
            _levels(studies),
        ),
    ]


def _coverage(studies: int) -> Iterator[list[str]]:
    for i, shape in enumerate(DIFFERENCES):
        found = [t_covers(_values(shape, i, studies, n), shape.mean) for n in BASES]
        yield [shape.name, *(f"{share:.3f}" for share in found)]


def _errors(studies: int) -> Iterator[list[str]]:
    for i, shape in enumerate(DIFFERENCES):
        for n in BASES:
            values = _values(shape, i, studies, n)
            for alpha, shown in ((0.05, ".05"), (0.05 / FAMILY, f".05 / {FAMILY}")):
                plain = false_words(values, shape.mean, alpha, sign_flip=False)
                both = false_words(values, shape.mean, alpha, sign_flip=True)
                rates = [f"{rate:.4f}" for rate in (*plain, *both)]
                yield [shape.name, str(n), shown, *rates]


def _levels(studies: int) -> Iterator[list[str]]:
    for i, shape in enumerate(LEVELS):
        for n in BASES:
            values = _values(shape, 100 + i, studies, n)
            centre, error = _moments(values)
            half = _critical(values) * error
            beyond = float(np.mean((centre + half > 1.0) | (centre - half < 0.0)))
            found = [
                covers(values, shape.mean)
                for covers in (t_covers, logit_of_mean_covers, mean_of_logits_covers)
            ]
            yield [shape.name, str(n), *(f"{share:.3f}" for share in (*found, beyond))]


def _values(shape: Shape, index: int, studies: int, n: int) -> Values:
    return shape.draw(np.random.default_rng([SEED, index, n]), (studies, n))


def _table(head: Sequence[str], rows: Iterator[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def check() -> None:
    """Raise if the vectorised interval of levels is not the one that decides."""
    values = _values(LEVELS[2], 0, 50, 5)
    for row in values:
        used = span_interval(row.tolist(), span=FRACTION)
        assert used.low is not None
        assert used.high is not None
        low_is_limit = logit_of_mean_covers(row[None, :], used.low + 1e-9)
        assert low_is_limit == 1.0
        assert logit_of_mean_covers(row[None, :], used.low - 1e-9) == 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=Path, default=Path("docs/statistics.md"))
    page: Path = parser.parse_args().page
    check()
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    text = before + "\n".join([BEGIN, "", *block(), "", END]) + after
    page.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
