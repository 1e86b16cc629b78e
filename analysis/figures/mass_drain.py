"""Theory of the loss next to measurement: the student's TopK mass P_S over steps and the fixed
point that its loss predicts for it.

With Q_S = the teacher's mass on the same tokens (docs/metrics.md), for a fixed support:
    biased TopK                        p_v = q_v / e on S, so P_S = Q_S / e
    stop-gradient, tail bucket, full   p_v = q_v on S, so P_S = Q_S
    renormalised                       any P_S: only ratios inside S are matched
The prediction moves with Q_S, which is measured on the student's own rollouts and its own TopK.
"""

import math
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.evidence.frames import Evidence
from analysis.evidence.gather import objective_family
from analysis.figures.parts import (
    BASE_LINE,
    GREY,
    MEAN,
    MEAN_LINE,
    WIDTH,
    add_heading,
    add_note,
    bases_note,
    label_ends,
    look_of,
    mean_line,
    names_of,
)  # fmt: skip
from analysis.pages import style
from study.spec.recipe.model import DistilledModel
from study.spec.report.outcome import ArmLabels
from study.spec.report.tables import FigurePage

FIXED_POINT = {
    "biased": 1.0 / math.e,
    "stop_gradient": 1.0,
    "tail_bucket": 1.0,
    "full": 1.0,
}  # P_S / Q_S by family
MEASURED, TEACHER, PREDICTED = "measured", "teacher", "predicted"


class Point(NamedTuple):
    """line: measured = P_S; teacher = Q_S; predicted = the fixed point of P_S, absent where the
    loss leaves it free.
    """

    row: str
    arm: str
    line: str
    seed: str
    step: int
    mass: float


def plotted(page: FigurePage, evidence: Evidence) -> list[Point]:
    return [
        point
        for row in page.rows
        for name, arm in zip(names_of(row, evidence), row.arms, strict=True)
        for point in _of_arm(row.title, name, arm, evidence)
    ]


def _of_arm(row: str, name: str, arm: ArmLabels, evidence: Evidence) -> list[Point]:
    model = evidence.cell_of(arm).cell.model
    factor = (
        FIXED_POINT.get(objective_family(model.objective))
        if isinstance(model, DistilledModel)
        else None
    )
    points = _line(row, name, MEASURED, arm, "train/student_topk_mass", 1.0, evidence)
    points += _line(row, name, TEACHER, arm, "train/teacher_topk_mass", 1.0, evidence)
    return points + (
        _line(row, name, PREDICTED, arm, "train/teacher_topk_mass", factor, evidence)
        if factor is not None
        else []
    )


def _line(
    row: str, name: str, line: str, arm: ArmLabels, metric: str, factor: float, evidence: Evidence
) -> list[Point]:
    by_base: dict[str, list[tuple[float, float]]] = {}
    for point in evidence.series(arm, metric):
        by_base.setdefault(str(point.seed), []).append((point.step, factor * point.value))
    thin = [
        Point(row, name, line, seed, int(step), mass)
        for seed, points in by_base.items()
        for step, mass in points
    ]
    return [
        *thin,
        *(Point(row, name, line, MEAN, int(step), mass) for step, mass in mean_line(by_base)),
    ]


def draw(page: FigurePage, evidence: Evidence, points: list[Point]) -> Figure:
    arms = [
        (row.title, name, arm)
        for row in page.rows
        for name, arm in zip(names_of(row, evidence), row.arms, strict=True)
    ]
    columns = min(3, len(arms))
    rows = -(-len(arms) // columns)
    with style.styled():
        figure = Figure(figsize=(WIDTH, 2.2 * rows + 1.0), layout="constrained")
        axes: Any = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for (row, name, arm), ax in zip(arms, axes.flat, strict=False):
            _panel(
                ax,
                [p for p in points if (p.row, p.arm) == (row, name)],
                look_of(evidence, arm).colour,
            )
            ax.set_title(
                name if any(p.arm == name for p in points) else f"{name} (not run)", loc="left"
            )
        for ax in axes.flat[len(arms) :]:
            ax.set_axis_off()
        for ax in axes[:, 0]:
            ax.set_ylabel("TopK mass (probability)")
        for ax in axes.flat[max(0, len(arms) - columns) : len(arms)]:
            ax.set_xlabel("optimiser steps")
        add_heading(figure, page)
        reading = (
            "P: the student's mass on its TopK, thin lines one base student each, bold their mean."
            " Q: the teacher's mass there (dashed). Dotted: the fixed point of P that the loss"
            " predicts - Q/e for the biased loss, Q where the loss is calibrated, none where it"
            " leaves P free."
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


def _panel(ax: Axes, points: list[Point], colour: str) -> None:
    ends: list[tuple[float, str, str]] = []
    for line, name, dashes in (
        (MEASURED, "P", "-"),
        (TEACHER, "Q", (0, (4, 2))),
        (PREDICTED, "P predicted", (0, (1, 1.2))),
    ):
        mine = [point for point in points if point.line == line]
        tone = colour if line == MEASURED else GREY
        for seed in sorted(
            {point.seed for point in mine if line == MEASURED or point.seed == MEAN}
        ):
            along = [(point.step, point.mass) for point in mine if point.seed == seed]
            stroke = (
                (MEAN_LINE if line == MEASURED else {"linewidth": 1.3, "linestyle": dashes})
                if seed == MEAN
                else BASE_LINE
            )
            ax.plot([x for x, _ in along], [y for _, y in along], color=tone, **stroke)
        ends += [(point.mass, name, tone) for point in mine if point.seed == MEAN][-1:]
    predicted, teacher = ([end for end in ends if end[1] == name] for name in ("P predicted", "Q"))
    if predicted and teacher and predicted[0][0] == teacher[0][0]:
        ends = [end for end in ends if end not in (*predicted, *teacher)] + [
            (teacher[0][0], "Q = P pred.", GREY)
        ]
    ax.set_ylim(-0.02, 1.04)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    label_ends(ax, ends, x=max((point.step for point in points), default=1))
