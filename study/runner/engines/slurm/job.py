"""The body of a Slurm job: a small process, started by submitit, that starts the task as a child
and handles Slurm's signals.

Near the time limit (SIGUSR2) or on a preemption (SIGTERM) it sends SIGTERM to the child, which ends
with a checkpoint; then the job queues itself again through submitit's checkpoint hook. A job that
Slurm is already ending (cancelled, requeued) only exits.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit.core.utils import DelayedSubmission

from study.runner.engines.task_main import has_outcome, write_outcome
from study.runner.work.code_copy import environment
from study.runner.work.logs import tail
from study.runner.work.worker import Failed

_POLL_S = 0.1
_SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass
class Job:
    """A job's body: submitit pickles it, calls it, and asks its
    `checkpoint` whether to queue it again.

    folder: holds payload.json. log: receives the child's output. checkpoints: those of the stage;
    their newest step shows whether it advances. code: the copy of the code that the task runs with
    (`study.runner.work.code_copy`). stuck: how many times in a row the job was stopped without a
    new checkpoint; step: the newest step at the last stop.
    """

    task: str
    kind: str
    command: list[str]
    folder: Path
    log: Path
    checkpoints: Path
    gpus: int
    max_requeues: int
    code: Path
    stuck: int = 0
    step: int = -1

    def __call__(self) -> None:
        # submitit's handler, which calls `checkpoint`, queues the job again and exits.
        requeue = signal.getsignal(signal.SIGUSR2)
        received: list[int] = []
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        child = self._start()
        for number in _SIGNALS:
            signal.signal(number, lambda signum, _frame: received.append(signum))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        code = _wait(child, received)
        if code != 0 and not has_outcome(self.folder, os.environ["STUDY_JOB"]):
            self._unfinished(code, bool(received), requeue)
        if code != 0:
            raise SystemExit(code)

    def _unfinished(self, code: int, stopped: bool, requeue: Any) -> None:
        """Handle a child that ended without an outcome: it was told to stop (a launcher's own exit
        status says nothing), or it was killed.
        """
        if not stopped:
            write_outcome(self.folder, self._death(code), os.environ["STUDY_JOB"])
        elif _is_running():
            requeue(signal.SIGUSR2, None)

    def checkpoint(self) -> DelayedSubmission | None:
        """submitit's hook: return this job to queue it again, or
        None if another try would not help.
        """
        newest = newest_step(self.checkpoints)
        self.stuck, self.step = (0 if newest > self.step else self.stuck + 1), newest
        requeues = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if self.stuck < 2 and requeues < self.max_requeues:
            return DelayedSubmission(self)
        why = (
            "stopped twice without a new checkpoint in between"
            if self.stuck >= 2
            else f"queued again {requeues} times"
        )
        hint = f"raise resources.{self.kind}.time_min in the profile, or lower checkpoint_s"
        write_outcome(self.folder, Failed(self.task, why, hint), os.environ["STUDY_JOB"])
        return None

    def _death(self, code: int) -> Failed:
        """Return the failure of a child that ended without a
        reason. Only this process knows how it ended.

        Slurm itself confuses exit status 137 with 9.
        """
        number, log = code - 128, tail([self.log])
        if number in set(signal.Signals):
            name = signal.Signals(number).name
            hint = (
                f"if it was the node's memory: raise resources.{self.kind}.memory_gb in the profile"
            )
            return Failed(
                self.task, f"the task's process was killed by {name}", hint, log, again=True
            )
        return Failed(
            self.task,
            f"the task's process ended with exit code {code} and no result",
            "its log: study logs",
            log,
            again=True,
        )

    def _start(self) -> "subprocess.Popen[bytes]":
        """Start the child with SIGUSR2 ignored, because the signal reaches every process of a job,
        also behind a launcher.
        """
        identity = os.environ.get("SLURM_JOB_ID") or os.environ.get("SUBMITIT_LOCAL_JOB_ID", "")
        os.environ.update(
            dict.fromkeys(_THREADS, "1")
            | {
                "STUDY_JOB": identity,
                "TOKENIZERS_PARALLELISM": "false",
            }
            | environment(self.code)
        )
        if self.gpus == 0:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                preexec_fn=_let_signals_in,
            )


def newest_step(checkpoints: Path) -> int:
    """Return the step of the newest checkpoint, by its name alone; -1 without one."""
    steps = [path.name.removeprefix("step-") for path in checkpoints.glob("step-*")]
    return max((int(step) for step in steps if step.isdecimal()), default=-1)


def _wait(child: "subprocess.Popen[bytes]", received: list[int]) -> int:
    """Return the child's exit status as a shell reports it.

    The first signal is forwarded to the child. If the child ignores it, Slurm ends it.
    """
    told = False
    while child.poll() is None:
        if received and not told:
            child.send_signal(signal.SIGTERM)
            told = True
        time.sleep(_POLL_S)
    code = child.returncode
    return 128 - code if code < 0 else code


def _let_signals_in() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _is_running(ask: Callable[[list[str]], str] | None = None) -> bool:
    """Whether Slurm still counts this job as running; only then it may queue itself again.

    A job outside Slurm always may.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm" or job is None:
        return True
    return (ask or _output)(["squeue", "-h", "-j", job, "-o", "%T"]).strip() == "RUNNING"


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
