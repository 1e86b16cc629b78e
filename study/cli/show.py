"""`study show`: show the settings of a cell and where each one comes from."""

from typing import Annotated

import typer

from study.cli.console import say, table
from study.cli.options import GridOption, ScaleOption
from study.spec.grid.grid import load_grid
from study.spec.identity import stage_id
from study.spec.yaml.origin import OriginedValue


def show(
    cell: Annotated[
        str,
        typer.Argument(
            help=(
                "A cell id, its last 8 characters, or globs over its levels, e.g."
                " rlvr,biased_k5,standard."
            )
        ),
    ],
    grid: GridOption = "math",
    scale: ScaleOption = "lab",
) -> None:
    """Show every value of a cell, its origin, whether it is identity, and the paper's value."""
    found = load_grid(grid, scale).find_cell(cell)
    say(found.cell_id, "bold")
    say(f"labels {found.text} (not identity); model {stage_id(found.cell.model, 0)} at seed 0")
    say()
    table(
        ["value of", "is", "from", "identity", "paper or ours"],
        [_value_row(value) for value in found.values],
        head=2,
    )


def _value_row(value: OriginedValue) -> list[object]:
    shown = "none" if value.value is None else value.value
    return [value.path, shown, value.origin, "yes" if value.identity else "no", value.note]
