"""A grid of torch-free stages through a real Slurm (tests/slurm/run.sh): killed, preempted, timed
out, its submitter dead.

Every test ends with the same comparison: the records are those of the same grid run without Slurm.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from study.record.schema import content
from study.record.store import Results, read_records
from study.runner.graph.stages import RunPlan, stage_graph
from study.runner.work.execute import execute_run, execute_stage
from study.spec.identity import cell_id
from tests.slurm.slow_work import WORK
from tests.support.fake_work import cell

ROOT = Path(__file__).resolve().parents[2]
RESOURCES = {"default": {"cpus": 1, "memory_gb": 0.5, "time_min": 5}}


class Grid:
    """One results folder, one program that runs the cells `ks` on it."""

    def __init__(
        self,
        place: Path,
        ks: tuple[int, ...] = (1,),
        slow: dict[str, Any] | None = None,
        **profile: Any,
    ) -> None:
        self.results, self.log, self.ks = Results(place / "results"), place / "steps.log", ks
        self.log.touch()
        slurm = {"poll_s": 0.5} | profile.pop("slurm", {})
        self.profile = {
            "engine": "slurm",
            "checkpoint_s": 0,
            "lease_s": 3,
            "resources": RESOURCES,
            "slurm": slurm,
        } | profile
        self.environment = {
            "STUDY_SLOW": json.dumps(slow or {}),
            "STUDY_SLOW_LOG": str(self.log),
            "PYTHONPATH": str(ROOT),
        }
        self.process: subprocess.Popen[str] | None = None

    def start(self, **environment: str) -> "Grid":
        command = [
            sys.executable,
            "-m",
            "tests.slurm.program",
            str(self.results.root),
            json.dumps(self.profile),
            ",".join(map(str, self.ks)),
        ]
        env = os.environ | self.environment | environment
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self

    def finish(self, code: int = 0) -> str:
        """What it printed. Slurm lets a job that was queued again wait for two minutes; not
        here.
        """
        assert self.process
        deadline, waiting = time.monotonic() + 280, dict[str, float]()
        while self.process.poll() is None and time.monotonic() < deadline:
            held = slurm("squeue", "-h", "--me", "-t", "PD", "-o", "%i|%r").split()
            waiting = {
                job: waiting.get(job, time.monotonic())
                for job in held
                if job.endswith("|BeginTime")
            }
            for job, since in waiting.items():
                if (
                    time.monotonic() - since > 5
                ):  # what Slurm waits for: its node must have ended the job before it starts anew
                    slurm("scontrol", "update", f"JobId={job.partition('|')[0]}", "StartTime=now")
            time.sleep(0.3)
        output, _ = self.process.communicate(timeout=1)
        assert self.process.returncode == code, output
        return output

    def steps(self, kind: str = "distill") -> list[tuple[int, str]]:
        """(step, job id) of every step that was trained."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [(int(step), job) for name, step, job, _ in lines if name == kind]

    def trains(self, kind: str = "distill", step: int = 2) -> str:
        """Wait until a stage of that kind has made some steps; its job id."""
        wait_for(lambda: any(done >= step for done, _ in self.steps(kind)))
        return self.steps(kind)[-1][1]

    def kill(self, job: str, whole: bool = False) -> None:
        """SIGKILL to the task's process, or to every process of the job's step."""
        if whole:
            slurm("scancel", "--signal=KILL", f"{job}.0")
        else:
            os.kill(int(self.log.read_text().split()[-1]), signal.SIGKILL)

    def jobs(self) -> list[str]:
        """All jobs that Slurm has ever had of this grid, by the names they carry."""
        names = [
            json.loads(path.read_bytes())["name"]
            for path in (self.results.root / "jobs").glob("*.json")
        ]
        ended = slurm(
            "sacct", "-n", "-P", "-X", "-S", "now-1days", "--name", ",".join(names), "-o", "JobID"
        )
        queued = slurm(
            "squeue", "-h", "--name", ",".join(names), "-o", "%i"
        )  # the accounting does not list what is held
        return sorted({*ended.split(), *queued.split()}, key=int)

    def contents(self) -> dict[str, bytes]:
        return {record.run: content(record) for record in read_records(self.results.runs)}


def slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    subprocess.run(["scancel", "--me"], check=False)


def undisturbed(place: Path, grid: Grid, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The same cells without Slurm, process or fault."""
    results = Results(place / "alone")
    for name, value in grid.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STUDY_SLOW_LOG", str(place / "alone.log"))
    steps = {
        kind: [count, 0.0]
        for kind, (count, _) in json.loads(grid.environment["STUDY_SLOW"]).items()
    }
    monkeypatch.setenv("STUDY_SLOW", json.dumps(steps))
    for k in grid.ks:
        run = RunPlan(f"{cell_id(cell(k))}-s0", cell_id(cell(k)), cell(k), 0)
        for node in stage_graph(run.cell.model, 0):
            execute_stage(node, results, WORK, lambda *_: None)
        execute_run(run, results, WORK, lambda *_: None)
    return {record.run: content(record) for record in read_records(results.runs)}


@pytest.fixture
def same_as_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Grid], None]:
    def compare(grid: Grid) -> None:
        assert grid.contents() == undisturbed(tmp_path, grid, monkeypatch)
        assert len(grid.contents()) == len(grid.ks)

    return compare


def accounted(grid: Grid, column: str) -> list[str]:
    """What the accounting says of each job, as far as it has heard of it: it comes a moment
    late.
    """
    return slurm("sacct", "-n", "-X", "-P", "-j", ",".join(grid.jobs()), "-o", column).split()


def continued(grid: Grid, kind: str = "distill", *, lost: int = 0) -> bool:
    """Whether no more than `lost` steps were trained twice: a hard kill may come between a step and
    its checkpoint.
    """
    steps = [step for step, _ in grid.steps(kind)]
    return set(steps) == set(range(1, max(steps) + 1)) and len(steps) - len(set(steps)) <= lost


def test_a_grid_with_shared_stages(tmp_path: Path, same_as_alone: Callable[[Grid], None]) -> None:
    grid = Grid(
        tmp_path,
        ks=(1, 2, 3),
        slurm={
            "max_jobs": 2,
            "setup": ["export STUDY_SET_UP=1"],
            "sbatch": ["--comment='a study'"],
        },
    ).start()
    output = grid.finish()
    assert "3 of 3 runs sealed" in output
    wait_for(
        lambda: len(grid.jobs()) == 9
    )  # three stages that all cells share, three distillations, three evaluations: each once
    wait_for(lambda: accounted(grid, "State") == ["COMPLETED"] * 9)
    script = next((grid.results.root / "jobs").glob("*/*_submission.sh")).read_text()
    assert "export STUDY_SET_UP=1" in script
    assert "--comment='a study'" in script
    same_as_alone(grid)


@pytest.mark.parametrize("whole", [False, True])
def test_a_job_that_is_killed_hard_is_tried_again(
    tmp_path: Path, same_as_alone: Callable[[Grid], None], whole: bool
) -> None:
    grid = Grid(tmp_path, slow={"distill": [20, 0.3]}).start()
    grid.kill(grid.trains(), whole)
    output = grid.finish()
    assert "tried again" in output
    assert "killed by SIGKILL" in output
    assert len({job for _, job in grid.steps()}) == 2
    assert continued(grid, lost=1)
    same_as_alone(grid)


def test_a_job_that_is_killed_again_and_again_fails_with_the_reason(
    tmp_path: Path, same_as_alone: Callable[[Grid], None]
) -> None:
    grid = Grid(tmp_path, slow={"distill": [20, 0.5]}, retries=0).start()
    grid.kill(grid.trains())
    output = grid.finish(code=1)
    assert "killed by SIGKILL" in output
    failure = json.loads(next(grid.results.root.glob("stages/*/failure.json")).read_bytes())
    assert "memory_gb" in failure["hint"]
    grid.start().finish()  # the same command tries it again
    assert continued(grid, lost=1)
    same_as_alone(grid)


def test_a_requeued_job_continues(tmp_path: Path, same_as_alone: Callable[[Grid], None]) -> None:
    grid = Grid(tmp_path, slow={"distill": [20, 0.3]}).start()
    job = grid.trains()
    slurm("scontrol", "requeue", job)
    grid.finish()
    assert {number for _, number in grid.steps()} == {job}  # the same job, a second time
    assert continued(grid)
    same_as_alone(grid)


def test_a_preempted_job_makes_room_and_continues(
    tmp_path: Path, same_as_alone: Callable[[Grid], None]
) -> None:
    resources = {
        "default": {"cpus": 1, "memory_gb": 0.5, "time_min": 5},
        "distill": {"cpus": 5, "memory_gb": 0.5, "time_min": 5},
    }
    grid = Grid(tmp_path, slow={"distill": [30, 0.3]}, resources=resources).start()
    job = grid.trains()
    log = tmp_path / "urgent.txt"
    slurm(
        "sbatch",
        "-p",
        "urgent",
        "-c",
        "6",
        "-o",
        str(log),
        "--wrap",
        "sleep 3; echo urgent work is done",
    )
    grid.finish()
    assert "urgent work is done" in log.read_text()
    assert {number for _, number in grid.steps()} == {job}
    assert (
        len(
            {
                line.split()[3]
                for line in grid.log.read_text().splitlines()
                if line.startswith("distill")
            }
        )
        == 2
    )
    assert continued(grid)
    same_as_alone(grid)


def test_a_job_over_its_time_limit_continues(
    tmp_path: Path, same_as_alone: Callable[[Grid], None]
) -> None:
    limits = {
        "default": {"memory_gb": 0.5, "time_min": 5},
        "distill": {"memory_gb": 0.5, "time_min": 1},
    }
    grid = Grid(
        tmp_path, slow={"distill": [160, 0.5]}, resources=limits
    ).start()  # 80 s of work in jobs of a minute
    grid.finish()
    assert (
        len(
            {
                line.split()[3]
                for line in grid.log.read_text().splitlines()
                if line.startswith("distill")
            }
        )
        >= 2
    )
    assert continued(grid)
    same_as_alone(grid)


def test_a_job_that_reaches_no_checkpoint_in_its_time_is_told(tmp_path: Path) -> None:
    limits = {
        "default": {"memory_gb": 0.5, "time_min": 5},
        "distill": {"memory_gb": 0.5, "time_min": 1},
    }
    grid = Grid(
        tmp_path, slow={"distill": [2, 200]}, resources=limits, slurm={"max_requeues": 0}
    ).start()
    assert "it reached its time limit" in grid.finish(code=1)
    assert (
        "time_min"
        in json.loads(next(grid.results.root.glob("stages/*/failure.json")).read_bytes())["hint"]
    )


def test_a_cancelled_job_fails_with_the_reason(
    tmp_path: Path, same_as_alone: Callable[[Grid], None]
) -> None:
    grid = Grid(tmp_path, slow={"distill": [10, 0.3]}).start()
    slurm("scancel", grid.trains())
    assert "it was cancelled" in grid.finish(code=1)
    grid.start().finish()
    assert continued(grid)
    same_as_alone(grid)


@pytest.mark.parametrize("when", ["while it trains", "while jobs wait"])
def test_a_killed_submitter_starts_again_and_submits_nothing_twice(
    tmp_path: Path, same_as_alone: Callable[[Grid], None], when: str
) -> None:
    held = when == "while jobs wait"
    grid = Grid(
        tmp_path,
        ks=(1, 2),
        slow={"distill": [20, 0.3]},
        slurm={"sbatch": ["--hold"]} if held else {},
    ).start()
    assert grid.process
    if held:
        wait_for(
            lambda: len(list((grid.results.root / "jobs").glob("*.json"))) == 2
        )  # both pretrained models
    else:
        grid.trains()
    grid.process.send_signal(signal.SIGKILL)
    grid.process.wait()
    before = grid.jobs()
    grid.start()
    if held:
        grid.profile["slurm"] = {"poll_s": 0.5}
        time.sleep(5)
        assert grid.jobs() == before  # it took them up
        assert len(before) == 2
        grid.process.kill()
        slurm("scontrol", "release", ",".join(before))
        grid.start()
    output = grid.finish()
    assert "2 of 2 runs sealed" in output
    wait_for(lambda: len(grid.jobs()) >= 7, 30.0)  # the accounting lists a job some time later
    assert len(grid.jobs()) == 7
    assert len(set(grid.steps())) == len(grid.steps())
    same_as_alone(grid)


def test_ctrl_c_leaves_the_jobs_and_says_how_to_end_them(
    tmp_path: Path, same_as_alone: Callable[[Grid], None]
) -> None:
    grid = Grid(tmp_path, slow={"distill": [20, 0.3]}).start()
    job = grid.trains()
    assert grid.process
    grid.process.send_signal(signal.SIGINT)
    assert f"scancel {job}" in grid.finish(code=130)
    assert slurm("squeue", "-h", "-j", job, "-o", "%T").strip() == "RUNNING"
    grid.start().finish()
    assert {number for _, number in grid.steps()} == {job}
    same_as_alone(grid)


def test_out_of_memory_says_what_to_raise(tmp_path: Path) -> None:
    limits = {"default": {"memory_gb": 0.5, "time_min": 5}}
    grid = Grid(tmp_path, resources=limits).start(STUDY_SLOW_FAULT="distill")
    output = grid.finish(code=1)
    assert "it used more memory than it" in output
    assert (
        "memory_gb"
        in json.loads(next(grid.results.root.glob("stages/*/failure.json")).read_bytes())["hint"]
    )


def test_gpus_are_asked_for(tmp_path: Path) -> None:
    resources = {
        "default": {"gpus": 2, "memory_gb": 0.5, "time_min": 5},
        "evaluate": {"memory_gb": 0.5, "time_min": 5},
    }
    grid = Grid(tmp_path, resources=resources).start()
    grid.finish()
    wait_for(lambda: len(accounted(grid, "AllocTRES")) == 5)
    asked = ["gres/gpu=2" in said for said in accounted(grid, "AllocTRES")]
    assert sorted(asked) == [False, True, True, True, True]  # evaluation needs none


def test_what_sbatch_refuses_is_told(tmp_path: Path) -> None:
    grid = Grid(tmp_path, slurm={"partition": "nosuch"}).start()
    output = grid.finish(code=1)
    assert "invalid partition" in output.lower()
