"""What a grid brings together, each once: pairs of a student and a teacher with their views, their objectives, and the models to check them on.

A model that no stage has made yet is stood in for: by the made model that it starts from, else by untrained weights of the same
architecture and tokenizer, drawn for its recipe.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from jinja2 import TemplateError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from study.data.problems import Problem, load
from study.errors import StudyError
from study.models.lab import build_model, build_tokenizer
from study.models.loading import load_model, load_tokenizer
from study.record.seeds import stream
from study.spec.data import Data
from study.spec.evaluation import Evaluation
from study.spec.grid import LabelledCell
from study.spec.identity import canonical, objective_name, parents, slug
from study.spec.model import DistilledModel, Model, PretrainedLab
from study.spec.objective import Objective
from study.train import contracts_scores, contracts_text, supervised
from study.train.distill import DEFAULT_K
from study.train.preflight import Check, Models

PROBLEMS = 8
Step = Callable[[], list[Check]]


@dataclass(frozen=True)
class Side:
    """A model ready to be asked. origin: made, or what stands in for it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    origin: str

    @property
    def rows(self) -> int:
        """Rows of the head: one for each token id."""
        return int(self.model.get_output_embeddings().weight.shape[0])


@dataclass
class Pair:
    """One student, one teacher and what decides what both see. objectives: by the name that a reader knows."""

    recipe: DistilledModel
    student: str
    teacher: str
    objectives: dict[str, Objective] = field(default_factory=dict[str, Objective])
    evaluations: dict[str, Evaluation] = field(default_factory=dict[str, Evaluation])

    @property
    def name(self) -> str:
        return f"{self.student} from {self.teacher}"

    @property
    def problems(self) -> tuple[Problem, ...]:
        return load(self.recipe.data, "train")[:PROBLEMS]


def steps_of(cells: Sequence[LabelledCell], models: Models) -> list[Step]:
    """The work in its order: the grader on every source, then each pair (its models are held only meanwhile), then models without a teacher."""
    sources = {canonical(cell.cell.evaluation.data): cell.cell.evaluation.data for cell in cells}
    pairs, alone = _pairs(cells), _alone(cells)
    known: set[str] = set()  # what was checked with an earlier pair
    steps: list[Step] = [partial(_guarded, "grader", _source_name(data), partial(_grader, data)) for data in sources.values()]
    steps += [partial(_check_pair, pair, models, known) for pair in pairs]
    return steps + [partial(_check_alone, model, models, known) for model in alone]


def _grader(data: Data) -> list[Check]:
    return [contracts_text.grader(load(data, "held_out")[:64], _source_name(data))]


def _source_name(data: Data) -> str:
    return f"{data.kind} data"


def _pairs(cells: Sequence[LabelledCell]) -> list[Pair]:
    found: dict[str, Pair] = {}
    for cell in cells:
        recipe = cell.cell.model
        if isinstance(recipe, DistilledModel):
            parts = (recipe.student, recipe.teacher, recipe.privileged, recipe.data, recipe.training.sampling)
            key = "\n".join(map(canonical, parts))
            pair = found.setdefault(key, Pair(recipe, _named(cell, "student", recipe.student), _teacher_name(cell, recipe)))
            pair.objectives.setdefault(canonical(recipe.objective), recipe.objective)
            pair.evaluations.setdefault(canonical(cell.cell.evaluation.sampling), cell.cell.evaluation)
    return list(found.values())


def _alone(cells: Sequence[LabelledCell]) -> list[Model]:
    found = {canonical(cell.cell.model): cell.cell.model for cell in cells if not isinstance(cell.cell.model, DistilledModel)}
    return list(found.values())


def _named(cell: LabelledCell, factor: str, model: Model) -> str:
    return cell.labels.get(factor, slug(model))


def _teacher_name(cell: LabelledCell, recipe: DistilledModel) -> str:
    pi = f" with {cell.labels.get('pi', 'pi')}" if recipe.privileged else ""
    return _named(cell, "teacher", recipe.teacher) + pi


def objective_label(objective: Objective) -> str:
    return objective_name(objective) + (f" k={objective.k}" if objective.k else "")


def _check_pair(pair: Pair, models: Models, known: set[str]) -> list[Check]:
    """Models, then tokens; scores are asked for only where a token has one id."""
    sides: list[Side] = []
    checks = _guarded("models", pair.name, lambda: _load_pair(pair, models, sides))
    if not sides:
        return checks
    student, teacher = sides
    checks += _guarded("tokens", pair.name, lambda: [contracts_text.tokens(student.tokenizer, teacher.tokenizer, (student.rows, teacher.rows), pair.name)])
    for side, name, recipe in ((student, pair.student, pair.recipe.student), (teacher, pair.teacher, pair.recipe.teacher)):
        if _first(known, "end of turn", recipe):
            checks += _guarded("end of turn", name, partial(_turn_end, side, name))
    problems = pair.problems
    checks += _guarded("chat template", pair.name, lambda: [contracts_text.template(student.tokenizer, teacher.tokenizer, problems[0], pair.name)])
    checks += _guarded("views", pair.name, lambda: [contracts_text.views(pair.recipe, problems, student.tokenizer, pair.name)])
    checks += _temperatures(pair)
    if all(check.passed for check in checks if check.name in ("tokens", "views")):
        checks += _guarded("scores", pair.name, lambda: _scores(pair, student, teacher, known))
        if _first(known, "seeds", pair.recipe.student):
            ask = partial(contracts_scores.seeds, student.model, teacher.model, student.tokenizer, pair.recipe, problems, pair.student)
            checks += _guarded("seeds", pair.student, ask)
    return checks
