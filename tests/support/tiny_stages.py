"""Tiny lab models and recipes, and how a test trains one: a stage takes a third of a second."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from study.grading.base import Grade, Sample
from study.grading.boxed import Outcome
from study.models.loading import load_model
from study.record.checkpoints import Checkpoints
from study.spec.recipe.corpus import ArithmeticCorpus
from study.spec.recipe.data import ArithmeticData
from study.spec.recipe.model import Architecture, DistilledModel, LocalModel, PretrainedLab
from study.spec.recipe.objective import Objective
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.training import (
    Curve,
    DistillTraining,
    Optimisation,
    Sampling,
    SupervisedTraining,
)
from study.train.build import build

DATA = ArithmeticData(train_size=64, selection_size=8, held_out_size=8)
ARCHITECTURE = Architecture(
    hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8,
    max_position_embeddings=96, initializer_range=0.1,
)  # fmt: skip
SAMPLING = Sampling(max_completion_length=10)
CURVE = Curve(every=2, problems=4, k=2)
HERE = LocalModel(path="unused", digest="unused")
OPTIMISATION = Optimisation(learning_rate=1e-2, warmup_steps=1)


def quiet(*_: Any) -> None:
    """A report that nobody reads."""


def distilled(
    objective: Objective, *, steps: int = 3, privileged: PrivilegedInformation | None = None
) -> DistilledModel:
    training = DistillTraining(
        steps=steps, prompts_per_step=4, optimisation=OPTIMISATION, sampling=SAMPLING, curve=CURVE
    )
    return DistilledModel(
        student=HERE,
        teacher=HERE,
        data=DATA,
        objective=objective,
        training=training,
        privileged=privileged,
    )


def history(folder: Path) -> dict[str, list[float | None]]:
    return json.loads((folder / "history.json").read_text())["columns"]


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in load_model(folder).parameters()])


def run(recipe: Any, inputs: dict[str, Path], out: Path, seed: int = 0) -> Path:
    out.mkdir(parents=True)
    build(recipe, seed, inputs, out, quiet, Checkpoints(out.with_name(f"{out.name}-checkpoints")))
    return out


def pretrained(steps: int = 4) -> PretrainedLab:
    corpus = ArithmeticCorpus(style_mix={"A": 1.0}, unreliable_facts=0.3, unreliable_accuracy=0.4)
    training = SupervisedTraining(
        steps=steps, documents_per_step=8, optimisation=OPTIMISATION, max_length=64
    )
    return PretrainedLab(
        name="golden", architecture=ARCHITECTURE, data=DATA, corpus=corpus, training=training
    )


class OddTexts:
    """A grader for models that never answer: an arbitrary half of the texts is right. GRPO without
    a correct completion has no gradient.
    """

    def grade_many(self, samples: Iterable[Sample]) -> list[Grade]:
        said = [
            Outcome.correct if len(sample.completion) % 2 else Outcome.wrong for sample in samples
        ]
        return [Grade(outcome, outcome) for outcome in said]
