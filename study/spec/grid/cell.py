"""A cell: one experimental condition, which is a model recipe and its evaluation.

A run is a cell with a seed.
"""

from pydantic import Field

from study.spec.base import Spec
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import Model
from study.spec.recipe.probe import Probe


class Cell(Spec):
    """One experimental condition.

    evaluation: the main task of the cell. also: further tasks (off target, another split). probes:
    measurements on the model.
    """

    scale: str  # lab or paper; two scales never share a cell
    model: Model
    evaluation: Evaluation
    also: tuple[Evaluation, ...] = Field(default=(), strict=False)
    probes: tuple[Probe, ...] = Field(default=(), strict=False)

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        return (self.evaluation, *self.also)


class Run(Spec):
    cell: Cell
    seed: int


def models_beside(cell: Cell) -> tuple[Model, ...]:
    """Return the other models that the evaluation of a cell needs: sources of prefixes, teachers of
    probes.
    """
    sources = [evaluation.prefix.source for evaluation in cell.evaluations if evaluation.prefix]
    return (*sources, *(probe.teacher for probe in cell.probes))
