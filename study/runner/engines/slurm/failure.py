"""Classify a Slurm job that ended without a result: fail with advice, or submit it again."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.runner.engines.slurm.queue import JobState
from study.runner.work.logs import out_of_memory, tail
from study.runner.work.worker import Failed

QUEUED = frozenset(
    {
        "PENDING",
        "CONFIGURING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "SPECIAL_EXIT",
        "RESV_DEL_HOLD",
    }
)
LIVE = QUEUED | {
    "RUNNING",
    "COMPLETING",
    "SUSPENDED",
    "STOPPED",
    "STAGE_OUT",
    "SIGNALING",
    "RESIZING",
}
_LOST = {
    "PREEMPTED": "it was preempted",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
    "REVOKED": "it was revoked",
}
_STOPPED = (128 + signal.SIGTERM, int(signal.SIGTERM))  # Slurm reports exit status 143 as 15
_KILLED = {
    int(number) for number in (signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGSEGV)
}
_MEMORY = "it used more memory than it requested"


@dataclass(frozen=True)
class Again:
    """The task is not at fault: submit it again, and it continues from its checkpoint.

    hint: what to do if this happens too often.
    """

    why: str
    hint: str


def classify(
    task: str, kind: str, job: str, state: JobState, logs: Sequence[Path], advanced: bool
) -> Failed | Again:
    """Return Failed if the task must be changed, Again if another try can succeed.

    advanced: whether the stage has a newer checkpoint than when the job was submitted, or this was
    its first job.
    """
    if state.state in _LOST:
        return Again(_LOST[state.state], "the same command submits it again")
    if state.state in ("TIMEOUT", "DEADLINE") or state.code in _STOPPED:
        what = "it reached its time limit" if state.state != "FAILED" else "it was asked to stop"
        hint = f"raise resources.{kind}.time_min in the profile, or lower checkpoint_s"
        return (
            Again(what, hint)
            if advanced
            else Failed(
                task, f"job {job}: {what} without a new checkpoint since the last time", hint
            )
        )
    said = f"job {job} ended as {state.state}"
    match state.state:
        case "OUT_OF_MEMORY":
            return Failed(
                task,
                f"{said}: {_MEMORY}",
                f"raise resources.{kind}.memory_gb in the profile",
                tail(logs),
            )
        case "CANCELLED":
            return Failed(
                task,
                f"{said}: it was cancelled",
                "the same command submits it again",
                tail(logs),
            )
        case "UNKNOWN":
            return Failed(
                task,
                f"Slurm has no record of job {job} any more",
                "the same command submits it again",
                again=True,
            )
    return _crashed(task, kind, said, state, tail(logs))


def _crashed(task: str, kind: str, said: str, state: JobState, log: str) -> Failed:
    """Classify a job that ended without an outcome. It was killed or never started: try again."""
    code = state.code - 128 if state.code > 128 else state.code
    number = state.signal or (code if code in _KILLED else 0)
    if memory := out_of_memory(log, kind):
        what, hint = memory
        return Failed(task, f"{said}: {what}", hint, log)
    if number:
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        hint = f"if it was the node's memory: raise resources.{kind}.memory_gb in the profile"
        return Failed(task, f"{said}: killed by {name}", hint, log, again=True)
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "its logs are empty")
    what = f"exit code {state.code}" if state.state != "COMPLETED" else "without a result"
    return Failed(task, f"{said}, {what}: {last}", "its logs: study logs", log, again=True)
