"""Command-line options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

from study.errors import SpecError

GridOption = Annotated[
    str, typer.Option("--grid", "-g", help="A grid: its name, grids/NAME.yaml or a path.")
]
ScaleOption = Annotated[
    str, typer.Option("--scale", help="The scale that binds names to models, data and lengths.")
]
ResultsOption = Annotated[Path, typer.Option("--results", help="The results folder.")]
MlflowUri = Annotated[
    str | None,
    typer.Option(
        help="A tracking server instead of the results folder; MLFLOW_TRACKING_URI by default."
    ),
]


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """Parse `0,1`, `0-4` or both; None: the grid's own seeds."""
    if text is None:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise SpecError(f"--seeds {text!r} is not a list of seeds", hint="write 0,1,2 or 0-4")
        seeds += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(seeds))
