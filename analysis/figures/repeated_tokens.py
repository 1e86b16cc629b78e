"""What repeats: tokens at positions whose 3-gram ended earlier in the same response, at start,
middle and end of training.

The paper's word clouds as bars that can be read off. A count is per base student: the mean over
bases of the positions in the window.
"""

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.evidence.frames import Evidence
from analysis.figures.parts import (
    BASE_LINE,
    GREY,
    MEAN,
    WIDTH,
    add_heading,
    add_note,
    bases_note,
    look_of,
    names_of,
)
from analysis.pages import style
from study.spec.report.tables import FigurePage

MOST = 8  # tokens shown for an arm
WHEN = ("start", "middle", "end")


class Point(NamedTuple):
    """positions: those with this token in the window that begins at `step`; seed `mean`: over the
    bases, a token that no base lists is zero.
    """

    row: str
    arm: str
    when: str
    step: int
    token: str
    seed: str
    positions: float


def plotted(page: FigurePage, evidence: Evidence) -> list[Point]:
    return [
        point
        for row in page.rows
        for name, arm in zip(names_of(row, evidence), row.arms, strict=True)
        for point in _points(
            row.title,
            name,
            {r.seed: r.repeated_tokens for r in evidence.records(arm) if r.repeated_tokens},
        )
    ]


def _points(
    row: str, arm: str, by_base: dict[int, dict[str, list[tuple[str, int]]]]
) -> list[Point]:
    """The tokens that repeat most over all windows and bases, the most frequent first."""
    totals: dict[str, int] = {}
    for token, count in (
        pair for windows in by_base.values() for pairs in windows.values() for pair in pairs
    ):
        totals[token] = totals.get(token, 0) + count
    tokens = sorted(totals, key=lambda token: (-totals[token], token))[:MOST]
    points: list[Point] = []
    for place, when in enumerate(WHEN):
        windows = {
            seed: sorted(steps, key=int)[place]
            for seed, steps in by_base.items()
            if len(steps) > place
        }
        for token in tokens:
            counts = {
                seed: float(dict(by_base[seed][step]).get(token, 0))
                for seed, step in windows.items()
            }
            step = min(map(int, windows.values()), default=0)
            points += [
                Point(row, arm, when, step, token, str(seed), count)
                for seed, count in counts.items()
            ]
            points += (
                [Point(row, arm, when, step, token, MEAN, sum(counts.values()) / len(counts))]
                if counts
                else []
            )
    return points


def draw(page: FigurePage, evidence: Evidence, points: list[Point]) -> Figure:
    arms = [
        (row.title, name, arm)
        for row in page.rows
        for name, arm in zip(names_of(row, evidence), row.arms, strict=True)
    ]
    with style.styled():
        figure = Figure(figsize=(WIDTH, 1.85 * len(arms) + 0.9), layout="constrained")
        axes: Any = figure.subplots(len(arms), len(WHEN), squeeze=False, sharex="row", sharey="row")
        for (row, name, arm), fields in zip(arms, axes, strict=True):
            colour = look_of(evidence, arm).colour
            for when, ax in zip(WHEN, fields, strict=True):
                _panel(
                    ax,
                    when,
                    [
                        point
                        for point in points
                        if (point.row, point.arm, point.when) == (row, name, when)
                    ],
                    colour,
                )
            fields[0].set_ylabel(name, fontweight="bold")
        for ax in axes[-1]:
            ax.set_xlabel("positions per base")
        add_heading(figure, page)
        reading = (
            "A position repeats if its 3-gram ended earlier in the same response. Bars: mean over"
            " bases; dots, joined by thin lines: one base student each. A record keeps the tokens"
            " that repeat most; one that a base does not list counts as zero there."
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


def _panel(ax: Axes, when: str, points: list[Point], colour: str) -> None:
    tokens = list(dict.fromkeys(point.token for point in points))
    heights = {token: height for height, token in enumerate(tokens)}
    for point in points:
        if point.seed == MEAN:
            ax.barh(heights[point.token], point.positions, height=0.65, color=colour, alpha=0.35)
    for seed in sorted({point.seed for point in points} - {MEAN}):
        mine = [point for point in points if point.seed == seed]
        xs, ys = [point.positions for point in mine], [heights[point.token] for point in mine]
        ax.plot(xs, ys, color=GREY, marker="o", markersize=2.2, **BASE_LINE)
    ax.set_yticks(range(len(tokens)), tokens, family="monospace")
    ax.set_ylim(len(tokens) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.set_title(
        f"{when}, step {points[0].step}" if points else f"{when}: nothing repeated", loc="left"
    )
