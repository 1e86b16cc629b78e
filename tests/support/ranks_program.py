"""Train a distillation in the processes that a launcher would start (RANK, WORLD_SIZE, ...): FOLDER
OUT.

The training stack is imported once; every rank but the first is a fork. FOLDER holds student/ and
teacher/. Completions are a function of their prompt, so that every way of sharing a batch trains on
the same ones. Rank 0 writes OUT/REDUCTION.safetensors: the loss of step 1 and its gradients, before
any clipping, for each reduction.
"""

import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import TrainerCallback

from study.record.checkpoints import Checkpoints
from study.spec.recipe.data import ArithmeticData
from study.spec.recipe.model import DistilledModel, LocalModel
from study.spec.recipe.objective import Objective
from study.spec.recipe.training import Curve, DistillTraining, Optimisation, Sampling
from study.train import build as stages
from study.train import distill as module

HERE = LocalModel(path="unused", digest="unused")
ROWS = 4
REDUCTIONS = ("response_mean", "token_mean", "constant")


def completion(prompt: list[int]) -> list[int]:
    """Return 1 to 9 tokens that depend only on the prompt: rows of very different lengths."""
    return [5 + (sum(prompt) * (i + 3)) % 20 for i in range(1 + sum(prompt) % 9)]


def recipe(reduction: Any) -> DistilledModel:
    optimisation = Optimisation(learning_rate=1e-3, max_grad_norm=1e9)
    sampling = Sampling(max_completion_length=10)
    curve = Curve(every=1, problems=2, k=1)
    training = DistillTraining(
        steps=1, prompts_per_step=ROWS, optimisation=optimisation, sampling=sampling, curve=curve
    )
    data = ArithmeticData(train_size=64, selection_size=8, held_out_size=8)
    return DistilledModel(
        student=HERE,
        teacher=HERE,
        data=data,
        objective=Objective(reduction=reduction),
        training=training,
    )


class Watch(TrainerCallback):
    """Store the gradients of the step and the loss that the trainer logs for it."""

    def __init__(self) -> None:
        self.found: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        named = {name.removeprefix("module."): p for name, p in model.named_parameters()}
        self.found |= {
            name: p.grad.detach().clone() for name, p in named.items() if p.grad is not None
        }

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.found["loss"] = torch.tensor(
                [logs["loss"], logs["grad_norm"]], dtype=torch.float64
            )


def trained(folder: Path, reduction: str, work: Path) -> dict[str, torch.Tensor]:
    watch, original = Watch(), module.OnPolicyDistillation.__init__
    sampled = module.DistillationTrainer._generate_single_turn

    def watched(self: Any, *args: Any, callbacks: Any = (), **kwargs: Any) -> None:
        original(self, *args, callbacks=[*callbacks, watch], **kwargs)

    module.OnPolicyDistillation.__init__ = watched
    module.DistillationTrainer._generate_single_turn = lambda self, prompts, *a, **k: [
        completion(list(p)) for p in prompts
    ]
    try:
        work.mkdir(parents=True)
        inputs = {role: folder / role for role in ("student", "teacher")}
        stages.build(
            recipe(reduction),
            0,
            inputs,
            work,
            lambda *_: None,
            Checkpoints(work.with_name(work.name + "-checkpoints")),
        )
    finally:
        module.OnPolicyDistillation.__init__, module.DistillationTrainer._generate_single_turn = (
            original,
            sampled,
        )
    return watch.found


def main(folder: Path, out: Path, rank: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    for reduction in REDUCTIONS:
        found = trained(folder, reduction, out / f"work-{reduction}-{rank}")
        if rank == 0:
            save_file(found, out / f"{reduction}.safetensors")


if __name__ == "__main__":
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    others = [
        multiprocessing.get_context("fork").Process(target=main, args=(folder, out, rank))
        for rank in range(1, int(os.environ["WORLD_SIZE"]))
    ]
    for other in others:
        other.start()
    main(folder, out, 0)
    for other in others:
        other.join()
    sys.exit(max((other.exitcode or 0 for other in others), default=0))
