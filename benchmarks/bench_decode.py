"""Measure the decode loop of the lab against transformers' `generate`, on the demo's student.

    python -m benchmarks.bench_decode [--repeats 5] [--rows 64 256 512]

Both draw completions of up to 48 tokens for the same prompts from the same random state, in turns
in one process on one thread; other prompts and another seed in each repeat. Seconds are CPU seconds
of this process, medians over the repeats. equal rows: completions with the same tokens, of all
drawn. The load is the machine's load average at the end.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from study.data.load import load
from study.evaluate.light import prompt_ids
from study.models.loading import load_model, load_tokenizer
from study.models.sampling import Completion, generate
from study.record.machine import this_machine
from study.spec.recipe.data import ArithmeticData
from study.spec.recipe.training import Sampler, Sampling

STUDENT = Path(__file__).resolve().parents[1] / "results" / "demo-stages" / "pretrain-547a46b8"
LONGEST = 48
SAMPLERS: tuple[Sampler, ...] = ("transformers", "qwen3")
CASES: dict[str, dict[str, Any]] = {
    "a rollout (T = 1)": {},
    "T = .6, top-p .95": {"temperature": 0.6, "top_p": 0.95},
    "greedy": {"greedy": True},
}


def timed(draw: Callable[[], list[list[Completion]]]) -> tuple[float, list[list[Completion]]]:
    started = time.process_time()
    drawn = draw()
    return time.process_time() - started, drawn


def measured(
    model: Any, tokenizer: Any, prompts: list[list[int]], rows: int, case: str, repeats: int
) -> str:
    """Return a row of the table."""
    how = dict(CASES[case])
    greedy = bool(how.pop("greedy", False))
    seconds: dict[Sampler, list[float]] = {sampler: [] for sampler in SAMPLERS}
    equal = tokens = 0
    for repeat in range(repeats):
        some = [prompts[(repeat * rows + i) % len(prompts)] for i in range(rows)]
        drawn: list[list[list[Completion]]] = []
        for sampler in SAMPLERS:
            sampling = Sampling(max_completion_length=LONGEST, sampler=sampler, **how)

            def draw(sampling: Sampling = sampling, some: Any = some, seed: int = repeat) -> Any:
                return generate(model, tokenizer, some, sampling, k=1, seed=seed, greedy=greedy)

            spent, completions = timed(draw)
            seconds[sampler].append(spent)
            drawn.append(completions)
        equal += sum(theirs == ours for theirs, ours in zip(*drawn, strict=True))
        tokens += sum(len(row[0].ids) for row in drawn[0])
    theirs, ours = (statistics.median(seconds[sampler]) for sampler in SAMPLERS)
    return (
        f"| {rows} | {case} | {tokens / repeats:.0f} | {theirs:.3f} | {ours:.3f} |"
        f" {theirs / ours:.2f} | {equal} of {rows * repeats} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 256, 512])
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = load_model(STUDENT).eval(), load_tokenizer(STUDENT)
    data = ArithmeticData(min_operations=2, max_operations=3)
    prompts = prompt_ids(tokenizer, load(data, "train")[: 10 * max(options.rows)])
    measured(model, tokenizer, prompts, 16, "greedy", 1)  # the first calls set things up
    print(
        "| rows | decoding | tokens | `generate`, CPU s | ours, CPU s | ratio | equal rows |\n"
        "|---|---|---|---|---|---|---|"
    )
    for case in CASES:
        for rows in options.rows:
            print(measured(model, tokenizer, prompts, rows, case, options.repeats), flush=True)
    load_average = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"\n{datetime.now(UTC):%Y-%m-%d}, {this_machine().processor}, {os.cpu_count()} cores,"
        f" load {load_average}, torch {torch.__version__}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    main()
