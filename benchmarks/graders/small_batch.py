r"""Measure a small batch against math-verify: 200 completions, three of them with a formula.

    python -m benchmarks.graders.small_batch DATA_FOLDER [--repeats 5]

Each library runs in a fresh process from its import to its last grade, in turn. All CPU time
counts, including that of the worker processes to their end. DATA_FOLDER holds
gsm8k-model-solutions.jsonl.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.graders.speed import completions
from study.grading.registry import Sample

FORMULAS = [
    Sample(r"so $\boxed{x + 1}$", "1+x"),
    Sample(r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{\sqrt{2}}{2}"),
    Sample(r"\boxed{2x(x+3)}", r"2x^2+6x"),
]
STOCK = """
from math_verify import parse, verify
for completion, gold in samples:
    verify(parse(f"${gold}$"), parse(completion))
"""
OURS = """
from study.grading.symbolic.server import close_server
from study.grading.registry import Sample, open_grader
with open_grader() as grader:
    grader.grade_many([Sample(*sample) for sample in samples])
close_server()
"""
LIBRARIES = {"math-verify": STOCK, "ours, 1 worker": OURS}
AROUND = """
import json, resource, sys, time
samples = json.load(sys.stdin)
wall, core = time.perf_counter(), time.process_time()
{work}
wall, core = time.perf_counter() - wall, time.process_time() - core
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([wall, core + used.ru_utime + used.ru_stime]))
"""


def measure(samples: list[Sample], work: str) -> tuple[float, float]:
    """Return (wall, CPU) seconds of one fresh process."""
    pairs = json.dumps([[sample.completion, sample.answer] for sample in samples])
    command = [sys.executable, "-c", AROUND.format(work=work)]
    done = subprocess.run(command, input=pairs, check=True, capture_output=True, text=True)
    wall, core = json.loads(done.stdout)
    return wall, core


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    samples = [*completions(options.folder, 200), *FORMULAS]
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in LIBRARIES}
    for _ in range(options.repeats):
        for name, work in LIBRARIES.items():
            runs[name].append(measure(samples, work))
    print(f"Median of {options.repeats} runs, load {os.getloadavg()[0]:.1f} at the end\n")
    print("| library | n | wall s | CPU s |\n|---|---|---|---|")
    for name, found in runs.items():
        wall, core = (statistics.median(each[i] for each in found) for i in (0, 1))
        print(f"| {name} | {len(samples)} | {wall:.2f} | {core:.2f} |")


if __name__ == "__main__":
    main()
