"""Random kills until a number is reached: `python -m tests.soak --kills 100` on torch-free stages,
`--lab` on a real lab cell.

A grid is started, something of it is killed at a random moment, the same command is typed again,
until its runs are sealed; then the records are compared byte for byte with those of an undisturbed
run, and the next grid begins. Prints what was killed and what it led to.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from study.record.schema import content
from study.record.store import Results, read_record, read_records
from tests.support.harness import ROOT, contents, descendants, make_undisturbed, start, workers

HOW = ("worker", "runner", "both", "SIGTERM", "Ctrl-C")
LAB_PROFILE = "profile: soak\njobs: 1\ncheckpoint_s: 5\n"
Start = Callable[[Path], subprocess.Popen[str]]


class Soak:
    def __init__(self, seed: int, longest_s: float) -> None:
        self.random, self.longest_s = random.Random(seed), longest_s
        self.kills: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.grids, self.records = 0, 0

    def disturb(self, process: subprocess.Popen[str]) -> None:
        """Waits for a random moment and kills something; counts it only if the grid was still at
        work.
        """
        moment = time.monotonic() + self.random.uniform(0.1, self.longest_s)
        while time.monotonic() < moment:
            if process.poll() is not None:
                return
            time.sleep(0.01)
        how = self.random.choice(HOW)
        while (
            how in ("SIGTERM", "Ctrl-C")
            and process.poll() is None
            and not catches_sigterm(process.pid)
        ):
            time.sleep(
                0.01
            )  # a program that is still being imported answers a signal as any Python program does
        below = sorted(descendants(process.pid) - {process.pid})
        try:
            self._kill(how, process, below)
        except ProcessLookupError:
            return
        self.kills[how] += 1

    def _kill(self, how: str, process: subprocess.Popen[str], below: list[int]) -> None:
        match how:
            case "worker":
                os.kill(self.random.choice(below or [process.pid]), signal.SIGKILL)
            case "runner":
                os.kill(process.pid, signal.SIGKILL)
            case "both":
                os.killpg(process.pid, signal.SIGKILL)
            case "SIGTERM":
                os.kill(process.pid, signal.SIGTERM)
            case _:
                os.killpg(process.pid, signal.SIGINT)

    def grid(self, results: Path, begin: Start, enough: Callable[[], bool]) -> None:
        """One grid to its end: disturbed until there were enough kills, then left in peace."""
        while True:
            process = begin(results)
            while (
                not enough() and process.poll() is None
            ):  # a killed worker is tried again by the same process
                self.disturb(process)
            output, _ = process.communicate(timeout=1800)
            self.ends[str(process.returncode)] += 1
            if "Traceback" in output:
                raise SystemExit(f"a traceback reached the screen:\n{output}")
            if process.returncode == 0:
                return

    def compare(
        self, made: Mapping[str, bytes], wanted: Mapping[str, bytes], results: Path
    ) -> None:
        if dict(made) != dict(wanted):
            raise SystemExit(
                f"records differ from the undisturbed ones; kept for a look: {results}"
            )
        left = [
            path
            for pattern in ("*.partial*", ".*.tmp", "locks/*~*", "checkpoints/*", "status.json")
            for path in results.rglob(pattern)
        ]
        if left or workers(results):
            raise SystemExit(f"left over after the last run: {left}, processes {workers(results)}")
        self.grids, self.records = self.grids + 1, self.records + len(made)

    def report(self, seconds: float) -> str:
        kills = ", ".join(f"{self.kills[how]} {how}" for how in HOW)
        ends = ", ".join(f"{count} x {code}" for code, count in sorted(self.ends.items()))
        return (
            f"{self.kills.total()} kills ({kills}) in {seconds:.0f} s; {self.grids} grids"
            f" completed, {self.records} records, all byte-identical to undisturbed ones; exit"
            f" codes {ends}"
        )


def catches_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(
        int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt")
    )
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def torch_free(soak: Soak, kills: int, folder: Path) -> None:
    wanted = make_undisturbed(Results(folder / "undisturbed"))
    while soak.kills.total() < kills:
        place = folder / f"grid{soak.grids}"
        place.mkdir()
        soak.grid(place / "results", _begin_fake, lambda: soak.kills.total() >= kills)
        soak.compare(contents(place / "results"), wanted, place / "results")
        shutil.rmtree(place)
        print(f"{soak.kills.total()} kills, {soak.grids} grids", flush=True)


def _begin_fake(results: Path) -> subprocess.Popen[str]:
    return start(results, profile={"checkpoint_s": 0}, STUDY_TEST_STEP_S="0.2")


def lab(soak: Soak, kills: int, folder: Path, reference: Path) -> None:
    """The smoke grid's first cell at the lab scale, compared with committed records.

    Shared stages are trained, and killed, too.
    """
    (folder / "soak.yaml").write_text(LAB_PROFILE)

    def begin(results: Path) -> subprocess.Popen[str]:
        options = [
            "--only",
            "biased_k1",
            "--profile",
            str(folder / "soak.yaml"),
            "--results",
            str(results),
            "--no-mlflow",
        ]
        command = [sys.executable, "-m", "study.cli.main", "run", "--grid", "smoke", *options]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    results = folder / "results"
    soak.grid(results, begin, lambda: soak.kills.total() >= kills)
    made = {record.run: record for record in read_records(results / "runs")}
    wanted = {run: read_record(reference / f"{run}.json") for run in made}
    soak.compare(
        {r: content(made[r], wanted[r]) for r in made},
        {r: content(wanted[r], made[r]) for r in made},
        results,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--lab", action="store_true", help="a real lab cell instead of torch-free stages"
    )
    parser.add_argument(
        "--reference",
        type=Path,
        default=ROOT / "results" / "records",
        help="records to compare a lab cell with",
    )
    options = parser.parse_args()
    soak, began = Soak(options.seed, 40.0 if options.lab else 5.0), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    if options.lab:
        lab(soak, options.kills, folder, options.reference)
    else:
        torch_free(soak, options.kills, folder)
    shutil.rmtree(folder)
    print(soak.report(time.monotonic() - began))


if __name__ == "__main__":
    main()
