"""Torch-free stages for the runner's tests: files that depend only on recipe, seed and inputs, and
faults on demand.

STUDY_TEST_FAULT requests faults as `<kind or task>:<fault>`, with commas between them: raise, kill,
slow, memory, full, full-rust, hang. The place `step` comes after the third of the five steps. A
fault whose marker file (STUDY_TEST_MARKER and the place) exists is over, so that the next execution
succeeds; `slow` and `always-kill` are never over. Every build appends its name to STUDY_TEST_LOG.
STUDY_TEST_STEP_S: seconds of a step.
"""

import errno
import hashlib
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.record.checkpoints import Checkpoints
from study.record.progress import ReportProgress
from study.runner.work.execute import Work
from study.spec.grid.cell import Cell
from study.spec.identity import canonical, cell_id
from study.spec.recipe.corpus import ArithmeticCorpus
from study.spec.recipe.data import ArithmeticData
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import Architecture, DistilledModel, Model, PretrainedLab, SftModel
from study.spec.recipe.objective import Objective
from study.spec.recipe.training import (
    Curve,
    DistillTraining,
    Optimisation,
    Sampling,
    SupervisedTraining,
)

WORK = Work(build="tests.support.fake_work:build", evaluate="tests.support.fake_work:evaluate")
DATA = ArithmeticData()
OPTIMISATION = Optimisation(learning_rate=1e-3)
STEPS = 4
SAMPLING = Sampling(max_completion_length=8)
EVALUATION = Evaluation(task="lab_math", data=DATA, k=4, problems=16, sampling=SAMPLING)


def pretrained(name: str) -> PretrainedLab:
    shape = Architecture(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=32,
    )
    training = SupervisedTraining(
        steps=2, documents_per_step=2, optimisation=OPTIMISATION, max_length=8
    )
    return PretrainedLab(
        name=name,
        architecture=shape,
        data=DATA,
        corpus=ArithmeticCorpus(style_mix={"A": 1.0}),
        training=training,
    )


def cell(k: int = 1, *, steps: int = 4) -> Cell:
    """Return a cell with student = pretrain, teacher = sft of a pretrain: four stages, three of
    them shared by all cells.
    """
    base, corpus = pretrained("strong"), ArithmeticCorpus(style_mix={"C": 1.0})
    teacher = SftModel(base=base, data=DATA, corpus=corpus, training=base.training)
    training = DistillTraining(
        steps=steps,
        prompts_per_step=2,
        optimisation=OPTIMISATION,
        sampling=SAMPLING,
        curve=Curve(every=2, problems=4, k=2),
    )
    objective = Objective(support="student_topk", k=k)
    model = DistilledModel(
        student=pretrained("student"),
        teacher=teacher,
        data=DATA,
        objective=objective,
        training=training,
    )
    return Cell(scale="lab", model=model, evaluation=EVALUATION)


def build(
    recipe: Model,
    seed: int,
    inputs: Mapping[str, Path],
    out: Path,
    report: ReportProgress,
    checkpoints: Checkpoints,
) -> None:
    """Do five steps, each of which hashes the one before, so that the result shows that none was
    skipped or done twice.
    """
    _log(recipe.kind)
    _fault(recipe.kind)
    if isinstance(recipe, DistilledModel):
        _fault(f"distill-k{recipe.objective.k}")
    text = "".join(
        [
            canonical(recipe),
            str(seed),
            *((inputs[role] / "model.safetensors").read_text() for role in sorted(inputs)),
        ]
    )
    found = checkpoints.latest()
    state = json.loads((found / "state.json").read_text()) if found else {"step": -1, "text": text}
    if found:
        _log(f"{recipe.kind}-continued")
    checkpoints.training = True
    while state["step"] < STEPS:
        state = {
            "step": state["step"] + 1,
            "text": hashlib.sha256(state["text"].encode()).hexdigest(),
        }
        time.sleep(float(os.environ.get("STUDY_TEST_STEP_S", "0")))
        report("train", state["step"], STEPS, {"train/loss": 1.0 / (state["step"] + 1)})
        if checkpoints.due():
            _checkpoint(out / "made", state, checkpoints)
        if checkpoints.stop_asked:
            raise SystemExit(143)
        if state["step"] == 2:
            _fault("step")
    checkpoints.training = False
    (out / "model.safetensors").write_text(state["text"])
    steps = list(range(0, STEPS + 1))
    columns = {
        "step": steps,
        "eval/avg@2": [0.5, None, 0.25, None, 1 / 3],
        "train/loss": [None, 1 / 3, 0.1234567, float("nan"), 2.0],
    }
    (out / "history.json").write_text(json.dumps({"columns": columns}))
    if recipe.kind == "distill":
        completions = [{"step": 0, "prompt": "1 + 1", "completion": "BOX 2", "outcome": "correct"}]
        (out / "evidence.json").write_text(
            json.dumps(
                {"completions": completions, "repeated_tokens": {"0": [["+", 3]]}, "log_ratio": {}}
            )
        )
        (out / "cost.json").write_text(json.dumps({"tokens_sampled": 100, "tokens_scored": 50}))


def _checkpoint(made: Path, state: dict[str, Any], checkpoints: Checkpoints) -> None:
    made.mkdir()
    (made / "state.json").write_text(json.dumps(state))
    checkpoints.seal(made, state["step"])


def evaluate(
    spec: Evaluation,
    model_dir: Path,
    seed: int,
    out: Path,
    report: ReportProgress,
    beside: Mapping[str, Path],
) -> None:
    _log("evaluate")
    _fault("evaluate")
    digest = bytes.fromhex((model_dir / "model.safetensors").read_text())
    correct = [digest[i] % (spec.k + 1) for i in range(16)]
    report("evaluate", 16, 16, {})
    result = {
        "task": spec.task,
        "k": spec.k,
        "n": 16,
        "temperature": 1.0,
        "top_p": 1.0,
        "max_completion_length": 8,
        "grader": "boxed-1",
        "avg@k": sum(correct) / 64,
        "problem_ids": [f"p{i}" for i in range(16)],
        "correct_counts": correct,
        "truncated_counts": [0] * 16,
        "unparsed_counts": [0] * 16,
        "mean_tokens": 5.0,
    }
    (out / "evaluation.json").write_text(json.dumps(result))


def cell_name(k: int) -> str:
    return cell_id(cell(k))


def _log(kind: str) -> None:
    path = os.environ.get("STUDY_TEST_LOG")
    if path:
        with Path(path).open("a") as handle:
            handle.write(f"{kind}\n")


def _fault(place: str) -> None:
    requested = dict(
        one.split(":", 1) for one in os.environ.get("STUDY_TEST_FAULT", "").split(",") if one
    )
    fault = requested.get(place)
    marker = os.environ.get("STUDY_TEST_MARKER")
    over = Path(f"{marker}-{place}") if marker else None
    if fault is None or (over and over.exists()):
        return
    if over and fault not in ("slow", "always-kill"):
        try:
            over.touch(exist_ok=False)
        except FileExistsError:
            return  # two stages came here at once; only one of them gets the fault
    match fault:
        case "kill" | "always-kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "slow" | "hang":
            time.sleep(30)
        case "memory":
            raise MemoryError
        case "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        case "full-rust":
            raise RuntimeError(
                "Error while serializing: I/O error: No space left on device (os error 28)"
            )
        case _:
            raise ValueError(f"{place} was told to fail")
