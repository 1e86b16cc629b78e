"""Outcomes of named arms: a bar to the mean, a dot and a thin line per base student, its
t-interval, reference lines across.

A row of the config is a block of arms, a panel an outcome (`score` by default). A thin line joins
the arms of one base: arms are compared within a base. `lines` of the config are drawn across every
panel, for a placebo or a prompted teacher.
"""

import math
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.claims.outcomes import by_base, interval_of
from analysis.evidence.definitions import outcome_bounds
from analysis.evidence.frames import Evidence
from analysis.figures.parts import (
    BASE_LINE,
    GREY,
    MEAN,
    WIDTH,
    add_heading,
    add_note,
    axis_label,
    bases_note,
    looks_of,
    names_of,
)
from analysis.pages import style
from study.spec.report.tables import FigurePage, Row

DEFAULT = ("score",)


class Point(NamedTuple):
    """seed: a base student, or `mean` with its t-interval. row: empty for a reference line."""

    panel: str
    row: str
    arm: str
    seed: str
    value: float
    low: float | None
    high: float | None


def plotted(page: FigurePage, evidence: Evidence) -> list[Point]:
    points: list[Point] = []
    for panel in page.panels or DEFAULT:
        for row in page.rows:
            for name, arm in zip(names_of(row, evidence), row.arms, strict=True):
                points += _points(panel, row.title, name, by_base(evidence, arm, panel))
        for line in page.lines:
            points += _points(panel, "", line.name, by_base(evidence, line.arm, panel))[-1:]
    return points


def _points(panel: str, row: str, name: str, values: dict[int, float]) -> list[Point]:
    interval = interval_of(panel, values)
    dots = [Point(panel, row, name, str(seed), value, None, None) for seed, value in values.items()]
    return (
        [*dots, Point(panel, row, name, MEAN, interval.mean, interval.low, interval.high)]
        if interval
        else []
    )


def draw(page: FigurePage, evidence: Evidence, points: list[Point]) -> Figure:
    panels = page.panels or DEFAULT
    lines = sum(len(row.arms) + 0.8 for row in page.rows)
    with style.styled():
        figure = Figure(
            figsize=(WIDTH, 0.23 * lines + 1.25 + 0.12 * bool(page.lines)), layout="constrained"
        )
        ratios = [len(row.arms) + 0.6 for row in page.rows]
        axes: Any = figure.subplots(
            len(page.rows),
            len(panels),
            squeeze=False,
            sharex="col",
            gridspec_kw={"height_ratios": ratios},
        )
        for row, fields in zip(page.rows, axes, strict=True):
            run = {point.arm for point in points if point.row == row.title}
            for panel, ax in zip(panels, fields, strict=True):
                _block(
                    ax,
                    row,
                    evidence,
                    [
                        point
                        for point in points
                        if point.panel == panel and point.row in (row.title, "")
                    ],
                    run,
                )
            for ax in fields[1:]:
                ax.set_yticklabels([])
            fields[0].set_title(
                row.title,
                loc="left",
                fontweight="bold",
                pad=24 if page.lines and row is page.rows[0] else None,
            )
        for panel, ax in zip(panels, axes[-1], strict=True):
            ax.set_xlabel(axis_label(panel))
            if outcome_bounds(panel) == (0.0, 1.0):
                ax.set_xlim(0.0, 1.02)  # an interval over few bases can leave what is possible
        for panel, ax in zip(panels, axes[0], strict=True):
            _name_lines(ax, [point for point in points if point.panel == panel and not point.row])
        add_heading(figure, page)
        reading = (
            "Bar: mean over base students; line on it: its 95% t-interval; dots and thin lines: one"
            " base student each."
        )
        add_note(
            figure,
            [
                page.answers,
                *page.notes,
                reading,
                bases_note([point.seed for point in points], evidence),
            ],
        )
    return figure


def _block(ax: Axes, row: Row, evidence: Evidence, points: list[Point], run: set[str]) -> None:
    """run: the arms that have a value in some panel; an arm without one here has no such value (a
    teacher's own score has no KL).
    """
    looks = looks_of(row, evidence)
    for height, look in enumerate(looks):
        mine = [point for point in points if point.row and point.arm == look.name]
        if not mine or math.isnan(mine[-1].value):
            ax.text(
                0.01,
                height,
                (
                    "not a number on some base"
                    if mine
                    else "does not apply"
                    if look.name in run
                    else "not run"
                ),
                va="center",
                fontsize=7,
                color=GREY,
                style="italic",
                transform=ax.get_yaxis_transform(),
            )
            continue
        *dots, mean = mine
        ax.barh(height, mean.value, height=0.62, color=look.colour, alpha=0.3, zorder=1)
        ax.plot(
            [mean.value] * 2,
            [height - 0.31, height + 0.31],
            color=look.colour,
            linewidth=2.0,
            zorder=3,
        )
        if mean.low is not None and mean.high is not None:
            ax.plot(
                [mean.low, mean.high],
                [height] * 2,
                color=look.colour,
                linewidth=1.4,
                zorder=3,
                solid_capstyle="butt",
            )
        ax.scatter(
            [dot.value for dot in dots],
            [height] * len(dots),
            s=9,
            color="white",
            edgecolor=look.colour,
            linewidth=0.8,
            zorder=4,
        )
    _join(ax, [look.name for look in looks], points)
    for line in (point for point in points if not point.row):
        ax.axvline(line.value, color=GREY, linewidth=1.0, linestyle=(0, (4, 2)), zorder=2)
    ax.set_yticks(range(len(looks)), [look.name for look in looks])
    ax.set_ylim(len(looks) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_locator(MaxNLocator(5))


def _join(ax: Axes, names: list[str], points: list[Point]) -> None:
    """A thin line through the arms of each base."""
    for seed in sorted({point.seed for point in points if point.row} - {MEAN}):
        values = {point.arm: point.value for point in points if point.row and point.seed == seed}
        there = [(values[name], height) for height, name in enumerate(names) if name in values]
        ax.plot([x for x, _ in there], [y for _, y in there], color=GREY, zorder=2, **BASE_LINE)


def _name_lines(ax: Axes, lines: list[Point]) -> None:
    """Write the names of the reference lines above the first block, each on its line."""
    for level, line in enumerate(sorted(lines, key=lambda point: point.value)):
        place = (line.value, 1.0)
        ax.annotate(
            line.arm, place, xycoords=ax.get_xaxis_transform(), xytext=(0, 2 + 8 * (level % 2)),
            textcoords="offset points",
            ha="left" if line.value < 0.1 * ax.get_xlim()[1] else "center", va="bottom", fontsize=7,
            color=GREY, annotation_clip=False,
        )  # fmt: skip
