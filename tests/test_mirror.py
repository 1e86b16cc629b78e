"""The MLflow mirror, read back with MLflow's own client: nested runs, parameters, curves, scores, status; a failure costs nothing."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.record.mirror import Mirror
from study.record.schema import Record
from study.record.store import Results, read_record
from study.record.tracking import dotted, follow, metric_name, parameters
from study.runner.execute import RunPlan, execute_run, execute_stage
from study.runner.stages import stage_graph
from study.spec.identity import cell_id
from tests.fake_work import WORK, cell

ROOT = Path(__file__).resolve().parents[1]


def silent(phase: str, done: int, total: int, latest: dict[str, float]) -> None:
    assert total >= done


def make(results: Results, k: int) -> Path:
    plan = RunPlan(f"{cell_id(cell(k))}-s0", cell_id(cell(k)), cell(k), 0)
    for node in stage_graph(plan.cell.model, 0):
        execute_stage(node, results, WORK, silent)
    execute_run(plan, results, WORK, silent)
    return results.record(plan.run_id)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, list[Record]]:
    """Two sealed runs, one that failed and one that was still running when the grid was stopped."""
    results = Results(tmp_path_factory.mktemp("mirror"))
    paths = [make(results, k) for k in (1, 5)]
    (results.root / "analysis" / "figures").mkdir(parents=True)
    (results.root / "analysis" / "figures" / "20.png").write_bytes(b"picture")
    mirror = Mirror(results, "fake", "lab")
    for k, path in zip((1, 5), paths, strict=True):
        mirror.started(read_record(path).run, {"objective": f"biased_k{k}"}, 0)
        mirror.sealed(path, {"objective": f"biased_k{k}"})
    mirror.failed("broken-s0", {"objective": "broken"}, 0, "ValueError: it broke")
    mirror.started("open-s0", {"objective": "open"}, 0)
    mirror.figures([results.root / "analysis" / "figures" / "20.png"])
    assert mirror.close("FAILED") == "", (results.root / "mlflow.log").read_text()
    return results, [read_record(path) for path in paths]


@pytest.fixture
def client(mirrored: tuple[Results, list[Record]]) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{mirrored[0].database}")


def all_runs(client: Any, condition: str = "") -> list[Any]:
    experiment = client.get_experiment_by_name("fake-lab")
    return list(client.search_runs([experiment.experiment_id], condition))


def test_children_are_nested_below_the_grid_with_their_true_status(mirrored: tuple[Results, list[Record]], client: Any) -> None:
    (parent,) = all_runs(client, "tags.`study.kind` = 'grid'")
    children = all_runs(client, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    found = {child.info.run_name: child.info.status for child in children}
    assert found == {"biased_k1 s0": "FINISHED", "biased_k5 s0": "FINISHED", "broken s0": "FAILED", "open s0": "KILLED"}
    assert parent.info.status == "FAILED"
    (broken,) = [child for child in children if child.info.status == "FAILED"]
    assert broken.data.tags["study.error"] == "ValueError: it broke"


def test_a_record_is_there_whole(mirrored: tuple[Results, list[Record]], client: Any) -> None:
    record = mirrored[1][1]
    (run,) = all_runs(client, f"tags.`study.run` = '{record.run}'")
    assert run.data.params["objective.k"] == "5"
    assert run.data.params["objective.support"] == "student_topk"
    assert run.data.params["objective.divergence"] == "reverse_kl"  # a default, written out
    assert run.data.params["training.optimisation.learning_rate"] == "0.001"
    assert run.data.params["evaluation.k"] == "4"
    assert run.data.metrics["eval/lab_math/avg_at_4"] == record.scores["lab_math"].mean
    assert run.data.metrics["cost/distill/tokens_sampled"] == 100
    curve = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "eval/avg_at_2")]
    assert sorted(curve) == [(0, 0.5), (2, 0.25), (4, 0.3333)]
    assert run.data.tags["study.seal"] == record.seal


def test_artifacts_are_addressed_relative_to_the_server(mirrored: tuple[Results, list[Record]], client: Any) -> None:
    (parent,) = all_runs(client, "tags.`study.kind` = 'grid'")
    scheme, _, path = parent.info.artifact_uri.partition(":/")
    assert scheme == "mlflow-artifacts"
    assert (mirrored[0].root / "mlartifacts" / path / "figures" / "20.png").read_bytes() == b"picture"
    with sqlite3.connect(mirrored[0].database) as database:
        locations = [row[0] for row in database.execute("select artifact_location from experiments where name = 'fake-lab'")]
    assert locations == ["mlflow-artifacts:/fake-lab"]


def test_mirroring_again_changes_nothing_and_a_gap_is_filled(mirrored: tuple[Results, list[Record]], client: Any) -> None:
    results, records = mirrored
    before = {run.info.run_id for run in all_runs(client)}
    (unfinished,) = all_runs(client, f"tags.`study.run` = '{records[0].run}'")
    client.set_tag(unfinished.info.run_id, "study.seal", "that of another record")
    grid = {"op": "grid", "grid": "fake", "scale": "lab"}
    sealed = [{"op": "sealed", "record": str(results.record(record.run)), "labels": {"objective": "x"}} for record in records]
    follow(results, [json.dumps(message) for message in (grid, *sealed, {"op": "end", "status": "FINISHED"})])
    after = {run.info.run_id for run in all_runs(client)}
    assert before - after == {unfinished.info.run_id}
    assert len(after) == len(before)
    (made_anew,) = [run for run in all_runs(client) if run.info.run_id not in before]
    assert made_anew.data.tags["study.seal"] == records[0].seal
    assert made_anew.info.status == "FINISHED"


def test_a_grid_whose_parent_was_killed_reads_killed(mirrored: tuple[Results, list[Record]], client: Any) -> None:
    follow(mirrored[0], [json.dumps({"op": "grid", "grid": "fake", "scale": "lab"})])
    (parent,) = all_runs(client, "tags.`study.kind` = 'grid'")
    assert parent.info.status == "KILLED"


def test_a_broken_database_is_a_warning(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.database.write_bytes(b"this is no database")
    mirror = Mirror(results, "fake", "lab")
    for number in range(5000):  # more than a pipe holds: nothing may block
        mirror.started(f"run-{number}", {"objective": "x" * 50}, 0)
    assert "study sync-mlflow" in mirror.close("FINISHED")


@pytest.mark.parametrize(("name", "spelled"), [("eval/avg@2", "eval/avg_at_2"), ("a(b)", "a_b_"), ("train/loss", "train/loss")])
def test_metric_names_fit_their_alphabet(name: str, spelled: str) -> None:
    assert metric_name(name) == spelled


def test_parameters_are_dotted_paths(mirrored: tuple[Results, list[Record]]) -> None:
    assert dotted({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {"a.b": 1, "a.c": [1, 2], "d": None}
    found = parameters(mirrored[1][0])
    assert found["teacher.base.name"] == "strong"
    assert found["seed"] == 0
    assert "objective.beta" not in found


def test_the_parent_never_imports_mlflow_or_torch() -> None:
    code = "import sys, study.cli.carry_out; print([n for n in ('mlflow', 'torch', 'pandas', 'matplotlib') if n in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
