"""What the figures share: headings, small print, the look and name of each arm, the line of each
base student and their mean.

Sizes are inches in print: WIDTH is a text block of two columns, and no font is below 7 points at
that size.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.evidence.definitions import outcome_words
from analysis.evidence.frames import Evidence
from analysis.evidence.gather import objective_family
from analysis.pages import style
from analysis.pages.tables import count, scale_note
from study.spec.recipe.model import DistilledModel
from study.spec.report.outcome import ArmLabels
from study.spec.report.tables import FigurePage, Row

WIDTH = 7.0
GREY = "#5A5A5A"
MEAN = "mean"  # in place of the seed, for the bold line
BASE_LINE: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.45}
MEAN_LINE: dict[str, Any] = {"linewidth": 2.0}


def heading(page: FigurePage) -> str:
    return f"Figure {page.number}. {page.title}" if page.number else page.title


def add_heading(figure: Figure, page: FigurePage) -> None:
    width = int(figure.get_figwidth() * 11.5)
    figure.suptitle(
        "\n".join(textwrap.wrap(heading(page), width)),
        x=0.01,
        ha="left",
        fontsize=10,
        fontweight="bold",
    )


def add_note(figure: Figure, notes: Iterable[str]) -> None:
    """Small print under the panels, as wide as the figure; the layout leaves room for it."""
    width = int(figure.get_figwidth() * 16.5)
    text = "\n".join(textwrap.wrap(" ".join(note for note in notes if note), width))
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7, color="#444444")


def look_of(evidence: Evidence, arm: ArmLabels) -> style.Look:
    """The appearance of an arm's objective."""
    labelled = evidence.cell_of(arm)
    model = labelled.cell.model
    if not isinstance(model, DistilledModel):
        return style.look("other", None, labelled.text)
    return style.look(
        objective_family(model.objective), model.objective.k, labelled.labels.get("objective", "")
    )


def names_of(row: Row, evidence: Evidence) -> list[str]:
    """The names that the config gives its arms, else the levels in which they differ."""
    if row.names:
        return list(row.names)
    labels = [evidence.cell_of(arm).labels for arm in row.arms]
    telling = [factor for factor in labels[0] if len({each.get(factor) for each in labels}) > 1]
    return [
        " ".join(each.get(factor, "-") for factor in telling) or look_of(evidence, row.arms[0]).name
        for each in labels
    ]


def looks_of(row: Row, evidence: Evidence) -> list[style.Look]:
    """The looks of a row's arms under the names of `names_of`, which points carry too."""
    return [
        replace(look, name=name)
        for look, name in zip(_coloured(row, evidence, 1), names_of(row, evidence), strict=True)
    ]


def lines_of(row: Row, evidence: Evidence) -> list[style.Look]:
    """The same for curves: where the config gives no names, an objective's own."""
    looks = _coloured(row, evidence, len(row.arms))
    return [
        replace(look, name=name)
        for look, name in zip(looks, row.names or [look.name for look in looks], strict=True)
    ]


def _coloured(row: Row, evidence: Evidence, alike: int) -> list[style.Look]:
    """Coloured by the objective where the arms have more than `alike` of them or all look
    different, else by the palette, in order.
    """
    looks = [look_of(evidence, arm) for arm in row.arms]
    objectives = {look.colour for look in looks} - {style.FAMILY_COLOURS["other"]}
    if len(objectives) > alike or len({(look.colour, str(look.line)) for look in looks}) == len(
        looks
    ):
        return looks
    colours = list(style.FAMILY_COLOURS.values())
    order = [colours[i] for i in (2, 1, 3, 5, 6, 4, 0, 7)]
    return [style.Look(order[i % len(order)], "-", "o", look.name) for i, look in enumerate(looks)]


def mean_line(lines: Mapping[str, Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """(x, mean over bases) where every base was measured: a mean over fewer would jump for no
    reason of its own.
    """
    at: dict[float, list[float]] = {}
    for points in lines.values():
        for x, y in points:
            at.setdefault(x, []).append(y)
    return [(x, fmean(values)) for x, values in sorted(at.items()) if len(values) == len(lines)]


def label_ends(ax: Axes, ends: Sequence[tuple[float, str, str]], *, x: float) -> None:
    """Direct labels to the right of line ends, (height, text, colour) each, moved apart where they
    would overlap.
    """
    low, high = ax.get_ylim()
    gap = 0.14 * (high - low) / max(0.5, _inches(ax) * ax.get_position().height)  # a line of print
    ends = sorted(end for end in ends if math.isfinite(end[0]))
    heights = [max(height, low) for height, _, _ in ends]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    over = high - gap * 0.3
    for i in reversed(
        range(len(heights))
    ):  # and down again, where the pile has grown out of the panel
        heights[i] = min(heights[i], over)
        over = heights[i] - gap
    for y, (_, text, colour) in zip(heights, ends, strict=True):
        ax.annotate(
            text,
            (x, y),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=colour,
            annotation_clip=False,
        )


def _inches(ax: Axes) -> float:
    """Height of the figure that a panel is in."""
    figure = ax.get_figure(root=True)
    return figure.get_figheight() if figure else 1.0


def axis_label(text: str, width: int = 26) -> str:
    """Name and unit of an outcome, for an axis; lines of at most `width` characters."""
    title, unit = outcome_words(text)
    return f"{textwrap.fill(title, width)}\n{textwrap.fill(f'({unit})', width)}"


def bases_note(seeds: Iterable[str], evidence: Evidence) -> str:
    number = len({seed for seed in seeds if seed.isdigit()})
    return f"{scale_note(evidence)} Grid {evidence.grid}, {count(number, 'base student')}."
