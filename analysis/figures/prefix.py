"""Accuracy of a model that continues a given prefix, against how much of it is given: its own
prefix, the student's, raw and parseable.

A row of the config is one source of prefixes: its arms are at the fractions `at`. Rows come in
pairs, a control (the model's own prefix) and what is compared with it. McNemar's counts compare
them at equal fractions, problem by problem: a problem counts as right if more than half of its
samples are.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.claims.outcomes import by_base
from analysis.evidence.frames import Evidence
from analysis.figures.parts import (
    BASE_LINE,
    MEAN,
    MEAN_LINE,
    WIDTH,
    add_heading,
    add_note,
    axis_label,
    bases_note,
    mean_line,
)
from analysis.pages import style
from study.errors import RecordMismatch
from study.spec.report.tables import FigurePage
from study.stats.distributions import binomial_p

DEFAULT = ("score", "parsed_accuracy")
COUNTS = "mcnemar"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


class Point(NamedTuple):
    """panel: an outcome, or `mcnemar`, where seed is right_to_wrong, wrong_to_right or p."""

    panel: str
    row: str
    at: float
    seed: str
    value: float


def plotted(page: FigurePage, evidence: Evidence) -> list[Point]:
    points: list[Point] = []
    for panel in page.panels or DEFAULT:
        for row in page.rows:
            lines: dict[str, list[tuple[float, float]]] = {}
            for at, arm in zip(row.at, row.arms, strict=True):
                for seed, value in by_base(evidence, arm, panel).items():
                    lines.setdefault(str(seed), []).append((at, value))
            points += [
                Point(panel, row.title, at, seed, value)
                for seed, line in lines.items()
                for at, value in line
            ]
            points += [Point(panel, row.title, at, MEAN, value) for at, value in mean_line(lines)]
    return points + _mcnemar(page, evidence)


def _mcnemar(page: FigurePage, evidence: Evidence) -> list[Point]:
    points: list[Point] = []
    for control, row in zip(page.rows[::2], page.rows[1::2], strict=False):
        for at in (at for at in row.at if at in control.at):
            own, theirs = (
                _right(evidence, source.arms[source.at.index(at)]) for source in (control, row)
            )
            if own.keys() != theirs.keys() or not own:
                continue
            lost, won = (
                sum(a[key] and not b[key] for key in own) for a, b in ((own, theirs), (theirs, own))
            )
            counts = {
                "right_to_wrong": float(lost),
                "wrong_to_right": float(won),
                "p": binomial_p(lost, lost + won),
            }
            points += [Point(COUNTS, row.title, at, name, value) for name, value in counts.items()]
    return points


def _right(evidence: Evidence, arm: Mapping[str, str]) -> dict[tuple[int, str, int], bool]:
    """(base, hash of the problems, place) -> right. Errors: RecordMismatch if an arm's bases have
    other problems.
    """
    found: dict[tuple[int, str, int], bool] = {}
    for record in evidence.records(arm):
        score = record.scores.get(evidence.task_of(arm))
        if score is None:
            raise RecordMismatch(f"run {record.run} has no score of {evidence.task_of(arm)}")
        found |= {
            (record.seed, score.problems, i): 2 * int(digit, 36) > score.k
            for i, digit in enumerate(score.correct)
        }
    return found


def draw(page: FigurePage, evidence: Evidence, points: list[Point]) -> Figure:
    panels = page.panels or DEFAULT
    with style.styled():
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        axes: Any = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for panel, ax in zip(panels, axes, strict=True):
            for row, colour in zip(page.rows, COLOURS, strict=False):
                mine = [point for point in points if (point.panel, point.row) == (panel, row.title)]
                for seed in sorted({point.seed for point in mine}):
                    line = [(point.at, point.value) for point in mine if point.seed == seed]
                    stroke = (
                        MEAN_LINE | {"marker": "o", "markersize": 4} if seed == MEAN else BASE_LINE
                    )
                    named = row.title if seed == MEAN and panel == panels[0] else None
                    ax.plot(
                        [x for x, _ in line],
                        [y for _, y in line],
                        color=colour,
                        label=named,
                        **stroke,
                    )
            ax.set_title(axis_label(panel, 34), loc="left", fontsize=8)
            ax.set_xlabel("share of a solution\nthat is given")
            ax.xaxis.set_major_formatter(PercentFormatter(1.0))
            ax.set_ylim(-0.02, 1.02)
        if points:
            figure.legend(
                loc="outside right center", fontsize=7.5, frameon=False, labelcolor="linecolor"
            )
        add_heading(figure, page)
        reading = (
            "Thin lines: one base student each; bold: their mean. Parseable: completions that end"
            " with a readable answer."
        )
        add_note(
            figure,
            [
                page.answers,
                *page.notes,
                reading,
                _counts(points),
                bases_note([p.seed for p in points], evidence),
            ],
        )
    return figure


def _counts(points: list[Point]) -> str:
    """McNemar's counts in words."""
    by_place: dict[tuple[str, float], dict[str, float]] = {}
    for point in points:
        if point.panel == COUNTS:
            by_place.setdefault((point.row, point.at), {})[point.seed] = point.value
    said = []
    for row in dict.fromkeys(row for row, _ in by_place):
        found = {at: counts for (name, at), counts in by_place.items() if name == row}
        at, lost, won = ("/".join(texts) for texts in zip(*_texts(found), strict=True))
        largest = max(counts["p"] for counts in found.values())
        said.append(
            f"{row}: at {at} {lost} problems right to wrong, {won} wrong to right (largest exact"
            f" McNemar p {largest:.1g})"
        )
    return f"Over all bases, against the own prefix: {'; '.join(said)}." if said else ""


def _texts(found: Mapping[float, Mapping[str, float]]) -> list[tuple[str, str, str]]:
    return [
        (f"{at:.0%}", f"{c['right_to_wrong']:.0f}", f"{c['wrong_to_right']:.0f}")
        for at, c in sorted(found.items())
    ]
