"""Stages that are stopped and continued: recipes of every kind, and what an artifact holds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.record.checkpoints import Checkpoints
from study.record.progress import ReportProgress
from study.spec.recipe.corpus import ArithmeticCorpus
from study.spec.recipe.model import DistilledModel, GrpoModel, PretrainedLab, SftModel
from study.spec.recipe.objective import Objective
from study.spec.recipe.training import (
    Curve,
    DistillTraining,
    GrpoTraining,
    Optimisation,
    Sampling,
    SupervisedTraining,
)
from study.train.build import build
from tests.support.tiny_stages import ARCHITECTURE, DATA, HERE

STEPS = 6
SHARED: dict[str, Any] = {
    "steps": STEPS,
    "optimisation": Optimisation(learning_rate=1e-2, warmup_steps=2, lr_scheduler_type="cosine"),
    "sampling": Sampling(max_completion_length=10), "curve": Curve(every=2, problems=4, k=2),
}  # fmt: skip


def supervised(steps: int = 45) -> SupervisedTraining:
    """45 steps: the loss is logged every second one, so that a stop also falls between two logs."""
    return SupervisedTraining(
        steps=steps, documents_per_step=4, optimisation=SHARED["optimisation"], max_length=64
    )


CORPUS = ArithmeticCorpus(style_mix={"A": 1.0}, unreliable_facts=0.3, unreliable_accuracy=0.4)
RECIPES: dict[str, Any] = {
    "pretrain": PretrainedLab(
        name="resumed", architecture=ARCHITECTURE, data=DATA, corpus=CORPUS, training=supervised()
    ),
    "sft": SftModel(base=HERE, data=DATA, corpus=CORPUS, training=supervised()),
    "grpo": GrpoModel(
        base=HERE,
        data=DATA,
        training=GrpoTraining(
            prompts_per_step=2, rollouts_per_prompt=4, kl_coefficient=0.1, **SHARED
        ),
    ),
    "distill": DistilledModel(
        student=HERE,
        teacher=HERE,
        data=DATA,
        objective=Objective(support="student_topk", k=5, gradient="stop_gradient"),
        training=DistillTraining(prompts_per_step=4, **SHARED),
    ),
}


def attempt(
    kind: str,
    inputs: dict[str, Path],
    out: Path,
    checkpoints: Checkpoints,
    report: ReportProgress = lambda *_: None,
) -> Path:
    out.mkdir()
    build(RECIPES[kind], 0, inputs, out, report, checkpoints)
    return out


def content(folder: Path) -> dict[str, bytes]:
    """The files of an artifact; of cost.json what is no time."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    if "cost.json" in files:
        cost = json.loads(files["cost.json"])
        files["cost.json"] = json.dumps(
            {name: value for name, value in cost.items() if not name.endswith("_s")}
        ).encode()
    return files


def at(step: int, act: Callable[[], None]) -> ReportProgress:
    """A report that acts once, when `step` is reached."""
    waiting = [act]

    def report(phase: str, done: int, total: int, latest: dict[str, float]) -> None:
        if done >= step and waiting:
            waiting.pop()()

    return report


def shaken() -> None:
    """Another process has other global random states."""
    torch.manual_seed(987)
    np.random.seed(987)
    torch.rand(5)
