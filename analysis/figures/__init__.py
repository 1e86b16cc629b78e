"""One figure per file: `plotted(page, evidence)` gives the numbers, `draw(page, evidence, points)`
the figure; a figure config names the kind.

A file's numbers are named tuples of one type, its last class: `Point`, `CurvePoint` or `Mark`.
Their fields are the columns of the CSV.
"""

import csv
import io
from types import ModuleType
from typing import Any, assert_never

from matplotlib.figure import Figure

from analysis.evidence.frames import Evidence
from analysis.figures import (
    bars,
    final_scores,
    loss_curves,
    mass_drain,
    pi_optimum,
    prefix,
    repeated_tokens,
    signal,
    survival,
)
from study.spec.report.tables import FigurePage

Rows = list[Any]  # named tuples of one type


def _of(page: FigurePage) -> tuple[ModuleType, Any]:
    """The file that draws a kind, and the type of its numbers."""
    match page.kind:
        case "curves":
            return loss_curves, loss_curves.CurvePoint
        case "final_scores":
            return final_scores, final_scores.Mark
        case "bars":
            return bars, bars.Point
        case "prefix":
            return prefix, prefix.Point
        case "repeated_tokens":
            return repeated_tokens, repeated_tokens.Point
        case "signal":
            return signal, signal.Point
        case "mass_drain":
            return mass_drain, mass_drain.Point
        case "pi_optimum":
            return pi_optimum, pi_optimum.Point
        case "survival":
            return survival, survival.Point
    assert_never(page.kind)


def plotted(page: FigurePage, evidence: Evidence) -> Rows:
    """Return exactly the numbers that a figure shows."""
    return _of(page)[0].plotted(page, evidence)


def draw(page: FigurePage, evidence: Evidence, rows: Rows) -> Figure:
    return _of(page)[0].draw(page, evidence, rows)


def to_csv(page: FigurePage, rows: Rows) -> str:
    """The plotted numbers as text; its hash is what a figure is checked by."""
    return csv_text(_of(page)[1], rows)


def csv_text(point: Any, rows: Rows) -> str:
    """Named tuples of one type as CSV, numbers with six significant digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(point._fields)
    writer.writerows(
        [
            [
                "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
                for value in row
            ]
            for row in rows
        ]
    )
    return out.getvalue()
