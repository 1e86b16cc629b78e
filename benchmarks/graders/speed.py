"""Measure the speed of the graders and of math-verify in one process, on the same texts.

    python -m benchmarks.graders.speed DATA_FOLDER [--repeats 3] [--pairs 600] [--completions 1200]

DATA_FOLDER holds math500.jsonl and gsm8k-model-solutions.jsonl. Two kinds of work:
    completions   model solutions of GSM8K: extraction and comparison of numbers
    pairs         MATH-500 golds against rewritten equivalents, near misses and shuffled golds
                  (benchmarks/graders/pairs.py); texts differ
    symbolic      those of the pairs that the exact and numeric tiers leave open
Every measurement runs in its own process, warmed up on a few texts, and the variants take turns, so
that a busy machine slows all of them. CPU seconds include those of the worker processes and are
compared for one process; wall seconds show the gain of two workers.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.graders.pairs import golds, pairs
from study.grading.math.equivalence import compare
from study.grading.math.extraction import reference
from study.grading.registry import Sample, open_grader

VARIANTS = {"math-verify": 0, "ours, 1 worker": 1, "ours, 2 workers": 2}
KINDS = ("completions", "pairs", "symbolic")
WARM_UP = [
    Sample(r"\boxed{x + 1}", "1 + x"),
    Sample("The answer is 12.", "12"),
    Sample(r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{\sqrt{2}}{2}"),
]


def completions(folder: Path, number: int) -> list[Sample]:
    with (folder / "gsm8k-model-solutions.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    found = [
        Sample(value["solution"], reference(row["ground_truth"]))
        for row in rows
        for value in row.values()
        if isinstance(value, dict)
    ]
    return _drawn(found, number)


def answers(folder: Path, number: int, *, symbolic: bool) -> list[Sample]:
    made = [
        pair
        for pair in pairs(golds(folder, "MATH-500"))
        if not symbolic or compare(pair.answer, pair.gold).equal is None
    ]
    return _drawn(
        [Sample(f"so it is $\\boxed{{{pair.answer}}}$", pair.gold) for pair in made], number
    )


def _drawn(samples: list[Sample], number: int) -> list[Sample]:
    random.Random(0).shuffle(samples)
    return samples[:number]


def stock(samples: list[Sample]) -> None:
    """Grade with math-verify as its documentation shows: its own extraction, its own timeouts."""
    from math_verify import parse, verify

    for sample in samples:
        verify(parse(f"${sample.answer}$"), parse(sample.completion))


def measure(samples: list[Sample], workers: int) -> dict[str, float]:
    """Return wall and CPU seconds of grading `samples` after a warm-up; 0 workers: stock
    math-verify.
    """
    if workers == 0:
        return _timed(lambda: stock(samples), lambda: stock(WARM_UP))
    with open_grader(workers=workers) as grader:
        grader.grade_many(WARM_UP * workers)
        before = children_s()
        spent = _timed(lambda: grader.grade_many(samples), lambda: None)
        return {"wall_s": spent["wall_s"], "cpu_s": spent["cpu_s"] + children_s() - before}


def _timed(work: Callable[[], object], warm_up: Callable[[], object]) -> dict[str, float]:
    warm_up()
    wall, core = time.perf_counter(), time.process_time()
    work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - core}


def children_s() -> float:
    """Return the CPU seconds of the processes below this one, including those that have ended."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--completions", type=int, default=1200)
    parser.add_argument("--measure", nargs=2, metavar=("KIND", "WORKERS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        kind, workers = asked.measure[0], int(asked.measure[1])
        work = (
            completions(asked.folder, asked.completions)
            if kind == "completions"
            else answers(asked.folder, asked.pairs, symbolic=kind == "symbolic")
        )
        print(json.dumps({"n": len(work), **measure(work, workers)}))
        return
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; median of"
        f" {asked.repeats} runs\n"
    )
    print(
        "| work | variant | n | wall s | CPU s | per CPU s | times math-verify, CPU | wall |\n"
        + "|---" * 8
        + "|"
    )
    for kind in KINDS:
        _report(kind, {name: [] for name in VARIANTS}, asked)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


def _report(kind: str, runs: dict[str, list[dict[str, float]]], asked: argparse.Namespace) -> None:
    for _ in range(asked.repeats):
        for name, workers in VARIANTS.items():
            command = [
                sys.executable,
                "-m",
                "benchmarks.graders.speed",
                str(asked.folder),
                "--pairs",
                str(asked.pairs),
            ]
            command += ["--completions", str(asked.completions), "--measure", kind, str(workers)]
            runs[name].append(
                json.loads(
                    subprocess.run(command, check=True, capture_output=True, text=True).stdout
                )
            )
    for name, results in runs.items():
        wall, core = _median(results, "wall_s"), _median(results, "cpu_s")
        ratios = [
            statistics.median(
                a[key] / b[key] for a, b in zip(runs["math-verify"], results, strict=True)
            )
            for key in ("cpu_s", "wall_s")
        ]
        n = int(results[0]["n"])
        print(
            f"| {kind} | {name} | {n} | {wall:.2f} | {core:.2f} | {n / core:,.0f} | {ratios[0]:.1f}"
            f" | {ratios[1]:.1f} |",
            flush=True,
        )


def _median(results: list[dict[str, float]], key: str) -> float:
    return statistics.median(result[key] for result in results)


if __name__ == "__main__":
    main()
