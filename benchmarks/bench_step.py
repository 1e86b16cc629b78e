"""Measure one distillation step, ours and stock TRL on the same work: generation, teacher, student.

    python benchmarks/bench_step.py [--steps 12] [--repeats 3] [--prompts 64]

Same weights, prompts, rollout seeds, optimiser and loss (full-vocabulary reverse KL, token mean:
beta = 1 in the stock trainer). Ours also grades the rollouts and measures per-token
diagnostics, which is part of its cost. A third row shows the TopK loss, which has no stock
counterpart. Variants alternate within each repeat; the median over steps is shown. Times are CPU
seconds of this process on one torch thread, so that a busy machine changes them little. The models
have random weights: completions are longer than trained ones.

generation: sampling the completions. teacher: its forward pass up to the hidden states. student:
everything else of `training_step` (its own forward, both lm_heads, the loss, diagnostics, grading,
backward).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers.trainer_callback import PrinterCallback
from trl.trainer.distillation_config import DistillationConfig
from trl.trainer.distillation_trainer import DistillationTrainer

from study.data.load import load
from study.data.views import student_view
from study.models.lab import build_model, build_tokenizer
from study.models.sampling import end_token_ids
from study.record.seeds import stream
from study.spec.recipe.data import ArithmeticData
from study.spec.recipe.model import Architecture, LabTokenizer
from study.spec.recipe.objective import Objective
from study.spec.recipe.training import Optimisation
from study.train.arguments import arguments
from study.train.distill import OnPolicyDistillation
from study.train.evidence import Evidence

SHAPE = Architecture(
    hidden_size=64, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16,
    max_position_embeddings=192,
)  # fmt: skip
LONGEST = 64
PARTS = ("generation", "teacher", "student")
_Stock: Any = DistillationTrainer  # its hooks are private and untyped
_Mixin: Any = object


class Measured(_Mixin):
    """Mixed into a trainer: records CPU seconds per step, and uses the study's rollout seeds, so
    that all variants see the same completions.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spent = {"generation": 0.0, "teacher": 0.0}
        self.rows: list[dict[str, float]] = []
        self.num_sampled = 0

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        before, started = dict(self.spent), time.process_time()
        loss = super().training_step(*args, **kwargs)
        row = {part: self.spent[part] - before[part] for part in self.spent}
        row["step"] = time.process_time() - started
        self.rows.append(row | {"student": row["step"] - sum(row[part] for part in self.spent)})
        return loss

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> list[list[int]]:
        started = time.process_time()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(0, "rollout", self.state.global_step, 0))
            completions = super()._generate_single_turn(*args, **kwargs)
        self.spent["generation"] += time.process_time() - started
        self.num_sampled += sum(map(len, completions))
        return completions

    def _get_last_hidden_state(self, model: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        started = time.process_time()
        hidden = super()._get_last_hidden_state(model, *args, **kwargs)
        if not torch.is_grad_enabled():
            self.spent["teacher"] += time.process_time() - started
        return hidden


class Stock(Measured, _Stock):
    """TRL's trainer."""


class Ours(Measured, OnPolicyDistillation):
    """The study's trainer."""


def work(steps: int, prompts: int, out: Path) -> dict[str, Any]:
    """Return the inputs of every variant: fresh copies of the same models, the same rows in the
    same order.
    """
    tokenizer = build_tokenizer(LabTokenizer())
    data = ArithmeticData(train_size=steps * prompts, selection_size=1, held_out_size=1)
    problems = list(load(data, "train"))
    rows = [
        {"prompt": student_view(p), "teacher_prompt": student_view(p), "problem": i}
        for i, p in enumerate(problems)
    ]
    args = arguments(
        DistillationConfig, out, Optimisation(learning_rate=5e-4), steps=steps, batch=prompts,
        seed=0,
        max_completion_length=LONGEST, temperature=1.0, top_p=1.0, top_k=0, shuffle_dataset=False,
        beta=1.0,
    )  # fmt: skip
    student, teacher = (build_model(SHAPE, len(tokenizer), seed=seed) for seed in (0, 1))
    return {
        "student": student, "teacher": teacher, "tokenizer": tokenizer, "problems": problems,
        "rows": Dataset.from_list(rows), "args": args,
    }  # fmt: skip


def stock(given: dict[str, Any]) -> Any:
    return Stock(
        model=given["student"], teacher_model=given["teacher"], args=given["args"],
        processing_class=given["tokenizer"],
        train_dataset=given["rows"].remove_columns(["teacher_prompt", "problem"]),
    )  # fmt: skip


def ours(objective: Objective) -> Callable[[dict[str, Any]], Any]:
    def make(given: dict[str, Any]) -> Any:
        student, tokenizer, args = given["student"], given["tokenizer"], given["args"]
        evidence = Evidence(
            given["problems"], tokenizer, end_token_ids(student, tokenizer), args.max_steps, LONGEST
        )
        return Ours(
            student,
            given["teacher"],
            args,
            given["rows"],
            tokenizer,
            objective=objective,
            seed=0,
            evidence=evidence,
        )

    return make


VARIANTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "TRL, beta 1": stock,
    "ours, full reverse KL": ours(Objective(reduction="token_mean")),
    "ours, TopK 5": ours(Objective(support="student_topk", k=5)),
}


def measure(
    make: Callable[[dict[str, Any]], Any], steps: int, prompts: int
) -> tuple[list[dict[str, float]], float]:
    """Return the rows of all steps after the first (warm-up), and the mean number of tokens sampled
    per step.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(work(steps, prompts, Path(folder)))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return trainer.rows[1:], trainer.num_sampled / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    tokens: dict[str, float] = {}
    for _ in range(options.repeats):
        for name, make in VARIANTS.items():
            measured, tokens[name] = measure(make, options.steps, options.prompts)
            rows[name] += measured
    medians = {
        name: {part: statistics.median(row[part] for row in found) for part in (*PARTS, "step")}
        for name, found in rows.items()
    }
    first = next(iter(medians.values()))["step"]
    print(
        "| variant | CPU s a step | generation | teacher | student | tokens a step | against stock"
        " |\n|---|---|---|---|---|---|---|"
    )
    for name, m in medians.items():
        parts = " | ".join(f"{m[part]:.3f}" for part in ("step", *PARTS))
        print(f"| {name} | {parts} | {tokens[name]:.0f} | {m['step'] / first:.2f}x |")


if __name__ == "__main__":
    main()
