"""`study verify`: make recorded runs again, from nothing, and say whether the records hold."""

import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from study.cli import console
from study.cli.carry_out import engine_for, processes
from study.cli.progress import Board, display_for
from study.record.machine import this_machine
from study.record.provenance import packages
from study.record.schema import Machine, Record
from study.record.store import Results, read_record
from study.runner.engines.notices import Stopped
from study.runner.engines.schedule import run_grid
from study.runner.graph.walk import Walk
from study.runner.verbs.equality import expectation
from study.runner.verbs.verify import Check, RerunResult, choose, compare_records, read, runs_of
from study.runner.work.execute import Work
from study.spec.grid.grid import load_grid
from study.spec.grid.labelled import LabelledRun
from study.spec.grid.scale import load_scale
from study.spec.machine.profile import Profile, load_profile
from study.spec.yaml.load import names

_STYLES = {
    "bitwise equal": "good",
    "statistically consistent": "warn",
    "not bitwise equal": "bad",
    "different": "bad",
    "failed": "bad",
    "older revision": "dim",
}


def verify(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Run ids, or unique parts; else drawn at random."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="How many runs to draw.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option(help="Draw the same runs as the verification that named this seed."),
    ] = None,
    grid: Annotated[
        str | None, typer.Option("--grid", "-g", help="Only runs of this grid.")
    ] = None,
    scale: Annotated[str, typer.Option(help="The scale of that grid.")] = "lab",
    results: Annotated[
        Path, typer.Option(help="The results folder; nothing in it is written.")
    ] = Path("results"),
    records: Annotated[
        Path | None, typer.Option(help="The records to verify; RESULTS/records by default.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at once; one per core by default.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="The machine: a page of profiles/ or its name.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the temporary results folder and name it.")
    ] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="Make the shipped stages of `make demo` again instead.")
    ] = False,
) -> None:
    """Make randomly chosen committed runs again in a temporary folder and compare the records.

    Shared stages are made again too. The exit code is 1 when a run differs.
    """
    if demo:
        # Workers import this module again from the copy of the code, which has no `analysis`.
        from study.cli.demo import show_remade, verify_demo

        with _folder(keep) as folder:
            show_remade(verify_demo(folder))
        return
    machine, drawn = load_profile(profile), secrets.randbelow(10**6) if seed is None else seed
    of_grid = {run.run_id: run for run in load_grid(grid, scale).runs()} if grid else {}
    chosen = choose(
        records or results / "records", runs or [], sample, drawn, of_grid if grid else None
    )
    if not runs:
        console.say(f"{len(chosen)} runs drawn with --seed {drawn}")
    recorded = read(chosen)
    foretell(recorded, machine)
    with _folder(keep) as folder:
        checks = check(recorded, of_grid, folder, Work(), processes(jobs or machine.jobs), machine)
    show(checks)
    if not all(one.passed for one in checks):
        raise typer.Exit(1)


def foretell(records: Sequence[Record], profile: Profile) -> None:
    """Say, before anything is made, whether equal bytes can be expected."""
    named = any(record.provenance.machine is not None for record in records)
    here = _workers_machine(profile) if named else None
    answers = Counter(str(expectation(one.provenance, here, packages())) for one in records)
    for answer, number in answers.items():
        console.say(f"{answer}  ({number} of {len(records)} runs)", "dim")


def _workers_machine(profile: Profile) -> Machine | None:
    """Return the machine as a local worker sees it, with one torch thread; None if Slurm chooses
    it.
    """
    if profile.engine != "local":
        return None
    import_module("torch")  # takes seconds; only it knows its build
    return this_machine().model_copy(update={"threads": 1})


def check(
    records: Sequence[Record],
    of_grid: dict[str, LabelledRun],
    folder: Path,
    work: Work,
    jobs: int,
    profile: Profile,
) -> list[Check]:
    """Execute these records' runs below `folder` and judge each, in the order of `records`."""
    results, (runs, older) = Results(folder), runs_of(records, of_grid)
    failed = _execute(runs, results, work, jobs, profile) if runs else {}
    checks = {one.run_id: one for one in older}
    for record in records:
        if record.run in failed:
            checks[record.run] = Check(record.run, RerunResult.FAILED, failed[record.run])
        elif record.run not in checks:
            checks[record.run] = compare_records(record, read_record(results.record(record.run)))
    return [checks[record.run] for record in records]


def _execute(
    runs: Sequence[LabelledRun], results: Results, work: Work, jobs: int, profile: Profile
) -> dict[str, str]:
    """As `study run` does it, with its progress but without a mirror.

    Returns run id -> reason for those that failed.
    """
    work.require_packages()
    expected = _expected({run.cell.scale for run in runs})
    # no claims: these records are compared and thrown away
    walk = Walk("verify", "", tuple(runs), results, work, profile, expected, claims={})
    stages = len(walk.plan.stages)
    console.say(f"{len(runs)} runs and {stages} stages to make again, in {results.root}")
    display = display_for(Board(walk.plan, walk.own_stages, jobs), results)
    try:
        summary = run_grid(walk, engine_for(walk, jobs), display)
    finally:
        display.close()
    if summary.stopped:
        raise Stopped("stopped; nothing was verified", hint="type the same command again")
    return {
        **summary.failed,
        **{
            run.run_id: "was not reached"
            for run in runs
            if run.run_id not in (*summary.failed, *summary.sealed_now)
        },
    }


def _expected(scales: set[str]) -> dict[str, float]:
    """Return the scales' own guesses of how long a stage takes; nothing for a scale that no longer
    exists.
    """
    known = [load_scale(scale).expected_seconds for scale in sorted(scales & set(names("scales")))]
    return {kind: seconds for guesses in known for kind, seconds in guesses.items()}


def show(checks: Sequence[Check]) -> None:
    """Show one line per run, what differs between the two executions, and the count of each
    outcome.
    """
    console.say()
    for one in checks:
        console.say(
            f"{console.styled(one.outcome, _STYLES[one.outcome])}  {one.run_id}: {one.detail}"
        )
    elsewhere = list(dict.fromkeys(line for one in checks for line in one.elsewhere))
    if elsewhere:
        console.say("made then and made now with:")
    for line in elsewhere:
        console.say(f"  {line}", "dim")
    counts = {
        outcome: sum(one.outcome == outcome for one in checks)
        for outcome in dict.fromkeys(one.outcome for one in checks)
    }
    console.say(", ".join(f"{number} {outcome}" for outcome, number in counts.items()))


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    """Yield a temporary results folder below TMPDIR, removed at the end unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="study-verify-"))
    try:
        yield folder
    finally:
        if keep:
            console.say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
