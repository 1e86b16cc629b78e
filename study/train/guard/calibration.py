"""Calibrate the guard: classify how a run ended, find thresholds that are silent on healthy runs,
and count what an alarm is worth on others.

    m(t) = mean accuracy of the rollouts of steps t - span + 1 .. t
    best(t) = the largest m(s), s <= t
    fell from the start: first confirmed t with m(t) < m(span) - 0.10
                         (`guard.fell_at`, recorded in guard.json)
    fell from the best:  first confirmed t with m(t) < best(t) - 0.15    (`fell_from_best`)

fell = the earlier of the two. A run may dip, come back and collapse later: for a collapsed run only
falls after the last `span` + 1 steps in a row without the inequality count; a fall that the end of
the run leaves unconfirmed counts where there is no other.

    collapsed  the final score and m of the last step are both more than 0.15 below the best m
    dipped     not collapsed, but it fell and came back
    cut short  neither, but a longer run of the same recipe and base is known to end so low: an
               alarm here may be right or early
    healthy    none of these

The best is the largest of many noisy means, so its margin is wider: with 320 rollouts at accuracy
0.7 a mean has a standard error of 0.026, and the largest of 25 independent means is about two of
them too high. Accuracy needs answers; no detector looks at it.

lead = fell - alarm in optimiser steps: positive where the alarm came first. Both look at trailing
means, and a fall is only known `span` steps after it began; the lead is counted to the beginning.
Torch is not needed here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Literal

from study.train.guard.detectors import Column, Thresholds, mean
from study.train.guard.trace import fell_at, replay

Outcome = Literal["healthy", "cut short", "dipped", "collapsed"]
ENDS_WELL: tuple[Outcome, ...] = ("healthy", "dipped")
ANY = "any"
SPAN, DROP, MARGIN = 5, 0.1, 0.15  # steps; accuracy below the start; accuracy below the best
ACCURACY = "rollout/accuracy"
# detector -> (its thresholds, their levels from the most to the least sensitive). Neither windows
# nor the limits of what no healthy run does at all (not_finite, zero_signal) are chosen.
LADDERS: dict[str, tuple[tuple[str, ...], tuple[tuple[float, ...], ...]]] = {
    "topk_drain": (
        ("leak_ratio", "leak_floor"),
        (
            (1.1, 0.03),
            (1.2, 0.04),
            (1.3, 0.05),
            (1.4, 0.06),
            (1.5, 0.08),
            (1.75, 0.1),
            (2.0, 0.15),
            (2.5, 0.2),
            (3.0, 0.3),
        ),
    ),
    "entropy": (
        ("entropy_ratio", "entropy_floor"),
        (
            (1.1, 0.3),
            (1.2, 0.35),
            (1.3, 0.4),
            (1.5, 0.45),
            (1.75, 0.5),
            (2.0, 0.6),
            (2.5, 0.75),
            (3.0, 1.0),
        ),
    ),
    "length": (
        ("length_ratio",),
        ((1.05,), (1.1,), (1.15,), (1.2,), (1.3,), (1.4,), (1.5,), (1.75,)),
    ),
    "truncation": (
        ("truncated_rise",),
        ((0.01,), (0.02,), (0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
    ),
    "repetition": (
        ("repetition_ratio", "repetition_floor"),
        ((1.25, 0.05), (1.5, 0.06), (1.75, 0.08), (2.0, 0.1), (2.5, 0.12), (3.0, 0.15)),
    ),
    "overlap": (("overlap_ratio",), ((0.98,), (0.95,), (0.9,), (0.85,), (0.8,), (0.7,))),
    "divergence": (
        ("divergence_ratio", "divergence_floor"),
        (
            (1.1, 0.05),
            (1.2, 0.1),
            (1.3, 0.15),
            (1.5, 0.2),
            (1.75, 0.3),
            (2.0, 0.4),
            (2.5, 0.6),
            (3.0, 0.8),
        ),
    ),
}


@dataclass(frozen=True)
class Watched:
    """A run whose guard only observed.

    score: accuracy of the final evaluation, on problems that it was not trained on.

    longer_ends_low: whether a longer run of the same recipe and base is known to end low.
    """

    cell: str
    base: int
    trace: Mapping[str, Sequence[float | None]]
    score: float
    longer_ends_low: bool = False

    @cached_property
    def means(self) -> list[float]:
        """Return m(t) of every step from `span` on."""
        values = self.trace[ACCURACY]
        windows = (mean(values[i - SPAN + 1 : i + 1]) for i in range(SPAN - 1, len(values)))
        return [value for value in windows if value is not None]

    @cached_property
    def fell_from_start(self) -> int | None:
        return fell_at(self.trace["step"], self.trace[ACCURACY], span=SPAN, drop=DROP)

    @cached_property
    def fell_from_best(self) -> int | None:
        return fell_from_best(self.trace["step"], self.trace[ACCURACY])

    @cached_property
    def fell(self) -> int | None:
        if self.outcome == "collapsed":
            return self._fell_for_good()
        return min(
            (step for step in (self.fell_from_start, self.fell_from_best) if step is not None),
            default=None,
        )

    def _fell_for_good(self) -> int:
        highest = list(accumulate(self.means, max))
        from_start = [now < self.means[0] - DROP for now in self.means]
        from_best = [now < best - MARGIN for now, best in zip(self.means, highest, strict=True)]
        first = min(last_entered(below) for below in (from_start, from_best) if below[-1])
        return int(self.trace["step"][first + SPAN - 1] or 0)

    @cached_property
    def outcome(self) -> Outcome:
        if ends_low(self.means, self.score):
            return "collapsed"
        if self.fell_from_start is not None or self.fell_from_best is not None:
            return "dipped"
        return "cut short" if self.longer_ends_low else "healthy"

    def accuracy_at(self, step: int) -> float:
        """Return m of that step; for an earlier step, m of the first step that has it."""
        return self.means[max(0, list(self.trace["step"]).index(step) - SPAN + 1)]


def last_entered(below: Sequence[bool]) -> int:
    """Return where the last fall begins: the first `span` + 1 True in a row after the last `span` +
    1 False in a row, else the Trues at the end.
    """
    well = [i for i in range(SPAN, len(below)) if not any(below[i - SPAN : i + 1])]
    start = well[-1] + 1 if well else 0
    confirmed = (i for i in range(start, len(below) - SPAN) if all(below[i : i + SPAN + 1]))
    return next(confirmed, len(below) - len(list(takewhile(bool, reversed(below)))))


def ends_low(accuracies: Sequence[float], score: float) -> bool:
    """Whether the last value and the final score are both more than the margin below the best: of
    m(t), or of the points of a curve.
    """
    return max(score, accuracies[-1]) < max(accuracies) - MARGIN


def fell_from_best(
    steps: Sequence[float | None], accuracy: Column | Sequence[float | None], margin: float = MARGIN
) -> int | None:
    """Return the first step t with m(t), ..., m(t + span) all more than `margin` below the largest
    m up to t; None if there is none.
    """
    means = [
        mean(accuracy[i - SPAN + 1 : i + 1]) if i >= SPAN - 1 else None
        for i in range(len(accuracy))
    ]
    best = float("-inf")
    for i, now in enumerate(means):
        best = max(best, float("-inf") if now is None else now)
        after = means[i : i + SPAN + 1]
        if len(after) > SPAN and all(
            value is not None and value < best - margin for value in after
        ):
            return int(steps[i] or 0)
    return None


def choose(
    runs: Iterable[Watched], quiet_on: Collection[Outcome] = ENDS_WELL, margin: int = 1
) -> Thresholds:
    """Choose for each detector the most sensitive level that is silent on every given run with
    these outcomes, and go `margin` levels less sensitive than that.

    Where no level is silent, or the next one would be past the end, take the least sensitive.
    """
    chosen, quiet = Thresholds(), [run for run in runs if run.outcome in quiet_on]
    for detector, (names, levels) in LADDERS.items():
        tried = [replace(chosen, **dict(zip(names, level, strict=True))) for level in levels]
        silent = (
            i for i, thresholds in enumerate(tried) if not _heard(quiet, detector, thresholds)
        )
        chosen = tried[min(next(silent, len(tried)) + margin, len(tried) - 1)]
    return chosen


def _heard(runs: Iterable[Watched], detector: str, thresholds: Thresholds) -> bool:
    return any(detector in replay(run.trace, thresholds, (detector,)) for run in runs)
