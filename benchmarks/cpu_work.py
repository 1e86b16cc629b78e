"""Stages of pure computing for `bench_runner`: a fixed amount of hashing, then the files of the
tests' torch-free stages.

BENCH_ROUNDS: rounds of hashing in a distill stage (a fifth of them in an evaluation, none
elsewhere). BENCH_LOG: a file to which every call appends its task's kind and its own wall and core
seconds.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from study.record.checkpoints import Checkpoints
from study.record.progress import ReportProgress
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import Model
from tests.support import fake_work

SHARE = {"distill": 1.0, "evaluate": 0.2}


def spin(rounds: int) -> str:
    """Do the same work on every call, on one core."""
    text = b"0" * 65536
    for _ in range(rounds):
        text = hashlib.sha256(text).digest() + text[32:]
    return text[:8].hex()


@contextmanager
def logged(kind: str) -> Iterator[None]:
    wall, core = time.monotonic(), time.process_time()
    yield
    with Path(os.environ["BENCH_LOG"]).open("a", encoding="utf-8") as log:
        log.write(f"{kind} {time.monotonic() - wall} {time.process_time() - core}\n")


def build(
    recipe: Model,
    seed: int,
    inputs: Mapping[str, Path],
    out: Path,
    report: ReportProgress,
    checkpoints: Checkpoints,
) -> None:
    with logged(recipe.kind):
        spin(int(SHARE.get(recipe.kind, 0.0) * int(os.environ["BENCH_ROUNDS"])))
        fake_work.build(recipe, seed, inputs, out, report, checkpoints)


def evaluate(
    spec: Evaluation,
    model_dir: Path,
    seed: int,
    out: Path,
    report: ReportProgress,
    beside: Mapping[str, Path],
) -> None:
    with logged("evaluate"):
        spin(int(SHARE["evaluate"] * int(os.environ["BENCH_ROUNDS"])))
        fake_work.evaluate(spec, model_dir, seed, out, report, beside)
