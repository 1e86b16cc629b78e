"""Lock one task, execute it, and report how it ended.

The code that trains and evaluates is imported only here.

`perform` knows nothing of processes: a local worker (`study.runner.engines.local`) and a Slurm job
(`study.runner.engines.slurm.engine`) both call it.
"""

import errno
import os
import re
import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

from study.errors import StudyError
from study.record import provenance
from study.record.checkpoints import Checkpoints
from study.record.owner import owner
from study.record.progress import ReportProgress
from study.record.secrets import hidden
from study.record.store import Results
from study.runner.graph.stages import RunPlan, StageNode
from study.runner.work.artifacts import Damaged, is_dropped, quarantine, verify_artifact
from study.runner.work.execute import Work, execute_run, execute_stage
from study.runner.work.locks import Lock, LockLost, locked
from study.runner.work.logs import out_of_memory
from study.spec.machine.profile import Profile

# Recorded at import, because both describe what is imported and later look-ups can differ from it:
# - packages are not copied for a run, so forks of a server that imported torch before an upgrade
#   would record the version after it;
# - `study run` compares the code that it has imported with the copy that its workers will import
#   (code_copy.py); a hash taken only then would already be that of the edited files.
provenance.code_hash()
provenance.packages()

Payload = StageNode | RunPlan
_NO_ROOM = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "the quota is used up",
    errno.EROFS: "the file system is read-only",
}


@dataclass(frozen=True)
class Progress:
    task: str
    phase: str
    done: int
    total: int
    latest: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Finished:
    task: str
    wall_s: float


@dataclass(frozen=True)
class Failed:
    """again: the task is not at fault (it was killed, or silent) and may be tried again. fatal:
    every other task would fail in the same way (no space left).
    """

    task: str
    error: str
    hint: str = ""
    trace: str = ""
    again: bool = False
    fatal: bool = False


@dataclass(frozen=True)
class Busy:
    """Another process holds the lock on the task, or has taken it over."""

    task: str


@dataclass(frozen=True)
class Spoiled:
    """The task needs `stage`, whose artifact was damaged and moved aside (or lost its weights): it
    must be made again first.
    """

    task: str
    stage: str
    reason: str


Event = Progress | Finished | Failed | Busy | Spoiled
TaskEnd = Finished | Failed | Busy | Spoiled


def task_id(payload: Payload) -> str:
    return payload.id if isinstance(payload, StageNode) else payload.run_id


def task_kind(payload: Payload) -> str:
    """Return the stage kind, or `evaluate`: the key of a profile's resources."""
    return payload.kind if isinstance(payload, StageNode) else "evaluate"


def task_folder(payload: Payload, results: Results) -> Path:
    """Return the folder of log.txt, status.json and failure.json of a task."""
    return (
        results.stage(payload.id) if isinstance(payload, StageNode) else results.run(payload.run_id)
    )


def perform(
    payload: Payload,
    results: Results,
    entry: Work,
    profile: Profile,
    report: ReportProgress,
    checkpoints: Checkpoints,
) -> TaskEnd:
    """Lock, execute and report a task. Every error of a cell becomes a `Failed`; only a request to
    stop passes through, as SystemExit.
    """
    outcome = _perform(payload, results, entry, profile, report, checkpoints)
    if not isinstance(outcome, Failed):
        return outcome
    return replace(
        outcome, error=hidden(outcome.error), hint=hidden(outcome.hint), trace=hidden(outcome.trace)
    )


def _perform(
    payload: Payload,
    results: Results,
    entry: Work,
    profile: Profile,
    report: ReportProgress,
    checkpoints: Checkpoints,
) -> TaskEnd:
    """Do the same, without hiding secrets in the messages."""
    task = task_id(payload)
    try:
        with locked(results.locks, task, profile.lease_s) as lock:
            if lock is None:
                return Busy(task)
            outcome = _make(payload, results, entry, profile, report, checkpoints, lock)
            went_wrong = isinstance(outcome, Failed | Spoiled)
            return Busy(task) if went_wrong and not lock.held() else outcome
    except OSError as error:  # the lock itself could not be written
        return _failed(task, error)


def _make(
    payload: Payload,
    results: Results,
    entry: Work,
    profile: Profile,
    report: ReportProgress,
    checkpoints: Checkpoints,
    lock: Lock,
) -> TaskEnd:
    """Execute the task under its lock. A process that loses the lock returns `Busy`: another
    process makes the task.
    """
    task, started = task_id(payload), time.monotonic()

    def report_if_held(phase: str, done: int, total: int, latest: dict[str, float]) -> None:
        lock.check_now_and_then()
        report(phase, done, total, latest)

    try:
        os.environ.update({**profile.environment(task_kind(payload)), "STUDY_TASK": task})
        if isinstance(payload, StageNode):
            execute_stage(payload, results, entry, report_if_held, checkpoints, lock.check)
        else:
            execute_run(payload, results, entry, report_if_held, lock.check)
    except LockLost:
        sys.stderr.write(f"{owner()} lost the lock on {task}: another process makes it\n")
        return Busy(task)
    except Damaged as error:
        return _spoiled(task, error, results)
    except StudyError as error:
        return Failed(task, error.message, error.hint, traceback.format_exc())
    except MemoryError as error:
        return replace(
            _failed(task, error), hint="give the stage more memory, or run fewer at once: --jobs 1"
        )
    # A cell may fail in any way: the parent gets the reason, and the grid goes on.
    except Exception as error:  # noqa: BLE001
        failed = _failed(task, error)
        memory = None if failed.hint else out_of_memory(failed.error, task_kind(payload))
        return replace(failed, hint=memory[1]) if memory else failed
    return Finished(task, time.monotonic() - started)


def checkpoints_of(payload: Payload, results: Results, profile: Profile) -> Checkpoints:
    """Return where a stage's checkpoints are; for a run, which
    has nothing to continue, an empty folder.
    """
    return Checkpoints(
        results.checkpoints(task_id(payload)),
        profile.checkpoint_s,
        profile.keep.get(task_kind(payload), "final"),
    )


def _spoiled(task: str, error: Damaged, results: Results) -> TaskEnd:
    folder = results.artifact(error.stage)
    if is_dropped(folder):
        return Spoiled(task, error.stage, "its weights were not kept")
    place = _moved_aside(folder, results)
    return Spoiled(task, error.stage, error.message + (f"; moved to {place}" if place else ""))


def _moved_aside(folder: Path, results: Results) -> Path | None:
    """Return the new path of a damaged input; None if it is gone, or was made again meanwhile."""
    if not folder.exists():
        return None
    try:
        verify_artifact(folder)
    except Damaged:
        return quarantine(folder, results)
    return None


def _failed(task: str, error: Exception) -> Failed:
    said, room = f"{type(error).__name__}: {error}", _no_room(error)
    if room:
        hint = (
            "free some space (study clean shows what is not needed),"
            " then type the same command again"
        )
        return Failed(task, f"{room}: {error}", hint, traceback.format_exc(), fatal=True)
    return Failed(task, said, "", traceback.format_exc())


def _no_room(error: Exception) -> str:
    """Return why nothing can be written, for an error that says so; libraries written in Rust say
    it only in the text of the error.
    """
    number = error.errno if isinstance(error, OSError) else None
    found = re.search(r"os error (\d+)", str(error))
    number = int(found[1]) if found else number
    if number is None and "No space left on device" in str(error):
        number = errno.ENOSPC
    return _NO_ROOM.get(number or 0, "")
