"""Choose which reports of a running stage go to MLflow: every few seconds, and only what changed.

A worker reports several times per second and repeats the last value of every metric; MLflow keeps
each point that it gets.
"""

import time
from collections.abc import Callable, Mapping

EVERY_S = 3.0  # the least time between two points of one stage
_PER_STAGE_S = 0.2  # many stages at once share one writer


class LivePoints:
    """Choose the points to send. now: a clock in seconds, for tests."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._sent_at: dict[str, float] = {}
        self._step: dict[str, int] = {}
        self._values: dict[str, dict[str, float]] = {}

    def is_due(self, stage: str, step: int) -> bool:
        """Whether a stage made progress since its last point and enough seconds have passed."""
        every_s = max(EVERY_S, _PER_STAGE_S * len(self._sent_at))
        waited_s = self._now() - self._sent_at.get(stage, float("-inf"))
        return step != self._step.get(stage) and waited_s >= every_s

    def changed(self, stage: str, step: int, latest: Mapping[str, float]) -> dict[str, float]:
        """Return the metrics with a new value; they count as sent."""
        before = self._values.get(stage, {})
        new = {name: value for name, value in latest.items() if before.get(name) != value}
        self._values[stage] = {**before, **new}
        self._sent_at[stage], self._step[stage] = self._now(), step
        return new
