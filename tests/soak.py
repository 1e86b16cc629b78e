"""Random kills until a number is reached: `python -m tests.soak --kills 100` on torch-free stages,
`--lab` on a real lab cell, `--kinds freeze` with freezes alone.

A grid is started, half of the time by two runners on two host names at once. Something of it is
killed, interrupted or frozen for longer than the lease at a random moment, and the same command is
typed again until its runs are sealed. Then the records are compared byte for byte with those of an
undisturbed run, and the next grid begins. Prints what was done and what it led to.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from study.record.schema import content
from study.record.store import Results, read_record, read_records
from tests.support.harness import ROOT, contents, descendants, make_undisturbed, start, workers

HOW = ("worker", "runner", "both", "SIGTERM", "Ctrl-C", "freeze")
HOSTS = ("one", "two")
LEASE_S, FREEZE_S = 1.5, (3.0, 5.0)
LAB_PROFILE = f"profile: soak\njobs: 1\ncheckpoint_s: 5\nlease_s: {LEASE_S}\n"
Start = Callable[[Path, str], subprocess.Popen[str]]


class Soak:
    """Counts of one soak.

    taken_over: workers that woke and found their task with another process. lost_locks: workers
    that lost a lock although they were never frozen; on a machine that is not starved none does.
    """

    def __init__(
        self, seed: int, longest_s: float, kinds: Sequence[str] = HOW, two: float = 0.5
    ) -> None:
        self.random, self.longest_s = random.Random(seed), longest_s
        self.kinds, self.two = kinds, two
        self.kills: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.frozen: set[int] = set()
        self.grids, self.records, self.taken_over, self.lost_locks = 0, 0, 0, 0

    def disturb(self, process: subprocess.Popen[str], results: Path) -> None:
        """Wait for a random moment and kill something; count it only if the grid was still at
        work.
        """
        moment = time.monotonic() + self.random.uniform(0.1, self.longest_s)
        while time.monotonic() < moment:
            if process.poll() is not None:
                return
            time.sleep(0.01)
        how = self.random.choice(self.kinds)
        # a program that is still being imported answers a signal as any Python program does
        while how in ("SIGTERM", "Ctrl-C") and process.poll() is None:
            if catches_sigterm(process.pid):
                break
            time.sleep(0.01)
        if how == "freeze":
            wait_for_lock(process, results)
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
            case "freeze":
                self._freeze(process, below)
            case _:
                os.killpg(process.pid, signal.SIGINT)

    def _freeze(self, process: subprocess.Popen[str], below: list[int]) -> None:
        """Stop a worker, or the runner with all its workers, for longer than the lease."""
        everything = [process.pid, *below]
        chosen = [self.random.choice(below)] if below and self.random.random() < 0.3 else everything
        self.frozen |= {*chosen}
        for number, pause_s in (
            (signal.SIGSTOP, self.random.uniform(*FREEZE_S)),
            (signal.SIGCONT, 0.0),
        ):
            for pid in chosen:
                with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                    os.kill(pid, number)
            time.sleep(pause_s)

    def grid(self, results: Path, begin: Start, enough: Callable[[], bool]) -> None:
        """One grid to its end: disturbed until there were enough kills, then left in peace."""
        done = False
        while not done:
            hosts = HOSTS if self.random.random() < self.two else [self.random.choice(HOSTS)]
            running = [begin(results, host) for host in hosts]
            while not enough() and (alive := [one for one in running if one.poll() is None]):
                # a killed worker is tried again by the same process
                self.disturb(self.random.choice(alive), results)
            ends = [self._end(process) for process in running]
            done = not any(ends)
        self._count_lost(results)

    def _end(self, process: subprocess.Popen[str]) -> int:
        output, _ = process.communicate(timeout=1800)
        self.ends[str(process.returncode)] += 1
        if "Traceback" in output:
            raise SystemExit(f"a traceback reached the screen:\n{output}")
        if "freeze" in self.kinds and len(self.kinds) == 1 and process.returncode:
            raise SystemExit(f"a freeze failed a stage:\n{output}")
        return process.returncode

    def _count_lost(self, results: Path) -> None:
        for log in results.glob("*/*/log.txt"):
            for pid in re.findall(r"-(\d+)-\d+ lost the lock", log.read_text(errors="replace")):
                if int(pid) in self.frozen:
                    self.taken_over += 1
                else:
                    self.lost_locks += 1

    def compare(
        self, made: Mapping[str, bytes], wanted: Mapping[str, bytes], results: Path
    ) -> None:
        if dict(made) != dict(wanted):
            raise SystemExit(
                f"records differ from the undisturbed ones; kept for a look: {results}"
            )
        left = [
            path
            for pattern in (
                "*.partial*",
                ".*.tmp",
                "locks/*~*",
                "checkpoints/*",
                "status.json",
                "quarantine/*",
            )
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
            f" completed, {self.records} records, all byte-identical to undisturbed ones;"
            f" {self.taken_over} tasks taken over from frozen workers, {self.lost_locks} locks lost"
            f" by others; exit codes {ends}"
        )


def wait_for_lock(process: subprocess.Popen[str], results: Path) -> None:
    """Until a worker of this runner holds a lock, for ten seconds at most: a freeze at any other
    moment is only a pause.
    """
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            owners = [path.read_text() for path in (results / "locks").glob("*~*")]
            if {int(name.split("-")[1]) for name in owners if name} & descendants(process.pid):
                return
        time.sleep(0.01)


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


def _begin_fake(results: Path, host: str) -> subprocess.Popen[str]:
    profile = {"checkpoint_s": 0, "lease_s": LEASE_S}
    return start(results, profile=profile, STUDY_TEST_STEP_S="0.2", STUDY_HOST=host)


def lab(soak: Soak, kills: int, folder: Path, reference: Path) -> None:
    """The smoke grid's first cell at the lab scale, compared with committed records.

    Shared stages are trained, and killed, too.
    """
    (folder / "soak.yaml").write_text(LAB_PROFILE)

    def begin(results: Path, host: str) -> subprocess.Popen[str]:
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
            env=os.environ | {"STUDY_HOST": host},
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
    parser.add_argument("--kinds", nargs="+", choices=HOW, default=HOW, help="what is done")
    parser.add_argument(
        "--two", type=float, default=0.5, help="how often two runners are at work (0 to 1)"
    )
    parser.add_argument("--longest", type=float, help="seconds between two kills at most")
    options = parser.parse_args()
    longest_s = options.longest or (40.0 if options.lab else 5.0)
    soak = Soak(options.seed, longest_s, options.kinds, options.two)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    if options.lab:
        lab(soak, options.kills, folder, options.reference)
    else:
        torch_free(soak, options.kills, folder)
    shutil.rmtree(folder)
    print(soak.report(time.monotonic() - began))


if __name__ == "__main__":
    main()
