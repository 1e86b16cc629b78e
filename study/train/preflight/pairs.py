"""Collect what a grid combines, each once: pairs of a student and a teacher with their views and
objectives, and models to check them on.

A model that no stage has made yet is replaced: by the trained model that it starts from, else by
untrained weights of the same architecture and tokenizer, drawn for its recipe.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from study.data.load import load
from study.data.problems import Problem
from study.models.lab import build_model, build_tokenizer
from study.models.loading import load_model, load_tokenizer
from study.record.seeds import stream
from study.spec.grid.labelled import LabelledCell
from study.spec.identity import canonical, objective_name, parents, slug
from study.spec.recipe.data import Data
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import DistilledModel, GrpoModel, Model, PretrainedLab
from study.spec.recipe.objective import Objective
from study.spec.recipe.user_code import Code, UserCode, reference
from study.train.preflight.check import Models
from study.train.supervised import tokenizer_texts

PROBLEMS = 8
MADE = "made"


@dataclass(frozen=True)
class Side:
    """A loaded model. origin: MADE, or a description of the model that replaces it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    origin: str

    @property
    def rows(self) -> int:
        """Return the rows of the head: one per token id."""
        head: Any = self.model.get_output_embeddings()
        return int(head.weight.shape[0])


@dataclass
class Pair:
    """One student, one teacher and the settings that decide what both see.

    Objectives and evaluation settings by their canonical text.
    """

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


def pairs_of(cells: Sequence[LabelledCell]) -> list[Pair]:
    found: dict[str, Pair] = {}
    for cell in cells:
        recipe, evaluation = cell.cell.model, cell.cell.evaluation
        if isinstance(recipe, DistilledModel):
            sampling = recipe.training.sampling
            key = "\n".join(
                map(
                    canonical,
                    (recipe.student, recipe.teacher, recipe.privileged, recipe.data, sampling),
                )
            )
            pair = found.setdefault(
                key, Pair(recipe, _student_name(cell, recipe), _teacher_name(cell, recipe))
            )
            pair.objectives.setdefault(canonical(recipe.objective), recipe.objective)
            pair.evaluations.setdefault(canonical(evaluation.sampling), evaluation)
    return list(found.values())


def models_without_teacher(cells: Sequence[LabelledCell]) -> dict[str, Model]:
    """Return the other models that cells evaluate (a base, a
    trained teacher), by canonical text.
    """
    return {
        canonical(cell.cell.model): cell.cell.model
        for cell in cells
        if not isinstance(cell.cell.model, DistilledModel)
    }


def sources_of(cells: Sequence[LabelledCell]) -> list[tuple[Data, str]]:
    """Return each source of problems with each grader of answers to it: in evaluations, training
    curves and rewards.
    """
    sources: list[tuple[Data, str]] = [
        (one.data, reference(one.grader)) for cell in cells for one in cell.cell.evaluations
    ]
    sources += [judged for cell in cells for judged in _judged_in_training(cell.cell.model)]
    return list(
        {(canonical(source), grader): (source, grader) for source, grader in sources}.values()
    )


def own_objectives(cells: Sequence[LabelledCell]) -> list[Objective]:
    """Return each user-supplied loss that a recipe names, once."""
    found = [
        model.objective
        for cell in cells
        for model in _recipes(cell.cell.model)
        if isinstance(model, DistilledModel)
    ]
    return list(
        {
            canonical(objective): objective for objective in found if objective.python is not None
        }.values()
    )


def own_rewards(cells: Sequence[LabelledCell]) -> list[Code]:
    """Return each user-supplied reward, once."""
    found = [
        model.training.reward
        for cell in cells
        for model in _recipes(cell.cell.model)
        if isinstance(model, GrpoModel)
    ]
    return list(
        {
            canonical(reward): reward.python for reward in found if isinstance(reward, UserCode)
        }.values()
    )


def _recipes(model: Model) -> Iterator[Model]:
    """Yield a recipe and everything that it starts from."""
    yield model
    for parent in parents(model).values():
        yield from _recipes(parent)


def _judged_in_training(model: Model) -> list[tuple[Data, str]]:
    found = [judged for parent in parents(model).values() for judged in _judged_in_training(parent)]
    if isinstance(model, GrpoModel):
        found.append((model.data, reference(model.training.grader)))
    if isinstance(model, GrpoModel | DistilledModel):
        found.append((model.data, reference(model.training.curve.grader)))
    return found


def _student_name(cell: LabelledCell, recipe: DistilledModel) -> str:
    return cell.labels.get("student", slug(recipe.student))


def _teacher_name(cell: LabelledCell, recipe: DistilledModel) -> str:
    seeing = f" seeing {cell.labels.get('pi', 'pi')}" if recipe.privileged else ""
    return cell.labels.get("teacher", slug(recipe.teacher)) + seeing


def objective_label(objective: Objective) -> str:
    return objective_name(objective) + (f" k={objective.k}" if objective.k else "")


def load_side(model: Model, models: Models) -> Side:
    """Load the model itself where it is made, else its replacement. Errors: those of loading, and
    of a missing model.
    """
    folder = models(model)
    if folder is not None:
        return _read(folder)
    for base in _bases(model):
        folder = models(base)
        if folder is not None:
            return Side(*_parts(_read(folder)), f"weights of {slug(base)}")
    return _untrained(model)


def _bases(model: Model) -> list[Model]:
    """Return the recipes that a recipe starts from, the nearest first."""
    own = parents(model)
    base = own.get("base", own.get("student"))
    return [] if base is None else [base, *_bases(base)]


def _read(folder: Path) -> Side:
    cuda = torch.cuda.is_available()
    model = load_model(folder, dtype=torch.bfloat16 if cuda else torch.float32)
    return Side(_ready(model), load_tokenizer(folder), MADE)


def _untrained(model: Model) -> Side:
    root = [model, *_bases(model)][-1]
    assert isinstance(root, PretrainedLab), "every other root is a folder that `models` gives"
    tokenizer = build_tokenizer(root.tokenizer, tokenizer_texts(root))
    weights = build_model(
        root.architecture, len(tokenizer), stream(0, "preflight", canonical(model))
    )
    return Side(_ready(weights), tokenizer, "untrained weights")


def _ready(model: PreTrainedModel) -> PreTrainedModel:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)  # pyright: ignore[reportArgumentType] - transformers decorates `to`
    return model.eval()


def _parts(side: Side) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return side.model, side.tokenizer
