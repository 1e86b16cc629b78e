"""The Slurm engine without a Slurm: its judgement with a scripted queue, its jobs with submitit's
local executor.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import submitit

from study.errors import PrerequisiteError, RecordMismatch, RunFailed
from study.record.store import Results
from study.runner.engines.launcher import launched
from study.runner.engines.schedule import run_grid
from study.runner.engines.slurm.engine import SlurmEngine
from study.runner.engines.slurm.job import Job, newest_step
from study.runner.engines.slurm.queue import JobState
from study.runner.engines.task_main import write_outcome
from study.runner.graph.stages import RunPlan, stage_graph
from study.runner.graph.walk import Walk
from study.runner.work.assignment import Assignment, read_assignment, write_assignment
from study.runner.work.execute import execute_stage
from study.runner.work.worker import Busy, Failed, Finished, Progress, Spoiled
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import cell_id
from study.spec.machine.profile import Profile, Resources
from tests.support.fake_work import WORK, cell
from tests.support.harness import ROOT, contents, make_undisturbed, silent

RUN = RunPlan(f"{cell_id(cell())}-s0", cell_id(cell()), cell(), 0)
STAGE = stage_graph(cell().model, 0)[-1]
LIMITS = {"default": {"time_min": 10}}


def profile(**changes: object) -> Profile:
    slurm = {"poll_s": 1e-6} | changes.pop("slurm", {})  # pyright: ignore[reportOperatorIssue]
    return Profile.model_validate(
        {"engine": "slurm", "resources": LIMITS, "slurm": slurm, "retries": 0, **changes}
    )


class Scripted:
    """A queue that says what it is told to say. A job is queued until then."""

    def __init__(self) -> None:
        self.said: dict[str, JobState] = {}
        self.names: dict[str, str] = {}
        self.cancelled: list[str] = []
        self.away = self.full = False

    def submit(self, job: Job, name: str, resources: Resources) -> str:
        if self.full:
            raise RunFailed("sbatch refused the job: too many", hint="wait")
        number = str(len(self.said) + 1)
        self.said[number], self.names[name] = JobState("PENDING"), number
        (job.folder / f"{number}_submitted.pkl").touch()
        return number

    def live(self) -> Mapping[str, str]:
        return {
            name: job
            for name, job in self.names.items()
            if self.said[job].state in ("PENDING", "RUNNING")
        }

    def states(self, jobs: Collection[str]) -> Mapping[str, JobState]:
        return {} if self.away else {job: self.said[job] for job in jobs}

    def cancel(self, job: str) -> None:
        self.cancelled.append(job)
        self.said[job] = JobState("CANCELLED")


@pytest.fixture
def queue() -> Scripted:
    return Scripted()


def engine(place: Path, queue: Scripted, **changes: object) -> SlurmEngine:
    return SlurmEngine(Results(place / "results"), WORK, profile(**changes), queue, late_s=0.0)


def checkpoint(place: Path, step: int) -> None:
    (place / "results" / "checkpoints" / STAGE.id / f"step-{step}").mkdir(parents=True)


def end(
    engine: SlurmEngine, queue: Scripted, state: str, code: int = 0, number: int = 0
) -> list[object]:
    """The newest job ends like that; what the engine makes of it."""
    queue.said[str(len(queue.said))] = JobState(state, code, number)
    return list(engine.events(0.0))


def test_a_lost_job_is_submitted_again_as_often_as_allowed(tmp_path: Path, queue: Scripted) -> None:
    slurm = engine(tmp_path, queue, slurm={"max_requeues": 2})
    slurm.start(STAGE)
    assert end(slurm, queue, "PREEMPTED") == [
        Progress(STAGE.id, "queued again: it was preempted", 0, 1)
    ]
    assert end(slurm, queue, "NODE_FAIL") == [
        Progress(STAGE.id, "queued again: its node failed", 0, 1)
    ]
    assert len(queue.said) == 3
    (event,) = end(slurm, queue, "PREEMPTED")
    assert isinstance(event, Failed)
    assert "submitted 3 times, more is not allowed by slurm.max_requeues" in event.error


def test_a_time_limit_is_survived_as_long_as_checkpoints_advance(
    tmp_path: Path, queue: Scripted
) -> None:
    slurm = engine(tmp_path, queue)
    slurm.start(STAGE)
    assert isinstance(
        end(slurm, queue, "TIMEOUT")[0], Progress
    )  # the first time, without a checkpoint
    checkpoint(tmp_path, 5)
    assert isinstance(end(slurm, queue, "TIMEOUT")[0], Progress)
    (event,) = end(slurm, queue, "TIMEOUT")  # still step 5
    assert isinstance(event, Failed)
    assert "reached its time limit without a new checkpoint" in event.error
    assert event.hint == "raise resources.distill.time_min in the profile, or lower checkpoint_s"
    assert not event.again


@pytest.mark.parametrize(
    ("state", "said", "hint", "again"),
    [
        (
            ("OUT_OF_MEMORY", 0, 125),
            "more memory than it requested",
            "resources.distill.memory_gb",
            False,
        ),
        (("CANCELLED", 0, 0), "it was cancelled", "the same command", False),
        (("FAILED", 0, 9), "killed by SIGKILL", "resources.distill.memory_gb", True),
        (("FAILED", 137, 0), "killed by SIGKILL", "resources.distill.memory_gb", True),
        (("FAILED", 9, 0), "killed by SIGKILL", "resources.distill.memory_gb", True),
        (("FAILED", 1, 0), "exit code 1: module: command not found", "study logs", True),
        (("COMPLETED", 0, 0), "without a result", "study logs", True),
        (("UNKNOWN", 0, 0), "Slurm has no record of job 1", "the same command", True),
    ],
)
def test_what_a_job_died_of(
    tmp_path: Path, queue: Scripted, state: tuple[str, int, int], said: str, hint: str, again: bool
) -> None:
    slurm = engine(tmp_path, queue)
    slurm.start(STAGE)
    (tmp_path / "results" / "jobs" / STAGE.id / "1_0_log.err").write_text(
        "loading\nmodule: command not found\n\n"
    )
    (event,) = end(slurm, queue, *state)
    assert isinstance(event, Failed)
    assert said in event.error
    assert hint in event.hint
    assert event.again is again


HOST, DEVICE = "resources.distill.memory_gb", "micro_batch.distill"


@pytest.mark.parametrize(("log", "what", "hint"), [
    ("slurmstepd: error: Job 1 exceeded memory limit (9 > 8), being killed", "more memory", HOST),
    ("slurmstepd: error: Exceeded step memory limit at some point.", "more memory", HOST),
    ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch.", "more memory", HOST),
    ("slurmstepd: error: Detected 2 oom-kill event(s) in step 7.0 cgroup.", "more memory", HOST),
    ("Some of your processes may have been killed by the cgroup out-of-memory handler.",
     "more memory", HOST),
    ("[1.2] Out of memory: Killed process 31 (python3) total-vm:9kB", "more memory", HOST),
    ("[1.2] Memory cgroup out of memory: Killed process 31 (python3)", "more memory", HOST),
    ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 9. GiB", "more memory", HOST),
    ("MemoryError", "more memory", HOST),
    ("RuntimeError: DefaultCPUAllocator: can't allocate memory", "more memory", HOST),
    ("OSError: [Errno 12] Cannot allocate memory", "more memory", HOST),
    ("srun: error: node1: task 0: Out Of Memory", "more memory", HOST),
    ("python3 invoked oom-killer: gfp_mask=0xcc0, order=0", "more memory", HOST),
    ("CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY: out of memory", "a GPU ran", DEVICE),
    ("RuntimeError: cuda runtime error (2) : out of memory at x.cu:9", "a GPU ran", DEVICE),
    ("node1:7:9 [0] NCCL WARN Cuda failure 2 'out of memory'", "a GPU ran", DEVICE),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "a GPU ran", DEVICE),
    ("torch.cuda.OutOfMemoryError: CUDA out of memory.", "a GPU ran", DEVICE),
    ("RuntimeError: CUDA error: out of memory", "a GPU ran", DEVICE),
    ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x", "a GPU ran", DEVICE),
    ("ValueError: No available memory for the cache blocks. Try increasing", "a GPU ran", DEVICE),
])  # fmt: skip
def test_memory_that_only_the_log_tells_of(
    tmp_path: Path, queue: Scripted, log: str, what: str, hint: str
) -> None:
    event = died(tmp_path, queue, log)
    assert what in event.error
    assert hint in event.hint
    assert not event.again


@pytest.mark.parametrize("log", [
    "loading data/classroom.jsonl\nFileNotFoundError: data/classroom.jsonl",
    "loading bigscience/bloomz-560m\nConnectionError: no route", "from zoom import x",
    "FileNotFoundError: data/oom-kill.jsonl",
    "KeyError: 'oom'", "room.out_of_memory_test.py failed", "RecursionError: MyMemoryErrors",
    "test_memoryerror failed: exceeded the limit of memories",
])  # fmt: skip
def test_words_that_only_look_like_memory(tmp_path: Path, queue: Scripted, log: str) -> None:
    event = died(tmp_path, queue, log)
    assert "memory" not in event.hint
    assert event.again


def died(place: Path, queue: Scripted, log: str) -> Failed:
    """What becomes of a job that ended with exit code 1 and this log."""
    slurm = engine(place, queue)
    slurm.start(STAGE)
    (place / "results" / "jobs" / STAGE.id / "1_0_log.err").write_text(f"loading\n{log}\n")
    (event,) = end(slurm, queue, "FAILED", 1)
    assert isinstance(event, Failed)
    return event


@pytest.mark.parametrize(
    "outcome",
    [
        Finished(STAGE.id, 3.5),
        Failed(STAGE.id, "a reason", "a hint", "a trace", again=True, fatal=True),
        Busy(STAGE.id),
        Spoiled(STAGE.id, "sft-1", "it has changed"),
    ],
)
def test_an_outcome_is_read_from_its_file(
    tmp_path: Path, queue: Scripted, outcome: Finished | Failed | Busy | Spoiled
) -> None:
    slurm = engine(tmp_path, queue)
    slurm.start(STAGE)
    folder = tmp_path / "results" / "jobs" / STAGE.id
    write_outcome(folder, outcome, "another job")
    assert slurm.events(0.0) == [Progress(STAGE.id, "queued", 0, 1)]
    write_outcome(folder, outcome, "1")
    time.sleep(0.5)  # files are looked at twice a second
    assert slurm.events(0.0) == [outcome]
    assert slurm.parting() == ""


def test_a_controller_that_is_away_says_nothing_of_any_job(tmp_path: Path, queue: Scripted) -> None:
    slurm = engine(tmp_path, queue)
    slurm.start(STAGE)
    queue.away = True
    assert end(slurm, queue, "FAILED", 1) == []
    queue.away = False
    assert isinstance(slurm.events(0.0)[0], Failed)


def test_a_new_submitter_takes_up_a_living_job_and_only_that(
    tmp_path: Path, queue: Scripted
) -> None:
    engine(tmp_path, queue).start(STAGE)  # and then it is killed
    second = engine(tmp_path, queue)
    assert second.adopts(STAGE)
    second.start(STAGE)
    assert (
        second.parting()
        == "1 Slurm jobs go on; the same command continues with them; to end them: scancel 1"
    )
    assert len(queue.said) == 1
    queue.said["1"] = JobState("CANCELLED")
    third = engine(tmp_path, queue)
    assert not third.adopts(STAGE)
    third.start(STAGE)
    assert "scancel 2" in third.parting()


def test_a_submitter_that_dies_before_it_has_noted_the_job(tmp_path: Path, queue: Scripted) -> None:
    engine(tmp_path, queue).start(STAGE)
    (tmp_path / "results" / "jobs" / f"{STAGE.id}.json").unlink()
    second = engine(tmp_path, queue)
    second.start(STAGE)
    assert len(queue.said) == 1  # found by the name it carries
    (
        tmp_path / "results" / "jobs" / STAGE.id / "1_submitted.pkl"
    ).unlink()  # died even before the job knew what to run
    engine(tmp_path, queue).start(STAGE)
    assert queue.cancelled == ["1"]
    assert len(queue.said) == 2


def test_a_job_that_has_told_its_outcome_is_not_taken_up(tmp_path: Path, queue: Scripted) -> None:
    engine(tmp_path, queue).start(STAGE)
    write_outcome(
        tmp_path / "results" / "jobs" / STAGE.id, Failed(STAGE.id, "killed", again=True), "1"
    )
    second = engine(tmp_path, queue)
    second.start(STAGE)  # Slurm still shows the first as running
    assert len(queue.said) == 2
    assert second.events(0.0) == [Progress(STAGE.id, "queued", 0, 1)]


def test_two_results_folders_have_jobs_of_their_own(tmp_path: Path, queue: Scripted) -> None:
    engine(tmp_path / "a", queue).start(STAGE)
    assert not engine(tmp_path / "b", queue).adopts(STAGE)


def test_a_silent_job_is_cancelled_and_a_waiting_one_is_not(
    tmp_path: Path, queue: Scripted
) -> None:
    slurm = engine(tmp_path, queue, silent_s=0.01)
    slurm.start(STAGE)
    time.sleep(0.02)
    assert slurm.events(0.0) == [Progress(STAGE.id, "queued", 0, 1)]
    queue.said["1"] = JobState("RUNNING")
    slurm.events(0.0)
    time.sleep(0.02)
    (event,) = slurm.events(0.0)
    assert isinstance(event, Failed)
    assert event.again
    assert queue.cancelled == ["1"]


def test_no_more_jobs_than_the_profile_allows(tmp_path: Path, queue: Scripted) -> None:
    slurm = engine(tmp_path, queue, slurm={"max_jobs": 1})
    assert slurm.fits(STAGE)
    slurm.start(STAGE)
    assert not slurm.fits(RUN)


def test_what_is_refused_is_told_before_or_as_a_failure(tmp_path: Path, queue: Scripted) -> None:
    with pytest.raises(PrerequisiteError, match="gives no time limit for distill"):
        engine(tmp_path, queue, resources={"sft": {"time_min": 1}}).require({"sft", "distill"})
    queue.full = True
    slurm = engine(tmp_path, queue)
    slurm.require({"distill"})
    slurm.start(STAGE)
    assert slurm.events(0.0) == [Failed(STAGE.id, "sbatch refused the job: too many", "wait")]


def test_a_task_travels_as_a_file(tmp_path: Path) -> None:
    for payload in (STAGE, replace(RUN, claims="abc")):
        written = Assignment(payload, WORK, profile(launch={"distill": ["accelerate", "launch"]}))
        write_assignment(tmp_path / "payload.json", written)
        assert read_assignment(tmp_path / "payload.json") == written


def test_a_file_that_says_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "payload.json"
    write_assignment(path, Assignment(STAGE, WORK, profile()))
    page = json.loads(path.read_bytes())
    page["task"]["recipe"]["objective"]["k"] = 7
    path.write_text(json.dumps(page))
    with pytest.raises(RecordMismatch, match="its recipe is that of"):
        read_assignment(path)
    path.write_text("{")
    with pytest.raises(RecordMismatch, match="not a task that can be carried out"):
        read_assignment(path)


def job(folder: Path, **changes: object) -> Job:
    fields: dict[str, object] = {
        "task": STAGE.id,
        "kind": "distill",
        "command": [],
        "folder": folder,
        "log": folder / "log.txt",
        "checkpoints": folder / "checkpoints",
        "gpus": 0,
        "max_requeues": 3,
        "code": folder,
    }
    return Job(**fields | changes)  # pyright: ignore[reportArgumentType]


def test_a_job_queues_itself_again_while_it_advances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_JOB", "7")
    body = job(tmp_path)
    assert body.checkpoint() is not None  # the first time, without a checkpoint
    (tmp_path / "checkpoints" / "step-3").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-x").mkdir()
    assert newest_step(tmp_path / "checkpoints") == 3
    assert body.checkpoint() is not None
    assert body.checkpoint() is not None
    assert body.checkpoint() is None
    page = json.loads((tmp_path / "outcome.json").read_bytes())
    assert (page["job"], page["event"]) == ("7", "Failed")
    assert "stopped twice without a new checkpoint" in page["error"]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    assert job(tmp_path).checkpoint() is None
    assert "queued again 3 times" in json.loads((tmp_path / "outcome.json").read_bytes())["error"]


def test_a_launcher_comes_before_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python, rest = tmp_path / "python", ["-m", "study.runner.engines.task_main", "a", "b"]
    assert launched([], [str(python), *rest]) == [str(python), *rest]
    assert launched(["nice", "-n", "5"], [str(python), *rest]) == [
        "nice",
        "-n",
        "5",
        str(python),
        *rest,
    ]
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    (tmp_path / "accelerate").touch()
    assert launched(["accelerate", "launch"], [str(python), *rest]) == [
        str(tmp_path / "accelerate"),
        "launch",
        *rest,
    ]


class Local:
    """submitit's local executor as a queue: real processes, real signals, no Slurm."""

    def __init__(self) -> None:
        self.jobs: dict[str, submitit.LocalJob[None]] = {}
        self.bodies: dict[str, Job] = {}

    def submit(self, job: Job, name: str, resources: Resources) -> str:
        executor = submitit.LocalExecutor(folder=job.folder, max_num_timeout=job.max_requeues)
        executor.update_parameters(timeout_min=resources.time_min, signal_delay_s=1)
        started = executor.submit(job)
        self.jobs[started.job_id], self.bodies[started.job_id] = (
            started,
            job,
        )  # pyright: ignore[reportArgumentType]
        return str(started.job_id)

    def live(self) -> Mapping[str, str]:
        return {}

    def states(self, jobs: Collection[str]) -> Mapping[str, JobState]:
        words = {"RUNNING": "RUNNING", "FINISHED": "COMPLETED", "INTERRUPTED": "FAILED"}
        return {number: JobState(words[self.jobs[number].state]) for number in jobs}

    def cancel(self, job: str) -> None:
        self.jobs[job].cancel()


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("STUDY_TEST_LOG", str(tmp_path / "built.log"))
    local = Local()
    yield local
    for started in local.jobs.values():
        if started.state == "RUNNING":
            started.cancel()


@pytest.mark.slow
def test_a_grid_through_jobs_with_one_that_is_preempted(
    tmp_path: Path, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, phases, preempted, log = (
        Results(tmp_path / "results"),
        list[str](),
        list[str](),
        tmp_path / "built.log",
    )
    machine = profile(checkpoint_s=0, lease_s=3, slurm={"poll_s": 0.1})
    for node in stage_graph(cell().model, 0)[:-1]:
        execute_stage(node, results, WORK, silent)
    monkeypatch.setenv("STUDY_TEST_STEP_S", "0.4")

    def observe(notice: object) -> None:
        phases.extend([notice.phase] if isinstance(notice, Progress) else [])
        if not preempted and log.exists() and "distill" in log.read_text():
            preempted.append(
                next(number for number, body in local.bodies.items() if body.task == STAGE.id)
            )
            os.kill(_child(int(preempted[0])), signal.SIGUSR2)

    run = LabelledRun(RUN.run_id, RUN.cell, {}, RUN.seed, RUN.cell_id)
    walk = Walk("fake", "lab", (run,), results, WORK, machine, claims={})
    engine = SlurmEngine(results, WORK, machine, local, late_s=1.0)
    summary = run_grid(walk, engine, observe)
    assert summary.sealed_now == [RUN.run_id], summary.failed
    assert preempted
    assert {"queued", "starting"} & set(phases)
    built = log.read_text().split()
    assert built.count("distill") == 2
    assert "distill-continued" in built
    assert (
        contents(results.root)[RUN.run_id]
        == make_undisturbed(Results(tmp_path / "alone"))[RUN.run_id]
    )


def _child(controller: int) -> int:
    """The process that submitit's local controller has started for the job."""
    said = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(controller)], capture_output=True, text=True, check=True
    ).stdout
    return int(said.split()[0])
