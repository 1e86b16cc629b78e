"""`study preflight`: check in seconds the contracts that must hold before a grid runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from study.cli.console import say, status, styled, table
from study.cli.options import GridOption, ResultsOption, ScaleOption
from study.record.store import Results
from study.runner.verbs.preflight import preflight as checks_of
from study.runner.work.execute import Work
from study.spec.grid.grid import load_grid
from study.train.preflight.check import Check

_STYLES = {"ok": "good", "note": "warn", "FAIL": "bad"}
_COVERAGE = ("k", "teacher_in_student_topk", "teacher_in_its_topk", "tokens")
_MANY = 2  # contracts that hold on more subjects than this are one line


def preflight(
    grid: GridOption,
    scale: ScaleOption = "lab",
    results: ResultsOption = Path("results"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every check with its numbers to this file.")
    ] = None,
) -> None:
    """Check the contracts of a grid before it spends anything; exit code 1 if one does not hold."""
    loaded = load_grid(grid, scale)
    Work().require_packages()

    def report(phase: str, done: int, total: int, _latest: dict[str, float]) -> None:
        status(f"{phase} {done}/{total}")

    checks = checks_of(loaded.cells, loaded.seeds, Results(results), report)
    if json_file is not None:
        json_file.write_text(
            json.dumps([check.as_dict() for check in checks], indent=1) + "\n", encoding="utf-8"
        )
    show(checks, f"{loaded.name} at scale {loaded.scale.name}")
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


def show(checks: Sequence[Check], grid: str) -> None:
    """Print the contracts with their state, then hints, then the numbers."""
    groups = _groups(checks)
    merged = f"; the same finding is one line: {len(groups)} lines"
    shown = merged if len(groups) < len(checks) else ""
    say(f"preflight of {grid}: {len(checks)} checks{shown}", "bold")
    say()
    table(["state", "contract", "on", "finding"], [_row(group) for group in groups], head=3)
    _show_hints(checks)
    _show_numbers(checks)
    counts = {state: sum(check.state == state for check in checks) for state in _STYLES}
    say()
    say(
        ", ".join(f"{number} {state}" for state, number in counts.items())
        + f" of {len(checks)} checks",
        _STYLES["FAIL" if counts["FAIL"] else "ok"],
    )


def _groups(checks: Sequence[Check]) -> list[list[Check]]:
    """Group contracts of one state and finding into one line; failures first."""
    groups: dict[tuple[str, str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.state, check.name, check.message), []).append(check)
    return sorted(groups.values(), key=lambda group: group[0].state != "FAIL")


def _row(group: list[Check]) -> list[str]:
    first = group[0]
    subjects = [check.subject for check in group]
    on = "; ".join(subjects) if len(subjects) <= _MANY else f"{len(subjects)} combinations"
    return [styled(first.state, _STYLES[first.state]), first.name, on, first.message]


def _show_hints(checks: Sequence[Check]) -> None:
    hints = dict.fromkeys(
        (check.name, check.hint) for check in checks if check.hint and check.state != "ok"
    )
    if hints:
        say()
    for name, hint in hints:
        say(f"{name} -> {hint}", "dim")


def _show_numbers(checks: Sequence[Check]) -> None:
    """Print the coverage in full, and the range over the combinations of every other number."""
    rows = [
        [c.subject, *(f"{c.measured[name]:.4g}" for name in _COVERAGE)]
        for c in checks
        if c.name == "coverage" and c.passed
    ]
    if rows:
        say()
        table(
            [
                "the teacher's probability",
                "K",
                "in the student's TopK",
                "in its own TopK",
                "tokens",
            ],
            rows,
            right=range(1, 5),
            head=1,
        )
    ranges: dict[str, dict[str, list[float]]] = {}
    for check in checks:
        for name, value in check.measured.items() if check.name != "coverage" else ():
            ranges.setdefault(check.name, {}).setdefault(name.replace("_", " "), []).append(value)
    say()
    for contract, numbers in ranges.items():
        say(
            f"{contract}:"
            f" {', '.join(f'{name} {_range(values)}' for name, values in numbers.items())}",
            "dim",
        )


def _range(values: Sequence[float]) -> str:
    low, high = (
        str(value) if isinstance(value, int) else f"{value:.3g}"
        for value in (min(values), max(values))
    )
    return low if low == high else f"{low}..{high}"
