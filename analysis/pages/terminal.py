"""Training curves on a terminal: the mean over base students per arm, drawn with characters."""

import plotext

from analysis.evidence.definitions import BY_NAME
from analysis.evidence.frames import Evidence
from analysis.figures.loss_curves import mean_line
from analysis.figures.parts import look_of
from analysis.pages.style import FAMILY_COLOURS, Look
from study.spec.grid.labelled import LabelledCell

PANELS = ("eval/avg@k", "eval/mean_tokens", "train/student_topk_mass")
LETTERS = "xo+*#%&@"
Colour = tuple[int, int, int]


def curves(
    evidence: Evidence,
    *,
    width: int,
    height: int = 13,
    colour: bool = True,
    metrics: tuple[str, ...] = PANELS,
) -> str:
    """For each combination of the factors other than the objective: the legend, then one chart per
    metric.

    `colour` off for anything that is not a terminal: there each line has a letter of its own.
    """
    groups: dict[str, list[LabelledCell]] = {}
    for cell in evidence.cells:
        title = ", ".join(
            f"{factor} {level}" for factor, level in cell.labels.items() if factor != "objective"
        )
        groups.setdefault(title, []).append(cell)
    lines: list[str] = []
    for title, cells in groups.items():
        lines += [f"== {title} =="] if len(groups) > 1 else []
        lines += _page(evidence, cells, metrics, width, height, colour)
    return "\n".join(lines)


def _page(
    evidence: Evidence,
    cells: list[LabelledCell],
    metrics: tuple[str, ...],
    width: int,
    height: int,
    colour: bool,
) -> list[str]:
    looks = [look_of(evidence, cell.labels) for cell in cells]
    legend = "   ".join(
        _named(look, LETTERS[i % len(LETTERS)], colour) for i, look in enumerate(looks)
    )
    return [
        legend,
        *(_chart(evidence, cells, metric, looks, width, height, colour) for metric in metrics),
    ]


def _named(look: Look, letter: str, colour: bool) -> str:
    return plotext.colorize(f"━━ {look.name}", _colour(look)) if colour else f"{letter} {look.name}"


def _colour(look: Look) -> Colour:
    """The figure's colour; black, which a dark terminal hides, becomes grey."""
    if look.colour == FAMILY_COLOURS["full"]:
        return (160, 160, 160)
    return (int(look.colour[1:3], 16), int(look.colour[3:5], 16), int(look.colour[5:7], 16))


def _chart(
    evidence: Evidence,
    cells: list[LabelledCell],
    metric: str,
    looks: list[Look],
    width: int,
    height: int,
    colour: bool,
) -> str:
    definition = BY_NAME[metric]
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width, height)
    lines = [mean_line(evidence.series(cell.labels, metric)) for cell in cells]
    for i, (look, line) in enumerate(zip(looks, lines, strict=True)):
        if line:
            steps, values = [step for step, _ in line], [value for _, value in line]
            plotext.plot(
                steps,
                values,
                marker="braille" if colour else LETTERS[i % len(LETTERS)],
                color=_colour(look) if colour else None,
            )
    plotext.xlim(0, max((step for line in lines for step, _ in line), default=1))
    if definition.shown:
        seen = [value for line in lines for _, value in line]
        plotext.ylim(min([*seen, *definition.shown]), max([*seen, *definition.shown]))
    plotext.title(f"{definition.title} ({definition.unit}) against optimiser steps")
    text = plotext.build()
    return text if colour else plotext.uncolorize(text)
