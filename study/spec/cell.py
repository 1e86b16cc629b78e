"""A cell is one experimental condition: a model recipe and how it is judged. A run is a cell with a seed."""

from study.spec.base import Spec
from study.spec.evaluation import Evaluation
from study.spec.model import Model


class Cell(Spec):
    scale: str  # lab or paper; two scales never share a cell
    model: Model
    evaluation: Evaluation


class Run(Spec):
    cell: Cell
    seed: int
