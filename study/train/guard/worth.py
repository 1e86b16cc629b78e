"""Count what the alarms of a detector are worth on runs whose outcome is known."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from study.stats.distributions import binomial_limits
from study.train.guard.calibration import ANY, Outcome, Watched
from study.train.guard.trace import first_alarm


@dataclass(frozen=True)
class Share:
    """k of n with the exact (Clopper-Pearson) 95 % limits; None for n = 0.

    The limits assume independent runs.
    """

    k: int
    n: int

    @property
    def limits(self) -> tuple[float, float] | None:
        return binomial_limits(self.k, self.n) if self.n else None

    def __str__(self) -> str:
        return (
            f"{self.k}/{self.n}"
            if self.limits is None
            else f"{self.k}/{self.n} ({self.limits[0]:.2f} to {self.limits[1]:.2f})"
        )


@dataclass(frozen=True)
class Worth:
    """Count what one detector's alarms are worth.

    leads: steps, one for each collapse with an alarm, in order.

    seen: collapses with an alarm at any step; before: collapses with an alarm at an earlier step
    than the fall.
    """

    detector: str
    false_alarms: Share
    on_cut_short: Share
    on_dips: Share
    seen: Share
    before: Share
    leads: tuple[int, ...]


Alarms = Mapping[str, int]


def worth(detector: str, runs: Sequence[tuple[Watched, Alarms]]) -> Worth:
    """Count what a detector's alarms are worth. detector: a
    name, or `any` for the first alarm of all.
    """
    fired = [(run, _alarm(detector, alarms)) for run, alarms in runs]

    def share(outcome: Outcome) -> Share:
        heard = [alarm is not None for run, alarm in fired if run.outcome == outcome]
        return Share(sum(heard), len(heard))

    leads = tuple(
        sorted(
            run.fell - alarm
            for run, alarm in fired
            if run.outcome == "collapsed" and run.fell and alarm is not None
        )
    )
    before = Share(sum(lead > 0 for lead in leads), share("collapsed").n)
    return Worth(
        detector,
        share("healthy"),
        share("cut short"),
        share("dipped"),
        share("collapsed"),
        before,
        leads,
    )


def _alarm(detector: str, alarms: Alarms) -> int | None:
    return first_alarm(alarms) if detector == ANY else alarms.get(detector)


@dataclass(frozen=True)
class Stopped:
    """What policy stop would have done to a run that raised an alarm. steps: steps saved; gained:
    accuracy at the stop - final score.
    """

    run: Watched
    at: int
    steps: int
    gained: float


def stopped(runs: Iterable[tuple[Watched, Alarms]]) -> list[Stopped]:
    """Estimate the effect of policy stop. Accuracy at the stop is m of that step (own rollouts),
    the final score is on other problems: the difference is a rough one.
    """
    found: list[Stopped] = []
    for run, alarms in runs:
        at = first_alarm(alarms)
        if at is not None:
            found.append(
                Stopped(
                    run, at, int(run.trace["step"][-1] or 0) - at, run.accuracy_at(at) - run.score
                )
            )
    return found
