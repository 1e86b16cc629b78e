"""The guard of a run: one row per step, the alarms of the detectors, and the step at which it ends
the run; and the same on a stored trace.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from study.train.guard.detectors import (
    DETECTORS,
    DIVERGENCE,
    SIGNALS,
    Column,
    Policy,
    Seen,
    Thresholds,
    mean,
)

DIGITS = 5  # significant digits of a written trace


class Guard:
    """Collect one row per step. alarms: detector -> the step at which it fired first; stopped_at:
    where policy stop ended the run.
    """

    def __init__(
        self,
        policy: Policy = "observe",
        thresholds: Thresholds | None = None,
        detectors: Iterable[str] | None = None,
    ) -> None:
        self.policy: Policy = policy
        self.thresholds = thresholds or Thresholds()
        self.detectors = tuple(DETECTORS if detectors is None else detectors)
        self.columns: dict[str, Column] = {"step": []}
        self.alarms: dict[str, int] = {}
        self.stopped_at: int | None = None
        self.lowest_divergence: float | None = None

    def observe(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """Take the means of one step; return the detectors that fired now.

        Metrics that no detector uses are left out.
        """
        self._append(step, {name: metrics[name] for name in SIGNALS if name in metrics})
        seen = Seen(self.columns, self.thresholds, self.lowest_divergence)
        fired = [
            name for name in self.detectors if name not in self.alarms and DETECTORS[name](seen)
        ]
        self.alarms |= dict.fromkeys(fired, step)
        known = [
            value
            for value in (self.lowest_divergence, seen.start(DIVERGENCE), seen.now(DIVERGENCE))
            if value is not None
        ]
        self.lowest_divergence = min(known, default=None)
        if fired and self.policy == "stop":
            self.stop(step)
        return fired

    def stop(self, step: int) -> None:
        self.stopped_at = step if self.stopped_at is None else self.stopped_at

    def _append(self, step: int, row: Mapping[str, float]) -> None:
        rows = len(self.columns["step"])
        self.columns["step"].append(step)
        for name in row:
            self.columns.setdefault(name, [None] * rows)
        for name, column in self.columns.items():
            if name != "step":
                column.append(row.get(name))

    def last(self, n: int) -> list[dict[str, float | None]]:
        """Return the last n rows as mappings, rounded."""
        start = max(0, len(self.columns["step"]) - n)
        return [
            {name: shortened(column[i]) for name, column in self.columns.items()}
            for i in range(start, len(self.columns["step"]))
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the content of guard.json."""
        fell = fell_at(self.columns["step"], self.columns.get("rollout/accuracy", []))
        trace = {
            name: [shortened(value) for value in column] for name, column in self.columns.items()
        }
        return {
            "policy": self.policy,
            "alarms": self.alarms,
            "stopped_at": self.stopped_at,
            "fell_at": fell,
            "trace": trace,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step needs, as JSON values at full precision."""
        columns = {name: list(column) for name, column in self.columns.items()}
        own = {
            "alarms": dict(self.alarms),
            "stopped_at": self.stopped_at,
            "lowest_divergence": self.lowest_divergence,
        }
        return {"columns": columns, **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.columns = {name: list(column) for name, column in state["columns"].items()}
        self.alarms, self.stopped_at, self.lowest_divergence = (
            dict(state["alarms"]),
            state["stopped_at"],
            state["lowest_divergence"],
        )


def replay(
    trace: Mapping[str, Sequence[float | None]],
    thresholds: Thresholds | None = None,
    detectors: Iterable[str] | None = None,
) -> dict[str, int]:
    """Return the alarms that these thresholds give on a written trace (rounded to 5 digits: an
    alarm on the very edge may move by a step).

    detectors: the names of the detectors to use, all where it is None.
    """
    guard = Guard(thresholds=thresholds, detectors=detectors)
    for i, step in enumerate(trace["step"]):
        row = {name: value for name, column in trace.items() if (value := column[i]) is not None}
        guard.observe(int(step or 0), row)
    return guard.alarms


def fell_at(
    steps: Sequence[float | None],
    accuracy: Sequence[float | None],
    *,
    span: int = 5,
    drop: float = 0.1,
) -> int | None:
    """Return the first step t at which sampled accuracy has fallen, None if it never has.

    With m(t) = mean accuracy of steps t - span + 1 .. t (320 rollouts at the lab) and m0 = mean of
    the first `span` steps, the first t for which m(t), m(t + 1), ..., m(t + span) are all below m0
    - drop. The last `span` steps of a run therefore cannot be such a t: they are not confirmed. A
    fall from a later height that does not pass below the start is not a fall in this sense.
    """
    means = [mean(accuracy[max(0, i - span + 1) : i + 1]) for i in range(len(accuracy))]
    start = mean(accuracy[:span])
    below = [
        start is not None and m is not None and i >= span and m < start - drop
        for i, m in enumerate(means)
    ]
    found = next((i for i in range(len(below) - span) if all(below[i : i + span + 1])), None)
    return None if found is None else int(steps[found] or 0)


def shortened(value: float | None) -> float | None:
    """Round to 5 significant digits; what is not finite stays visible."""
    return (
        value
        if value is None or not math.isfinite(value) or isinstance(value, int)
        else float(f"{value:.{DIGITS}g}")
    )


def first_alarm(alarms: Mapping[str, int], names: Iterable[str] | None = None) -> int | None:
    """Return the earliest step among all detectors, or among the named ones."""
    return min(
        (step for name, step in alarms.items() if names is None or name in names), default=None
    )
