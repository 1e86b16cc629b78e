"""Cells and runs of a grid with the labels that people know them by; no label is identity."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from study.spec.grid.cell import Cell, Run
from study.spec.grid.factors import Labels
from study.spec.identity import repeat_of
from study.spec.yaml.load import Located
from study.spec.yaml.origin import OriginedValue, origined_values


@dataclass(frozen=True)
class LabelledCell:
    """A cell with its labels. also: other label combinations that give the same cell."""

    cell: Cell
    cell_id: str
    labels: Labels
    node: Located
    also: tuple[Labels, ...] = ()

    @property
    def text(self) -> str:
        return ",".join(f"{factor}={level}" for factor, level in self.labels.items())

    @cached_property
    def values(self) -> tuple[OriginedValue, ...]:
        """Return every value of the resolved configuration, with its origin."""
        return origined_values(self.cell, self.node)

    @cached_property
    def origin(self) -> dict[str, str]:
        """Return dotted path -> grids/math.yaml:14, scales/lab.yaml:8 or default."""
        return {value.path: value.origin for value in self.values}


@dataclass(frozen=True)
class LabelledRun:
    run_id: str
    cell: Cell
    labels: Labels
    seed: int
    cell_id: str

    @property
    def repeat(self) -> int:
        """Which training seed on this base; 0 is the first."""
        return repeat_of(self.cell)

    @property
    def run(self) -> Run:
        return Run(cell=self.cell, seed=self.seed)


def each_once(cells: Iterable[LabelledCell]) -> tuple[LabelledCell, ...]:
    """Merge cells of one id into one that keeps the labels of all."""
    found: dict[str, LabelledCell] = {}
    for cell in cells:
        first = found.get(cell.cell_id)
        found[cell.cell_id] = (
            replace(first, also=(*first.also, cell.labels, *cell.also)) if first else cell
        )
    return tuple(found.values())
