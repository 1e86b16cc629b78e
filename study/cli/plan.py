"""`study plan`: show what would be done, and change nothing."""

import os
import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from study.cli.console import duration, say, table
from study.cli.options import GridOption, ResultsOption, ScaleOption, parse_seeds
from study.record.store import Results
from study.runner.graph.plan import Plan, PlannedRun, State, make_plan
from study.runner.graph.restarts import restart_lines
from study.spec.grid.grid import Grid, load_grid, named
from study.spec.grid.labelled import LabelledRun


def plan(
    grid: GridOption,
    scale: ScaleOption = "lab",
    results: ResultsOption = Path("results"),
    only: Annotated[
        str | None,
        typer.Option(
            help="Only these cells: globs over levels (biased_*), factor=level, ids; comma: and."
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Only these seeds, e.g. 0,1 or 0-4.")] = None,
    core: Annotated[
        bool, typer.Option("--core", help="Only the grid's core cells and seeds.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(help="Processes to plan for; one per core by default.")
    ] = None,
) -> None:
    """Show what is done, pending and failed, why each run is due, and how long all will take."""
    loaded = load_grid(grid, scale)
    runs = loaded.runs(seeds=parse_seeds(seeds), core=core, only=only)
    show_plan(
        loaded,
        make_plan(runs, Results(results), loaded.scale.expected_seconds),
        jobs or os.cpu_count() or 1,
        chosen_by(only, seeds, core=core),
    )


def chosen_by(only: str | None, seeds: str | None, *, core: bool) -> str:
    """Return the options that choose runs of a grid, as a command has them."""
    options = [f"--only {shlex.quote(only)}"] if only else []
    options += [f"--seeds {seeds}"] if seeds else []
    options += ["--core"] if core else []
    return "".join(f" {option}" for option in options)


def show_plan(grid: Grid, plan: Plan, jobs: int, chosen: str = "") -> None:
    """Print the plan for `study plan` and `study run --dry-run`. chosen: see `chosen_by`."""
    say(f"{grid.name} at scale {grid.scale.name}: {grid.question}", "bold")
    _show_cells(grid, plan)
    _show_stages(plan)
    for cell in grid.cells:
        for labels in cell.also:
            other = ",".join(f"{factor}={level}" for factor, level in labels.items())
            say(f"one cell under two labels: {cell.text} = {other}")
    counts = ", ".join(f"{count} {state}" for state, count in plan.counts.items())
    say()
    say(f"{counts} of {len(plan.runs)} runs")
    if plan.published:
        say(
            f"{plan.published} of them have a published record (study report, study table): a plan"
            " counts only runs made in this results folder",
            "dim",
        )
    for line in restart_lines(plan.restarts):
        say(line, "yellow")
    if plan.core_seconds:
        needed, wall = duration(plan.core_seconds), duration(plan.seconds(jobs))
        say(
            f"about {wall} on {jobs} processes ({needed} of one core), from finished stages where"
            " there are any, else from the scale"
        )
    whole = all(planned.state is State.DONE for planned in plan.runs)
    command = f"study {'analyze' if whole else 'run'} {named(grid.name, grid.scale.name)}"
    say(f"next: {command}{'' if whole else chosen}")


def _show_cells(grid: Grid, plan: Plan) -> None:
    """Print one line for the runs of a cell that share state and reason; each reason once, below.

    Several reasons are numbered.
    """
    groups: dict[tuple[str, State, str], list[PlannedRun]] = {}
    for planned in plan.runs:
        groups.setdefault((planned.run.cell_id, planned.state, planned.why), []).append(planned)
    reasons = Counter((planned.state, planned.why) for planned in plan.runs if planned.why)
    several = len(reasons) > 1
    marks = {reason: f" ({number})" if several else "" for number, reason in enumerate(reasons, 1)}
    factors = list(grid.factors)
    rows: list[list[str]] = []
    for (cell_id, state, why), members in groups.items():
        labels = [members[0].run.labels[factor] for factor in factors]
        seeds = ",".join(_seed(member.run) for member in members)
        rows.append([*labels, seeds, f"{state}{marks.get((state, why), '')}", cell_id])
    say()
    table([*factors, "seeds", "state", "cell"], rows, drop=("cell", "seeds"))
    for (state, why), number in reasons.items():
        runs = "run" if number == 1 else "runs"
        say(f"{marks[state, why].strip() or 'why:'} {number} {runs} {state}: {why}")


def _seed(run: LabelledRun) -> str:
    return f"{run.seed}r{run.repeat}" if run.repeat else str(run.seed)


def _show_stages(plan: Plan) -> None:
    """Print the stages to make, by kind and reason; shared: several runs wait for it."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for stage in plan.stages:
        groups.setdefault((stage.node.kind, stage.why), []).append(stage)
    rows: list[list[object]] = []
    for (kind, why), members in groups.items():
        users = Counter(member.used_by for member in members)
        shared = [f"{n} x {count} runs" for count, n in sorted(users.items()) if count > 1]
        seconds = sum(member.seconds for member in members)
        rows.append([kind, len(members), ", ".join(shared) or "-", _time(seconds), why])
    if rows:
        say()
        headers = ["stage", "to make", "shared by", "core time", "why"]
        table(headers, rows, right=(1,), drop=("shared by", "why"))


def _time(seconds: float) -> str:
    return duration(seconds) if seconds else "not known"
