"""The scorecard as a figure: a sentence, a strip with a dot per base student, a word.

The strip's axis is in multiples of the smallest effect that counts and ends at LOW and HIGH; what
is further out is drawn at the edge as a triangle that points there.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.claims.decide import NOT_TESTABLE
from analysis.claims.scorecard import WORDS, Scored
from analysis.figures.parts import WIDTH
from analysis.pages import style

LOW, HIGH, EDGE = -4.0, 8.0, 8.5
TITLE = "The paper's findings at this scale"
READING = (
    "Dots: one base student each. Line: the interval that decides. Green: where the whole interval"
    " must be for the finding to hold. Triangle: beyond the axis."
)
CANNOT_TELL = WORDS[NOT_TESTABLE]
HOLLOW = "Hollow dots: measured, but no result, since this lab's worlds cannot test the finding."
ROW, HEAD, AXIS, PRINT = 0.45, 0.66, 0.42, 0.12  # inches; PRINT: a line of the small print
MARGIN, STRIP, WORD = 0.01, (0.50, 0.80), 0.815  # shares of the width
LINE, WORD_LINE, SMALL_LINE = 56, 15, 70  # characters of a line of a sentence, word, small print
SENTENCE_LINE, CLAIM_LINE = 0.30, 0.25  # heights of print, in rows
AIR = 0.2  # of a row, above and below its print
COLOURS: dict[str, str] = {
    "holds": "#00694D",
    "does not appear": "#A84300",
    "control failed": "#8A1C4B",
    "undecided": "#5F5F5F",
    CANNOT_TELL: "#7A7A7A",
}
UNREMARKABLE = ("", "declared before data", "no data yet")
FAINT = "#9A9A9A"  # of a word without a colour of its own
ZONE, BORDER = "#E3F0EA", "#5B9A80"


class Point(NamedTuple):
    """A row of the CSV: a base student (`seed`), or the interval that decides (`interval`) with its
    limits in `low` and `high`. Positions are multiples of `unit`, positive as the source says.
    reason: why this lab cannot tell; empty for a finding that it can test. remark: that the word
    differs without the bases that fail a control.

    A finding without records has one row without a value.
    """

    finding: str
    word: str
    grid: str
    claim: str
    declared: str
    zone: str
    unit: float | None
    seed: str
    value: float | None
    low: float | None
    high: float | None
    reason: str = ""
    remark: str = ""


def plotted(rows: Sequence[Scored]) -> list[Point]:
    return [point for row in rows for point in _of_row(row)]


def _of_row(row: Scored) -> list[Point]:
    grid, claim = row.finding.deciding
    if row.verdict is None:
        about = (row.finding.plain, row.label, grid, claim, "", row.zone, None)
        return [Point(*about, "", None, None, None)]
    declared = row.verdict.declared.word
    about = (row.finding.plain, row.label, grid, claim, declared, row.zone, row.unit)
    notes = (row.reason, row.remark)
    dots = [Point(*about, str(base), value, None, None, *notes) for base, value in row.dots.items()]
    limits = row.interval
    if limits is None:
        return dots
    return [*dots, Point(*about, "interval", None, *limits, *notes)]


def draw(points: Sequence[Point], summary: str, note: str) -> Figure:
    """summary: the words counted, under the title. note: scale and number of bases, at the end of
    the small print.
    """
    rows: dict[str, list[Point]] = {}
    for point in points:
        rows.setdefault(point.finding, []).append(point)
    heights = [max(1.0, _block(row[0]) + AIR) for row in rows.values()]
    edges = [sum(heights[:i]) for i in range(len(heights) + 1)]  # in rows, from the top
    strips = ROW * edges[-1]
    note = f"{HOLLOW} {note}" if any(point.reason for point in points) else note
    small = textwrap.wrap(f"{READING} {note}", 134)
    foot = AXIS + PRINT * len(small)
    height = HEAD + strips + foot
    with style.styled():
        figure = Figure(figsize=(WIDTH, height))
        left, right = STRIP
        ax = figure.add_axes((left, foot / height, right - left, strips / height))
        _axis(ax, edges)
        for above, below, row in zip(edges, edges[1:], rows.values(), strict=False):
            _row(ax, (above + below) / 2, row)
        _heading(figure, height, summary)
        figure.text(MARGIN, 0.008, "\n".join(small), va="bottom", fontsize=7, color="#444444")
    return figure


def _block(point: Point) -> float:
    """The height of a row's print, in rows."""
    small = len(_claim_lines(point))
    return len(balanced(point.finding, LINE)) * SENTENCE_LINE + small * CLAIM_LINE


def _axis(ax: Axes, edges: Sequence[float]) -> None:
    ax.set_xlim(LOW - 0.5, EDGE)
    ax.set_ylim(edges[-1], edges[0])
    ax.set_yticks([])
    ax.set_xticks(range(int(LOW), int(HIGH) + 1, 2))
    ax.tick_params(axis="x", length=2.5, labelsize=7, colors="#444444")
    ax.grid(visible=False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.set_xlabel("multiples of the smallest effect that counts", fontsize=7, color="#444444")
    for edge in edges[1:-1]:
        ax.axhline(edge, color="#E6E6E6", linewidth=0.6, zorder=0)
    ax.axvline(0.0, color="#1C1C1C", linewidth=0.8, zorder=2)


def _row(ax: Axes, place: float, points: list[Point]) -> None:
    first = points[0]
    colour = COLOURS.get(first.word.removesuffix(" (provisional)"), FAINT)
    if not first.reason:  # there is no place where the finding would hold
        _zone(ax, place, first.zone)
    for point in points:
        if point.seed == "interval" and point.low is not None and point.high is not None:
            ax.plot(
                [max(point.low, LOW - 0.5), min(point.high, EDGE)],
                [place] * 2,
                color=colour,
                linewidth=1.0,
                alpha=0.7,
                zorder=3,
            )
    values = [point.value for point in points if point.value is not None]
    _dots(ax, place, values, colour, filled=not first.reason)
    _words(ax, place, first, colour)


def _zone(ax: Axes, place: float, zone: str) -> None:
    """Where the whole interval must be for the finding to hold; its borders are the smallest
    effect.
    """
    zones = {"beyond": (1.0, EDGE), "within": (-1.0, 1.0), "not_worse": (-1.0, EDGE)}
    low, high = zones.get(zone, (0.0, EDGE))
    bottom, top = place - 0.38, place + 0.38
    ax.fill_between([low, high], bottom, top, color=ZONE, linewidth=0, zorder=0)
    for border in (low, high):
        if border not in (0.0, EDGE):
            ax.plot([border] * 2, [bottom, top], color=BORDER, linewidth=1.0, zorder=1)


def _dots(ax: Axes, place: float, values: list[float], colour: str, *, filled: bool) -> None:
    """Dots that fall on each other are moved apart in height; what is off the axis is a triangle at
    its edge.
    """
    values = sorted(values)
    for value, shift in zip(values, _apart(values), strict=True):
        beyond = value < LOW or value > HIGH
        marker = "o" if not beyond else "<" if value < LOW else ">"
        ax.scatter(
            [min(max(value, LOW - 0.2), HIGH + 0.2)],
            [place + shift],
            s=15 if not beyond else 18,
            marker=marker,
            facecolor=colour if filled else "white",
            edgecolor="white" if filled else colour,
            linewidth=0.5 if filled else 0.9,
            zorder=4,
            clip_on=False,
        )


def _apart(values: Sequence[float]) -> list[float]:
    """A shift for each dot: 0 where it is alone, else alternating up and down."""
    width = 0.32  # of a dot, in units of the axis
    shifts: list[float] = []
    before, near = -math.inf, 0
    for value in values:
        shown = min(max(value, LOW), HIGH)
        near = near + 1 if shown - before < width else 0
        shifts.append(0.13 * ((near + 1) // 2) * (-1 if near % 2 else 1))
        before = shown
    return shifts


def _words(ax: Axes, place: float, point: Point, colour: str) -> None:
    """The sentence over the claim that decides it, and the word to the right of the strip."""
    left, right = STRIP
    across = ax.get_yaxis_transform()
    start, word = (MARGIN - left) / (right - left), (WORD - left) / (right - left)
    sentence = balanced(point.finding, LINE)
    top = place - _block(point) / 2
    ax.text(
        start, top, "\n".join(sentence), transform=across, va="top", fontsize=8.5, linespacing=1.08
    )
    below = top + len(sentence) * SENTENCE_LINE
    for line in _claim_lines(point):
        ax.text(start, below, line, transform=across, va="top", fontsize=7, color="#6B6B6B")
        below += CLAIM_LINE
    shown = "\n".join(textwrap.wrap(point.word, WORD_LINE))
    ax.text(
        word, place, shown, transform=across, va="center", fontsize=9, fontweight="bold",
        color=colour,
    )  # fmt: skip


def _claim_lines(point: Point) -> list[str]:
    """The small print under a sentence: the claim that decides it; why this lab cannot tell."""
    claim = ", ".join([f"{point.grid} / {point.claim}", *_remarks(point)])
    small = [text for text in (claim, point.reason, point.remark) if text]
    return [line for text in small for line in balanced(text, SMALL_LINE)]


def balanced(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters, as few as that takes and about equally long."""
    lines = _wrapped(text, width)
    narrower = width - 1
    while narrower > 0 and len(_wrapped(text, narrower)) == len(lines):
        lines, narrower = _wrapped(text, narrower), narrower - 1
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _remarks(point: Point) -> list[str]:
    """What a reader must know to read this row's strip."""
    remarks = {
        "within": ["no difference expected"],
        "not_worse": ["only not worse is claimed"],
        "any": ["own scale: any effect counts"],
    }
    label = [point.declared] if point.declared not in UNREMARKABLE else []
    return [*(remarks.get(point.zone, []) if point.unit is not None else []), *label]


def _heading(figure: Figure, height: float, summary: str) -> None:
    figure.text(MARGIN, 1 - 0.1 / height, TITLE, va="top", fontsize=10, fontweight="bold")
    figure.text(MARGIN, 1 - 0.33 / height, summary, va="top", fontsize=8.5, color="#444444")
    top = 1 - (HEAD - 0.07) / height
    left, right = STRIP
    zero = left + (right - left) * (0.5 - LOW) / (HIGH - LOW + 1)
    figure.text(zero, top, "as the paper says  \u2192", fontsize=7, color="#444444")
    figure.text(zero - 0.012, top, "\u2190  the other way", fontsize=7, color="#444444", ha="right")
