"""Training curves on a terminal: the mean over base students per arm, drawn with characters."""

import plotext

from analysis.definitions import BY_NAME
from analysis.figures.loss_curves import look_of, mean_line
from analysis.frames import Evidence

PANELS = ("eval/avg@k", "eval/mean_tokens", "train/student_topk_mass")
MARKERS = ("x", "o", "+", "*")


def curves(evidence: Evidence, *, width: int, height: int = 14, colour: bool = True, metrics: tuple[str, ...] = PANELS) -> str:
    """One chart per metric below each other; `colour` off for anything that is not a terminal."""
    return "\n".join(_chart(evidence, metric, width, height, colour) for metric in metrics)


def _chart(evidence: Evidence, metric: str, width: int, height: int, colour: bool) -> str:
    definition = BY_NAME[metric]
    plotext.clear_figure()
    plotext.theme("default" if colour else "clear")
    plotext.plot_size(width, height)
    for marker, cell in zip(_markers(colour), evidence.cells, strict=False):
        points = mean_line(evidence.series(cell.labels, metric))
        if points:
            name = look_of(evidence, cell.labels).name
            plotext.plot([step for step, _ in points], [value for _, value in points], label=name, marker=marker)
    if definition.bounds[1] is not None:
        plotext.ylim(definition.bounds[0], definition.bounds[1])
    plotext.title(f"{definition.title} ({definition.unit})")
    plotext.xlabel("optimiser steps")
    text = plotext.build()
    return text if colour else plotext.uncolorize(text)


def _markers(colour: bool) -> tuple[str, ...]:
    """In colour one fine marker serves all lines; without it each line needs its own."""
    return ("braille",) * 64 if colour else MARKERS * 16
