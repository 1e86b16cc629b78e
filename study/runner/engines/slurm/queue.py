"""The queue of a cluster, through submitit: submit jobs,
query the states of many jobs at once, cancel.
"""

import shlex
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmInfoWatcher

from study.errors import PrerequisiteError, RunFailed, SpecError
from study.runner.engines.slurm.job import Job
from study.runner.work.code_copy import environment
from study.spec.machine.profile import Profile, Resources, Slurm

_OURS = {
    "job-name",
    "output",
    "error",
    "open-mode",
    "signal",
    "time",
    "nodes",
    "array",
    "requeue",
    "no-requeue",
    "wait",
    "parsable",
}
_ASK_S = 60.0


@dataclass(frozen=True)
class JobState:
    """state: Slurm's name of the state, or UNKNOWN. code,
    signal: how the job's program ended, if known.
    """

    state: str
    code: int = 0
    signal: int = 0


class Queue(Protocol):
    def submit(self, job: Job, name: str, resources: Resources) -> str: ...
    def states(self, jobs: Collection[str]) -> Mapping[str, JobState]: ...
    def live(self) -> Mapping[str, str]: ...
    def cancel(self, job: str) -> None: ...


class SlurmQueue:
    """Slurm's queue.

    squeue knows running jobs. For ended ones sacct is used, or scontrol if there is no accounting;
    scontrol forgets a job after some minutes.
    """

    def __init__(self, profile: Profile) -> None:
        if shutil.which("srun") is None:
            hint = "log in to the cluster, or use another profile: --profile laptop"
            raise PrerequisiteError("there is no Slurm here: srun is not on the PATH", hint=hint)
        self._slurm, self._watcher = profile.slurm, _Watcher()

    def submit(self, job: Job, name: str, resources: Resources) -> str:
        """Submit a job. Errors: RunFailed with sbatch's own message."""
        executor = submitit.SlurmExecutor(
            folder=job.folder, max_num_timeout=self._slurm.max_requeues
        )
        chosen = parameters(self._slurm, resources, name)
        executor.update_parameters(**chosen | {"setup": _setup(self._slurm, job.code)})
        try:
            return str(executor.submit(job).job_id)
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            hint = (
                "correct the profile: partition, account, qos, constraint and resources must"
                " exist on this cluster"
            )
            raise RunFailed(
                f"sbatch refused the job: {_last_words(str(error))}", hint=hint
            ) from error

    def live(self) -> dict[str, str]:
        """Return name -> id of this user's jobs that are queued or
        running; the newest job of each name.
        """
        lines = _lines(["squeue", "-h", "--me", "-o", "%i|%j"])
        found = sorted(
            (int(job), name)
            for job, name in (line.split("|", 1) for line in lines)
            if job.isdecimal()
        )
        return {name: str(job) for job, name in found}

    def states(self, jobs: Collection[str]) -> dict[str, JobState]:
        """Return the states of these jobs.

        Jobs that could not be queried are left out; UNKNOWN are those that Slurm does not know.
        """
        if not jobs:
            return {}
        try:
            queued = dict(
                line.split("|", 1) for line in _lines(["squeue", "-h", "--me", "-o", "%i|%T"])
            )
        except (OSError, subprocess.SubprocessError):
            return {}  # the controller does not answer, so nothing is known of any job
        found = {job: JobState(queued[job]) for job in jobs if job in queued}
        return found | {job: self._ended(job) for job in jobs if job not in queued}

    def _ended(self, job: str) -> JobState:
        info = self._watcher.get_info(job, mode="force")
        # The accounting is late, or there is none.
        if not info.get("State") or info["State"] in ("PENDING", "RUNNING"):
            info = _of_controller(job) or info
        code, _, signal = info.get("ExitCode", "0:0").partition(":")
        return JobState(
            (info.get("State") or "UNKNOWN").split()[0], int(code or 0), int(signal or 0)
        )

    def cancel(self, job: str) -> None:
        subprocess.run(["scancel", job], check=False, capture_output=True, timeout=_ASK_S)


class _Watcher(SlurmInfoWatcher):
    """submitit's watcher, which uses sacct, with the exit code."""

    def _make_command(self) -> list[str] | None:
        command = super()._make_command()
        return (
            None
            if command is None
            else [part.replace("NodeList", "NodeList,ExitCode") for part in command]
        )


def parameters(slurm: Slurm, resources: Resources, name: str) -> dict[str, Any]:
    """Return the parameters for submitit.

    A raw line overrides the parameter of the same name, except
    for the few names that the engine needs.
    """
    minutes = resources.time_min or 0
    chosen: dict[str, Any] = {
        "name": name, "timeout_min": minutes, "nodes": 1, "tasks_per_node": 1,
        "cpus_per_task": resources.cpus,
        "mem_gb": resources.memory_gb, "partition": slurm.partition, "account": slurm.account,
        "qos": slurm.qos,
        "constraint": slurm.constraint, "signal_delay_s": min(120, 60 * minutes // 4),
        "setup": slurm.setup or None, "wckey": None,
        # since 22.05 srun does not inherit it from sbatch
        "srun_args": ["--cpus-per-task", str(resources.cpus)],
    }  # fmt: skip
    raw = raw_lines(slurm.sbatch)
    if resources.gpus and not any(key == "gres" or key.startswith("gpus") for key in raw):
        chosen["gpus_per_node"] = resources.gpus
    translated = {
        submitit.SlurmExecutor._equivalence_dict().get(key, key): value
        for key, value in chosen.items()
    }
    if translated["mem"] is not None:
        translated["mem"] = f"{int(translated['mem'] * 1024)}M"
    return translated | {"additional_parameters": {"requeue": True} | raw}


def _setup(slurm: Slurm, code: Path) -> list[str]:
    """Return the lines of the script before the job's own process, which also imports the copy of
    the code.
    """
    variables = environment(code, base={})
    before = "${PYTHONPATH:+:$PYTHONPATH}"
    path = f"export PYTHONPATH={shlex.quote(variables.pop('PYTHONPATH'))}{before}"
    others = [f"export {name}={value}" for name, value in variables.items()]
    return [*(slurm.setup or []), path, *others]


def raw_lines(lines: Sequence[str]) -> dict[str, str | bool]:
    """Parse `--key=value`, `--key value` or `--key` into submitit's form.

    Errors: SpecError for anything else and for the names that the engine sets itself.
    """
    found: dict[str, str | bool] = {}
    for line in lines:
        words = shlex.split(line)
        key, equals, value = (words[0] if words else "").removeprefix("--").partition("=")
        if (
            not words
            or not words[0].startswith("--")
            or len(words) > 2
            or (equals and len(words) > 1)
        ):
            raise SpecError(f"slurm.sbatch: {line!r} is not --name=value or --name")
        if key in _OURS:
            raise SpecError(
                f"slurm.sbatch: --{key} is set by the runner",
                hint="time comes from resources.<kind>.time_min",
            )
        found[key] = value if equals else words[1] if len(words) == 2 else True
    return found


def _of_controller(job: str) -> dict[str, str]:
    """Return state and exit code of a job that has just ended, from `scontrol show job`; nothing
    once it is forgotten.
    """
    said = subprocess.run(
        ["scontrol", "-o", "show", "job", job],
        check=False,
        capture_output=True,
        text=True,
        timeout=_ASK_S,
    ).stdout
    fields = dict(part.split("=", 1) for part in said.split() if "=" in part)
    return (
        {"State": fields["JobState"], "ExitCode": fields.get("ExitCode", "0:0")}
        if "JobState" in fields
        else {}
    )


def _lines(command: list[str]) -> list[str]:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=_ASK_S
    ).stdout.splitlines()


def _last_words(error: str) -> str:
    said = [line.strip() for line in error.splitlines() if "error" in line.lower()]
    return said[-1].removeprefix("sbatch: error: ") if said else error.strip().splitlines()[-1]


def job_log(folder: Path, job: str) -> Path:
    """Return the path of the error stream of submitit's own process."""
    return folder / f"{job}_0_log.err"
