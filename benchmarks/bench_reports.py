"""Measure what tables, figures, verdicts and the report cost on the committed records.

    python -m benchmarks.bench_reports [--before CLONE] [--repeats 3] [--only table,figure]

Every command is a process of its own; CPU seconds (user and system) are printed, because wall time
says little on a busy machine. before: another checkout, e.g. of an earlier commit. Then both are
measured in turn, command by command, and what each wrote is compared byte for byte. Bytecode is
warm: one untimed start per checkout fills a cache of its own, also where
PYTHONDONTWRITEBYTECODE is set.
"""

import argparse
import filecmp
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

COMMANDS: dict[str, tuple[str, ...]] = {
    "table": ("table", "20"),
    "figure": ("figure", "20"),
    "check": ("analyze", "--grid", "math", "--check"),
    "analyze": ("analyze", "--grid", "math"),
    "report": ("report",),
}
WRITING = ("figure", "analyze", "report")


@dataclass(frozen=True)
class Checkout:
    """A checkout with the folder of its bytecode and of what its commands write."""

    name: str
    root: Path
    work: Path

    def seconds(self, name: str, records: Path) -> float:
        """Run one command; return its CPU seconds."""
        given = ["--records", str(records)]
        if name in WRITING:
            given += ["--out", str(self.work / name)]
        environment = os.environ | {
            "PYTHONPATH": str(self.root),
            "PYTHONPYCACHEPREFIX": str(self.work / "bytecode"),
            "OMP_NUM_THREADS": "1",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        before = _used()
        done = subprocess.run(
            [sys.executable, "-m", "study.cli.main", *COMMANDS[name], *given],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        # a check of pages that are not rebuilt yet ends with an error, after the same work
        if done.returncode and name != "check":
            raise SystemExit(f"{self.name}, study {name}: {done.stderr}")
        return _used() - before


def _used() -> float:
    """CPU seconds of all processes that have ended below this one."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def differing(one: Path, other: Path) -> list[str]:
    """The files below either folder that are not the same bytes in both."""
    files = {
        path.relative_to(folder)
        for folder in (one, other)
        for path in folder.rglob("*")
        if path.is_file()
    }
    return sorted(str(file) for file in files if not _same(one / file, other / file))


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def measure(name: str, checkouts: list[Checkout], records: Path, repeats: int) -> None:
    """Print the median and the range of one command in each checkout, and their ratio."""
    spent = {checkout.name: list[float]() for checkout in checkouts}
    for _ in range(repeats):
        for checkout in checkouts:
            spent[checkout.name].append(checkout.seconds(name, records))
    medians = [statistics.median(each) for each in spent.values()]
    shown = " | ".join(
        f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
        for each in spent.values()
    )
    ratio = f" | {medians[-1] / medians[0]:.2f}" if len(medians) > 1 else ""
    print(f"| `study {' '.join(COMMANDS[name])}` | {shown}{ratio} |", flush=True)
    if len(checkouts) > 1 and name in WRITING:
        found = differing(*(checkout.work / name for checkout in checkouts))
        print(f"  files that differ: {', '.join(found) or 'none'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default=",".join(COMMANDS))
    options = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        checkouts = [Checkout("after", here, work / "after")]
        if options.before:
            checkouts.insert(0, Checkout("before", options.before.resolve(), work / "before"))
        for checkout in checkouts:
            checkout.seconds("figure", here / "results/records")
        print(f"load {os.getloadavg()[0]:.1f}; CPU seconds, median of {options.repeats} (range)")
        for name in options.only.split(","):
            measure(name, checkouts, here / "results/records", options.repeats)
        print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
