"""What `study run`, `status`, `publish` and `reproduce` say and leave alone; the ETA and the lines
of a log.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from study.cli import progress
from study.cli.progress import Board, LogDisplay
from study.cli.reproduce import compare
from study.record.store import Results, write_record
from study.runner.engines.notices import Started, Tick
from study.runner.graph.stages import RunPlan, StageNode, stage_graph
from study.runner.graph.walk import Walk
from study.runner.work.execute import execute_run, execute_stage
from study.runner.work.worker import Failed, Finished, Progress
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import cell_id, stage_id
from tests.support.fake_work import WORK, cell
from tests.support.paths import ROOT

GUESS = {"pretrain": 5.0, "sft": 5.0, "distill": 10.0, "evaluate": 4.0}


def labelled(k: int) -> LabelledRun:
    return LabelledRun(
        f"{cell_id(cell(k))}-s0", cell(k), {"objective": f"k{k}"}, 0, cell_id(cell(k))
    )


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def board(results: Results, clock: Clock, ks: tuple[int, ...] = (1, 2), jobs: int = 2) -> Board:
    runs = [labelled(k) for k in ks]
    walk = Walk("fake", "lab", tuple(runs), results, WORK, expected_seconds=GUESS)
    return Board(walk.plan, walk.own_stages, jobs, clock)


def seal(results: Results, k: int) -> None:
    plan = RunPlan(labelled(k).run_id, labelled(k).cell_id, cell(k), 0)
    for node in stage_graph(plan.cell.model, 0):
        execute_stage(node, results, WORK, lambda *_: None)
    execute_run(plan, results, WORK, lambda *_: None)


def test_the_eta_starts_at_the_plan_and_follows_the_measured_speed(tmp_path: Path) -> None:
    clock = Clock()
    seen = board(Results(tmp_path), clock)
    everything = 2 * 10 + 10 + 2 * 40 + 2 * 4  # two pretrains, sft, two distills, two evaluations
    assert seen.eta_s == pytest.approx(everything / 2)
    first = stage_graph(cell(1).model, 0)[0]
    assert isinstance(first, StageNode)
    seen.take(Started(first.id))
    seen.take(Progress(first.id, "train", 1, 2))
    clock.now += 5
    assert seen.eta_s == pytest.approx((everything - 10 + 5) / 2)  # half done in 5 s: 5 s to go
    seen.take(Finished(first.id, 20.0))  # twice as slow as expected
    assert seen.eta_s == pytest.approx((everything - 10) * 2 / 2)


def test_a_log_has_one_line_a_finished_task_and_a_heartbeat_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, clock, lines = Results(tmp_path), Clock(), list[str]()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    display = LogDisplay(board(results, clock), results, lines.append)
    task = stage_id(cell(1).model, 0)
    display(Started(task))
    for step in range(100):
        clock.now += 1
        display(Progress(task, "train", step, 100, {"eval/avg@2": 0.5}))
        display(Tick())
    assert len(lines) == 1
    assert "0/2 runs" in lines[0]
    assert "distill k1 s0 59/100 eval/avg@2 0.5" in lines[0]
    display(Finished(task, 100.0))
    display(Failed(labelled(2).run_id, "ValueError: broken"))
    assert len(lines) == 3
    assert "made    distill k1 s0 in 2 min" in lines[1]
    assert "FAILED  evaluate k2 s0: ValueError: broken" in lines[2]


def test_ours_now_stands_beside_the_committed_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path)
    for k in (1, 2):
        seal(results, k)
    from study.record.schema import sealed
    from study.record.store import read_record

    first, second = (read_record(results.record(labelled(k).run_id)) for k in (1, 2))
    write_record(results.records / f"{first.run}.json", first)
    made_elsewhere = second.provenance.model_copy(update={"platform": "Other"})
    write_record(
        results.records / f"{second.run}.json",
        sealed(second.model_copy(update={"history": {}, "provenance": made_elsewhere})),
    )
    compare([labelled(1), labelled(2), labelled(3)], results)
    rows = capsys.readouterr().out.splitlines()[1:]
    assert "equal, byte for byte" in rows[0]
    assert rows[0].count(f"avg@4 {first.scores['lab_math'].mean:.4f}") == 2
    assert "different; other platform" in rows[1]
    assert rows[2].count("not run") == 2
    assert "nothing to compare" in rows[2]


def study(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "study.cli.main", *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "--grid", "smoke", "--dry-run"), 0, "2 pending of 2 runs"),
        (("run", "--grid", "smoke", "--seeds", "one"), 2, "--seeds 'one'"),
        (("run", "--grid", "smok"), 2, "smoke"),
        (("run", "--grid", "smoke", "--only", "biased_k9"), 2, "selects no run"),
        (("publish",), 1, "no sealed run to publish"),
        (("sync-mlflow",), 1, "no records"),
        (("status",), 0, "no task is running"),
    ],
)
def test_the_verbs_answer_and_leave_nothing_behind(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = study(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
