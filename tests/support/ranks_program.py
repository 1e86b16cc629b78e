"""Train a distillation in the processes that a launcher would start (RANK, WORLD_SIZE, ...).

FOLDER holds student/ and teacher/. Every rank is a fork of the process that calls `in_ranks`, so
that the training stack is imported once. Completions are a function of their prompt, so that every
way of sharing a batch trains on the same ones. Rank 0 writes OUT/REDUCTION.safetensors: the loss of
step 1 and its gradients, before any clipping, for each reduction.
"""

import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
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


def recipe(reduction: Any, length_groups: int = 1) -> DistilledModel:
    optimisation = Optimisation(learning_rate=1e-3, max_grad_norm=1e9)
    sampling = Sampling(max_completion_length=10)
    curve = Curve(every=1, problems=2, k=1)
    training = DistillTraining(
        steps=1,
        prompts_per_step=ROWS,
        optimisation=optimisation,
        sampling=sampling,
        curve=curve,
        length_groups=length_groups,
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


def trained(
    folder: Path, reduction: str, work: Path, length_groups: int = 1
) -> dict[str, torch.Tensor]:
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
            recipe(reduction, length_groups),
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


def in_ranks(number: int, folder: Path, out: Path) -> list[int | None]:
    """Train with this number of ranks; return their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {
        "WORLD_SIZE": str(number),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "ACCELERATE_USE_CPU": "true",
        "STUDY_MICRO_BATCH": "1",
    }
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=_rank, args=(shared, folder, out, rank)) for rank in range(number)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(300)
    codes = [rank.exitcode for rank in ranks]
    for rank in ranks:
        rank.kill()
    return codes


def _rank(shared: dict[str, str], folder: Path, out: Path, rank: int) -> None:
    os.environ |= {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    # accelerate keeps what it found in the process that was forked: one process
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    for reduction in REDUCTIONS:
        found = trained(folder, reduction, out / f"work-{reduction}-{rank}")
        assert PartialState().num_processes == int(shared["WORLD_SIZE"])
        if rank == 0:
            save_file(found, out / f"{reduction}.safetensors")
