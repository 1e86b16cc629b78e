"""Measure a distillation cell of the lab with its evaluation: by `generate` of transformers, by the
lab's sampler, and with rows in groups of like length.

    python -m benchmarks.bench_cell [--cell topk_renormalised-k20] [--steps 120] [--turns 2]

The demo's student and teacher, a recipe of the math grid for a teacher made by reinforcement
learning (the first whose id contains the given text), the stage as `study run` builds it and the
final evaluation of its model; variants in turns in one process on one thread. Seconds are CPU
seconds of this process, medians over the turns. model, evaluation: the beginning of the sha256 of
the weights and of evaluation.json, so that equal bytes are seen. The load is the machine's load
average at the end.
"""

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from study.evaluate.run import evaluate
from study.record.checkpoints import Checkpoints
from study.record.machine import this_machine
from study.spec.grid.cell import Cell
from study.spec.grid.grid import load_grid
from study.spec.recipe.model import DistilledModel, GrpoModel
from study.spec.recipe.training import Sampler
from study.train.build import build

STAGES = Path(__file__).resolve().parents[1] / "results" / "demo-stages"
INPUTS = {"student": STAGES / "pretrain-547a46b8", "teacher": STAGES / "grpo-28570710"}
VARIANTS: dict[str, tuple[Sampler, int]] = {
    "`sampler: transformers`": ("transformers", 1),
    "`sampler: qwen3`": ("qwen3", 1),
    "`sampler: qwen3`, `length_groups: 2`": ("qwen3", 2),
}


def lab_cell(text: str) -> Cell:
    """Return the first cell of the math grid that distils from a GRPO teacher and has this text in
    its id.
    """
    for one in load_grid("math", "lab").cells:
        model = one.cell.model
        distilled = isinstance(model, DistilledModel) and isinstance(model.teacher, GrpoModel)
        if distilled and text in one.cell_id:
            return one.cell
    raise SystemExit(f"the math grid has no distillation from a GRPO teacher named {text!r}")


def with_sampler(spec: Any, sampler: Sampler) -> Any:
    sampling = spec.sampling.model_copy(update={"sampler": sampler})
    return spec.model_copy(update={"sampling": sampling})


def made(cell: Cell, steps: int, sampler: Sampler, groups: int, work: Path) -> tuple[Any, ...]:
    """Return CPU seconds of the stage and of the evaluation, and the hashes of both results."""
    recipe: Any = cell.model
    shorter = recipe.training.model_copy(update={"steps": steps, "length_groups": groups})
    recipe = recipe.model_copy(update={"training": with_sampler(shorter, sampler)})
    model, evaluation = work / "model", work / "evaluation"
    model.mkdir()
    evaluation.mkdir()
    started = time.process_time()
    build(recipe, 0, INPUTS, model, _quiet, Checkpoints(work / "checkpoints", every_s=1e9))
    trained = time.process_time()
    evaluate(with_sampler(cell.evaluation, sampler), model, 0, evaluation, _quiet, {})
    ended = time.process_time()
    files = (model / "model.safetensors", evaluation / "evaluation.json")
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest()[:8] for file in files]
    return trained - started, ended - trained, *hashes


def _quiet(*_: Any) -> None:
    """A report that is not shown."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cell", default="topk_renormalised-k20")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cell = lab_cell(options.cell)
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in VARIANTS}
    for _ in range(options.turns):
        for name, (sampler, groups) in VARIANTS.items():
            with tempfile.TemporaryDirectory() as folder:
                rows[name].append(made(cell, options.steps, sampler, groups, Path(folder)))
                print(name, rows[name][-1], flush=True)
    print(
        "| variant | stage, CPU s | evaluation, CPU s | cell / first | model | evaluation |\n"
        "|---|---|---|---|---|---|"
    )
    whole: list[float] = []
    for name, found in rows.items():
        stage, evaluation = (statistics.median(row[i] for row in found) for i in (0, 1))
        whole.append(stage + evaluation)
        hashes = [" ".join(sorted({row[i] for row in found})) for i in (2, 3)]
        share = whole[-1] / whole[0]
        print(f"| {name} | {stage:.1f} | {evaluation:.2f} | {share:.2f} | {' | '.join(hashes)} |")
    load_average = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"\n{options.cell}, {options.steps} steps, {options.turns} turns,"
        f" {datetime.now(UTC):%Y-%m-%d}, {this_machine().processor}, {os.cpu_count()} cores,"
        f" load {load_average}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
