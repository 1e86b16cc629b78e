"""Stages, runs and the schedule with torch-free stages: shared once, failures contained, kills
survived, the same bytes after them.
"""

import json
import os
import signal
from pathlib import Path

import pytest

from study.errors import RecordMismatch
from study.record.store import Results
from study.runner.graph.stages import RunPlan, StageNode, stage_graph, stages_by_role
from study.runner.graph.tasks import WorkItem
from study.runner.graph.walk import Walk
from study.runner.work.artifacts import verify_artifact
from study.runner.work.execute import execute_stage
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import stage_id
from tests.support.fake_work import WORK, cell
from tests.support.harness import (
    built,
    contents,
    finish,
    make_undisturbed,
    plan_of,
    silent,
    start,
    wait_for,
    workers,
)

pytestmark = pytest.mark.slow


def labelled(k: int) -> LabelledRun:
    plan = plan_of(k)
    return LabelledRun(plan.run_id, plan.cell, {"objective": f"k{k}"}, plan.seed, plan.cell_id)


def tasks(results: Results, *ks: int) -> tuple[WorkItem, ...]:
    """What a walk through these runs, started now, has to do."""
    return Walk("fake", "lab", tuple(labelled(k) for k in ks), results, WORK).tasks


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make_undisturbed(Results(tmp_path_factory.mktemp("undisturbed")))


def test_graph_lists_inputs_before_their_users_and_each_stage_once() -> None:
    graph = stage_graph(cell().model, 0)
    assert [node.kind for node in graph] == ["pretrain", "pretrain", "sft", "distill"]
    seen: set[str] = set()
    for node in graph:
        assert set(node.inputs.values()) <= seen
        seen.add(node.id)
    assert graph[-1].id == stage_id(cell().model, 0)
    assert list(stages_by_role(cell().model, 0)) == [
        "distill",
        "student",
        "teacher",
        "teacher.base",
    ]


def test_tasks_share_stages_and_leave_out_what_is_made(tmp_path: Path) -> None:
    results = Results(tmp_path)
    assert len(tasks(results, 1, 2)) == 3 + 2 + 2  # shared stages, distill stages, runs
    execute_stage(stage_graph(cell().model, 0)[0], results, WORK, silent)
    assert len(tasks(results, 1, 2)) == 6
    for node in stage_graph(cell().model, 0)[1:]:
        execute_stage(node, results, WORK, silent)
    assert [type(task.payload) for task in tasks(results, 1)] == [RunPlan]


def test_inputs_of_a_made_stage_are_not_made_again(tmp_path: Path) -> None:
    results = Results(tmp_path)
    graph = stage_graph(cell().model, 0)
    for node in graph:
        execute_stage(node, results, WORK, silent)
    for node in graph[:-1]:  # a user removed what the last stage was made from
        for path in sorted(results.artifact(node.id).iterdir()):
            path.unlink()
        results.artifact(node.id).rmdir()
    kinds = [task.payload.kind for task in tasks(results, 2) if isinstance(task.payload, StageNode)]
    assert kinds == ["pretrain", "pretrain", "sft", "distill"]
    assert [type(task.payload) for task in tasks(results, 1)] == [RunPlan]


@pytest.mark.parametrize("damage", ["change", "remove", "manifest"])
def test_a_damaged_input_is_refused_with_one_message(tmp_path: Path, damage: str) -> None:
    results = Results(tmp_path)
    graph = stage_graph(cell().model, 0)
    folder = execute_stage(graph[0], results, WORK, silent)
    for node in graph[1:3]:
        execute_stage(node, results, WORK, silent)
    weights = folder / "model.safetensors"
    {
        "change": lambda: weights.write_text("other"),
        "remove": weights.unlink,
        "manifest": (folder / "stage.json").unlink,
    }[damage]()
    with pytest.raises(RecordMismatch, match=graph[0].id) as caught:
        execute_stage(graph[3], results, WORK, silent)
    assert f"rm -r {folder}" in str(caught.value)
    assert not results.artifact(graph[3].id).exists()


def test_an_artifact_names_its_files_and_its_revision(tmp_path: Path) -> None:
    results = Results(tmp_path)
    graph = stage_graph(cell().model, 0)
    for node in graph:
        execute_stage(node, results, WORK, silent)
    manifest = verify_artifact(results.artifact(graph[-1].id))
    assert set(manifest["files"]) == {
        "model.safetensors",
        "history.json",
        "evidence.json",
        "cost.json",
    }
    assert manifest["revision"] >= 1
    assert manifest["inputs"] == dict(graph[-1].inputs)
    assert manifest["steps"] == 4
    assert not list(results.artifacts.glob("*.partial-*"))


def test_a_grid_builds_shared_stages_once_and_a_rerun_does_nothing(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    results = tmp_path / "results"
    code, output = finish(start(results))
    assert code == 0, output
    assert sorted(built(results)) == sorted(
        ["pretrain"] * 2 + ["sft"] + ["distill"] * 3 + ["evaluate"] * 3
    )
    assert contents(results) == undisturbed
    code, output = finish(start(results))
    assert code == 0
    assert "nothing to do" in output
    assert len(built(results)) == 9
    assert not list(results.rglob("status.json"))
    assert not list(results.rglob("*.partial-*"))


def test_a_failed_cell_does_not_stop_the_grid_and_is_tried_again(tmp_path: Path) -> None:
    """Three cells of four fail, each in its own way; memory ends a task as any other error does."""
    results, ks = tmp_path / "results", (1, 2, 3, 4)
    faults = "distill-k1:raise,distill-k2:always-kill,distill-k3:memory"
    reasons = ("distill-k1 was told to fail", "killed by SIGKILL", "MemoryError")
    code, output = finish(start(results, ks=ks, fault=faults))
    assert code == 1
    assert "3 of 4 runs failed" in output
    assert list(contents(results)) == [plan_of(4).run_id]
    for k, reason in enumerate(reasons, start=1):
        assert reason in output
        failed = json.loads((results / "runs" / plan_of(k).run_id / "failure.json").read_text())
        assert failed["stage"] == stage_id(cell(k).model, 0)
        assert reason in failed["error"]
    code, output = finish(start(results, ks=ks))
    assert code == 0, output
    assert contents(results) == make_undisturbed(Results(tmp_path / "undisturbed"), ks)
    assert built(results).count("pretrain") == 2
    # a killed worker was tried again at once
    assert built(results).count("distill") == 2 + 3 + 2 + 1
    assert not list(results.rglob("failure.json"))


def test_a_failed_shared_stage_fails_every_run_that_needs_it(tmp_path: Path) -> None:
    results = tmp_path / "results"
    code, output = finish(start(results, fault="sft:raise"))
    assert code == 1
    assert "3 of 3 runs failed" in output
    failures = [json.loads(path.read_text()) for path in (results / "runs").glob("*/failure.json")]
    assert len(failures) == 3
    assert {failure["stage"] for failure in failures} == {stage_id(cell().model.teacher, 0)}


def test_killing_everything_and_running_again_gives_the_same_records(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """Killed in each kind of task, one after the other."""
    results = tmp_path / "results"
    log = results.parent / "built.log"
    for at in ("pretrain", "distill", "evaluate"):
        process = start(results, fault=f"{at}:slow")
        wait_for(lambda at=at: log.exists() and at in log.read_text())
        os.kill(process.pid, signal.SIGKILL)  # the parent alone: its workers must follow
        finish(process)
        wait_for(lambda: not workers(results))
    code, output = finish(start(results))
    assert code == 0, output
    assert contents(results) == undisturbed
    assert not list(results.rglob("*.partial-*"))
    assert not list(results.rglob("*.tmp"))


def test_a_signal_ends_cleanly_with_130(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """Ctrl-C, and the same command is ended by SIGTERM, and then left in peace."""
    results = tmp_path / "results"
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start(results, fault="distill-k2:slow")
        status = Results(results).stage(stage_id(cell(2).model, 0)) / "status.json"
        wait_for(lambda s=status: s.exists() and list((results / "runs").glob("*/record.json")))
        os.killpg(process.pid, number)  # as a terminal does it: to the whole group
        code, output = finish(process)
        assert code == 130
        assert "stopped" in output
        assert not workers(results)
        assert not list(results.rglob("*.partial-*"))
        assert not list(results.rglob("status.json"))
    code, output = finish(start(results))
    assert code == 0, output
    assert contents(results) == undisturbed
