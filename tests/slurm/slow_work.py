"""Torch-free stages that take their time, with a checkpoint at every step: what a job is killed,
preempted and timed out in.

The steps of a stage hash each other, so its weights show that none was skipped or done twice.
STUDY_SLOW: JSON {kind: [steps, seconds]}. STUDY_SLOW_LOG: every step of every process is appended
to it as `<kind> <step> <job id> <pid>`. STUDY_SLOW_FAULT: a kind whose first job takes more and
more memory.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.record.checkpoints import Checkpoints
from study.record.progress import ReportProgress
from study.runner.work.execute import Work
from study.spec.identity import canonical
from study.spec.recipe.model import Model
from tests.support.fake_work import evaluate as evaluate

WORK = Work(build="tests.slurm.slow_work:build", evaluate="tests.slurm.slow_work:evaluate")


def build(
    recipe: Model,
    seed: int,
    inputs: Mapping[str, Path],
    out: Path,
    report: ReportProgress,
    checkpoints: Checkpoints,
) -> None:
    steps, seconds = json.loads(os.environ.get("STUDY_SLOW", "{}")).get(recipe.kind, [3, 0.05])
    if os.environ.get("STUDY_SLOW_FAULT") == recipe.kind:
        _take_memory()
    text = "".join(
        [
            canonical(recipe),
            str(seed),
            *((inputs[role] / "model.safetensors").read_text() for role in sorted(inputs)),
        ]
    )
    found = checkpoints.latest()
    state: dict[str, Any] = (
        json.loads((found / "state.json").read_text()) if found else {"step": 0, "text": text}
    )
    checkpoints.training = True
    while state["step"] < steps:
        time.sleep(seconds)
        state = {
            "step": state["step"] + 1,
            "text": hashlib.sha256(state["text"].encode()).hexdigest(),
        }
        _log(recipe.kind, state["step"])
        report("train", state["step"], steps, {"train/loss": 1.0 / state["step"]})
        if checkpoints.due():
            (out / "made").mkdir()
            (out / "made" / "state.json").write_text(json.dumps(state))
            checkpoints.seal(out / "made", state["step"])
        if checkpoints.stop_asked:
            raise SystemExit(143)
    checkpoints.training = False
    (out / "model.safetensors").write_text(state["text"])
    (out / "history.json").write_text(
        json.dumps({"columns": {"step": [0, 1], "train/loss": [None, 0.5]}})
    )
    if recipe.kind == "distill":
        (out / "evidence.json").write_text(
            json.dumps({"completions": [], "repeated_tokens": {}, "log_ratio": {}})
        )
        (out / "cost.json").write_text(json.dumps({"tokens_sampled": 100, "tokens_scored": 50}))


def _log(kind: str, step: int) -> None:
    with Path(os.environ["STUDY_SLOW_LOG"]).open("a") as handle:
        handle.write(f"{kind} {step} {os.environ.get('STUDY_JOB', '-')} {os.getpid()}\n")


def _take_memory() -> None:
    taken: list[bytearray] = []
    for _ in range(60):  # 3 GB in six seconds: far above what the test asks for
        taken.append(bytearray(os.urandom(1024) * 50 * 1024))
        time.sleep(0.1)
