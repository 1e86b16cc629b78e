"""Measure the runner on stages of pure computing: the gain of two workers over one, and the
overhead of a task.

    python -m benchmarks.bench_runner [--cells 8] [--seconds 1.0] [--repeats 3]

A grid of `cells` cells, each a distill stage of about `seconds` core seconds and an evaluation of a
fifth of that, on three shared stages that cost nothing. Runs with one and with two workers
alternate; the ratio is taken pair by pair, and the median is shown.

overhead of a cell = (wall time of the grid with one worker - wall time inside build and evaluate) /
cells: start of two processes, locks, hashing, sealing, record, schedule. A lab cell of the math
grid takes about a minute (docs/benchmarks.md), to which 2 % refers. The mirror's writer is a
separate process next to the workers; its core seconds are shown per run, and those of its start
once.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu_work import spin
from study.record.mlflow.client import Mirror
from study.record.store import Results
from study.runner.engines.local import LocalEngine
from study.runner.engines.schedule import run_grid
from study.runner.graph.walk import Walk
from study.runner.work.execute import Work
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import cell_id
from tests.support.fake_work import cell

WORK = Work(build="benchmarks.cpu_work:build", evaluate="benchmarks.cpu_work:evaluate")


@dataclass(frozen=True)
class Measured:
    """wall_s: of the whole grid, from the moment the workers' server is warm; inside_s: inside
    build and evaluate.
    """

    wall_s: float
    inside_s: float


def walk_of(cells: int, results: Results) -> Walk:
    made = [(cell_id(one), one) for one in (cell(k) for k in range(1, cells + 1))]
    runs = [LabelledRun(f"{name}-s0", one, {"objective": name}, 0, name) for name, one in made]
    return Walk("bench", "lab", tuple(runs), results, WORK, claims={})


def rounds_for(seconds: float) -> int:
    """Return the rounds of hashing that take about this many core seconds here."""
    started = time.process_time()
    spin(2000)
    return int(2000 * seconds / (time.process_time() - started))


def run(cells: int, jobs: int, folder: Path) -> Measured:
    log = folder / "log.txt"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        results = Results(Path(name))
        walk = walk_of(cells, results)
        engine = LocalEngine(results, WORK, jobs, walk.profile)
        while not engine.fits(walk.tasks[0].payload):
            engine.events(0.05)
        started = time.monotonic()
        summary = run_grid(walk, engine, lambda _notice: None)
        wall = time.monotonic() - started
    if len(summary.sealed_now) != cells:
        raise SystemExit(
            f"only {len(summary.sealed_now)} of {cells} runs were sealed: {summary.failed}"
        )
    return Measured(wall, sum(float(line.split()[1]) for line in log.read_text().splitlines()))


def bench_mirror(cells: int, folder: Path) -> tuple[float, float]:
    """Return the core seconds of the mirror's writer: to start and make a database, and per run."""
    results = Results(folder / "mirrored")
    walk = walk_of(cells, results)
    engine = LocalEngine(results, WORK, 1, walk.profile)
    os.environ["BENCH_ROUNDS"] = "0"
    run_grid(walk, engine, lambda _notice: None)
    spent = [written(results, []), written(results, walk.runs)]
    again = written(results, [])  # the database exists now
    return spent[0], (spent[1] - again) / cells


def written(results: Results, runs: Sequence[LabelledRun]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    mirror = Mirror(results)
    mirror.begin("bench", "lab")
    for one in runs:
        mirror.sealed(results.record(one.run_id), {"objective": one.cell_id})
    mirror.end("FINISHED")
    if warning := mirror.close(600):
        raise SystemExit(warning)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def load_average() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["BENCH_LOG"], os.environ["BENCH_ROUNDS"] = (
            str(folder / "log.txt"),
            str(rounds_for(arguments.seconds)),
        )
        print(f"{os.cpu_count()} cores, load before {load_average()}")
        ratios: list[float] = []
        overheads: list[float] = []
        for _ in range(arguments.repeats):
            one, two = run(arguments.cells, 1, folder), run(arguments.cells, 2, folder)
            ratios.append(one.wall_s / two.wall_s)
            overheads.append((one.wall_s - one.inside_s) / arguments.cells)
            walls = f"one worker {one.wall_s:.2f} s, two {two.wall_s:.2f} s"
            print(
                f"{walls}: {ratios[-1]:.2f} times; overhead {overheads[-1]:.3f} s a cell",
                flush=True,
            )
        times, overhead = statistics.median(ratios), statistics.median(overheads)
        print(
            f"median: {times:.2f} times; overhead {overhead:.3f} s a cell; load after"
            f" {load_average()}"
        )
        start, each = bench_mirror(arguments.cells, folder)
        print(
            f"mirror: {start:.1f} core seconds to start and make a database, {each:.2f} for"
            " each run"
        )


if __name__ == "__main__":
    main()
