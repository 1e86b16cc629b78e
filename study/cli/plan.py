"""`study plan`, `study show` and `study check`: look at what would be done, change nothing."""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from study.cli.console import duration, say, styled, table

if TYPE_CHECKING:
    from study.runner.graph.plan import Plan, PlannedRun
    from study.spec.grid.grid import Grid
    from study.spec.yaml.origin import OriginedValue

GridOption = Annotated[str, typer.Option("--grid", help="grid: a path, grids/NAME.yaml or NAME")]
ScaleOption = Annotated[
    str, typer.Option("--scale", help="what the names of the grid are bound to")
]
ResultsOption = Annotated[Path, typer.Option("--results", help="folder of runs and artifacts")]


def plan(
    grid: GridOption,
    scale: ScaleOption = "lab",
    results: ResultsOption = Path("results"),
    only: Annotated[
        str | None,
        typer.Option(help="globs over levels (biased_*), factor=level, cell ids; commas mean and"),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="seeds, e.g. 0,1 or 0-4")] = None,
    core: Annotated[bool, typer.Option("--core", help="the grid's core subset")] = False,
    jobs: Annotated[
        int | None, typer.Option(help="processes to reckon with; the machine's cores by default")
    ] = None,
) -> None:
    """Show what is done, pending and failed, why something will run, and how long it will take."""
    from study.record.store import Results
    from study.runner.graph.plan import make_plan
    from study.spec.grid.grid import load_grid

    loaded = load_grid(grid, scale)
    runs = loaded.runs(seeds=parse_seeds(seeds), core=core, only=only)
    show_plan(
        loaded,
        make_plan(runs, Results(results), loaded.scale.expected_seconds),
        jobs or os.cpu_count() or 1,
    )


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """`0,1` or `0-4` or both; None = the grid's own."""
    from study.errors import SpecError

    if text is None:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise SpecError(f"--seeds {text!r} is not a list of seeds", hint="write 0,1,2 or 0-4")
        seeds += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(seeds))


def show_plan(grid: "Grid", plan: "Plan", jobs: int) -> None:
    """The screen of `study plan` and `study run --dry-run`."""
    say(f"{grid.name} at scale {grid.scale.name}: {grid.question}", "bold")
    _show_cells(grid, plan)
    _show_stages(plan)
    for cell in grid.cells:
        for labels in cell.also:
            say(
                f"one cell under two labels: {cell.text} ="
                f" {','.join(f'{f}={level}' for f, level in labels.items())}"
            )
    say()
    say(
        ", ".join(f"{plan.counts[state]} {state}" for state in plan.counts)
        + f" of {len(plan.runs)} runs"
    )
    if plan.published:
        say(
            f"{plan.published} of them have a published record; committed evidence never satisfies"
            " a plan",
            "dim",
        )
    if plan.core_seconds:
        needed, wall = duration(plan.core_seconds), duration(plan.seconds(jobs))
        say(
            f"about {wall} on {jobs} processes ({needed} of one core), by finished stages where"
            " there are any, else the scale's guess"
        )


def _show_cells(grid: "Grid", plan: "Plan") -> None:
    """One line for the runs of a cell that share state and reason."""
    groups: dict[tuple[str, str, str], list[PlannedRun]] = {}
    for planned in plan.runs:
        groups.setdefault((planned.run.cell_id, planned.state, planned.why), []).append(planned)
    factors = list(grid.factors)
    rows: list[list[str]] = []
    for (cell_id, state, why), members in groups.items():
        labels = [members[0].run.labels[factor] for factor in factors]
        seeds = ",".join(str(member.run.seed) for member in members)
        rows.append([*labels, seeds, state, why, cell_id])
    say()
    table([*factors, "seeds", "state", "why", "cell"], rows)


def _show_stages(plan: "Plan") -> None:
    """Stages to make, by kind and reason; shared = one that several runs wait for."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for stage in plan.stages:
        groups.setdefault((stage.node.kind, stage.why), []).append(stage)
    rows: list[list[object]] = []
    for (kind, why), members in groups.items():
        users = Counter(member.used_by for member in members)
        shared = (
            ", ".join(f"{n} x {count} runs" for count, n in sorted(users.items()) if count > 1)
            or "-"
        )
        rows.append(
            [kind, len(members), shared, _time(sum(member.seconds for member in members)), why]
        )
    if rows:
        say()
        table(["stage", "to make", "shared by", "core time", "why"], rows, right=(1,))


def _time(seconds: float) -> str:
    return duration(seconds) if seconds else "not known"


def show(
    cell: Annotated[
        str,
        typer.Argument(
            help=(
                "cell id, its last 8 characters, or globs over its levels, e.g."
                " rlvr,biased_k5,standard"
            )
        ),
    ],
    grid: GridOption = "math",
    scale: ScaleOption = "lab",
) -> None:
    """Show every value of a cell with its origin, whether it is identity, and what the
    paper has.
    """
    from study.spec.grid.grid import load_grid
    from study.spec.identity import stage_id

    found = load_grid(grid, scale).find_cell(cell)
    say(found.cell_id, "bold")
    say(f"labels {found.text} (not identity); model {stage_id(found.cell.model, 0)} at seed 0")
    say()
    table(
        ["value of", "is", "from", "identity", "paper or ours"],
        [_value_row(value) for value in found.values],
    )


def _value_row(value: "OriginedValue") -> list[object]:
    shown = "none" if value.value is None else value.value
    return [value.path, shown, value.origin, "yes" if value.identity else "no", value.note]


def check() -> None:
    """Expand every grid at every scale, and look up every cell that claims, tables and figures
    name.
    """
    from study.errors import SpecError
    from study.runner.verbs.check import check_experiments

    problems = 0
    for page, outcome in check_experiments():
        ok = not isinstance(outcome, SpecError)
        problems += not ok
        say(f"{styled('ok' if ok else 'BAD', 'good' if ok else 'bad')}  {page}: {outcome}")
    if problems:
        raise SpecError(f"{problems} pages of experiments/ are not right")
