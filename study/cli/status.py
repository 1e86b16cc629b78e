"""`study status`: show from a second shell what runs now."""

import time
from pathlib import Path
from typing import Annotated

import typer

from study.cli import console
from study.cli.progress import headline
from study.record.store import Results
from study.runner.work.sessions import Session
from study.runner.work.status import AtWork, Count, Snapshot, snapshot


def status(
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Refresh until nothing runs, or Ctrl-C."),
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two refreshes of --watch.")
    ] = 2.0,
) -> None:
    """Show what is done, running, failed and waiting in a results folder.

    Each running task has its step, time left, accuracy and KL.
    """
    if watch:
        follow(Results(results), every)
        return
    for line in report(snapshot(Results(results))):
        console.say(line)


def follow(results: Results, every: float) -> None:
    """Show the status again and again: in place on a terminal, else as blocks of plain lines.

    Ctrl-C ends it without an error.
    """
    try:
        with console.redrawn() as draw:
            seen = snapshot(results)
            while seen.busy:
                draw(report(seen))
                time.sleep(every)
                seen = snapshot(results)
    except KeyboardInterrupt:
        return
    for line in report(seen):
        console.say(line)


def report(seen: Snapshot) -> list[str]:
    """Format one snapshot as lines."""
    lines = [line for session in seen.sessions for line in _session(seen, session)]
    if seen.tasks:
        rows = [_row(task) for task in seen.tasks]
        lines += ["", *console.aligned(("task", "phase", "step", "left", "silent", "latest"), rows)]
    else:
        lines.append(f"no task is running in {seen.results.root}{_left_behind(seen)}")
    if seen.foreign:
        rows = [
            (task.task, task.host, f"{console.duration(task.beat_s)} ago") for task in seen.foreign
        ]
        lines += ["", *console.aligned(("locked elsewhere", "host", "heartbeat"), rows)]
    return lines


def _left_behind(seen: Snapshot) -> str:
    """Count what earlier runs left; in an empty folder say how to start one."""
    sealed, failed = (
        len(list(seen.results.runs.glob(f"*/{name}.json"))) for name in ("record", "failure")
    )
    if sealed or failed:
        return f"; {sealed} runs sealed, {failed} failed"
    return "; no run is there yet: study run --grid GRID starts one"


def _session(seen: Snapshot, session: Session) -> list[str]:
    since = console.duration(max(0.0, seen.now - session.started))
    where = {True: "for", False: "killed; it started", None: "on another host, started"}[
        session.alive
    ]
    ago = "" if session.alive else " ago"
    runs, stages = seen.runs(session), seen.stages(session)
    lines = [
        f"{session.grid} ({session.scale}), {where} {since}{ago}:"
        f" {_counts('runs', runs, 'sealed')}; {_counts('stages', stages, 'made')}"
    ]
    if runs.failed or stages.failed:
        failed = next(
            (run for run in session.runs if (seen.results.run(run) / "failure.json").is_file()),
            "RUN",
        )
        lines.append(f"  why: study logs {failed}")
    if session.alive is False:
        lines.append(f"  continue: study run --grid {session.grid} --scale {session.scale}")
    return lines


def _counts(what: str, count: Count, done: str) -> str:
    """Format a count: 72 runs: 12 sealed, 2 running, 58 waiting."""
    parts = {
        done: count.done,
        "running": count.running,
        "failed": count.failed,
        "waiting": count.waiting,
    }
    return f"{count.total} {what}: " + (
        ", ".join(f"{number} {name}" for name, number in parts.items() if number)
        or f"none to be {done}"
    )


def _row(task: AtWork) -> tuple[str, ...]:
    phase = "dead (its process is gone)" if task.alive is False else task.phase
    left = "" if task.eta_s is None else console.duration(task.eta_s)
    silent = "" if task.silent_s < 5 else console.duration(task.silent_s)
    return (
        task.task,
        phase,
        f"{task.done}/{task.total}",
        left,
        silent,
        headline(task.latest).strip(),
    )
