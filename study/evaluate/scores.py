"""Compute avg@k, unbiased pass@k and maj@k of graded completions, strictly and relaxedly, with
intervals: summarise(problems) -> Summary.

P problems, each with its own number of samples n_p. Every measure is a mean over problems, however
often each was sampled:

    avg      c_p / n_p                                  c_p correct samples; the name carries k
                                                        where all n_p are k
    pass@k   1 - C(n_p - c_p, k) / C(n_p, k)            for k = 2, 4, 8, ... and the smallest n_p
    maj      1 / (answers that share the most votes) if a right one is among them, else 0

Votes: right answers vote together; wrong ones are the same answer if `equivalence.vote` gives them
the same name; an unparsed or truncated completion casts none, and where no completion votes nothing
is right. Wrong answers that only a symbolic tier would unite count as different ones, which can
only help the right answer. Intervals: percentile bootstrap over problems, from a fixed seed; one
problem has none. Only `correct` counts as right.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from study.grading.boxed import Outcome
from study.grading.math.equivalence import vote
from study.grading.registry import Grade
from study.stats.estimators import majority_share, pass_at_k_P
from study.stats.intervals import Interval, bootstrap_interval

SEED = 0
# The value of one problem from which samples are right, and from the votes.
_Value = Callable[[list[bool], list[str | None]], float]
_RIGHT = "the reference"
_SILENT = (Outcome.unparsed, Outcome.truncated)


@dataclass(frozen=True)
class Measure:
    """One measure, strict and relaxed. strict is the measure's value; relaxed never replaces it."""

    name: str
    strict: Interval
    relaxed: Interval


@dataclass(frozen=True)
class Summary:
    """Measures and counts. counts: every outcome, strict and relaxed. tiers: which decided the
    strict outcome. band: samples that are only relaxedly correct. percent_only: samples that are
    strictly wrong only because the gold answer has a percent sign and theirs has not.
    """

    problems: int
    samples: int
    fewest: int
    most: int
    measures: tuple[Measure, ...]
    counts: Mapping[Outcome, tuple[int, int]]
    tiers: Mapping[str, int]
    band: int
    disagreements: int
    percent_only: int

    @property
    def k(self) -> str:
        return str(self.most) if self.fewest == self.most else f"{self.fewest}-{self.most}"


def summarise(problems: Mapping[str, Sequence[Grade]]) -> Summary:
    """Summarise graded problems. Raises ValueError for no problems or one without samples."""
    rows = list(problems.values())
    if not rows or not all(rows):
        raise ValueError("a summary needs problems, each with at least one graded completion")
    sizes, flat = [len(row) for row in rows], [result for row in rows for result in row]
    counts = {
        o: (sum(r.outcome is o for r in flat), sum(r.relaxed is o for r in flat)) for o in Outcome
    }
    return Summary(
        len(rows), len(flat), min(sizes), max(sizes), _measures(rows, min(sizes), max(sizes)),
        counts,
        dict(Counter(str(result.tier) for result in flat if result.tier)),
        counts[Outcome.correct][1] - counts[Outcome.correct][0],
        sum(bool(result.disagreement) for result in flat),
        sum(result.percent_only for result in flat),
    )  # fmt: skip


def _measures(rows: Sequence[Sequence[Grade]], fewest: int, most: int) -> tuple[Measure, ...]:
    suffix = f"@{most}" if fewest == most else ""
    made = [_measure(f"avg{suffix}", rows, lambda right, _: sum(right) / len(right))]
    for k in _sizes(fewest):
        made.append(
            _measure(
                f"pass@{k}",
                rows,
                lambda right, _, k=k: float(pass_at_k_P([sum(right)], len(right), k)[0]),
            )
        )
    if most > 1:
        made.append(_measure(f"maj{suffix}", rows, lambda _, votes: majority_share(votes, _RIGHT)))
    return tuple(made)


def _sizes(fewest: int) -> list[int]:
    powers = [2**i for i in range(1, fewest.bit_length()) if 2**i <= fewest]
    return sorted({*powers, fewest} - {1})


def _measure(name: str, rows: Sequence[Sequence[Grade]], value: _Value) -> Measure:
    ends: list[Interval] = []
    for relaxed in (False, True):
        scores = [
            value([_right(r, relaxed) for r in row], [_vote(r, relaxed) for r in row])
            for row in rows
        ]
        ends.append(bootstrap_interval(scores, seed=SEED))
    return Measure(name, *ends)


def _right(result: Grade, relaxed: bool) -> bool:
    return (result.relaxed if relaxed else result.outcome) is Outcome.correct


def _vote(result: Grade, relaxed: bool) -> str | None:
    if _right(result, relaxed):
        return _RIGHT
    outcome, text = (
        (result.relaxed, result.extracted_relaxed)
        if relaxed
        else (result.outcome, result.extracted)
    )
    return None if outcome in _SILENT or text is None else f"other: {vote(text)}"
