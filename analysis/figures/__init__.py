"""One figure per file: `plotted(page, evidence)` gives the numbers, `draw(page, evidence, rows)` the figure; a page names the kind."""

import csv
import io
from typing import Any

from matplotlib.figure import Figure

from analysis.figures import final_scores, loss_curves
from analysis.frames import Evidence
from study.spec.table import FigurePage

Rows = list[Any]  # named tuples of one type: CurvePoint or Mark


def plotted(page: FigurePage, evidence: Evidence) -> Rows:
    """Exactly the numbers that the figure of a page shows."""
    match page.kind:
        case "curves":
            return loss_curves.plotted(page, evidence)
        case "final_scores":
            return final_scores.plotted(evidence)


def draw(page: FigurePage, evidence: Evidence, rows: Rows) -> Figure:
    match page.kind:
        case "curves":
            return loss_curves.draw(page, evidence, rows)
        case "final_scores":
            return final_scores.draw(page, evidence, rows)


def to_csv(page: FigurePage, rows: Rows) -> str:
    """The plotted numbers as text, six significant digits; its hash is what a figure is checked by."""
    columns = {"curves": loss_curves.CurvePoint, "final_scores": final_scores.Mark}[page.kind]._fields
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if value is None else f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows])
    return out.getvalue()
