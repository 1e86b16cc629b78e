"""The MLflow mirror, read back with MLflow's own client: nested runs, parameters, curves, status;
eight writers, a kill, a server.
"""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from study.cli.sync_mlflow import grid_pages, sync_mlflow
from study.errors import IncompleteResults, SpecError
from study.record.mlflow import mirror as tracking
from study.record.mlflow.address import address
from study.record.mlflow.client import Mirror
from study.record.mlflow.fields import cell_parameters, dotted, parameters
from study.record.mlflow.writer import writer_for
from study.record.owner import host, owner
from study.record.schema import Record
from study.record.store import Results, read_record, write_record
from study.runner.graph.stages import RunPlan, stage_graph
from study.runner.work.execute import execute_run, execute_stage
from study.spec.grid.grid import load_grid
from study.spec.identity import cell_id
from tests.support.fake_work import WORK, cell
from tests.support.synthetic import record

pytestmark = pytest.mark.slow

BAD = {"objective": "a@b (c); d\n\x00é\ud800/../" + "x" * 7000, "odd @(;)": "y"}
GRID = {"op": "grid", "grid": "fake", "scale": "lab"}
END = {"op": "end", "status": "FINISHED"}


def silent(phase: str, done: int, total: int, latest: dict[str, float]) -> None:
    assert total >= done


def make(results: Results, k: int) -> Path:
    plan = RunPlan(f"{cell_id(cell(k))}-s0", cell_id(cell(k)), cell(k), 0)
    for node in stage_graph(plan.cell.model, 0):
        execute_stage(node, results, WORK, silent)
    execute_run(plan, results, WORK, silent)
    return results.record(plan.run_id)


@cache
def empty_database() -> bytes:
    """MLflow's tables without a row: making them anew takes a second."""
    from mlflow.tracking import MlflowClient

    with TemporaryDirectory() as folder:
        made = Results(Path(folder))
        MlflowClient(address(made).uri).search_experiments()
        return made.database.read_bytes()


def with_database(results: Results) -> None:
    if not results.database.exists() and results.root.is_dir():
        results.database.write_bytes(empty_database())


def write(results: Results, *messages: dict[str, Any]) -> tuple[int, str]:
    """What the writer's process does, without the process: its exit code and what it told."""
    told: list[str] = []
    with_database(results)
    code = writer_for(results, address(results), told.append).follow(
        [json.dumps(message) for message in messages]
    )
    return code, "\n".join(told)


def sealed(path: Path, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"op": "sealed", "record": str(path), "labels": labels or {"objective": "x"}}


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, list[Record]]:
    """Two sealed runs, one that failed and one that was still running when the grid was stopped."""
    results = Results(tmp_path_factory.mktemp("mirror"))
    paths = [make(results, k) for k in (1, 5)]
    (results.root / "analysis" / "figures").mkdir(parents=True)
    (results.root / "analysis" / "figures" / "20.png").write_bytes(b"picture")
    mirror = Mirror(results)
    mirror.begin("fake", "lab")
    for k, path in zip((1, 5), paths, strict=True):
        mirror.started(read_record(path).run, {"objective": f"biased_k{k}"}, 0)
        mirror.sealed(path, {"objective": f"biased_k{k}"})
    mirror.failed("broken-s0", {"objective": "broken"}, 0, "ValueError: it broke")
    mirror.started("open-s0", {"objective": "open"}, 0)
    mirror.describe("## What is asked\n\nDoes it work?")
    mirror.artifacts("figures", [results.root / "analysis" / "figures" / "20.png"])
    mirror.end("FAILED")
    assert mirror.close(300) == "", (results.root / "mlflow.log").read_text()
    return results, [read_record(path) for path in paths]


@pytest.fixture
def client(mirrored: tuple[Results, list[Record]]) -> Any:
    return client_of(mirrored[0])


def client_of(results: Results) -> Any:
    from mlflow.tracking import MlflowClient

    with_database(results)
    return MlflowClient(address(results).uri)


def all_runs(client: Any, condition: str = "") -> list[Any]:
    experiment = client.get_experiment_by_name("fake-lab")
    return list(client.search_runs([experiment.experiment_id], condition))


def children(client: Any) -> list[tuple[str, str, bool]]:
    """(run, status, whether it is whole) of every child, in order."""
    runs = all_runs(client, "tags.`study.kind` = 'run'")
    return sorted(
        (run.data.tags["study.run"], run.info.status, "study.seal" in run.data.tags) for run in runs
    )


def test_children_are_nested_below_the_grid_with_their_true_status(
    mirrored: tuple[Results, list[Record]], client: Any
) -> None:
    (parent,) = all_runs(client, "tags.`study.kind` = 'grid'")
    nested = all_runs(client, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    found = {child.info.run_name: child.info.status for child in nested}
    assert found == {
        "biased_k1 s0": "FINISHED",
        "biased_k5 s0": "FINISHED",
        "broken s0": "FAILED",
        "open s0": "KILLED",
    }
    assert parent.info.status == "FAILED"
    (broken,) = [child for child in nested if child.info.status == "FAILED"]
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
    curve = [
        (point.step, point.value)
        for point in client.get_metric_history(run.info.run_id, "eval/avg_at_2")
    ]
    assert sorted(curve) == [(0, 0.5), (2, 0.25), (4, 0.3333)]
    assert run.data.tags["study.seal"] == record.seal


def test_artifacts_are_listed_and_read_without_a_server(
    mirrored: tuple[Results, list[Record]], client: Any, tmp_path: Path
) -> None:
    (parent,) = all_runs(client, "tags.`study.kind` = 'grid'")
    folder = (mirrored[0].root / "mlartifacts" / "fake-lab").resolve()
    assert client.get_experiment_by_name("fake-lab").artifact_location == folder.as_uri()
    listed = client.list_artifacts(parent.info.run_id, "figures")
    assert [item.path for item in listed] == ["figures/20.png"]
    read = client.download_artifacts(parent.info.run_id, "figures/20.png", str(tmp_path))
    assert Path(read).read_bytes() == b"picture"


def test_the_experiment_opens_as_model_training_and_says_what_it_is(
    mirrored: tuple[Results, list[Record]], client: Any
) -> None:
    experiment = client.get_experiment_by_name("fake-lab")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    (parent,) = all_runs(client, "tags.`study.kind` = 'grid'")
    for tags in (experiment.tags, parent.data.tags):
        assert tags["mlflow.note.content"].startswith("## What is asked")


def test_an_experiment_of_an_earlier_version_becomes_one_of_training(tmp_path: Path) -> None:
    client = client_of(Results(tmp_path))
    root = tmp_path.resolve() / "mlartifacts" / "fake-lab"
    client.create_experiment("fake-lab", artifact_location=root.as_uri())
    assert write(Results(tmp_path), GRID, END) == (0, "")
    tags = client.get_experiment_by_name("fake-lab").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"


@pytest.mark.parametrize("location", ["mlflow-artifacts:/fake-lab", "file:///elsewhere/fake-lab"])
def test_an_experiment_of_a_moved_folder_is_set_aside_and_made_anew(
    location: str, tmp_path: Path
) -> None:
    results = Results(tmp_path)
    client = client_of(results)
    old = client.create_experiment("fake-lab", artifact_location=location)
    picture = tmp_path / "20.png"
    picture.write_bytes(b"picture")
    shown = {"op": "artifacts", "folder": "", "paths": [str(picture)]}
    assert write(results, GRID, shown, END) == (0, "")
    assert client.get_experiment(old).lifecycle_stage == "deleted"
    (parent,) = all_runs(client)
    assert [item.path for item in client.list_artifacts(parent.info.run_id)] == ["20.png"]


def test_artifacts_never_leave_the_results_folder(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    results.root.mkdir()
    assert write(results, GRID, END) == (0, "")
    with closing(sqlite3.connect(results.database)) as database:
        database.execute("update runs set artifact_uri = ?", ((tmp_path / "outside").as_uri(),))
        database.commit()
    (tmp_path / "20.png").write_bytes(b"picture")
    shown = {"op": "artifacts", "folder": "", "paths": [str(tmp_path / "20.png")]}
    code, told = write(results, GRID, shown, END)
    assert code == 1
    assert "places artifacts outside" in told
    assert not (tmp_path / "outside").exists()


def started(run: str, **parameters: Any) -> dict[str, Any]:
    return {"op": "started", "run": run, "labels": {}, "seed": 0, "parameters": parameters}


def progress(run: str, step: int, **metrics: float) -> dict[str, Any]:
    named = {name.replace("_", "/", 1): value for name, value in metrics.items()}
    return {"op": "progress", "run": run, "step": step, "metrics": named, "phase": "distill 2/4"}


def test_a_run_under_way_shows_parameters_and_curves_until_its_record_replaces_them(
    mirrored: tuple[Results, list[Record]], tmp_path: Path
) -> None:
    results = Results(tmp_path)
    shutil.copyfile(mirrored[0].database, results.database)  # a new one takes seconds
    client = client_of(results)
    record = mirrored[1][0]
    seen: list[Any] = []

    def feed() -> Iterator[str]:
        begun = started(record.run, seed=0)
        yield from map(json.dumps, (GRID, begun, progress(record.run, 1, train_loss=0.5)))
        # the same run is named again when its evaluation begins
        yield from map(json.dumps, (begun, progress(record.run, 2, train_loss=0.25)))
        seen.extend(all_runs(client, f"tags.`study.run` = '{record.run}'"))
        points = client.get_metric_history(seen[0].info.run_id, "train/loss")
        seen.append([(point.step, point.value) for point in points])
        path = str(mirrored[0].record(record.run))
        yield from map(json.dumps, ({**sealed(Path(path))}, END))

    told: list[str] = []
    assert writer_for(results, address(results), told.append).follow(feed()) == 0, told
    (provisional, points) = seen
    assert (provisional.info.status, provisional.data.params) == ("RUNNING", {"seed": "0"})
    assert provisional.data.tags["study.progress"] == "distill 2/4"
    assert points == [(1, 0.5), (2, 0.25)]
    (final,) = all_runs(client, f"tags.`study.run` = '{record.run}'")
    assert final.info.status == "FINISHED"
    assert final.info.run_id != provisional.info.run_id
    curve = client.get_metric_history(final.info.run_id, "train/loss")
    assert len(curve) == len(record.series("train/loss")[0])


def test_what_a_dead_writer_left_is_begun_anew_and_what_a_living_one_writes_is_kept(
    mirrored: tuple[Results, list[Record]], client: Any
) -> None:
    experiment = client.get_experiment_by_name("fake-lab").experiment_id
    owners = {"dead-s0": f"{host()}-999999-1", "alive-s0": owner()}
    for run, name in owners.items():
        tags = {"study.kind": "run", "study.run": run, "study.writer": name}
        made = client.create_run(experiment, tags=tags).info.run_id
        client.log_param(made, "old", "1")
    write(mirrored[0], GRID, *(started(run, new=2) for run in owners), END)
    here = [run for run in all_runs(client) if run.data.tags.get("study.run") in owners]
    for run in here:
        client.delete_run(run.info.run_id)
    left = {run.data.tags["study.run"]: run.data.params for run in here}
    assert left == {"dead-s0": {"new": "2"}, "alive-s0": {"old": "1"}}


def test_points_of_a_run_that_this_writer_did_not_begin_are_no_fault(
    mirrored: tuple[Results, list[Record]],
) -> None:
    assert write(mirrored[0], GRID, progress("unknown-s0", 1, train_loss=1.0), END) == (0, "")


def test_mirroring_again_changes_nothing_and_a_gap_is_filled(
    mirrored: tuple[Results, list[Record]], client: Any
) -> None:
    results, records = mirrored
    before = {run.info.run_id for run in all_runs(client)}
    (unfinished,) = all_runs(client, f"tags.`study.run` = '{records[0].run}'")
    client.set_tag(unfinished.info.run_id, "study.seal", "that of another record")
    again = [sealed(results.record(record.run)) for record in records]
    failure = {
        "op": "failed",
        "run": "broken-s0",
        "labels": {},
        "seed": 0,
        "reason": "ValueError: it broke",
    }
    assert write(results, GRID, *again, failure, {"op": "settle", "at_work": False}, END) == (0, "")
    after = {run.info.run_id for run in all_runs(client)}
    assert before - after == {unfinished.info.run_id}
    assert len(after) == len(before)
    (made_anew,) = [run for run in all_runs(client) if run.info.run_id not in before]
    assert made_anew.data.tags["study.seal"] == records[0].seal
    assert made_anew.info.status == "FINISHED"


def test_a_grid_whose_parent_was_killed_reads_killed(
    mirrored: tuple[Results, list[Record]], client: Any
) -> None:
    write(mirrored[0], GRID)
    (parent,) = all_runs(client, "tags.`study.kind` = 'grid'")
    assert parent.info.status == "KILLED"


def test_a_record_that_cannot_be_read_costs_itself_alone(
    mirrored: tuple[Results, list[Record]], client: Any
) -> None:
    results, records = mirrored
    before = children(client)
    damaged = results.root / "damaged.json"
    damaged.write_bytes(b"{}")
    code, told = write(results, GRID, sealed(damaged), sealed(results.record(records[0].run)), END)
    assert code == 1
    assert "corrupt record" in told
    assert "not written: 1 messages" in told
    assert children(client) == before


def test_bad_characters_and_long_values_are_no_reason_to_lose_a_run(
    mirrored: tuple[Results, list[Record]], client: Any
) -> None:
    results, records = mirrored
    bad = GRID | {"grid": "odd @(;)\n../#?é"}
    failure = {
        "op": "failed",
        "run": "odd-s0",
        "labels": BAD,
        "seed": 0,
        "reason": "\x00\ud800" + "z" * 9000,
    }
    assert write(results, bad, failure, sealed(results.record(records[0].run), BAD), END) == (0, "")
    experiment = client.get_experiment_by_name("odd @(;)\n../#?é-lab")
    runs = list(client.search_runs([experiment.experiment_id], "tags.`study.kind` = 'run'"))
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]
    for run in runs:
        assert run.data.tags["label.objective"].startswith("a@b (c); d\n�é?/../xxx")
        assert run.data.tags["label.odd _at____"] == "y"
    assert experiment.artifact_location.endswith("/mlartifacts/odd_______________lab") or (
        Path(experiment.artifact_location).name.startswith("odd_")
    )


def test_duplicates_and_the_killed_are_settled(
    mirrored: tuple[Results, list[Record]], client: Any
) -> None:
    results, records = mirrored
    experiment = client.get_experiment_by_name("fake-lab").experiment_id
    spare = client.create_run(experiment, tags={"study.kind": "grid"}).info.run_id
    whole = all_runs(client, f"tags.`study.run` = '{records[0].run}'")[0]
    client.set_tag(whole.info.run_id, "mlflow.parentRunId", spare)
    for run_id in (records[0].run, "open-s0", "killed-s0"):
        client.create_run(
            experiment, tags={"study.kind": "run", "study.run": run_id, "mlflow.parentRunId": spare}
        )
    write(results, GRID, {"op": "settle", "at_work": True}, END)
    assert ("killed-s0", "RUNNING", False) in children(client)
    write(results, GRID, {"op": "settle", "at_work": False}, END)
    wanted = [
        ("broken-s0", "FAILED", False),
        ("killed-s0", "KILLED", False),
        ("open-s0", "KILLED", False),
    ]
    assert children(client) == sorted(
        [*wanted, *((record.run, "FINISHED", True) for record in records)]
    )
    (parent,) = all_runs(client, "tags.`study.kind` = 'grid'")
    assert parent.info.run_id != spare
    assert {
        run.data.tags["mlflow.parentRunId"] for run in all_runs(client, "tags.`study.kind` = 'run'")
    } == {parent.info.run_id}


def test_an_experiment_that_was_deleted_comes_back(
    mirrored: tuple[Results, list[Record]], client: Any
) -> None:
    client.delete_experiment(client.get_experiment_by_name("fake-lab").experiment_id)
    again = sealed(mirrored[0].record(mirrored[1][0].run))
    assert write(mirrored[0], GRID, again, {"op": "settle", "at_work": False}, END) == (0, "")
    assert client.get_experiment_by_name("fake-lab").lifecycle_stage == "active"
    names = [name for name, _, _ in children(client)]
    assert len(names) == len(set(names))  # MLflow revives deleted runs with their experiment
    assert len(all_runs(client, "tags.`study.kind` = 'grid'")) == 1


def test_a_locked_database_is_written_when_it_is_free(
    mirrored: tuple[Results, list[Record]], client: Any
) -> None:
    results, records = mirrored
    place = replace(address(results), uri=f"sqlite:///{results.database}?timeout=0.2")
    again = sealed(results.record(records[0].run), {"objective": "locked"})
    told: list[str] = []
    with closing(sqlite3.connect(results.database, isolation_level=None)) as other:

        def feed() -> Iterator[str]:
            other.execute("begin exclusive")
            yield from map(
                json.dumps, (GRID, {"op": "started", "run": "locked-s0", "labels": {}, "seed": 0})
            )
            other.execute("rollback")
            yield from map(json.dumps, (again, END))

        assert writer_for(results, place, told.append).follow(feed()) == 0
    assert "database is locked" in told[0]
    assert ("locked-s0", "KILLED", False) in children(client)
    assert [run.info.status for run in all_runs(client, "tags.`study.kind` = 'grid'")] == [
        "FINISHED"
    ]


def one_of_eight(root: Path, paths: list[Path], number: int) -> None:
    """Its own runs, and one that all of them mirror. Writer 2 is killed in the middle of a run; the
    end of grid 3 never comes.
    """
    results = Results(root)
    messages = [
        GRID,
        *(sealed(path) for path in [*paths[number::8], paths[0]]),
        *([END] if number != 3 else []),
    ]
    if number == 2:
        tracking.fields.points = lambda _record: os.kill(
            os.getpid(), signal.SIGKILL
        )  # parameters are there, metrics are not
    os._exit(
        writer_for(results, address(results), lambda _told: None).follow(map(json.dumps, messages))
    )


def test_eight_writers_at_once_lose_nothing_and_make_nothing_twice(tmp_path: Path) -> None:
    import mlflow.tracking  # noqa: F401 - once, before the forks

    results = Results(tmp_path / "results")
    paths = [make(results, k) for k in range(1, 17)]
    fork = multiprocessing.get_context("fork")
    writers = [
        fork.Process(target=one_of_eight, args=(results.root, paths, number)) for number in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, -signal.SIGKILL, 0, 0, 0, 0, 0]
    client = client_of(results)
    assert Counter(status for _, status, _ in children(client)) == {
        "FINISHED": 14,
        "RUNNING": 1,
    }  # of two: one half-written, one not begun
    assert len(all_runs(client, "tags.`study.kind` = 'grid'")) == 1
    before = {run.info.run_id for run in all_runs(client)}
    repair = [GRID, *map(sealed, paths), {"op": "settle", "at_work": False}, END]
    assert write(results, *repair) == (0, "")
    assert children(client) == sorted((read_record(path).run, "FINISHED", True) for path in paths)
    after = {run.info.run_id for run in all_runs(client)}
    assert len(before - after) == 1  # the half-written one
    assert write(results, *repair) == (0, "")
    assert {run.info.run_id for run in all_runs(client)} == after


@contextmanager
def server(folder: Path, database: Path) -> Iterator[str]:
    """MLflow's own server on a free port of the loopback interface; ends with the block."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = [
        "--backend-store-uri",
        f"sqlite:///{database}",
        "--artifacts-destination",
        str(folder / "uploaded"),
    ]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        *places,
    ]
    with (folder / "server.log").open("wb") as log:
        environment = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, cwd=folder, env=environment
        )
    try:
        for _ in range(1200):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_tracking_server_is_made_whole_by_sync_mlflow(
    mirrored: tuple[Results, list[Record]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow.tracking import MlflowClient

    results = Results(tmp_path / "results")
    runs = load_grid("smoke").runs()
    for run in runs:
        write_record(results.record(run.run_id), record(run, 0.3, 0.8))
    (results.root / "analysis" / "figures").mkdir(parents=True)
    (results.root / "analysis" / "figures" / "curves-smoke.png").write_bytes(b"picture")
    shutil.copyfile(mirrored[0].database, tmp_path / "server.db")  # a new one takes seconds
    with server(tmp_path, tmp_path / "server.db") as uri:
        sync_mlflow(results=results.root, mlflow_uri=uri)
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("smoke-lab").experiment_id
        first = client.search_runs([experiment])
        (parent,) = [run for run in first if run.data.tags["study.kind"] == "grid"]
        assert [item.path for item in client.list_artifacts(parent.info.run_id, "figures")] == [
            "figures/curves-smoke.png"
        ]
        assert "collapse" in parent.data.tags["mlflow.note.content"]
        assert {
            run.data.tags["study.run"]: run.info.status
            for run in first
            if run != parent and "study.run" in run.data.tags
        } == {run.run_id: "FINISHED" for run in runs}
        sync_mlflow(results=results.root, mlflow_uri=uri)
        assert {run.info.run_id for run in client.search_runs([experiment])} == {
            run.info.run_id for run in first
        }
        with pytest.raises(SpecError, match="not what is on http://127"):
            sync_mlflow(results=results.root, mlflow_uri=uri, rebuild=True)
    assert f"smoke: 2 runs mirrored to {uri}" in capsys.readouterr().out
    assert not results.database.exists()


def test_committed_records_are_shown_next_to_local_runs(
    mirrored: tuple[Results, list[Record]], tmp_path: Path
) -> None:
    results = Results(tmp_path / "results")
    first, second = load_grid("smoke").runs()
    for run in (first, second):
        write_record(results.records / f"{run.run_id}.json", record(run, 0.3, 0.8))
    write_record(results.record(first.run_id), record(first, 0.3, 0.1))
    (results.root / "report.md").write_text("# Report")
    shutil.copyfile(mirrored[0].database, results.database)  # a new one takes seconds
    sync_mlflow(results=results.root, committed=True)
    client = client_of(results)
    shown = {
        name: client.search_runs([client.get_experiment_by_name(name).experiment_id])
        for name in ("smoke-lab", "smoke-lab-committed")
    }
    children = {
        name: {run.data.tags.get("study.run") for run in runs} - {None}
        for name, runs in shown.items()
    }
    assert children == {
        "smoke-lab": {first.run_id},
        "smoke-lab-committed": {first.run_id, second.run_id},
    }
    (parent,) = [
        run for run in shown["smoke-lab-committed"] if run.data.tags["study.kind"] == "grid"
    ]
    assert [item.path for item in client.list_artifacts(parent.info.run_id)] == ["report.md"]
    assert client.get_experiment_by_name("core-lab-committed") is None  # composed of others


def test_a_folder_without_local_runs_names_the_option_that_shows_the_committed(
    tmp_path: Path,
) -> None:
    with pytest.raises(IncompleteResults, match="no records in") as caught:
        sync_mlflow(results=tmp_path)
    assert "study sync-mlflow --committed" in caught.value.hint
    with pytest.raises(IncompleteResults, match=r"runs or .*records"):
        sync_mlflow(results=tmp_path, committed=True)


def test_the_pages_of_a_grid_are_its_tables_figures_verdicts_and_report(tmp_path: Path) -> None:
    tables, figures = ("tables/1.md", "tables/1.csv"), ("figures/scorecard.png", "figures/11.png")
    for name in ("report.md", *tables, *figures, "verdicts/math.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = grid_pages(tmp_path, load_grid("math"))
    assert {place: [path.name for path in files] for place, files in found.items()} == {
        "": ["report.md", "scorecard.png"],
        "figures": ["11.png"],
        "tables": ["1.md", "1.csv"],
        "verdicts": ["math.md"],
    }


def test_parameters_are_dotted_paths(mirrored: tuple[Results, list[Record]]) -> None:
    assert dotted({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {"a.b": 1, "a.c": [1, 2], "d": None}
    found = parameters(mirrored[1][0])
    assert found["teacher.base.name"] == "strong"
    assert found["seed"] == 0
    assert cell_parameters(cell(1), 0) == found
    assert "objective.beta" not in found
