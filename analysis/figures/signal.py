"""Where the teacher's signal is: the log-ratio log q - log p of the sampled tokens, by correctness
of the rollout, position and step.

Three panels by position (start, middle, end of training) and one by step. A bin of fewer than
FEWEST tokens of a base is not drawn.
"""

from itertools import pairwise
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.evidence.frames import Evidence
from analysis.figures.parts import (
    BASE_LINE,
    MEAN,
    MEAN_LINE,
    WIDTH,
    add_heading,
    add_note,
    bases_note,
    label_ends,
    mean_line,
    names_of,
)
from analysis.pages import style
from study.record.schema import Record
from study.spec.report.tables import FigurePage

WHEN = ("start", "middle", "end")
KINDS = {"correct": "#0072B2", "wrong": "#D55E00"}
STEPS = "by step"
FEWEST = 20


class Point(NamedTuple):
    """x: middle of a bin of positions, or, in the panel `by step`, the middle of the window of
    steps. value: nats.
    """

    row: str
    arm: str
    panel: str
    kind: str
    seed: str
    x: float
    value: float


def plotted(page: FigurePage, evidence: Evidence) -> list[Point]:
    points: list[Point] = []
    for row in page.rows:
        for name, arm in zip(names_of(row, evidence), row.arms, strict=True):
            thin = [
                point
                for record in evidence.records(arm)
                if record.log_ratio
                for point in _of_record(row.title, name, record)
            ]
            points += [*thin, *_means(row.title, name, thin)]
    return points


def _of_record(row: str, arm: str, record: Record) -> list[Point]:
    edges: list[int] = record.log_ratio["edges"]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    points: list[Point] = []
    for when, window in zip(WHEN, record.log_ratio["points"], strict=False):
        at = sum(window["steps"]) / 2
        for kind in KINDS:
            bins = [
                (x, value, tokens)
                for x, value, tokens in zip(
                    middles, window[kind], window[f"{kind}_tokens"], strict=True
                )
                if value is not None and tokens >= FEWEST
            ]
            points += [
                Point(row, arm, when, kind, str(record.seed), x, float(value))
                for x, value, _ in bins
            ]
            total = sum(tokens for _, _, tokens in bins)
            if total:
                whole = sum(value * tokens for _, value, tokens in bins) / total
                points.append(Point(row, arm, STEPS, kind, str(record.seed), at, whole))
    return points


def _means(row: str, arm: str, thin: list[Point]) -> list[Point]:
    """Means over the bases; by step where all of them have a value, by position wherever at least
    two have one or there is only one.
    """
    points: list[Point] = []
    for panel in (*WHEN, STEPS):
        for kind in KINDS:
            lines: dict[str, list[tuple[float, float]]] = {}
            for point in thin:
                if (point.panel, point.kind) == (panel, kind):
                    lines.setdefault(point.seed, []).append((point.x, point.value))
            points += [
                Point(row, arm, panel, kind, MEAN, x, value) for x, value in mean_line(lines)
            ]
    return points


def draw(page: FigurePage, evidence: Evidence, points: list[Point]) -> Figure:
    arms = [(row.title, name) for row in page.rows for name in names_of(row, evidence)]
    with style.styled():
        figure = Figure(figsize=(WIDTH, 1.75 * len(arms) + 1.0), layout="constrained")
        axes: Any = figure.subplots(
            len(arms),
            len(WHEN) + 1,
            squeeze=False,
            sharey="row",
            gridspec_kw={"width_ratios": [1, 1, 1, 1.25]},
        )
        for (row, name), fields in zip(arms, axes, strict=True):
            for panel, ax in zip((*WHEN, STEPS), fields, strict=True):
                _panel(ax, [p for p in points if (p.row, p.arm, p.panel) == (row, name, panel)])
                ax.set_title(panel if panel == STEPS else f"{panel} of training", loc="left")
            fields[0].set_ylabel(f"{name}\nlog-ratio (nats)")
            _name_lines(
                fields[-1], [p for p in points if (p.row, p.arm, p.panel) == (row, name, STEPS)]
            )
        for ax in axes[-1, :-1]:
            ax.set_xlabel("position (tokens)")
        axes[-1, -1].set_xlabel("optimiser steps")
        add_heading(figure, page)
        reading = (
            "log q - log p of the sampled token, teacher q and student p: below zero the teacher"
            " finds it less likely. Thin lines: one base student each; bold: their mean where"
            f" every base has at least {FEWEST} tokens of that kind there."
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


def _panel(ax: Axes, points: list[Point]) -> None:
    ax.axhline(0.0, color="#999999", linewidth=0.8)
    for kind, colour in KINDS.items():
        for seed in sorted({point.seed for point in points if point.kind == kind}):
            line = [
                (point.x, point.value)
                for point in points
                if (point.kind, point.seed) == (kind, seed)
            ]
            stroke = MEAN_LINE | {"marker": "o", "markersize": 3} if seed == MEAN else BASE_LINE
            ax.plot([x for x, _ in line], [y for _, y in line], color=colour, **stroke)


def _name_lines(ax: Axes, points: list[Point]) -> None:
    last = {kind: [p for p in points if p.kind == kind] for kind in KINDS}
    ends = [
        (found[-1].value, f"{kind} rollouts", KINDS[kind]) for kind, found in last.items() if found
    ]
    label_ends(ax, ends, x=max((point.x for point in points), default=1.0))
