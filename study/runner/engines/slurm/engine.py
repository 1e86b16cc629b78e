"""The Slurm engine: each task is a job with the resources of its stage kind.

Jobs outlive the process that submitted them. The engine reads the result of a task from the results
folder: its outcome, its artifact or record, its status while it runs. It queries Slurm only for
jobs that left none. A preempted, timed-out or lost job is queued again and continues from its
checkpoint. results/jobs/<task>.json names the job of a task, and the job carries the task's name:
after a crash a new submitter finds the running job, so a task never has two.
"""

import contextlib
import fcntl
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from study.errors import PrerequisiteError, StudyError
from study.record.store import Results, write_json
from study.runner.engines.launcher import job_folder, launched, read_page, task_program
from study.runner.engines.slurm.failure import LIVE, QUEUED, Again, classify
from study.runner.engines.slurm.job import Job, newest_step
from study.runner.engines.slurm.queue import JobState, Queue, SlurmQueue, job_log, raw_lines
from study.runner.engines.task_main import has_outcome, read_outcome
from study.runner.graph.stages import RunPlan
from study.runner.work.artifacts import is_made
from study.runner.work.assignment import Assignment, write_assignment
from study.runner.work.code_copy import copy_code
from study.runner.work.execute import Work
from study.runner.work.worker import (
    Event,
    Failed,
    Finished,
    Payload,
    Progress,
    task_folder,
    task_id,
    task_kind,
)
from study.spec.machine.profile import Profile

_LOOK_S = 0.5  # between two looks at the files of the jobs
_LATE_S = 15.0  # a network file system can show a file later than the end of its job
_NAMES_S = 10.0


@dataclass
class _Submitted:
    """A submitted job.

    submissions: by this grid's processes, without restarts by Slurm itself. step: the newest
    checkpoint of the stage when the job was submitted.
    """

    payload: Payload
    job: str
    submissions: int
    step: int
    heard: float
    state: str = "PENDING"
    ended: float | None = None
    told: object = None


class SlurmEngine:
    """Run up to `slurm.max_jobs` tasks at once, each in a job."""

    def __init__(
        self,
        results: Results,
        entry: Work,
        profile: Profile,
        queue: Queue | None = None,
        late_s: float = _LATE_S,
    ) -> None:
        raw_lines(profile.slurm.sbatch)
        # A job may start in another folder.
        self._results = replace(results, root=results.root.absolute())
        self._entry, self._profile, self._queue, self._late_s = (
            entry,
            profile,
            queue or SlurmQueue(profile),
            late_s,
        )
        self._code = copy_code(self._results)
        self._jobs: dict[str, _Submitted] = {}
        self._prompt: list[Event] = []
        self._looked = self._asked = 0.0
        self._live, self._live_at = dict[str, str](), float("-inf")

    def require(self, kinds: set[str]) -> None:
        """Refuse, before anything starts, a job without a time limit: every Slurm has a default,
        and it is seldom right.
        """
        without = sorted(
            kind for kind in kinds if self._profile.resources_for(kind).time_min is None
        )
        if without:
            what = f"profile {self._profile.profile} gives no time limit for {', '.join(without)}"
            raise PrerequisiteError(
                what,
                hint="set resources.<kind>.time_min, or resources.default.time_min, in the profile",
            )

    def fits(self, payload: Payload) -> bool:  # noqa: ARG002 - Slurm finds the resources of a job
        return len(self._jobs) < self._profile.slurm.max_jobs

    def adopts(self, payload: Payload) -> bool:
        """Whether a job for this task, submitted by another process, is queued or running."""
        return self._living(task_id(payload)) is not None

    def _living(self, task: str) -> str | None:
        """Return the queued or running job of this task; None if it
        has already written its outcome.
        """
        job = self._names().get(_name(self._results, task))
        return None if job is None or has_outcome(self._folder(task), job) else job

    def parting(self) -> str:
        """Return the message for the end of the submitting process while its jobs go on."""
        jobs = [submitted.job for submitted in self._jobs.values()]
        return (
            f"{len(jobs)} Slurm jobs go on; the same command continues with them; to end them:"
            f" scancel {' '.join(jobs)}"
            if jobs
            else ""
        )

    def start(self, payload: Payload) -> None:
        """Follow the job that exists for this task, or submit one."""
        task = task_id(payload)
        try:
            with self._locked():
                before = self._known(task)
                live = self._living(task)
                if live is not None and (self._folder(task) / f"{live}_submitted.pkl").exists():
                    self._take_up(payload, live, before)
                    return
                # Its submitter died before it had written what the job is to run.
                if live is not None:
                    self._queue.cancel(live)
                self._submit(payload, 1)
        except StudyError as error:
            self._prompt.append(Failed(task, error.message, error.hint))
        except OSError as error:
            self._prompt.append(Failed(task, f"it could not be submitted: {error}"))

    def _submit(self, payload: Payload, submissions: int) -> None:
        task, kind = task_id(payload), task_kind(payload)
        folder = self._folder(task)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "outcome.json").unlink(missing_ok=True)
        (task_folder(payload, self._results) / "failure.json").unlink(missing_ok=True)
        write_assignment(folder / "payload.json", Assignment(payload, self._entry, self._profile))
        resources = self._profile.resources_for(kind)
        command = launched(self._profile.launch.get(kind, []), task_program(folder, self._results))
        job = Job(
            task, kind, command, folder, task_folder(payload, self._results) / "log.txt",
            self._results.checkpoints(task), resources.gpus,
            self._profile.slurm.max_requeues, self._code,
        )  # fmt: skip
        name = _name(self._results, task)
        number = self._queue.submit(job, name, resources)
        self._live[name] = number
        submitted = _Submitted(
            payload, number, submissions, newest_step(job.checkpoints), time.monotonic()
        )
        write_json(
            self._note(task),
            {
                "job": number,
                "name": name,
                "submissions": submissions,
                "step": submitted.step,
                "code": self._code.name,
            },
        )
        self._jobs[task] = submitted

    def _take_up(self, payload: Payload, job: str, before: dict[str, Any]) -> None:
        task = task_id(payload)
        submissions, step = int(before.get("submissions", 1)), int(before.get("step", -1))
        self._jobs[task] = _Submitted(payload, job, submissions, step, time.monotonic())
        write_json(
            self._note(task),
            {
                "job": job,
                "name": _name(self._results, task),
                "submissions": submissions,
                "step": step,
                "code": before.get("code", ""),
            },
        )

    def events(self, timeout: float) -> list[Event]:
        """Return the events until now; wait `timeout` seconds if there are none."""
        events, self._prompt = self._prompt, []
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            self._looked = now
            events += [event for task in list(self._jobs) for event in self._seen(task)]
        if now - self._asked >= self._profile.slurm.poll_s:
            events += self._ask(now)
            self._asked = time.monotonic()
        if not events:
            time.sleep(timeout)
        return events

    def _seen(self, task: str) -> list[Event]:
        """Return the events that the files of a task show."""
        submitted = self._jobs[task]
        page = read_page(self._folder(task) / "outcome.json")
        if page and page.get("job") == submitted.job:
            with contextlib.suppress(KeyError, TypeError):
                event = read_outcome(page)
                del self._jobs[task]
                return [event]
        status = read_page(task_folder(submitted.payload, self._results) / "status.json")
        if status and status.get("updated") != submitted.told:
            submitted.told, submitted.heard = status["updated"], time.monotonic()
            return [
                Progress(task, status["phase"], status["done"], status["total"], status["latest"])
            ]
        return []

    def _ask(self, now: float) -> list[Event]:
        """Return the events that Slurm reports, with one query for all jobs."""
        states = self._queue.states([submitted.job for submitted in self._jobs.values()])
        known = [
            (task, states[submitted.job])
            for task, submitted in self._jobs.items()
            if submitted.job in states
        ]
        return [event for task, state in known for event in self._judged(task, state, now)]

    def _judged(self, task: str, state: JobState, now: float) -> list[Event]:
        submitted = self._jobs[task]
        if state.state in LIVE:
            return self._live_job(task, state, now)
        submitted.ended = submitted.ended or now
        if self._is_done(submitted.payload):
            del self._jobs[task]
            return [Finished(task, 0.0)]
        if state.state in ("COMPLETED", "FAILED") and now - submitted.ended < self._late_s:
            return []  # its files may only be late
        del self._jobs[task]
        return self._conclude(submitted, state)

    def _conclude(self, submitted: _Submitted, state: JobState) -> list[Event]:
        task, folder = task_id(submitted.payload), self._folder(task_id(submitted.payload))
        logs = (
            task_folder(submitted.payload, self._results) / "log.txt",
            job_log(folder, submitted.job),
        )
        advanced = (
            submitted.submissions == 1
            or newest_step(self._results.checkpoints(task)) > submitted.step
        )
        ending = classify(task, task_kind(submitted.payload), submitted.job, state, logs, advanced)
        if not isinstance(ending, Again):
            return [ending]
        if submitted.submissions > self._profile.slurm.max_requeues:
            what = (
                f"{ending.why}; submitted {submitted.submissions} times,"
                " more is not allowed by slurm.max_requeues"
            )
            return [Failed(task, what, ending.hint)]
        try:
            with self._locked():
                self._submit(submitted.payload, submitted.submissions + 1)
        except (StudyError, OSError) as error:
            return [Failed(task, f"{ending.why}; it could not be submitted again: {error}")]
        return [Progress(task, f"queued again: {ending.why}", 0, 1)]

    def _live_job(self, task: str, state: JobState, now: float) -> list[Event]:
        submitted = self._jobs[task]
        changed, submitted.ended = state.state != submitted.state, None
        submitted.state = state.state
        if state.state != "RUNNING" or changed:
            submitted.heard = now
            return [Progress(task, "queued", 0, 1)] if state.state in QUEUED else []
        if now - submitted.heard <= self._profile.silent_s:
            return []
        self._queue.cancel(submitted.job)
        del self._jobs[task]
        hint = "look at its log; if it is only slow, raise `silent_s` in the profile"
        return [
            Failed(
                task,
                f"job {submitted.job} was cancelled: no sign of life for"
                f" {self._profile.silent_s:g} s",
                hint,
                again=True,
            )
        ]

    def stop(self) -> None:
        """Do nothing: jobs are not children of this process. They
        go on, and `parting` names them.
        """

    def _is_done(self, payload: Payload) -> bool:
        if isinstance(payload, RunPlan):
            return self._results.record(payload.run_id).is_file()
        return is_made(self._results.artifact(payload.id))

    def _names(self) -> dict[str, str]:
        if time.monotonic() - self._live_at > _NAMES_S:
            self._live, self._live_at = dict(self._queue.live()), time.monotonic()
        return self._live

    def _known(self, task: str) -> dict[str, Any]:
        return read_page(self._note(task)) or {}

    def _note(self, task: str) -> Path:
        return self._results.root / "jobs" / f"{task}.json"

    def _folder(self, task: str) -> Path:
        return job_folder(task, self._results)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process submit at a time, also on several hosts if the file system can lock; else
        the locks on tasks prevent duplicate work.
        """
        place = self._results.root / "jobs" / ".lock"
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w") as handle:
            with contextlib.suppress(OSError):
                fcntl.lockf(handle, fcntl.LOCK_EX)
            yield


def _name(results: Results, task: str) -> str:
    """Return a job's name, unique to a task of this results folder."""
    return f"{task}.{hashlib.sha256(str(results.root).encode()).hexdigest()[:8]}"
