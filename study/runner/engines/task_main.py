"""`python -m study.runner.engines.task_main FOLDER RESULTS`: run one task as a program, for a Slurm
job or a launcher of several processes.

FOLDER holds payload.json. The program writes outcome.json there: how the task ended, for the
process that submitted it. Under `accelerate launch` or torchrun only the process of rank 0 locks,
seals and records; the others take part in training (`study.runner.engines.ranks`).

Exit status: 0 finished (or another process makes it), 1 failed with a reason, 143 stopped on
request, with a checkpoint if training ran.
"""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from study.errors import StudyError
from study.record.store import Results, write_json
from study.runner.engines import ranks
from study.runner.engines.local_worker import one_thread, take_signals
from study.runner.work.assignment import Assignment, read_assignment
from study.runner.work.locks import Watch
from study.runner.work.reporter import Reporter
from study.runner.work.worker import (
    Busy,
    Event,
    Failed,
    Finished,
    Spoiled,
    TaskEnd,
    checkpoints_of,
    perform,
    task_folder,
    task_id,
)

_BUSY_S = 0.5
_EVENTS: dict[str, type[TaskEnd]] = {
    kind.__name__: kind for kind in (Finished, Failed, Busy, Spoiled)
}


def main(folder: Path, root: Path) -> int:
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    # The job's own process receives it and sends SIGTERM.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        assignment = read_assignment(folder / "payload.json")
        results = Results.of(root, assignment.profile)
    except StudyError as error:
        return _end(folder, Failed(folder.name, error.message, error.hint))
    if ranks.rank() > 0:
        return ranks.follow(assignment, results, folder)
    outcome = _carry_out(
        replace(assignment, entry=ranks.leading(assignment.entry, folder)), results
    )
    ranks.dismiss(folder)
    return _end(folder, outcome)


def _carry_out(assignment: Assignment, results: Results) -> TaskEnd:
    payload, profile = assignment.payload, assignment.profile
    checkpoints = checkpoints_of(payload, results, profile)
    take_signals(checkpoints)
    reporter = Reporter(task_id(payload), task_folder(payload, results) / "status.json")
    watch, started = Watch(results.locks, profile.lease_s), time.monotonic()
    try:
        reporter("starting", 0, 1, {})
        one_thread(assignment.entry)
        while True:
            outcome = perform(payload, results, assignment.entry, profile, reporter, checkpoints)
            if not isinstance(outcome, Busy) or not _outlived(
                watch, outcome.task, started + 2 * profile.lease_s
            ):
                return outcome
    finally:
        reporter.close()


def _outlived(watch: Watch, task: str, deadline: float) -> bool:
    """Whether the lock on the task turns out to be that of a dead process: a job that is queued
    again finds its own old lock on another node.
    """
    while watch.held(task):
        if time.monotonic() > deadline:
            return False
        time.sleep(_BUSY_S)
    return True


def _end(folder: Path, outcome: TaskEnd) -> int:
    if isinstance(outcome, Failed):
        sys.stderr.write(f"{outcome.trace}\n{outcome.error}\n")
    write_outcome(folder, outcome, job_id())
    return 1 if isinstance(outcome, Failed) else 0


def job_id() -> str:
    """Return the id of the job that this process runs in, as its submitter knows it."""
    return os.environ.get("STUDY_JOB", "")


def write_outcome(folder: Path, outcome: TaskEnd, job: str) -> None:
    write_json(
        folder / "outcome.json", {"job": job, "event": type(outcome).__name__, **asdict(outcome)}
    )


def has_outcome(folder: Path, job: str) -> bool:
    """Whether this job has already written how its task ended."""
    try:
        page: Any = json.loads((folder / "outcome.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(page, dict) and page.get("job") == job


def read_outcome(page: dict[str, Any]) -> Event:
    """Return the event that `write_outcome` wrote. Errors:
    KeyError or TypeError for anything else.
    """
    fields = {name: value for name, value in page.items() if name not in ("job", "event")}
    return _EVENTS[page["event"]](**fields)


def _die_with_parent(parent: int) -> None:
    """End this task if its job is killed."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
