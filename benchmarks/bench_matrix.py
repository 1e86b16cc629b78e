"""Measure seconds and peak memory of a large matrix: a plan of 2,000 runs, and the analysis of
20,000 records.

    python -m benchmarks.bench_matrix [--records 20000] [--repeats 3]

The grid has 500 cells (63 + 62 TopK losses x 2 teachers x 2 lengths). 4 seeds of it are planned:
from nothing, and with every run recorded. Then records of plausible shape
(tests/support/synthetic.py; no training) of 40 seeds are analysed twice: with 6 and with 45 rows of
history each, about the most that fit into a record's 12 kB. Their reports: a table of all cells, a
figure of six arms, two claims. Times and memory are those of whole processes: `study plan`,
`study analyze`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from study.record.schema import record_bytes, sealed
from study.spec.grid.grid import Grid, load_grid
from study.spec.grid.labelled import LabelledRun
from tests.support import synthetic

SHORT, LONG = 6, 45  # rows of history
PLANNED_SEEDS = 4
GRID = """name: matrix
question: How long does a large matrix take?
base: {{student: student, teacher: rlvr, objective: full_reverse_kl,
  length: standard, data: math, evaluation: math}}
factors:
  teacher: [rlvr, strong_c]
  objective:
{levels}  length: [standard, long]
seeds: [{seeds}]
"""


@dataclass(frozen=True)
class Spent:
    """One process: wall and core seconds, peak resident memory in MB."""

    wall_s: float
    core_s: float
    peak_mb: float


def write_pages(folder: Path, seeds: int) -> Path:
    """Write the config files of the grid below `folder`/experiments: a table of its 500 cells,
    curves of six, two claims. Return the grid's file.
    """
    losses = [
        (f"{loss}_k{k}", loss, k)
        for loss, last in (("biased", 63), ("stop_gradient", 62))
        for k in range(1, last + 1)
    ]
    levels = "".join(f"    {label}: {{preset: topk_{loss}, k: {k}}}\n" for label, loss, k in losses)
    arms = [
        f"{{teacher: rlvr, objective: {loss}_k{k}, length: standard}}"
        for k in (1, 5, 20)
        for loss in ("biased", "stop_gradient")
    ]
    drawn = "".join(f"      - {arm}\n" for arm in arms)
    claim = (
        "  - {{id: {}, text: t, source: none, outcome: {}, expectation: negative, smallest_effect:"
        " 0.1, primary: true, contrast: {}}}\n"
    )
    one = claim.format("one", "score", f"{{kind: difference, arm: {arms[0]}, versus: {arms[1]}}}")
    two = claim.format("two", "eval/avg@k", f"{{kind: change, arm: {arms[2]}}}")
    figure = (
        "number: 900\ntitle: Six arms\ngrid: matrix\nscale: lab\nkind: curves\nrows:\n  - title:"
        " A\n    arms:\n"
    )
    pages = {
        "grids/matrix.yaml": GRID.format(levels=levels, seeds=", ".join(map(str, range(seeds)))),
        "tables/900.yaml": (
            "{number: 900, title: All cells, grid: matrix, scale: lab, kind: final_scores}\n"
        ),
        "figures/900.yaml": figure + drawn,
        "claims/matrix.yaml": f"grid: matrix\nclaims:\n{one}{two}",
    }
    for name, text in pages.items():
        (folder / "experiments" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "experiments" / name).write_text(text, encoding="utf-8")
    return folder / "experiments" / "grids" / "matrix.yaml"


def measured(command: list[str], folder: Path) -> Spent:
    """Run a process to its end; its output goes to a file that is shown if it fails."""
    with (folder / "output.txt").open("w+") as output:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
        _, code, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(code)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{output.read()[-2000:]}")
    return Spent(
        wall,
        used.ru_utime + used.ru_stime,
        used.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2),
    )


def median(command: list[str], folder: Path, repeats: int) -> Spent:
    """Return the run with the median wall time."""
    runs = sorted(
        (measured(command, folder) for _ in range(repeats)), key=lambda spent: spent.wall_s
    )
    return runs[len(runs) // 2]


def write_records(runs: tuple[LabelledRun, ...], folder: Path, rows: int) -> float:
    """Write one record per run below `folder`/runs, each with this many rows of history; return the
    mean size in bytes.
    """
    sizes: list[int] = []
    for run in runs:
        before, after = 0.3, 0.3 + 0.5 * ((hash_of(run) % 1000) / 1000)
        made = synthetic.record(run, before, after)
        curves = synthetic.history(20 * (rows - 1), before, after, 0.0, seed=run.run_id)
        data = record_bytes(sealed(made.model_copy(update={"history": curves})))
        place = folder / "runs" / run.run_id
        place.mkdir(parents=True)
        (place / "record.json").write_bytes(data)
        sizes.append(len(data))
    return statistics.fmean(sizes)


def hash_of(run: LabelledRun) -> int:
    return int(run.cell_id.rpartition("-")[2], 16) + 7 * run.seed


def show(what: str, spent: Spent) -> None:
    print(
        f"{what:<58} {spent.wall_s:7.2f} s wall {spent.core_s:7.2f} s core {spent.peak_mb:7.0f} MB",
        flush=True,
    )


def bench_plan(grid: Path, folder: Path, repeats: int) -> None:
    study = [sys.executable, "-m", "study.cli.main"]
    seeds = f"0-{PLANNED_SEEDS - 1}"
    show("study --help", median([*study, "--help"], folder, repeats))
    command = [
        *study,
        "plan",
        "--grid",
        str(grid),
        "--seeds",
        seeds,
        "--results",
        str(folder / "none"),
    ]
    show("study plan, 2,000 runs, nothing made", median(command, folder, repeats))
    runs = load_grid(str(grid)).runs(seeds=range(PLANNED_SEEDS))
    write_records(runs, folder / "planned", LONG)
    command[-1] = str(folder / "planned")
    show("study plan, 2,000 runs, all recorded", median(command, folder, repeats))


def bench_analysis(grid: Path, folder: Path, repeats: int, count: int) -> None:
    loaded: Grid = load_grid(str(grid))
    runs = loaded.runs()[:count]
    for name, rows in (("short", SHORT), ("long", LONG)):
        size = write_records(runs, folder / name, rows)
        command = [
            sys.executable,
            "-m",
            "study.cli.main",
            "analyze",
            "--grid",
            str(grid),
            "--results",
            str(folder / name),
            "--partial",
        ]
        show(
            f"study analyze, {len(runs):,} records of {rows} rows ({size:,.0f} bytes)",
            median(command, folder, repeats),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grid = write_pages(folder, max(PLANNED_SEEDS, -(-arguments.records // 500)))
        bench_plan(grid, folder, arguments.repeats)
        bench_analysis(grid, folder, arguments.repeats, arguments.records)


if __name__ == "__main__":
    main()
