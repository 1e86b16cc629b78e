"""Several processes for one stage: they share the batch, one of them leads, and sharded weights are gathered before they are saved."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import TrainingArguments

from study.errors import PrerequisiteError
from study.record.store import Results
from study.runner.payload import Assignment, write_assignment
from study.runner.stages import stage_graph
from study.spec.profile import Profile
from study.train.arguments import arguments
from study.train.checkpoint import save_trained
from tests.fake_work import OPTIMISATION, WORK, cell
from tests.harness import ROOT


def test_processes_share_the_batch_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def per_process(processes: str) -> int:
        monkeypatch.setenv("WORLD_SIZE", processes)
        return arguments(TrainingArguments, tmp_path, OPTIMISATION, steps=1, batch=6, seed=0).per_device_train_batch_size

    assert per_process("1") == 6
    with pytest.raises(PrerequisiteError, match="4 processes cannot share a batch of 6 evenly"):
        per_process("4")
    monkeypatch.setattr(TrainingArguments, "__post_init__", lambda self: None)  # which would wait for the other processes
    assert per_process("2") == 3


@pytest.mark.parametrize("sharded", [True, False])
def test_sharded_weights_are_gathered_by_the_trainer(tmp_path: Path, sharded: bool) -> None:
    def gathered(folder: str) -> None:
        for name in ("model.safetensors", "training_args.bin"):
            (Path(folder) / name).touch()

    part = SimpleNamespace(save_pretrained=lambda folder: (Path(folder) / "own.safetensors").touch())
    save_trained(SimpleNamespace(is_fsdp_enabled=sharded, save_model=gathered), part, part, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors" if sharded else "own.safetensors"]


def test_two_ranks_make_one_artifact(tmp_path: Path) -> None:
    """As a launcher starts them; the leader alone claims and seals, the other leaves nothing."""
    results = Results(tmp_path / "results")
    first = stage_graph(cell().model, 0)[0]
    folder = results.root / "jobs" / first.id
    write_assignment(folder / "payload.json", Assignment(first, WORK, Profile(checkpoint_s=0)))
    command = [sys.executable, "-m", "study.runner.task", str(folder), str(results.root)]
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_PORT": "1", "STUDY_JOB": "9", "STUDY_TEST_LOG": str(tmp_path / "built.log")}
    ranks = [subprocess.Popen(command, cwd=ROOT, env=shared | {"RANK": rank, "STUDY_TEST_STEP_S": "0.1"}) for rank in ("1", "0")]
    assert [rank.wait(60) for rank in ranks] == [0, 0]
    assert (tmp_path / "built.log").read_text().split() == [first.kind, first.kind]
    assert json.loads((folder / "outcome.json").read_bytes())["event"] == "Finished"
    made = results.artifact(first.id)
    assert sorted(path.name for path in made.iterdir()) == ["history.json", "model.safetensors", "stage.json"]
    again = [subprocess.Popen(command, cwd=ROOT, env=shared | {"RANK": rank, "MASTER_PORT": "2"}) for rank in ("1", "0")]
    assert [rank.wait(60) for rank in again] == [0, 0]  # nothing is left to train: the other is dismissed
