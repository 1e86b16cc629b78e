"""A profile: the machine, and the time limits and retries of the runner on it.

Never part of identity: two profiles give the same numbers (with `rollouts` other samples of the
same distribution). Profiles are in `experiments/profiles/*.yaml`; without one every value is the
default below.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from study.spec.base import Spec
from study.spec.machine.hardware import Hardware
from study.spec.machine.serving import Rollouts, TeacherServer
from study.spec.yaml.load import MAX_NAME, find, load
from study.spec.yaml.validation import validate

Keep = Literal["none", "final", "all"]
ReportTo = Literal["none", "wandb"]


class Resources(Spec):
    """The resources of one stage. `memory_gb` and `time_min` are limits for Slurm; the local engine
    does not limit memory.
    """

    gpus: int = Field(default=0, ge=0)
    cpus: int = Field(default=1, ge=1)
    memory_gb: float | None = Field(default=None, gt=0)
    time_min: int | None = Field(default=None, ge=1)


class Slurm(Spec):
    """How jobs are submitted.

    `sbatch`: raw lines without `#SBATCH`; `setup`: shell lines before the job's command. max_jobs:
    the most jobs in the queue at once. max_requeues: how often a task is queued again. poll_s:
    seconds between queries to Slurm.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    sbatch: list[str] = Field(default=[])
    setup: list[str] = Field(default=[])
    max_jobs: int = Field(default=100, ge=1)
    max_requeues: int = Field(default=20, ge=0)
    poll_s: float = Field(default=10.0, gt=0)


class Profile(Spec):
    """A profile. All times are in seconds.

    - jobs: worker processes (none: one per core). gpus: how many may be used (none: the visible
      ones).
    - lease_s: a lock of another host whose heartbeat does not change for this time is dead.
      checkpoint_s: time between checkpoints, so the most training that a kill can lose.
    - silent_s: a worker that reports nothing for this time hangs and is killed. grace_s: time
      between SIGTERM and SIGKILL of a worker.
    - retries: how often a task whose worker was killed or hung is started again in one `study run`;
      an error of the code is not retried.
    - keep: which weights of a stage kind stay: none (deleted once its run is sealed), final (the
      default), all (also those of every checkpoint).
    - micro_batch: rows of a stage kind in one forward and backward pass of one process (none: its
      whole share of a step); gradients are accumulated to the batch of the step. recompute: stage
      kinds whose activations are computed again in the backward pass instead of kept. Neither
      changes a loss or a gradient (tests/models/test_numerics.py).
    - hardware: inputs of `study rehearse`.
    - report_to: where training reports in addition to the records (study/runner/work/reporting.py).
    - teacher_server: the server of a `distill` stage whose teacher's scores come from one.
      rollouts: how vLLM samples the rollouts of a stage kind (distill, grpo) instead of
      transformers. Both: study/spec/machine/serving.py.
    - artifacts, scratch: other folders for artifacts and for unfinished ones (local to the node).
      launch: prefix of a stage's command.
    """

    profile: str = Field(default="default", min_length=1, max_length=MAX_NAME)
    engine: Literal["local", "slurm"] = "local"
    jobs: int | None = Field(default=None, ge=1)
    gpus: int | None = Field(default=None, ge=0)
    lease_s: float = Field(default=60.0, gt=0)
    checkpoint_s: float = Field(default=30.0, ge=0)
    silent_s: float = Field(default=1800.0, gt=0)
    grace_s: float = Field(default=5.0, ge=0)
    retries: int = Field(default=1, ge=0)
    keep: dict[str, Keep] = Field(default={})
    report_to: ReportTo = "none"
    artifacts: str | None = None
    scratch: str | None = None
    resources: dict[str, Resources] = Field(default={})
    launch: dict[str, list[str]] = Field(default={})
    micro_batch: dict[str, int] = Field(default={})
    recompute: list[str] = Field(default=[])
    teacher_server: TeacherServer = TeacherServer()
    rollouts: dict[Literal["distill", "grpo"], Rollouts] = Field(default={})
    hardware: Hardware | None = None
    slurm: Slurm = Slurm()

    def resources_for(self, kind: str) -> Resources:
        """Return the resources of a stage kind, or of `evaluate`; else those of `default`."""
        return self.resources.get(kind, self.resources.get("default", Resources()))

    def environment(self, kind: str) -> dict[str, str]:
        """Return the machine's settings for a stage's trainer as variables
        (`study.train.arguments`, `.teachers`); an empty text = not set.
        """
        micro = self.micro_batch.get(kind)
        recompute, report = (
            "1" if kind in self.recompute else "",
            ("" if self.report_to == "none" else self.report_to),
        )
        rollouts = (
            self.rollouts[kind].model_dump_json()
            if kind in ("distill", "grpo") and kind in self.rollouts
            else ""
        )
        server = (
            self.teacher_server.model_dump_json()
            if kind == "distill" and self.teacher_server != TeacherServer()
            else ""
        )
        return {
            "STUDY_MICRO_BATCH": str(micro or ""), "STUDY_RECOMPUTE": recompute,
            "STUDY_REPORT_TO": report,
            "STUDY_ROLLOUTS": rollouts, "STUDY_TEACHER_SERVER": server,
        }  # fmt: skip


def load_profile(name: str | None, root: Path | None = None) -> Profile:
    """Load the profile of that name or path; all defaults for None.

    Errors: `SpecError` with file and line, or the known profiles.
    """
    return Profile() if name is None else validate(Profile, load(find("profiles", name, root)), "")
