"""Final scores: a dot per base student, the mean and its t-interval per cell, and where the bases
were before distillation.
"""

from statistics import fmean
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.evidence.frames import Evidence
from analysis.figures.parts import WIDTH, add_heading, add_note, look_of
from analysis.pages import style
from analysis.pages.tables import ends, scope_note
from study.spec.grid.labelled import LabelledCell
from study.spec.report.tables import FigurePage
from study.stats.intervals import FRACTION, span_interval

PANEL_FACTORS = (
    "teacher",
    "length",
)  # one block of rows per combination; the other labels name the rows


class Mark(NamedTuple):
    """seed: a base student, `mean` of a cell (with its t-interval), or `before`: step 0, mean over
    the bases of the block.
    """

    group: str
    arm: str
    seed: str
    value: float
    low: float | None
    high: float | None


def plotted(page: FigurePage, evidence: Evidence) -> list[Mark]:  # noqa: ARG001
    """Every mark, in the order of the grid: a page of this kind shows all of it."""
    marks = [mark for cell in evidence.cells for mark in _cell_marks(evidence, cell)]
    return marks + [
        mark
        for group, cells in groups(evidence).items()
        for mark in _before(evidence, group, cells)
    ]


def groups(evidence: Evidence) -> dict[str, list[LabelledCell]]:
    """Blocks of rows in the order of the grid."""
    found: dict[str, list[LabelledCell]] = {}
    for cell in evidence.cells:
        found.setdefault(_group(cell), []).append(cell)
    return found


def _group(cell: LabelledCell) -> str:
    return (
        ", ".join(
            f"{factor} {cell.labels[factor]}" for factor in PANEL_FACTORS if factor in cell.labels
        )
        or "all cells"
    )


def _cell_marks(evidence: Evidence, cell: LabelledCell) -> list[Mark]:
    scores = evidence.scores(cell.labels)
    if not scores:
        return []
    interval = span_interval(list(scores.values()), span=FRACTION)
    dots = [
        Mark(_group(cell), cell.text, str(seed), score, None, None)
        for seed, score in scores.items()
    ]
    return [
        *dots,
        Mark(_group(cell), cell.text, "mean", interval.mean, interval.low, interval.high),
    ]


def _before(evidence: Evidence, group: str, cells: list[LabelledCell]) -> list[Mark]:
    by_base = {
        seed: value
        for cell in cells
        for seed, value in ends(evidence, cell.labels, "eval/avg@k", "first").items()
    }
    return (
        [Mark(group, "before distillation", "before", fmean(by_base.values()), None, None)]
        if by_base
        else []
    )


def draw(page: FigurePage, evidence: Evidence, marks: list[Mark]) -> Figure:
    blocks = groups(evidence)
    with style.styled():
        height = 0.25 * sum(len(cells) + 1 for cells in blocks.values()) + 1.9
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        ratios = [len(cells) + 0.8 for cells in blocks.values()]
        axes = figure.subplots(
            len(blocks), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": ratios}
        )
        for (group, cells), ax in zip(blocks.items(), axes[:, 0], strict=True):
            _block(ax, group, cells, evidence, [mark for mark in marks if mark.group == group])
        axes[-1, 0].set_xlabel("final accuracy (avg@k of samples at T = 1, held-out problems)")
        axes[0, 0].set_title(
            next(iter(blocks)), loc="left", fontweight="bold", pad=20
        )  # room for the legend below it
        axes[0, 0].legend(
            handles=_legend_handles(),
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=3,
            fontsize=7,
            borderaxespad=0.2,
        )
        add_heading(figure, page)
        add_note(figure, [page.answers, *page.notes, scope_note(evidence)])
    return figure


def _block(
    ax: Axes, group: str, cells: list[LabelledCell], evidence: Evidence, marks: list[Mark]
) -> None:
    names = [look_of(evidence, cell.labels).name for cell in cells]
    for height, cell in enumerate(cells):
        _marks_of_cell(
            ax, height, cell, evidence, [mark for mark in marks if mark.arm == cell.text]
        )
    for before in [mark.value for mark in marks if mark.seed == "before"]:
        ax.axvline(before, color="#7F7F7F", linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    ax.set_yticks(range(len(cells)), names)
    ax.set_ylim(len(cells) - 0.4, -0.6)
    ax.set_xlim(-0.02, 1.02)
    ax.tick_params(axis="y", length=0)
    ax.set_title(group, loc="left", fontweight="bold")


def _marks_of_cell(
    ax: Axes, height: int, cell: LabelledCell, evidence: Evidence, marks: list[Mark]
) -> None:
    look = look_of(evidence, cell.labels)
    if not marks:
        ax.text(0.0, height, "not run", va="center", fontsize=7.5, color="#7F7F7F", style="italic")
        return
    *dots, mean = marks
    ax.scatter(
        [dot.value for dot in dots],
        [height] * len(dots),
        s=16,
        facecolor="white",
        edgecolor=look.colour,
        linewidth=0.9,
        zorder=4,
    )
    if mean.low is not None and mean.high is not None:
        ax.plot(
            [mean.low, mean.high],
            [height] * 2,
            color=look.colour,
            linewidth=2.2,
            alpha=0.45,
            zorder=2,
            solid_capstyle="butt",
        )
    ax.plot(
        [mean.value],
        [height],
        marker="|",
        markersize=11,
        markeredgewidth=2.2,
        color=look.colour,
        zorder=3,
    )


def _legend_handles() -> list[Line2D]:
    grey = "#444444"
    return [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            markersize=4.5,
            markerfacecolor="white",
            markeredgecolor=grey,
            label="one base",
        ),
        Line2D(
            [],
            [],
            linestyle="-",
            linewidth=2.2,
            color=grey,
            alpha=0.6,
            marker="|",
            markersize=10,
            markeredgewidth=2.2,
            label="mean, 95% t-interval",
        ),
        Line2D(
            [],
            [],
            linestyle=(0, (4, 3)),
            linewidth=1.0,
            color="#7F7F7F",
            label="mean before distillation",
        ),
    ]
