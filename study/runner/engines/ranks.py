"""Train one stage with several processes (accelerate launch, torchrun): rank 0 leads, the other
ranks train with it and exit.

The leader locks the task, makes the artifact's folder and writes its path to
`ranks-<attempt>.json`. A follower builds with the same arguments in its own folder inside it, whose
`trainer/` is the leader's: the parts of a distributed checkpoint are collected there, and nothing
else of a follower is kept. A leader with nothing to train dismisses the others. Only the leader
evaluates.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from study.record.checkpoints import Checkpoints
from study.record.progress import ReportProgress
from study.record.store import Results, write_json
from study.runner.engines.local_worker import one_thread, take_signals
from study.runner.graph.stages import StageNode
from study.runner.work.assignment import Assignment
from study.runner.work.execute import Build, Work, load
from study.spec.recipe.model import Model

_WAIT_S, _POLL_S = 600.0, 0.1
_LEAD = "study.runner.engines.ranks:lead"


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def leading(entry: Work, folder: Path) -> Work:
    """Return the work of rank 0: unchanged if it is the only process, else one that calls the other
    ranks before it trains.
    """
    if processes() == 1:
        return entry
    os.environ["STUDY_BUILD"], os.environ["STUDY_RANKS"] = entry.build, str(_note(folder))
    return Work(build=_LEAD, evaluate=entry.evaluate)


def lead(
    recipe: Model,
    seed: int,
    inputs: Mapping[str, Path],
    out: Path,
    report: ReportProgress,
    checkpoints: Checkpoints,
) -> None:
    """`Build` of rank 0: announce the folder, train, wait until all ranks have, and keep only its
    own files.
    """
    write_json(
        Path(os.environ["STUDY_RANKS"]),
        {"out": str(out), "inputs": {role: str(path) for role, path in inputs.items()}},
    )
    build: Build = load(os.environ["STUDY_BUILD"])
    build(recipe, seed, inputs, out, report, checkpoints)
    _wait_for(
        lambda: True if len(list(out.glob("rank-*/done"))) == processes() - 1 else None,
        "the other ranks did not finish",
    )
    for folder in out.glob("rank-*"):
        shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        (out / "trainer").rmdir()


def dismiss(folder: Path) -> None:
    """Tell the waiting ranks that there is nothing to train."""
    if processes() > 1 and not _note(folder).exists():
        write_json(_note(folder), {"out": None})


def follow(assignment: Assignment, results: Results, folder: Path) -> int:
    """Main function of any other rank. Return its exit status:
    0, also if there is nothing to train.
    """
    payload = assignment.payload
    said = _wait_for_note(_note(folder)) if isinstance(payload, StageNode) else {"out": None}
    if said["out"] is None or not isinstance(payload, StageNode):
        return 0
    checkpoints = _Onlooker(results.checkpoints(payload.id), assignment.profile.checkpoint_s)
    os.environ.update(assignment.profile.environment(payload.kind))
    take_signals(checkpoints)
    one_thread(assignment.entry)
    mine = Path(said["out"]) / f"rank-{rank()}"
    mine.mkdir()
    (Path(said["out"]) / "trainer").mkdir(exist_ok=True)
    (mine / "trainer").symlink_to(Path(said["out"]) / "trainer", target_is_directory=True)
    build: Build = load(assignment.entry.build)
    inputs: dict[str, str] = said["inputs"] or {}
    build(
        payload.recipe,
        payload.seed,
        {role: Path(path) for role, path in inputs.items()},
        mine,
        _silent,
        checkpoints,
    )
    (mine / "done").touch()
    return 0


class _Onlooker(Checkpoints):
    """The checkpoints of a stage in a follower: the leader decides where training continues, and
    only the leader seals.
    """

    def latest(self) -> Path | None:
        return None

    def seal(self, made: Path, step: int) -> Path:
        shutil.rmtree(made, ignore_errors=True)
        return self.folder / f"step-{step}"


def _silent(_phase: str, _done: int, _total: int, _latest: dict[str, float]) -> None:
    """Do nothing, because the leader reports progress."""


def _note(folder: Path) -> Path:
    """Return the path of the attempt's note. The launcher's port is different in each attempt."""
    job, port = os.environ.get("STUDY_JOB", ""), os.environ.get("MASTER_PORT", "")
    return folder / f"ranks-{job}-{port}-{os.getppid()}.json"


def _wait_for_note(note: Path) -> dict[str, Any]:
    return _wait_for(lambda: json.loads(note.read_bytes()), "no message from rank 0")


def _wait_for(look: Callable[[], Any], otherwise: str) -> Any:
    """Call `look` until it returns something, and return that.

    Errors: TimeoutError, on which a launcher ends all processes.
    """
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            found = look()
            if found is not None:
                return found
        time.sleep(_POLL_S)
    raise TimeoutError(f"{otherwise} for {_WAIT_S:g} s")
