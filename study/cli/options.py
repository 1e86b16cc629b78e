"""Command-line options that several verbs share."""

import re
from pathlib import Path
from typing import Annotated

import typer

from study.errors import SpecError
from study.spec.grid.factors import MAX_SEEDS, SEED_LIMIT

_SEEDS = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")

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
        match = _SEEDS.fullmatch(part.strip())
        if match is None:
            raise SpecError(f"--seeds {text!r} is not a list of seeds", hint="write 0,1,2 or 0-4")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last >= SEED_LIMIT or last - first >= MAX_SEEDS:
            what = (
                f"--seeds {text!r}: seeds are below {SEED_LIMIT:,}, at most {MAX_SEEDS:,} of them"
            )
            raise SpecError(what, hint="write 0,1,2 or 0-4")
        seeds += range(first, last + 1)
    chosen = tuple(dict.fromkeys(seeds))
    if len(chosen) > MAX_SEEDS:
        raise SpecError(f"--seeds names {len(chosen):,} seeds; at most {MAX_SEEDS:,} are allowed")
    return chosen
