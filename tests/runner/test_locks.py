"""Locks: one owner at a time, numbers that never come back, and an owner that was frozen past its
lease and wakes when another process makes its task.
"""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.record.checkpoints import Checkpoints
from study.record.schema import content
from study.record.store import Results, read_record, write_record_once
from study.runner.graph.stages import stage_graph
from study.runner.work import locks as module
from study.runner.work.locks import LockLost, Watch, holder, locked
from study.runner.work.sweep import sweep
from study.runner.work.worker import Busy, Finished, perform
from study.spec.machine.profile import Profile
from tests.support import fake_work
from tests.support.fake_work import WORK
from tests.support.harness import contents, make_undisturbed, plan_of, silent

ELSEWHERE = "0123abcd-77-7"
PROFILE = Profile(checkpoint_s=0, lease_s=600)


def take_over(locks: Path, task: str) -> Path:
    """What a process of another host does when it finds a heartbeat that does not change."""
    found = holder(locks, task)
    assert found is not None
    now = 0.0
    watch = Watch(locks, 60, lambda: now)
    os.utime(found.path, (1, 1))
    found.path.write_text("00000000-1-1")  # as seen from there: an owner that cannot be seen
    assert watch.held(task)
    now = 61.0
    assert not watch.held(task)
    path = locks / f"{task}~{module._next_number(locks, task)}"
    path.write_text(ELSEWHERE)
    return path


def test_a_number_is_never_used_twice(tmp_path: Path) -> None:
    names: list[str] = []
    for task in ("a", "a", "b", "a"):
        with locked(tmp_path, task, 60):
            names += [path.name for path in tmp_path.glob("*~*")]
    assert len({name for name in names if name.startswith("a~")}) == 3
    numbers = [int(name.rpartition("~")[2]) for name in names]
    assert numbers == sorted(set(numbers))
    assert len(list(tmp_path.iterdir())) == 1, "one file remembers the numbers"


def test_an_owner_that_wakes_leaves_the_new_lock_alone(tmp_path: Path) -> None:
    with locked(tmp_path, "task", 600) as lock:
        assert lock is not None
        assert lock.held()
        new = take_over(tmp_path, "task")
        os.utime(new, (5, 5))
        assert not lock.held()
        with pytest.raises(LockLost):
            lock.check()
    assert new.read_text() == ELSEWHERE
    assert new.stat().st_mtime == 5


def test_a_lock_that_names_another_owner_is_neither_touched_nor_removed(tmp_path: Path) -> None:
    """Also where a file system gave the same name to two of them."""
    with locked(tmp_path, "task", 0.3) as lock:
        assert lock is not None
        (path,) = tmp_path.glob("task~*")
        path.write_text(ELSEWHERE)
        os.utime(path, (5, 5))
        threading.Event().wait(0.3)
        assert path.stat().st_mtime == 5
    assert path.read_text() == ELSEWHERE


def test_a_removal_that_meets_another_owner_puts_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "task~4"
    path.write_text(ELSEWHERE)
    module._remove(path, "00000000-1-1")
    assert path.read_text() == ELSEWHERE
    assert [other.name for other in tmp_path.glob("*~*")] == [path.name]


def test_a_lock_that_is_created_late_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen between the look and the link; meanwhile the number was used, or is in use."""
    original, late = module._create, [True]

    def created_late(path: Path) -> bool:
        if late.pop() if late else False:
            path.write_text(ELSEWHERE)
            module._remove(path, ELSEWHERE)  # another process was here and is done
        return original(path)

    monkeypatch.setattr(module, "_create", created_late)
    with locked(tmp_path, "task", 60) as lock:
        assert lock is not None
        (path,) = tmp_path.glob("task~*")
        assert path.name == "task~2"
    (tmp_path / "task~9").write_text(ELSEWHERE)
    assert not module._is_alone(tmp_path / "task~12", "task")


def test_a_watch_that_was_frozen_does_not_blame_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen between reading the heartbeat and looking at the clock."""
    now = [0.0]
    path = tmp_path / "task~1"
    path.write_text(ELSEWHERE)
    watch = Watch(tmp_path, 60, lambda: now[0])
    assert watch.held("task")
    original = module.holder

    def slow(locks: Path, task: str) -> module.Holder | None:
        found = original(locks, task)
        now[0] += 1000
        return found

    monkeypatch.setattr(module, "holder", slow)
    assert watch.held("task")


# A stage or run whose lock is lost at any of its changes of the disk


def test_who_lost_the_lock_stops_as_busy_and_touches_nothing(tmp_path: Path) -> None:
    wanted = make_undisturbed(Results(tmp_path / "wanted"))
    plan, number = plan_of(1), 0
    node = stage_graph(plan.cell.model, 0)[-1]
    while True:
        results = Results(tmp_path / f"results{number}")
        for other in stage_graph(plan.cell.model, 0)[:-1]:
            assert isinstance(do(other, results), Finished)
        outcome = do(node, results, before_check=NewOwner(results, node.id, number))
        if isinstance(outcome, Finished):
            break  # the lock was lost at its release, when nothing was left to do
        assert outcome == Busy(node.id), number
        (lock,) = results.locks.glob(f"{node.id}~*")
        assert lock.read_text() == ELSEWHERE
        assert (results.checkpoints(node.id) / "step-1" / "of the new owner").is_file(), number
        assert (results.artifacts / f"{node.id}.partial-{ELSEWHERE}").is_dir(), number
        assert not list(results.root.rglob(f"*.partial-{module.owner()}")), number
        lock.unlink()
        shutil.rmtree(results.checkpoints(node.id))
        assert isinstance(do(node, results), Finished)
        assert isinstance(do(plan, results), Finished)
        assert contents(results.root)[plan.run_id] == wanted[plan.run_id], number
        number += 1
    assert number >= 10


class NewOwner:
    """Takes the task over before the check of the lock with that number, and begins to work."""

    def __init__(self, results: Results, task: str, number: int) -> None:
        self.results, self.task, self.left = results, task, number

    def __call__(self) -> None:
        self.left -= 1
        if self.left == -1:
            take_over(self.results.locks, self.task)
            (self.results.artifacts / f"{self.task}.partial-{ELSEWHERE}").mkdir()
            place = self.results.checkpoints(self.task) / "step-1"
            place.mkdir(parents=True, exist_ok=True)
            (place / "of the new owner").touch()


def do(payload: Any, results: Results, before_check: Callable[[], None] | None = None) -> object:
    """The task in this process; before_check: called before each check of the lock."""
    name = getattr(payload, "id", "run")
    checkpoints = Checkpoints(results.checkpoints(name), 0.0)
    original = module.Lock.held

    def held(lock: module.Lock) -> bool:
        if before_check is not None:
            before_check()
        return original(lock)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.Lock, "held", held)
        return perform(payload, results, WORK, PROFILE, silent, checkpoints)


def test_an_error_of_who_lost_the_lock_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its partial folder was swept while it was frozen."""
    results = Results(tmp_path)
    node = stage_graph(plan_of(1).cell.model, 0)[0]

    def swept(*arguments: object) -> None:
        take_over(results.locks, node.id)
        raise FileNotFoundError("model.safetensors")

    monkeypatch.setattr(fake_work, "build", swept)
    assert do(node, results) == Busy(node.id)


def test_a_sealed_record_is_never_replaced(tmp_path: Path) -> None:
    results, plan = Results(tmp_path), plan_of(1)
    make_undisturbed(results)
    path = results.record(plan.run_id)
    first, bytes_before = read_record(path), path.read_bytes()
    other = first.model_copy(update={"provenance": first.provenance})
    assert content(write_record_once(path, other)) == content(first)
    assert path.read_bytes() == bytes_before
    inode = path.stat().st_ino
    write_record_once(path, first)
    assert path.stat().st_ino == inode
    path.write_text("{")
    write_record_once(path, first)
    assert path.read_bytes() == bytes_before
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


# Sweeping


def test_a_lock_on_a_task_that_is_done_is_swept(tmp_path: Path) -> None:
    """Left by a process of another host that was killed between its seal and the end."""
    results = Results(tmp_path)
    node = stage_graph(plan_of(1).cell.model, 0)[0]
    assert isinstance(do(node, results), Finished)
    for task in (node.id, "distill-00000000"):
        (results.locks / f"{task}~7").write_text(ELSEWHERE)
    sweep(results)
    assert [path.name for path in results.locks.glob("*~*")] == ["distill-00000000~7"]


def test_a_checkpoint_left_between_seal_and_clear_is_removed(tmp_path: Path) -> None:
    results = Results(tmp_path)
    node = stage_graph(plan_of(1).cell.model, 0)[0]
    assert isinstance(do(node, results), Finished)
    left = results.checkpoints(node.id) / "step-3"
    left.mkdir(parents=True)
    unfinished = results.checkpoints("distill-00000000") / "step-3"
    unfinished.mkdir(parents=True)
    sweep(results)
    assert not left.parent.exists()
    assert unfinished.is_dir()


def test_what_another_host_left_goes_once_its_task_is_not_locked(tmp_path: Path) -> None:
    results = Results(tmp_path)
    status = json.dumps({"owner": ELSEWHERE})
    for name in ("a-00000000", "b-00000000"):
        for path in (
            results.stage(name) / "status.json",
            results.stage(name) / f".x.{ELSEWHERE}.tmp",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(status)
    for name in ("half", "whole"):
        (results.code / f"{name}.partial-{ELSEWHERE}").mkdir(parents=True)
    (results.code / "whole").mkdir()
    for place in ("present", "jobs"):
        (results.root / place).mkdir()
        (results.root / place / f".x.json.{ELSEWHERE}.tmp").touch()
    results.locks.mkdir()
    (results.locks / "b-00000000~1").write_text(ELSEWHERE)
    sweep(results)
    assert not list((results.root / "present").iterdir())
    assert list((results.root / "jobs").iterdir()), "its writer counts on it"
    assert not list(results.stage("a-00000000").iterdir())
    assert len(list(results.stage("b-00000000").iterdir())) == 2
    assert [path.name for path in results.code.iterdir() if "partial" in path.name] == [
        f"half.partial-{ELSEWHERE}"
    ]


def test_a_sweep_meets_folders_that_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(tmp_path)
    for name in ("a-s0", "b-s0", "c-s0"):
        (results.runs / name).mkdir(parents=True)
        (results.runs / name / f"evaluation.partial-{ELSEWHERE}").mkdir()
    original = Path.glob

    def vanishing(path: Path, pattern: str) -> object:
        if path.name == "b-s0":
            shutil.rmtree(path, ignore_errors=True)
            raise FileNotFoundError(path)
        return original(path, pattern)

    monkeypatch.setattr(Path, "glob", vanishing)
    sweep(results)
    monkeypatch.undo()
    assert not list(results.runs.rglob("*.partial-*"))
