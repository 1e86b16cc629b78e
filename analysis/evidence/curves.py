"""Training curves of many runs in little memory: the ends of every curve are held, whole curves are
read again when a figure draws them.

A table or a claim needs a metric at step 0 and at its last measured step: two numbers a run and
metric, however long the history is. A figure needs whole curves, but of the few arms that it names.
So nothing that grows with the length of a history is held between figures.
"""

from array import array
from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

from analysis.evidence.definitions import COMPLEMENTS, canonical_metric
from study.record.schema import Measured, Record

Series = dict[
    str, list[tuple[int, float]]
]  # metric -> (step, value) in the order of steps, what was not measured left out
_KEPT_RUNS = 64  # whole curves of so many runs stay: a figure reads an arm once for every panel


class Ends(NamedTuple):
    """first: the value at step 0; last: at the last measured step; None = not measured."""

    first: float | None
    last: float | None


def series_of(record: Record) -> Series:
    """Every measured point of a record's history by the name of docs/metrics.md."""
    steps = record.history.get("step", [])
    found: Series = {}
    for column, values in record.history.items():
        if column != "step":
            points = [
                (step, float(value))
                for step, value in zip(steps, values, strict=True)
                if value is not None
            ]
            known = found.setdefault(canonical_metric(column), [])
            known.extend(points)  # pyright: ignore[reportArgumentType] - steps are whole
    for points in found.values():
        points.sort(key=itemgetter(0))  # stable, and quick where they are in order
    return found


def curve_of(series: Series, metric: str) -> list[tuple[int, float]]:
    """One curve, also one that is 1 - a column of the record; no point if it was not measured."""
    if metric in COMPLEMENTS:
        return [(step, 1.0 - value) for step, value in series.get(COMPLEMENTS[metric], [])]
    return series.get(metric, [])


def ends_of(record: Record) -> dict[str, Ends]:
    """The ends of every curve of a record.

    Most records have their steps in order and one column per metric: then no curve is built.
    """
    steps = record.history.get("step", [])
    columns = {
        canonical_metric(name): values for name, values in record.history.items() if name != "step"
    }
    in_order = sorted(set(steps))  # pyright: ignore[reportArgumentType] - whole numbers
    if len(columns) + 1 < len(record.history) or steps != in_order:
        return {
            metric: Ends(_at_zero(points), points[-1][1] if points else None)
            for metric, points in series_of(record).items()
        }
    zero = steps.index(0) if 0 in steps else None
    return {
        metric: Ends(None if zero is None else _number(values[zero]), _last(values))
        for metric, values in columns.items()
    }


def _last(values: list[Measured]) -> float | None:
    return next((float(value) for value in reversed(values) if value is not None), None)


def _number(value: Measured) -> float | None:
    return None if value is None else float(value)


class Curves:
    """read: a run's record, by run id."""

    def __init__(self, read: Callable[[str], Record]) -> None:
        self._read = read
        self._places: dict[str, int] = {}  # metric -> its place in the arrays
        self._ends: dict[
            str, tuple[int, array[float]]
        ] = {}  # run -> (bit set of what was measured, first and last by place)
        self._whole: dict[str, Series] = {}
        self._records: dict[str, Record] = {}

    def add(self, record: Record) -> None:
        """Hold the ends of this record's curves."""
        found = ends_of(record)
        places = [self._places.setdefault(metric, len(self._places)) for metric in found]
        values, measured = array("d", bytes(16 * (max(places, default=-1) + 1))), 0
        for place, ends in zip(places, found.values(), strict=True):
            for slot, value in enumerate(ends, 2 * place):
                if value is not None:
                    values[slot], measured = value, measured | 1 << slot
        self._ends[record.run] = (measured, values)

    def ends(self, run: str, metric: str) -> Ends:
        """The two ends of one curve; a run or metric that is not there was not measured."""
        if metric in COMPLEMENTS:
            ends = self.ends(run, COMPLEMENTS[metric])
            return Ends(*(None if value is None else 1.0 - value for value in ends))
        measured, values = self._ends.get(run, (0, array("d")))
        place = 2 * self._places.get(metric, len(values))
        return Ends(
            *(values[slot] if measured >> slot & 1 else None for slot in (place, place + 1))
        )

    def points(self, run: str, metric: str) -> list[tuple[int, float]]:
        """One whole curve, read again from its record."""
        return curve_of(self.whole(run), metric)

    def record(self, run: str) -> Record:
        """A run's record, read again; the last ones used stay."""
        if run not in self._records:
            if len(self._records) >= _KEPT_RUNS:
                self._records.clear()
            self._records[run] = self._read(run)
        return self._records[run]

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
