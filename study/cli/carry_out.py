"""The body of `study run`: plan, engine, display and mirror put together."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from tempfile import TemporaryFile

from study.cli import console
from study.cli.progress import Board, Display, display_for, run_name
from study.errors import PrerequisiteError, RunFailed
from study.record.declared.states import keep
from study.record.mlflow.client import Mirror
from study.record.mlflow.fields import cell_parameters
from study.record.mlflow.live import LivePoints
from study.record.store import Results
from study.runner.engines.devices import cores
from study.runner.engines.local import LocalEngine
from study.runner.engines.notices import Engine, Notice, Started, Stopped, Summary
from study.runner.engines.schedule import run_grid
from study.runner.graph.plan import Plan, State
from study.runner.graph.restarts import restart_lines
from study.runner.graph.stages import RunPlan
from study.runner.graph.walk import Walk
from study.runner.work.execute import Work
from study.runner.work.sessions import present
from study.runner.work.sweep import sweep
from study.runner.work.worker import Failed, Finished, Progress
from study.spec.grid.grid import Grid, named
from study.spec.grid.labelled import LabelledRun
from study.spec.machine.profile import Profile


def walk_through(
    grid: Grid,
    runs: Sequence[LabelledRun],
    results: Results,
    work: Work,
    profile: Profile | None = None,
) -> Walk:
    """Return the walk through these runs of a grid."""
    names = (grid.name, grid.scale.name)
    guess = grid.scale.expected_seconds
    machine = profile or Profile()
    return Walk(*names, tuple(runs), results, work, machine, guess, source=grid)


def carry_out(
    walk: Walk,
    jobs: int,
    *,
    preflight: Callable[[], None] | None = None,
    mlflow: bool = True,
    mlflow_uri: str | None = None,
    note: str = "",
    say_next: bool = True,
) -> Summary:
    """Run what is missing.

    preflight: called before anything is spent, if a run is missing. note: describes the grid in
    MLflow. say_next: end with what to type next.

    Raises RunFailed after the last run if some failed, Stopped (exit code 130) on Ctrl-C or
    SIGTERM.
    """
    require_writable(walk.results)
    named_grid = named(walk.grid, walk.scale)
    for message in walk.moved_aside:
        console.warn(message)
    if not walk.pending:
        sweep(walk.results)
        done = f"nothing to do: all {len(walk.sealed)} runs of {walk.grid} are sealed"
        console.say(f"{done}; next: study analyze {named_grid}" if say_next else done)
        return Summary(sealed_before=list(walk.sealed))
    walk.work.require_packages()
    _say_preregistered(walk)
    if preflight:
        preflight()
    _keep_claims(walk)
    console.say(f"{walk.grid} ({walk.scale}): {_to_do(walk.plan, jobs)}")
    for line in restart_lines(walk.plan.restarts):
        console.warn(line)
    started = time.monotonic()
    summary = _run_shown(walk, jobs, _begun_mirror(walk, mlflow_uri, note) if mlflow else None)
    _conclude(summary, walk.runs, named_grid, time.monotonic() - started)
    if say_next:
        console.say(f"next: study analyze {named_grid}")
    return summary


def _say_preregistered(walk: Walk) -> None:
    """Name the preregistrations that the missing runs will cite."""
    names = {page.seal: page.name for page in walk.preregistrations}
    plans = [task.payload for task in walk.tasks if isinstance(task.payload, RunPlan)]
    cited = Counter(plan.preregistration for plan in plans)
    said = [f"{names[seal]} ({count} runs)" for seal, count in cited.items() if seal is not None]
    if said:
        without = f"; {cited[None]} runs cite none" if cited[None] else ""
        console.say(f"preregistered: {', '.join(said)}{without}")


def _keep_claims(walk: Walk) -> None:
    """Store the claims in force. Without room the first stage fails and says so in full; the next
    start stores them.
    """
    try:
        keep(walk.results.declared, walk.declared)
    except OSError as error:
        console.warn(f"the claims in force could not be kept: {error.strerror}")


def _run_shown(walk: Walk, jobs: int, mirror: Mirror | None) -> Summary:
    """Run the grid with its display, its mirror and its session file."""
    board = Board(walk.plan, walk.own_stages, jobs)
    engine = engine_for(walk, jobs)
    display = display_for(board, walk.results)
    runs = [run.run_id for run in walk.runs]
    stages = [stage.node.id for stage in walk.plan.stages]
    try:
        with present(walk.results, walk.grid, walk.scale, runs, stages):
            summary = run_grid(walk, engine, _Observer(display, mirror, walk))
    finally:
        display.close()
    if engine.parting():
        console.say(engine.parting())
    _close_mirror(mirror, summary)
    return summary


def engine_for(walk: Walk, jobs: int) -> Engine:
    match walk.profile.engine:
        case "local":
            return LocalEngine(walk.results, walk.work, jobs, walk.profile)
        case "slurm":
            if find_spec("submitit") is None:
                raise PrerequisiteError(
                    "Slurm needs the package submitit",
                    hint="install the extra: pip install 'opd-study[slurm]'",
                )
            # an extra that is not installed on most machines
            from study.runner.engines.slurm.engine import SlurmEngine

            return SlurmEngine(walk.results, walk.work, walk.profile)


def require_writable(results: Results) -> None:
    """Refuse a results folder that cannot be written, before any work is done."""
    for folder in (results.root, results.artifacts, results.scratch or results.root):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder) as probe:  # it has no name: a kill leaves nothing
                probe.write(b"x")
        except OSError as error:
            what = f"nothing can be written to {folder}: {error.strerror}"
            raise PrerequisiteError(
                what,
                hint="make it writable, free some space, or choose another folder: --results DIR",
            ) from error


def _to_do(plan: Plan, jobs: int) -> str:
    pending = len(plan.runs) - plan.counts[State.DONE]
    if not pending:
        return f"nothing to do: all {len(plan.runs)} runs are sealed"
    shared = sum(stage.used_by > 1 for stage in plan.stages)
    stages = f"{len(plan.stages)} stages to make ({shared} shared)"
    seconds = plan.seconds(jobs)
    time = f"about {console.duration(seconds)}" if seconds else "no time estimate yet"
    return (
        f"{pending} of {len(plan.runs)} runs to do, {stages}, {time} on {jobs}"
        f" {'process' if jobs == 1 else 'processes'}"
    )


class _Observer:
    """Pass every notice to the display, and starts and ends of runs to the mirror."""

    def __init__(self, display: Display, mirror: Mirror | None, walk: Walk) -> None:
        self._display, self._mirror, self._results = display, mirror, walk.results
        self._runs = {run.run_id: run for run in walk.runs}
        self._own = walk.own_stages
        self._live = LivePoints()

    def __call__(self, notice: Notice) -> None:
        self._display(notice)
        if self._mirror is None:
            return
        match notice:
            case Started(task):
                for run in [self._runs[task]] if task in self._runs else self._own.get(task, []):
                    settings = cell_parameters(run.cell, run.seed)
                    self._mirror.started(run.run_id, run.labels, run.seed, settings)
            case Progress(task) if task in self._own and self._live.is_due(task, notice.done):
                points = self._live.changed(task, notice.done, notice.latest)
                phase = f"{notice.phase} {notice.done}/{notice.total}"
                for run in self._own[task]:
                    self._mirror.progress(run.run_id, notice.done, points, phase)
            case Finished(task) if task in self._runs:
                self._mirror.sealed(self._results.record(task), self._runs[task].labels)
            case Failed(task) if task in self._runs:
                self._mirror.failed(
                    task, self._runs[task].labels, self._runs[task].seed, notice.error
                )
            case _:
                return


def _begun_mirror(walk: Walk, uri: str | None, note: str) -> Mirror:
    mirror = Mirror(walk.results, uri)
    if mirror.warning:
        console.warn(mirror.warning)
    mirror.begin(walk.grid, walk.scale)
    mirror.describe(note)
    return mirror


def _close_mirror(mirror: Mirror | None, summary: Summary) -> None:
    if mirror is None:
        return
    status = "KILLED" if summary.stopped else "FAILED" if summary.failed else "FINISHED"
    console.status("writing the MLflow mirror")
    mirror.end(status)
    warning = mirror.close(5.0) if summary.stopped else mirror.close()
    if warning and warning != mirror.warning:
        console.warn(warning)


def _conclude(summary: Summary, runs: Sequence[LabelledRun], grid: str, seconds: float) -> None:
    """Say what is sealed; raise where something failed or was stopped. grid: as in commands."""
    sealed = len(summary.sealed_before) + len(summary.sealed_now)
    console.say(
        f"{sealed} of {len(runs)} runs sealed ({len(summary.sealed_now)} now, in"
        f" {console.duration(seconds)})"
    )
    names = {run.run_id: run_name(run) for run in runs}
    if summary.failed:
        console.table(
            ("failed run", "reason"),
            [(names[run_id], reason) for run_id, reason in summary.failed.items()],
        )
    if summary.stopped:
        raise Stopped(
            "stopped; everything finished is kept",
            hint=f"continue with the same command: study run {grid} ...",
        )
    if summary.fatal:
        raise RunFailed(f"nothing more was started: {summary.fatal.error}", hint=summary.fatal.hint)
    if summary.failed:
        what = f"{len(summary.failed)} of {len(runs)} runs failed"
        raise RunFailed(
            what,
            hint=(
                "the same command tries them again; their logs: log.txt next to failure.json in"
                " runs/ and stages/"
            ),
        )


def processes(jobs: int | None) -> int:
    """Return the number of processes: one per core that this process may use, unless the user gave
    another number.
    """
    return jobs or cores()
