"""Detect a collapsing training run while it trains: each detector compares a trailing mean with the
run's own start and a fixed limit.

    now    = mean over the last `window` steps
    start  = mean over the first `reference` steps
    lowest = the smallest `now` so far

A detector fires once, at the first step after `reference` where its rule holds; only `not_finite`
looks at one step only. A metric that a trainer does not measure leaves its detector silent. Policy
observe records alarms and changes nothing; stop ends the run at the first alarm. Nothing here draws
random numbers or needs torch; all state is the measured rows, so a resumed or replayed run gives
the same alarms.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Policy = Literal["observe", "stop"]
Column = list[float | None]
SIGNALS = (
    "train/loss", "train/token_loss", "train/grad_norm", "train/weight_norm", "train/reverse_kl",
    "train/student_entropy",
    "train/teacher_entropy", "train/student_topk_mass", "train/teacher_topk_mass",
    "train/topk_overlap", "train/informative_tokens",
    "rollout/accuracy", "rollout/mean_tokens", "rollout/truncated_fraction",
    "rollout/repetition_3gram",
)  # fmt: skip
MUST_BE_FINITE = SIGNALS[:4]
DIVERGENCE = "train/reverse_kl"


@dataclass(frozen=True)
class Thresholds:
    """The limits at which each detector fires.

    All values are ours, chosen on base 0 of the lab alone (docs/guard.md); no paper gives any.

    window, reference: optimiser steps. *_ratio: now / start. The floors keep a ratio from firing
    where the start is near zero. A level is one step of its ladder
    (`study/train/guard/calibration.py`) above the first level that is silent on every run of base 0
    that ends well.
    """

    window: int = 5  # steps; 320 rollouts at the lab. Not chosen by data
    reference: int = 5  # steps; the learning rate still warms up. Not chosen by data
    # probability outside the student's TopK; strong_c dips fire at 1.1 and 0.03
    leak_ratio: float = 1.3
    leak_floor: float = 0.05  # probability
    # of the student's next-token distribution; strong_c dips fire up to 1.5 and 0.45
    entropy_ratio: float = 2.0
    entropy_floor: float = 0.6  # nats
    length_ratio: float = 1.5  # mean tokens per completion; a strong_c dip fires up to 1.3
    # fraction of completions, above the start; a strong_c dip fires up to 0.1
    truncated_rise: float = 0.2
    # fraction of positions whose 3-gram occurred before; no run that ends well fires at any level
    repetition_ratio: float = 1.5
    repetition_floor: float = 0.06  # fraction
    # |TopK of the student and of the teacher| / K, below the start; no run that ends well fires
    overlap_ratio: float = 0.95
    # KL(student || teacher) against its lowest so far; after a strong_c dip it fires up to 1.2 and
    # 0.1
    divergence_ratio: float = 1.5
    divergence_floor: float = 0.2  # nats per token
    # gradient norm before clipping; healthy lab runs stay above 1e-2. Not chosen by data
    zero_gradient: float = 1e-6


@dataclass(frozen=True)
class Seen:
    """What a detector may look at: every row so far, as columns."""

    columns: Mapping[str, Column]
    limits: Thresholds
    lowest_divergence: float | None = None

    def start(self, name: str) -> float | None:
        return mean(self.columns.get(name, [])[: self.limits.reference])

    def now(self, name: str) -> float | None:
        return (
            mean(self.recent(name)) if len(self.columns["step"]) > self.limits.reference else None
        )

    def recent(self, name: str) -> Sequence[float | None]:
        return self.columns.get(name, [])[-self.limits.window :]

    def moved(self, name: str, holds: Callable[[float, float], bool]) -> bool:
        """Whether `holds(now, start)`; False where either is not known."""
        now, start = self.now(name), self.start(name)
        return now is not None and start is not None and holds(now, start)


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None over nothing and where any value is missing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def not_finite(seen: Seen) -> bool:
    """Fire where loss, gradient norm or weights are not a number or infinite at this step."""
    last = [seen.columns[name][-1] for name in MUST_BE_FINITE if name in seen.columns]
    return any(value is not None and not math.isfinite(value) for value in last)


def topk_drain(seen: Seen) -> bool:
    """Fire where the student's probability leaves its own TopK: the biased TopK loss descends on
    that mass (grad = stop-gradient + grad of mass).
    """
    limits = seen.limits
    return seen.moved(
        "train/student_topk_mass",
        lambda now, start: 1 - now >= max(limits.leak_floor, limits.leak_ratio * (1 - start)),
    )


def entropy(seen: Seen) -> bool:
    """Fire where the student's next-token distribution becomes flat."""
    limits = seen.limits
    return seen.moved(
        "train/student_entropy",
        lambda now, start: now >= max(limits.entropy_floor, limits.entropy_ratio * start),
    )


def length(seen: Seen) -> bool:
    """Fire where completions become long."""
    return seen.moved(
        "rollout/mean_tokens", lambda now, start: now >= seen.limits.length_ratio * start
    )


def truncation(seen: Seen) -> bool:
    """Fire where completions no longer end."""
    return seen.moved(
        "rollout/truncated_fraction", lambda now, start: now >= start + seen.limits.truncated_rise
    )


def repetition(seen: Seen) -> bool:
    """Fire where completions repeat themselves."""
    limits = seen.limits
    return seen.moved(
        "rollout/repetition_3gram",
        lambda now, start: now >= max(limits.repetition_floor, limits.repetition_ratio * start),
    )


def overlap(seen: Seen) -> bool:
    """Fire where the likeliest tokens of student and teacher come apart."""
    return seen.moved(
        "train/topk_overlap", lambda now, start: now <= seen.limits.overlap_ratio * start
    )


def divergence(seen: Seen) -> bool:
    """Fire where the student moves away from its teacher, which the loss should prevent."""
    now, lowest, limits = seen.now(DIVERGENCE), seen.lowest_divergence, seen.limits
    return (
        now is not None
        and lowest is not None
        and now >= max(limits.divergence_floor, limits.divergence_ratio * lowest)
    )


def zero_signal(seen: Seen) -> bool:
    """Fire where for a whole window the gradient is zero up to rounding or no token has a loss (a
    teacher equal to its student).
    """
    limits, full = seen.limits, seen.limits.window

    def at_most(name: str, limit: float) -> bool:
        recent = seen.recent(name)
        return len(recent) == full and all(value is not None and value <= limit for value in recent)

    return at_most("train/grad_norm", limits.zero_gradient) or at_most(
        "train/informative_tokens", 0.0
    )


DETECTORS: dict[str, Callable[[Seen], bool]] = {
    "not_finite": not_finite, "topk_drain": topk_drain, "entropy": entropy, "length": length,
    "truncation": truncation,
    "repetition": repetition, "overlap": overlap, "divergence": divergence,
    "zero_signal": zero_signal,
}  # fmt: skip
