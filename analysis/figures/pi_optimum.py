"""Where a student ends up among teachers that see different privileged information: its distance to
each mean, each teacher, and -log Z.

The reverse-KL optimum is the normalised geometric mean of the teachers, and -log Z is what is left
there; the arithmetic mean is the forward-KL optimum, where supervised fine-tuning goes. One panel
per row of the page, one height per mark, one colour per arm.
"""

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.claims.outcomes import by_base, interval_of
from analysis.evidence.frames import Evidence
from analysis.figures.parts import (
    MEAN,
    WIDTH,
    add_heading,
    add_note,
    bases_note,
    looks_of,
    names_of,
)
from analysis.pages import style
from study.spec.report.tables import FigurePage, Row


class Point(NamedTuple):
    """value: the mark's outcome, nats per token for the probe; seed `mean` has its t-interval."""

    row: str
    arm: str
    mark: str
    seed: str
    value: float
    low: float | None
    high: float | None


def plotted(page: FigurePage, evidence: Evidence) -> list[Point]:
    points: list[Point] = []
    for row in page.rows:
        for name, arm in zip(names_of(row, evidence), row.arms, strict=True):
            for mark in page.marks:
                values = by_base(evidence, arm, mark.outcome)
                points += [
                    Point(row.title, name, mark.name, str(seed), value, None, None)
                    for seed, value in values.items()
                ]
                interval = interval_of(mark.outcome, values)
                points += (
                    [
                        Point(
                            row.title,
                            name,
                            mark.name,
                            MEAN,
                            interval.mean,
                            interval.low,
                            interval.high,
                        )
                    ]
                    if interval
                    else []
                )
    return points


def draw(page: FigurePage, evidence: Evidence, points: list[Point]) -> Figure:
    with style.styled():
        most = max(len(row.arms) for row in page.rows)
        height = len(page.rows) * (len(page.marks) * (0.14 * most + 0.2) + 0.75) + 0.9
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes: Any = figure.subplots(len(page.rows), 1, squeeze=False, sharex=True)[:, 0]
        for row, ax in zip(page.rows, axes, strict=True):
            _panel(ax, row, page, evidence, [point for point in points if point.row == row.title])
            ax.set_title(row.title, loc="left", fontweight="bold")
        axes[-1].set_xlabel("nats per token, on the model's own rollouts")
        add_heading(figure, page)
        reading = (
            "Ticks: means over base students with their t-intervals; dots: one base student each."
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


def _panel(ax: Axes, row: Row, page: FigurePage, evidence: Evidence, points: list[Point]) -> None:
    marks, looks = [mark.name for mark in page.marks], looks_of(row, evidence)
    for place, look in enumerate(looks):
        shift = 0.7 * ((place + 0.5) / len(looks) - 0.5)
        mine = [point for point in points if point.arm == look.name]
        dots = [
            (point.value, marks.index(point.mark) + shift) for point in mine if point.seed != MEAN
        ]
        ax.scatter(
            [x for x, _ in dots],
            [y for _, y in dots],
            s=8,
            color="white",
            edgecolor=look.colour,
            linewidth=0.8,
            zorder=3,
        )
        for mean in (point for point in mine if point.seed == MEAN):
            height = marks.index(mean.mark) + shift
            if mean.low is not None and mean.high is not None:
                ax.plot([mean.low, mean.high], [height] * 2, color=look.colour, linewidth=1.6)
            ax.plot(
                [mean.value],
                [height],
                marker="|",
                markersize=9,
                markeredgewidth=2.2,
                color=look.colour,
            )
        ax.plot(
            [],
            [],
            color=look.colour,
            linewidth=2.0,
            label=look.name if mine else f"{look.name} (not run)",
        )
    ax.set_yticks(range(len(marks)), marks)
    ax.set_ylim(len(marks) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.axvline(0.0, color="#999999", linewidth=0.8)
    for border in range(1, len(marks)):
        ax.axhline(border - 0.5, color="#DDDDDD", linewidth=0.8)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.4)
