"""Training curves of many runs in little memory: the ends of every curve are held, whole curves are read again when a page draws them.

A table or a claim needs a metric at step 0 and at its last measured step: two numbers a run and metric, however long the history is. A
figure needs whole curves, but of the few arms that it names. So nothing that grows with the length of a history is held between pages.
"""

from array import array
from collections.abc import Callable
from typing import NamedTuple

from analysis.definitions import canonical_metric
from study.record.schema import Record

Series = dict[str, list[tuple[int, float]]]  # metric -> (step, value) in the order of steps, what was not measured left out
_KEPT_RUNS = 64  # whole curves of so many runs stay: a page asks for an arm once for every panel


class Ends(NamedTuple):
    """first: the value at step 0; last: at the last measured step; None = not measured."""

    first: float | None
    last: float | None


def series_of(record: Record) -> Series:
    """Every measured point of a record's history by the name of docs/metrics.md."""
    found: Series = {}
    for column in record.history:
        if column != "step":
            found.setdefault(canonical_metric(column), []).extend(zip(*record.series(column), strict=True))
    return {metric: sorted(points, key=lambda point: point[0]) for metric, points in found.items()}


class Curves:
    """read: a run's record, by run id."""

    def __init__(self, read: Callable[[str], Record]) -> None:
        self._read = read
        self._places: dict[str, int] = {}  # metric -> its place in the arrays
        self._ends: dict[str, tuple[int, array[float]]] = {}  # run -> (bit set of what was measured, first and last by place)
        self._whole: dict[str, Series] = {}

    def add(self, record: Record) -> None:
        """Hold the ends of this record's curves."""
        series = series_of(record)
        places = [self._places.setdefault(metric, len(self._places)) for metric in series]
        values, measured = array("d", bytes(16 * (max(places, default=-1) + 1))), 0
        for place, points in zip(places, series.values(), strict=True):
            for slot, value in ((2 * place, _at_zero(points)), (2 * place + 1, points[-1][1] if points else None)):
                if value is not None:
                    values[slot], measured = value, measured | 1 << slot
        self._ends[record.run] = (measured, values)

    def ends(self, run: str, metric: str) -> Ends:
        """The two ends of one curve; a run or metric that is not there was not measured."""
        measured, values = self._ends.get(run, (0, array("d")))
        place = 2 * self._places.get(metric, len(values))
        return Ends(*(values[slot] if measured >> slot & 1 else None for slot in (place, place + 1)))

    def points(self, run: str, metric: str) -> list[tuple[int, float]]:
        """One whole curve, read again from its record."""
        return self.whole(run).get(metric, [])

    def whole(self, run: str) -> Series:
        """All curves of one run."""
        if run not in self._whole:
            if len(self._whole) >= _KEPT_RUNS:
                self._whole.clear()
            self._whole[run] = series_of(self._read(run))
        return self._whole[run]


def _at_zero(points: list[tuple[int, float]]) -> float | None:
    """The last of the points at step 0: two columns can share a name."""
    return next((value for step, value in reversed(points) if step == 0), None)
