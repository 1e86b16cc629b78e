"""Training curves of loss formulations: one row of panels per group of arms, one column per metric,
against optimiser steps.

A thin line is one base student, the bold line their mean. Accuracy is the sampled one: greedy
decoding hides a collapse.
"""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from analysis.evidence.definitions import BY_NAME, Definition
from analysis.evidence.frames import Evidence, Point, arm_text
from analysis.figures.parts import GREY, WIDTH, add_heading, add_note, lines_of
from analysis.pages import style
from analysis.pages.tables import count, scale_note
from study.spec.report.outcome import ArmLabels
from study.spec.report.tables import FigurePage, Row

PANELS = (
    "eval/avg@k",
    "eval/mean_tokens",
    "eval/repetition_3gram",
    "train/student_topk_mass",
    "train/reverse_kl",
)
TICKS = [1, 2, 2.5, 5, 10]
Lines = dict[
    tuple[str, str, str], dict[str, tuple[list[int], list[float]]]
]  # (row, arm, metric) -> seed -> (steps, values)
COLUMNS = 3  # panels next to each other in a figure of one row
LEGEND = 92  # letters of the names in one row of a legend
MEAN = "mean"  # in place of the seed, for the bold line


class CurvePoint(NamedTuple):
    """seed: a base student, or `mean` over all bases of the arm at a step where every one of them
    was measured.
    """

    row: str
    arm: str
    metric: str
    seed: str
    step: int
    value: float


def plotted(page: FigurePage, evidence: Evidence) -> list[CurvePoint]:
    """Every point of every line, in the order of the page."""
    panels = page.panels or PANELS
    return [
        point
        for row in page.rows
        for arm in row.arms
        for metric in panels
        for point in _lines(row, arm, metric, evidence)
    ]


def _lines(row: Row, arm: ArmLabels, metric: str, evidence: Evidence) -> list[CurvePoint]:
    points = evidence.series(arm, metric)
    thin = [
        CurvePoint(row.title, arm_text(arm), metric, str(point.seed), point.step, point.value)
        for point in points
    ]
    return thin + [
        CurvePoint(row.title, arm_text(arm), metric, MEAN, step, value)
        for step, value in mean_line(points)
    ]


def mean_line(points: list[Point]) -> list[tuple[int, float]]:
    """(step, mean over bases) at the steps where every base was measured: a mean over fewer would
    jump for no reason of its own.
    """
    by_step: dict[int, list[float]] = {}
    for point in points:
        by_step.setdefault(point.step, []).append(point.value)
    bases = len({point.seed for point in points})
    return [
        (step, fmean(values)) for step, values in sorted(by_step.items()) if len(values) == bases
    ]


def draw(page: FigurePage, evidence: Evidence, points: list[CurvePoint]) -> Figure:
    """A figure of one row wraps its panels; of several, each row is a strip with its own legend,
    and metrics share their scale.
    """
    panels, lines = page.panels or PANELS, _lines_of(points)
    rows = [row for row in page.rows if any(line[0] == row.title for line in lines)] or list(
        page.rows
    )
    columns = min(COLUMNS, len(panels)) if len(rows) == 1 else len(panels)
    deep = -(-len(panels) // columns)
    with style.styled():
        figure = Figure(
            figsize=(WIDTH, len(rows) * (1.55 * deep + 0.5) + 1.0), layout="constrained"
        )
        strips: Any = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
        axes = [
            _strip(strip, row, panels, columns, evidence, lines, titles=row is rows[0])
            for row, strip in zip(rows, strips, strict=True)
        ]
        _share_limits(np.array(axes), panels)
        for ax in axes[-1][-columns:]:
            ax.set_xlabel("optimiser steps")
        add_heading(figure, page)
        add_note(
            figure,
            [
                page.answers,
                *page.notes,
                _reading_note(page, evidence),
                shown_note(page, evidence, points),
            ],
        )
    return figure


def _strip(
    strip: Any,
    row: Row,
    panels: Sequence[str],
    columns: int,
    evidence: Evidence,
    lines: Lines,
    *,
    titles: bool,
) -> list[Axes]:
    """The panels of one row and its legend, next to them so that it covers nothing."""
    deep = -(-len(panels) // columns)
    axes: list[Axes] = list(strip.subplots(deep, columns, squeeze=False).flat)
    for metric, ax in zip(panels, axes, strict=False):
        _panel(ax, row, metric, evidence, lines)
        ax.tick_params(labelsize=7)
        if titles:
            ax.set_title(_title(BY_NAME[metric]), fontsize=8 if columns <= COLUMNS else 7)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    present = {arm for title, arm, _ in lines if title == row.title}
    handles = [
        _handle(look, arm_text(arm) in present)
        for look, arm in zip(lines_of(row, evidence), row.arms, strict=True)
    ]
    strip.legend(
        handles=handles, title=row.title, loc="outside upper left", alignment="left",
        title_fontproperties={"weight": "bold", "size": 8},
        ncols=_columns([str(handle.get_label()) for handle in handles]), fontsize=7.5,
        columnspacing=1.2, borderaxespad=0.2,
    )  # fmt: skip
    return axes[: len(panels)]


def _columns(names: Sequence[str]) -> int:
    """Columns of a legend whose longest row stays within the figure: about LEGEND letters next to
    the handles.
    """
    fits = (
        n
        for n in (4, 3, 2)
        if max(sum(map(len, names[i : i + n])) for i in range(0, len(names), n)) <= LEGEND
    )
    return min(len(names), next(fits, 1))


def _reading_note(page: FigurePage, evidence: Evidence) -> str:
    k = f" (k = {evidence.curve_k})" if evidence.curve_k else ""
    mass = (
        ""
        if not any("topk" in metric for metric in page.panels or PANELS)
        else "TopK mass: K of the objective; 5 where it has none. "
    )
    lines = (
        f"Thin lines: one base student each; bold: their mean. Accuracy: avg@k{k} of samples at T ="
        " 1 on held-out problems. "
    )
    return lines + mass + "Definitions: docs/metrics.md."


def shown_note(page: FigurePage, evidence: Evidence, points: list[CurvePoint]) -> str:
    """Scale, and how many bases are behind the lines; rows of the figure without any run
    are named.
    """
    seeds: dict[str, set[str]] = {}
    for point in points:
        seeds.setdefault(point.arm, set()).add(point.seed)
    sizes = sorted({len(names - {MEAN}) for names in seeds.values()}) or [0]
    bases = (
        count(sizes[0], "base student")
        if len(sizes) == 1
        else f"{sizes[0]} to {sizes[-1]} base students"
    )
    absent = [row.title for row in page.rows if not any(point.row == row.title for point in points)]
    left_out = f" Not run: {', '.join(absent)}." if absent else ""
    return f"{scale_note(evidence)} Grid {evidence.grid}, {bases} a line.{left_out}"


def _title(definition: Definition) -> str:
    return f"{definition.title}\n({definition.unit})"


def _panel(ax: Axes, row: Row, metric: str, evidence: Evidence, lines: Lines) -> None:
    log = BY_NAME[metric].axis == "log"
    for place, (arm, look) in enumerate(zip(row.arms, lines_of(row, evidence), strict=True)):
        for seed, (steps, values) in lines.get((row.title, arm_text(arm), metric), {}).items():
            drawn = [
                value if value > 0 or not log else math.nan for value in values
            ]  # a logarithm has no place for zero
            ax.plot(steps, drawn, color=look.colour, **_stroke(look, seed == MEAN, place))
    if not ax.lines and any(
        title == row.title for title, *_ in lines
    ):  # as where a server scored, which gives no whole distribution
        ax.text(
            0.5,
            0.5,
            "not measured",
            transform=ax.transAxes,
            ha="center",
            va="center",
            fontsize=7,
            color=GREY,
        )
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=TICKS))
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=TICKS))
    steps_of_row = (
        steps[-1]
        for line, by_seed in lines.items()
        if line[0] == row.title
        for steps, _ in by_seed.values()
    )
    ax.set_xlim(0, max(steps_of_row, default=1) * 1.02)


def _stroke(look: style.Look, bold: bool, place: int) -> dict[str, Any]:
    """Lines named first are drawn on top: the reference, named last, hides no other."""
    if bold:
        return {"linestyle": look.line, "linewidth": 2.0, "zorder": 3 - 0.01 * place}
    return {"linewidth": 0.7, "alpha": 0.4, "zorder": 2}


def _lines_of(points: list[CurvePoint]) -> Lines:
    """The points by line, in one pass: a figure over many bases has a million of them."""
    lines: Lines = {}
    for point in points:
        steps, values = lines.setdefault((point.row, point.arm, point.metric), {}).setdefault(
            point.seed, ([], [])
        )
        steps.append(point.step)
        values.append(point.value)
    return lines


def _share_limits(axes: Any, panels: Sequence[str]) -> None:
    """One scale per metric down the page, so that rows can be compared by eye, and never narrower
    than the metric's `shown`.
    """
    for column, metric in zip(axes.T, panels, strict=True):
        limits = np.array([ax.get_ylim() for ax in column if ax.lines])
        if limits.size:
            shown = BY_NAME[metric].shown or (limits[:, 0].min(),)
            margin = 0.02 * (max(shown) - min(shown))
            for ax in column:
                ax.set_ylim(
                    min(limits[:, 0].min(), min(shown) - margin),
                    max(limits[:, 1].max(), max(shown) + margin),
                )


def _handle(look: style.Look, present: bool) -> Line2D:
    name = look.name if present else f"{look.name} (not\u00a0run)"
    return Line2D([], [], color=look.colour, linestyle=look.line, linewidth=2.0, label=name)
