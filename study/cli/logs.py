"""`study logs`: show why a run failed and what it and its stages printed."""

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from study.cli import console
from study.errors import SpecError
from study.record.store import Results
from study.runner.graph.lookup import LogTarget, failure, find_run, tasks_of
from study.runner.work.status import snapshot

_LOOK_EVERY_S = 0.5


def logs(
    run: Annotated[
        str,
        typer.Argument(
            help=(
                "A run or stage id, a unique beginning or end of one, or, with --grid, globs over"
                " levels."
            )
        ),
    ],
    stage: Annotated[
        str | None,
        typer.Option(help="Only this stage: its role (distill, teacher, teacher.base), or `run`."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show new lines until the run ends or Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Number of last lines of each log.")
    ] = 20,
    grid: Annotated[
        str | None, typer.Option("--grid", "-g", help="The grid of these levels.")
    ] = None,
    scale: Annotated[str, typer.Option(help="The scale of the grid.")] = "lab",
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
) -> None:
    """Show the logs of a run and of the stages behind it; the reason of a failure comes first."""
    folder = Results(results)
    run_id = find_run(run, folder, grid, scale)
    tasks = _of_role(tasks_of(run_id, folder, grid, scale), stage)
    console.say(run_id, "bold")
    _show_failure(tasks)
    ends = {task.id: _show_log(task, lines) for task in tasks}
    if not any(_log(task).is_file() for task in tasks):
        console.say()
        console.say(f"{folder.root} has no log of it: study run writes them as it works")
        if any(task.id == run_id and task.role == "run" for task in tasks):
            console.say(f"  -> where it has a published record: study explain {run_id}")
    if follow:
        _follow(tasks, ends, folder, run_id)


def _of_role(tasks: Sequence[LogTarget], role: str | None) -> list[LogTarget]:
    kept = [task for task in tasks if role is None or role in (task.role, task.id)]
    if not kept:
        raise SpecError(
            f"no stage {role!r} behind this run",
            hint=f"one of: {', '.join(task.role for task in tasks)}",
        )
    return kept


def _show_failure(tasks: Sequence[LogTarget]) -> None:
    """Show each reason once; a run that failed because of a stage repeats the stage's reason."""
    told: set[str] = set()
    for task in tasks:
        found = failure(task.folder)
        origin = str(found.get("stage", task.id))
        if found and origin not in told:
            told.add(origin)
            console.say(
                f"FAILED at {found.get('at', '?')}: {origin}: {found.get('error', '')}", "bad"
            )
            if found.get("hint"):
                console.say(f"  -> {found['hint']}")


def _log(task: LogTarget) -> Path:
    return task.folder / "log.txt"


def _show_log(task: LogTarget, lines: int) -> int:
    """Show the last lines; return the offset at which reading ended."""
    path = _log(task)
    console.say()
    if not path.is_file():
        console.say(f"{task.role}  {task.id}: no log yet", "dim")
        return 0
    console.say(f"{task.role}  {path}", "bold")
    with path.open("rb") as handle:
        last = deque(handle, lines)
        end = handle.tell()
    for line in last:
        console.say(_text(line))
    if not end:
        console.say("(empty)", "dim")
    return end


def _follow(
    tasks: Sequence[LogTarget], ends: dict[str, int], results: Results, run_id: str
) -> None:
    """Show new lines with their role as they are written. Ctrl-C ends it without an error."""
    try:
        while _at_work(tasks, results, run_id):
            time.sleep(_LOOK_EVERY_S)
            for task in tasks:
                ends[task.id] = _show_new(task, ends[task.id])
    except KeyboardInterrupt:
        return
    console.say("no stage of this run is running", "dim")
    _show_failure(tasks)


def _show_new(task: LogTarget, start: int) -> int:
    path = _log(task)
    if not path.is_file():
        return start
    with path.open("rb") as handle:
        handle.seek(start if start <= path.stat().st_size else 0)  # a shorter file was started anew
        for line in handle:
            console.say(f"{task.role}: {_text(line)}")
        return handle.tell()


def _at_work(tasks: Sequence[LogTarget], results: Results, run_id: str) -> bool:
    """Whether a task of the run is running, or a running `study run` still has it to do."""
    seen, ids = snapshot(results), {task.id for task in tasks}
    if any(task.task in ids and task.alive is not False for task in seen.tasks):
        return True
    ended = results.record(run_id).is_file() or (results.run(run_id) / "failure.json").is_file()
    return not ended and any(session.alive and run_id in session.runs for session in seen.sessions)


def _text(line: bytes) -> str:
    """Return a line as text. Progress bars redraw with carriage returns; the last state is kept."""
    return line.decode("utf-8", errors="replace").rstrip("\r\n").rpartition("\r")[2]
