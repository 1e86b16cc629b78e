"""Several processes for one stage: they share the batch, one of them leads, and sharded weights are
gathered before they are saved.
"""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.errors import PrerequisiteError
from study.record.store import Results
from study.runner.graph.stages import stage_graph
from study.runner.work.assignment import Assignment, write_assignment
from study.spec.machine.profile import Profile
from study.train.arguments import arguments
from study.train.checkpoint import save_trained
from tests.support.fake_work import OPTIMISATION, WORK, cell
from tests.support.harness import (
    built,
    contents,
    finish,
    make_undisturbed,
    plan_of,
    start,
    wait_for,
    workers,
)
from tests.support.paths import ROOT


def test_processes_share_the_batch_of_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(processes: str) -> SimpleNamespace:
        monkeypatch.setenv("WORLD_SIZE", processes)
        sees_four_gpus: Any = partial(SimpleNamespace, n_gpu=4)
        return arguments(sees_four_gpus, tmp_path, OPTIMISATION, steps=1, batch=6, seed=0)

    assert [made(n).per_device_train_batch_size for n in ("1", "2", "3")] == [6, 3, 2]
    assert made("1")._n_gpu == 1  # a single process would feed a batch to each GPU that it sees
    with pytest.raises(PrerequisiteError, match="4 processes cannot share a batch of 6 evenly"):
        made("4")


@pytest.mark.parametrize("sharded", [True, False])
def test_sharded_weights_are_gathered_by_the_trainer(tmp_path: Path, sharded: bool) -> None:
    def gathered(folder: str) -> None:
        for name in ("model.safetensors", "training_args.bin"):
            (Path(folder) / name).touch()

    part = SimpleNamespace(
        save_pretrained=lambda folder: (Path(folder) / "own.safetensors").touch()
    )
    save_trained(
        SimpleNamespace(is_fsdp_enabled=sharded, save_model=gathered), part, part, tmp_path
    )
    assert [path.name for path in tmp_path.iterdir()] == [
        "model.safetensors" if sharded else "own.safetensors"
    ]


def test_a_local_stage_behind_a_launcher(tmp_path: Path) -> None:
    """Any prefix will do here; the cells without one beside it as always, and the same records."""
    process = start(
        tmp_path / "results",
        ks=(1,),
        profile={"launch": {"distill": ["nice", "-n", "1"]}, "checkpoint_s": 0},
    )
    code, output = finish(process)
    assert code == 0, output
    assert [path.name for path in (tmp_path / "results" / "jobs").iterdir()] == [
        stage_graph(cell().model, 0)[-1].id
    ]
    run = plan_of(1).run_id
    assert contents(tmp_path / "results")[run] == make_undisturbed(Results(tmp_path / "alone"))[run]


@pytest.mark.slow
def test_a_launcher_ends_with_the_runner_and_its_stage_continues(tmp_path: Path) -> None:
    slow = {"launch": {"distill": ["nice", "-n", "1"]}, "checkpoint_s": 0}
    process = start(tmp_path / "results", ks=(1,), profile=slow, STUDY_TEST_STEP_S="0.3")
    wait_for(
        lambda: (tmp_path / "built.log").is_file() and "distill" in built(tmp_path / "results")
    )
    wait_for(lambda: list((tmp_path / "results" / "checkpoints").glob("distill-*/step-*")))
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    wait_for(lambda: not workers(tmp_path / "results"))
    code, output = finish(start(tmp_path / "results", ks=(1,), profile=slow))
    assert code == 0, output
    assert "distill-continued" in built(tmp_path / "results")
    run = plan_of(1).run_id
    assert contents(tmp_path / "results")[run] == make_undisturbed(Results(tmp_path / "alone"))[run]


def test_two_ranks_make_one_artifact(tmp_path: Path) -> None:
    """As a launcher starts them; the leader alone claims and seals, the other leaves nothing."""
    results = Results(tmp_path / "results")
    first = stage_graph(cell().model, 0)[0]
    folder = results.root / "jobs" / first.id
    write_assignment(folder / "payload.json", Assignment(first, WORK, Profile(checkpoint_s=0)))
    command = [
        sys.executable,
        "-m",
        "study.runner.engines.task_main",
        str(folder),
        str(results.root),
    ]
    shared = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_PORT": "1",
        "STUDY_JOB": "9",
        "STUDY_TEST_LOG": str(tmp_path / "built.log"),
    }
    ranks = [
        subprocess.Popen(command, cwd=ROOT, env=shared | {"RANK": rank, "STUDY_TEST_STEP_S": "0.1"})
        for rank in ("1", "0")
    ]
    assert [rank.wait(60) for rank in ranks] == [0, 0]
    assert (tmp_path / "built.log").read_text().split() == [first.kind, first.kind]
    assert json.loads((folder / "outcome.json").read_bytes())["event"] == "Finished"
    made = results.artifact(first.id)
    assert sorted(path.name for path in made.iterdir()) == [
        "history.json",
        "model.safetensors",
        "stage.json",
    ]
    again = [
        subprocess.Popen(command, cwd=ROOT, env=shared | {"RANK": rank, "MASTER_PORT": "2"})
        for rank in ("1", "0")
    ]
    assert [rank.wait(60) for rank in again] == [
        0,
        0,
    ]  # nothing is left to train: the other is dismissed
