"""Training curves of another framework next to ours: a metrics CSV (a step column, a column per
metric) against another, or against records.

At the last step that both measured, and as the mean over all steps that both measured: A minus B,
paired by seed; t over seeds from two on. A blank cell is a measurement that was not made. Rows of
one step are one row (trackers write a line per metric). What the columns mean, how completions were
drawn and graded is not in such a file: nothing of it can be checked. Errors name the file, the line
and the column.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.compare.graded_rows import RIGHT
from analysis.compare.selectors import Place, records_of
from study.errors import PrerequisiteError, SpecError
from study.stats.intervals import Interval, t_interval

STEP = (
    "step",
    "global_step",
    "_step",
    "train/global_step",
    "trainer/global_step",
    "training/global_step",
    "iteration",
    "iter",
    "update",
)
Series = Mapping[int, float]


@dataclass(frozen=True)
class Curves:
    """One base: metric -> step -> value."""

    source: str
    seed: int | None
    metrics: Mapping[str, Series]


@dataclass(frozen=True)
class CurveRow:
    """step: the last that both measured. last, whole: A minus B there, and over all `steps` shared
    ones.
    """

    metric: str
    step: int
    steps: int
    a: float
    b: float
    last: Interval
    whole: Interval


def is_metrics(text: str) -> bool:
    """Whether a side is one or several CSV files without outcomes."""
    parts = [Path(part).expanduser() for part in text.split(",")]
    return all(
        part.is_file() and part.suffix == ".csv" and not set(_header(part)) & set(RIGHT[:4])
        for part in parts
    )


def curves_of(text: str, place: Place, step: str | None = None) -> list[Curves]:
    """Of CSV files joined by commas, or of a cell's or a run's records."""
    if is_metrics(text):
        return [read_curves(Path(part).expanduser(), step) for part in text.split(",")]
    records = records_of(text, place)
    found = [
        Curves(
            record.run,
            record.seed,
            {m: _series(*record.series(m)) for m in record.history if m != "step"},
        )
        for record in records
    ]
    if not all(curves.metrics for curves in found):
        raise PrerequisiteError(
            f"{text}: the records hold no curve",
            hint="a curve is recorded where a model is distilled",
        )
    return found


def _series(steps: Sequence[int], values: Sequence[float]) -> dict[int, float]:
    return dict(zip(steps, values, strict=True))


def read_curves(path: Path, step: str | None = None) -> Curves:
    header = _header(path)
    column = step or next((name for name in STEP if name in header), None)
    if column not in header or column is None:
        wanted = f" {step!r}" if step else ""
        raise PrerequisiteError(
            f"{path}: no step column{wanted}; there are: {', '.join(header)}",
            hint="name it: --step-field NAME",
        )
    metrics: dict[str, dict[int, float]] = {name: {} for name in header if name != column}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            at = _number(row[column], f"{path}:{number}", column)
            if at is None or not at.is_integer():
                raise PrerequisiteError(
                    f"{path}:{number}: {column} is {row[column]!r}", hint="a step is a whole number"
                )
            for name, series in metrics.items():
                if (value := _number(row[name], f"{path}:{number}", None)) is not None:
                    series[int(at)] = value
    return Curves(
        str(path),
        None,
        {name: dict(sorted(series.items())) for name, series in metrics.items() if series},
    )


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PrerequisiteError(f"{path}: cannot be read ({error})", hint="CSV in UTF-8") from error


def _number(text: str | None, where: str, column: str | None) -> float | None:
    """None for a blank cell, and for text in a column that is no metric; a step must be a
    number.
    """
    try:
        return float(text) if text else None
    except ValueError as error:
        if column is None:
            return None
        raise PrerequisiteError(
            f"{where}: {column} is {text!r}", hint="a step is a whole number"
        ) from error


def compare_curves(
    a: Sequence[Curves], b: Sequence[Curves], wanted: Sequence[str] = ()
) -> list[CurveRow]:
    """wanted: `metric`, or `metric of A=metric of B`; none = all that have the same name on both
    sides.
    """
    pairs = _paired(a, b)
    shared = [name for name in a[0].metrics if all(name in curves.metrics for curves in [*a, *b])]
    names = [_split(text) for text in wanted] or [(name, name) for name in shared]
    if not names:
        hint = (
            f'name a pair: --metric "A=B"; A has {", ".join(a[0].metrics)}; B has'
            f" {', '.join(b[0].metrics)}"
        )
        raise SpecError("no metric has the same name on both sides", hint=hint)
    return [_row(pairs, one, other) for one, other in names]


def _split(text: str) -> tuple[str, str]:
    left, _, right = text.partition("=")
    return left, right or left


def _paired(a: Sequence[Curves], b: Sequence[Curves]) -> list[tuple[Curves, Curves]]:
    seeds = [[curves.seed for curves in side] for side in (a, b)]
    if None not in seeds[0] + seeds[1] and sorted(map(str, seeds[0])) == sorted(map(str, seeds[1])):
        theirs = {curves.seed: curves for curves in b}
        return [(one, theirs[one.seed]) for one in a]
    if len(a) != len(b):
        counts = f"A has {len(a)} curves, B has {len(b)}: they are compared in pairs"
        raise SpecError(
            counts, hint="as many files on both sides, joined by commas; or one of ours: --seeds 0"
        )
    return list(zip(a, b, strict=True))


def _row(pairs: Sequence[tuple[Curves, Curves]], one: str, other: str) -> CurveRow:
    for side, name in ((0, one), (1, other)):
        for pair in pairs:
            if name not in pair[side].metrics:
                raise SpecError(
                    f"{pair[side].source} has no metric {name!r}",
                    hint=f"it has: {', '.join(pair[side].metrics)}",
                )
    metric = one if one == other else f"{one} = {other}"
    steps = sorted(
        set.intersection(*(set(a.metrics[one]) & set(b.metrics[other]) for a, b in pairs))
    )
    steps = [
        step
        for step in steps
        if all(math.isfinite(a.metrics[one][step] - b.metrics[other][step]) for a, b in pairs)
    ]
    if not steps:
        raise SpecError(
            f"{metric}: no step was measured, with a finite value, on both sides",
            hint="log both at the same steps",
        )
    gaps = [
        {step: a.metrics[one][step] - b.metrics[other][step] for step in steps} for a, b in pairs
    ]
    end = steps[-1]
    mean_a, mean_b = (
        sum(a.metrics[one][end] for a, _ in pairs) / len(pairs),
        sum(b.metrics[other][end] for _, b in pairs) / len(pairs),
    )
    last, whole = (
        t_interval([gap[end] for gap in gaps]),
        t_interval([sum(gap.values()) / len(gap) for gap in gaps]),
    )
    return CurveRow(metric, end, len(steps), mean_a, mean_b, last, whole)
