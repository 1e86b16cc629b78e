"""Time to collapse: the share of base students that have not collapsed, against steps
(Kaplan-Meier), with the restricted mean by name.

A run that did not collapse is censored at its last step (a tick). The restricted mean is the area
under the curve up to the end of the shortest training in the row. Descriptive: no verdict depends
on it.
"""

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.claims.outcomes import Lasting, lastings
from analysis.evidence.frames import Evidence
from analysis.figures.parts import (
    WIDTH,
    add_heading,
    add_note,
    bases_note,
    label_ends,
    looks_of,
    names_of,
)
from analysis.pages import style
from study.spec.recipe.model import DistilledModel
from study.spec.report.outcome import ArmLabels
from study.spec.report.tables import FigurePage, Row
from study.stats.collapse import kaplan_meier


class Point(NamedTuple):
    """seed: a base with its step and 1 (collapsed) or 0 (censored); `share`: a corner of the curve;
    `restricted_mean`: up to `step`.
    """

    row: str
    arm: str
    seed: str
    step: float
    value: float


def plotted(page: FigurePage, evidence: Evidence) -> list[Point]:
    return [point for row in page.rows for point in _of_row(row, evidence)]


def _of_row(row: Row, evidence: Evidence) -> list[Point]:
    found = {
        name: lastings(evidence, arm)
        for name, arm in zip(names_of(row, evidence), row.arms, strict=True)
    }
    horizon = min(
        (
            _last_step(arm, evidence)
            for arm, runs in zip(row.arms, found.values(), strict=True)
            if runs
        ),
        default=0,
    )
    return [
        point
        for name, runs in found.items()
        if runs
        for point in _of_arm(row.title, name, runs, float(horizon))
    ]


def _last_step(arm: ArmLabels, evidence: Evidence) -> int:
    """Until when an arm is looked at: its declared length, or for a model that is not distilled
    here the longest curve.
    """
    model = evidence.cell_of(arm).cell.model
    if isinstance(model, DistilledModel):
        return model.training.steps
    return max((lasted.step for lasted in lastings(evidence, arm).values()), default=0)


def _of_arm(row: str, name: str, runs: dict[int, Lasting], horizon: float) -> list[Point]:
    curve = kaplan_meier(
        [lasted.step for lasted in runs.values()],
        [lasted.collapsed for lasted in runs.values()],
        horizon,
    )
    bases = [
        Point(row, name, str(seed), lasted.step, float(lasted.collapsed))
        for seed, lasted in runs.items()
    ]
    corners = [
        Point(row, name, "share", step, share)
        for step, share in zip(curve.times, curve.shares, strict=True)
    ]
    return [*bases, *corners, Point(row, name, "restricted_mean", horizon, curve.restricted_mean)]


def draw(page: FigurePage, evidence: Evidence, points: list[Point]) -> Figure:
    with style.styled():
        figure = Figure(figsize=(WIDTH, 2.5 * len(page.rows) + 0.9), layout="constrained")
        axes: Any = figure.subplots(len(page.rows), 1, squeeze=False)[:, 0]
        for row, ax in zip(page.rows, axes, strict=True):
            _panel(ax, row, evidence, [point for point in points if point.row == row.title])
            ax.set_title(row.title, loc="left", fontweight="bold")
            ax.set_ylabel("not collapsed (share of bases)")
        axes[-1].set_xlabel("optimiser steps")
        add_heading(figure, page)
        reading = (
            "Ticks: bases that had not collapsed when their training ended. In brackets: the"
            " restricted mean, in steps."
        )
        seeds = [point.seed for point in points]
        add_note(
            figure,
            [
                page.answers,
                *page.notes,
                reading,
                "Collapse: docs/metrics.md, collapse_step.",
                bases_note(seeds, evidence),
            ],
        )
    return figure


def _panel(ax: Axes, row: Row, evidence: Evidence, points: list[Point]) -> None:
    ends: list[tuple[float, str, str]] = []
    last = max((point.step for point in points), default=1.0)
    looks = looks_of(row, evidence)
    for place, look in enumerate(looks):
        mine = [point for point in points if point.arm == look.name]
        shift = 0.012 * (place - (len(looks) - 1) / 2)  # lines that coincide stay visible
        corners = [(point.step, point.value + shift) for point in mine if point.seed == "share"]
        if not corners:
            continue
        left = any(not point.value for point in mine if point.seed.isdigit())
        seen = (
            max(point.step for point in mine if point.seed.isdigit()) if left else last
        )  # nothing is known beyond an arm's training
        ax.step(
            [0.0, *(x for x, _ in corners), seen],
            [1.0 + shift, *(y for _, y in corners), corners[-1][1]],
            where="post",
            color=look.colour,
            linewidth=1.8,
        )
        shares = {point.step: point.value for point in mine if point.seed == "share"}
        censored = [
            (point.step, shares[point.step] + shift)
            for point in mine
            if point.seed.isdigit() and not point.value
        ]
        ax.plot(
            [x for x, _ in censored], [y for _, y in censored], "|", color=look.colour, markersize=7
        )
        lasts = next(point for point in mine if point.seed == "restricted_mean")
        ends.append(
            (corners[-1][1], f"{look.name} [{lasts.value:.0f} of {lasts.step:.0f}]", look.colour)
        )
    ax.set_ylim(-0.05, 1.08)
    ax.set_xlim(0, last)
    label_ends(ax, ends, x=last)
