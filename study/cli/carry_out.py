"""The body of `study run`: plan, engine, display and mirror put together."""

import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from tempfile import TemporaryFile

from study.cli import console
from study.cli.progress import Board, Display, display_for, own_stages, run_name
from study.errors import PrerequisiteError, RunFailed
from study.record.declared import in_force, keep, state_hash
from study.record.mlflow.client import Mirror
from study.record.mlflow.fields import cell_parameters
from study.record.mlflow.live import LivePoints
from study.record.store import Results
from study.runner.engines.devices import cores
from study.runner.engines.local import LocalEngine
from study.runner.engines.notices import Engine, Notice, Started, Stopped, Summary
from study.runner.engines.schedule import run_grid
from study.runner.graph.plan import Plan, State, make_plan
from study.runner.graph.restarts import restart_lines
from study.runner.graph.stages import RunPlan, own_stage
from study.runner.graph.tasks import pending_runs
from study.runner.work.execute import Work
from study.runner.work.sessions import present
from study.runner.work.sweep import sweep
from study.runner.work.worker import Failed, Finished, Progress
from study.spec.grid.grid import LabelledRun, named
from study.spec.machine.profile import Profile


def carry_out(
    runs: Sequence[LabelledRun],
    results: Results,
    work: Work,
    grid: str,
    scale: str,
    jobs: int,
    expected_seconds: Mapping[str, float],
    *,
    profile: Profile | None = None,
    mlflow: bool = True,
    mlflow_uri: str | None = None,
    note: str = "",
    say_next: bool = True,
) -> Summary:
    """Run what is missing. note: describes the grid in MLflow. say_next: end with what to type
    next.

    Raises RunFailed after the last run if some failed, Stopped (exit code 130) on Ctrl-C or
    SIGTERM.
    """
    profile = profile or Profile()
    require_writable(results)
    claims = in_force()
    plans = [
        RunPlan(run.run_id, run.cell_id, run.cell, run.seed, state_hash(claims)) for run in runs
    ]
    pending, sealed = pending_runs(plans, results, console.warn)
    if not pending:
        sweep(results)
        done = f"nothing to do: all {len(sealed)} runs of {grid} are sealed"
        console.say(f"{done}; next: study analyze {named(grid, scale)}" if say_next else done)
        return Summary(sealed_before=sealed)
    work.require_packages()
    try:
        keep(results.declared, claims)
    except (
        OSError
    ) as error:  # no room: the first stage says so in full, and the next start keeps them
        console.warn(f"the claims in force could not be kept: {error.strerror}")
    plan = make_plan(runs, results, expected_seconds)
    console.say(f"{grid} ({scale}): {_to_do(plan, jobs)}")
    for line in restart_lines(plan.restarts):
        console.warn(line)
    own = own_stages(runs, {run.run_id: own_stage(run.cell, run.seed) for run in runs})
    board = Board(plan, own, jobs)
    engine = engine_for(results, work, jobs, profile)
    mirror = _begun_mirror(results, grid, scale, mlflow_uri, note) if mlflow else None
    display = display_for(board, results)
    observer = _Observer(display, mirror, results, runs, own)
    started = time.monotonic()
    try:
        with present(
            results,
            grid,
            scale,
            [run.run_id for run in runs],
            [stage.node.id for stage in plan.stages],
        ):
            summary = run_grid(plans, results, engine, observer, profile)
    finally:
        display.close()
    if engine.parting():
        console.say(engine.parting())
    _close_mirror(mirror, summary)
    _conclude(summary, runs, named(grid, scale), time.monotonic() - started)
    if say_next:
        console.say(f"next: study analyze {named(grid, scale)}")
    return summary


def all_sealed(runs: Sequence[LabelledRun], results: Results) -> bool:
    """Whether there seems to be nothing to do; the records are read, and refused if
    damaged, later.
    """
    return all(results.record(run.run_id).is_file() for run in runs)


def engine_for(results: Results, work: Work, jobs: int, profile: Profile) -> Engine:
    match profile.engine:
        case "local":
            return LocalEngine(results, work, jobs, profile)
        case "slurm":
            if find_spec("submitit") is None:
                raise PrerequisiteError(
                    "Slurm needs the package submitit",
                    hint="install the extra: pip install 'opd-study[slurm]'",
                )
            # an extra that is not installed on most machines
            from study.runner.engines.slurm.engine import SlurmEngine

            return SlurmEngine(results, work, profile)


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

    def __init__(
        self,
        display: Display,
        mirror: Mirror | None,
        results: Results,
        runs: Sequence[LabelledRun],
        own: Mapping[str, list[LabelledRun]],
    ) -> None:
        self._display, self._mirror, self._results = display, mirror, results
        self._runs = {run.run_id: run for run in runs}
        self._own = own
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


def _begun_mirror(results: Results, grid: str, scale: str, uri: str | None, note: str) -> Mirror:
    mirror = Mirror(results, uri)
    if mirror.warning:
        console.warn(mirror.warning)
    mirror.begin(grid, scale)
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
                "the same command tries them again; their logs: log.txt beside failure.json in"
                " runs/ and stages/"
            ),
        )


def processes(jobs: int | None) -> int:
    """One process per core that this process may use, unless said otherwise."""
    return jobs or cores()
