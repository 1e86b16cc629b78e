"""Faults made to happen: killed between any two writes, a full or read-only disk, damage, two runs
at once, hosts that vanish, hangs.

Each test ends alike: the same command again, and the records are those of an undisturbed run.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from study.record.checkpoints import Checkpoints
from study.record.owner import host, owner
from study.record.store import Results, read_record
from study.runner.engines.local import LocalEngine
from study.runner.graph.stages import stage_graph
from study.runner.work.code_copy import copy_code
from study.runner.work.locks import Watch, holder, locked
from study.runner.work.sweep import sweep
from study.runner.work.worker import Busy, Failed, Finished, Payload, perform
from study.spec.identity import stage_id
from study.spec.machine.profile import Profile
from tests.soak import Soak, torch_free
from tests.support.fake_work import WORK, cell
from tests.support.harness import (
    KS,
    built,
    contents,
    descendants,
    finish,
    make_undisturbed,
    plan_of,
    silent,
    start,
    wait_for,
    workers,
)

pytestmark = pytest.mark.slow

EVERY_STEP = Profile(checkpoint_s=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder in which all three runs are sealed; only to be read or copied."""
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    make_undisturbed(Results(results))
    return results


@pytest.fixture(scope="module")
def undisturbed(whole: Path) -> dict[str, bytes]:
    return contents(whole)


def completes(results: Path, undisturbed: dict[str, bytes]) -> str:
    """The same command again; what it said."""
    code, output = finish(start(results))
    assert code == 0, output
    assert contents(results) == undisturbed
    assert not leftovers(results)
    return output


def leftovers(results: Path) -> list[Path]:
    patterns = (
        "*.partial*",
        ".*.tmp",
        "locks/*~*",
        "status.json",
        "failure.json",
        "checkpoints/*",
        ".writable",
    )
    return [path for pattern in patterns for path in results.rglob(pattern)]


# Killed between any two writes: one process does one task of each kind and kills itself before its
# n-th change of the disk.

CHANGES = ("fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir", "utime")


def do(payload: Payload, results: Results) -> object:
    return perform(
        payload,
        results,
        WORK,
        EVERY_STEP,
        silent,
        Checkpoints(results.checkpoints(getattr(payload, "id", "run")), 0.0),
    )


def in_child(work: Callable[[], object]) -> int:
    """Runs `work` in a forked process; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def killed_before_change(number: int, work: Callable[[], object]) -> bool:
    """Whether there was a change of the disk with that number."""

    def doomed() -> None:
        left = [number]
        for name in CHANGES:
            setattr(os, name, counting(getattr(os, name), left))
        work()

    status = in_child(doomed)
    return os.WIFSIGNALED(status)


def counting(change: Callable[..., object], left: list[int]) -> Callable[..., object]:
    def counted(*args: object, **kwargs: object) -> object:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return change(*args, **kwargs)

    return counted


@pytest.mark.parametrize("what", ["stage", "run"])
def test_a_kill_before_any_change_of_the_disk_loses_nothing(
    tmp_path: Path, undisturbed: dict[str, bytes], what: str
) -> None:
    ready, plan = Results(tmp_path / "ready"), plan_of(1)
    nodes = stage_graph(plan.cell.model, 0)
    for node in nodes if what == "run" else nodes[:-1]:
        assert isinstance(do(node, ready), Finished)
    payload = plan if what == "run" else nodes[-1]
    results, number = Results(tmp_path / "results"), 0
    while True:
        shutil.copytree(ready.root, results.root)
        if not killed_before_change(number, lambda: do(payload, results)):
            break
        again = do(payload, results)
        assert isinstance(again, Finished), (number, again)
        assert isinstance(do(plan, results), Finished)
        assert contents(results.root) == {plan.run_id: undisturbed[plan.run_id]}, number
        sweep(results)
        assert not leftovers(results.root), number
        shutil.rmtree(results.root)
        number += 1
    assert number >= (60 if what == "stage" else 5)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a program whose first worker killed itself after a checkpoint; to be copied."""
    place = tmp_path_factory.mktemp("killed")
    profile = {"checkpoint_s": 0, "retries": 0}
    code, output = finish(start(place / "results", fault="step:kill", profile=profile))
    assert code == 1
    assert "killed by SIGKILL" in output
    return place


def test_a_killed_stage_continues_from_its_checkpoint(
    tmp_path: Path, killed: Path, undisturbed: dict[str, bytes]
) -> None:
    results = shutil.copytree(killed, tmp_path / "place") / "results"
    completes(results, undisturbed)
    assert sum(name.endswith("-continued") for name in built(results)) == 1


def test_ctrl_c_in_training_keeps_the_step(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """Ctrl-C, and the same command is ended by SIGTERM, each in the middle of training."""
    results = tmp_path / "results"
    log = results.parent / "built.log"
    for number in (signal.SIGINT, signal.SIGTERM):
        before = log.stat().st_size if log.exists() else 0
        # long enough to be met in the middle on a busy machine
        process = start(results, STUDY_TEST_STEP_S="1.0")
        wait_for(
            lambda before=before: (
                log.exists()
                and log.stat().st_size > before
                and list(results.glob("stages/*/status.json"))
            )
        )
        os.killpg(process.pid, number)
        code, output = finish(process)
        assert code == 130, output
        assert "everything finished is kept" in output
        assert not workers(results)
    completes(results, undisturbed)
    assert any(name.endswith("-continued") for name in built(results))


# Disks


def test_a_full_disk_stops_the_grid_with_one_message(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """As Python says it, and then as a library in Rust does."""
    results = tmp_path / "results"
    for fault in ("pretrain:full", "sft:full-rust"):
        code, output = finish(start(results, fault=fault))
        assert code == 1
        assert "nothing more was started: no space left" in output
        assert "type the same command again" in output
        assert "Traceback" not in output
        assert "distill" not in built(results)
    completes(results, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    ).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path, but: int) -> None:
    """Use up a disk but for some bytes."""
    free = shutil.disk_usage(ballast.parent).free
    ballast.write_bytes(b"x" * (free - but))


def test_a_disk_that_really_fills_up(small_disk: Path, undisturbed: dict[str, bytes]) -> None:
    """The copy of the code is there; 48 kB are left for the stages."""
    results = small_disk / "results"
    copy_code(Results(results))
    fill(small_disk / "ballast", 48 * 1024)
    code, output = finish(start(results, place=small_disk.parent))
    assert code == 1, output
    assert "no space left" in output.lower()
    assert "Traceback" not in output
    assert list(results.glob("stages/*")), "a stage met it"
    (small_disk / "ballast").unlink()
    completes(results, undisturbed)


def test_a_read_only_disk_is_refused_before_anything_is_spent(
    small_disk: Path, undisturbed: dict[str, bytes]
) -> None:
    results = small_disk / "results"
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, output = finish(start(results, place=small_disk.parent))
    assert code == 1
    assert f"nothing can be written to {results}: Read-only file system" in output
    assert "--results DIR" in output
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    completes(results, undisturbed)


# Damage


def damage(results: Results, what: str, k: int) -> None:
    """Damage one thing of the run with this k, and remove its record where that is not it."""
    model: Any = cell(k).model
    student, distill = stage_id(model.student, 0), stage_id(model, 0)
    record = results.record(plan_of(k).run_id)
    match what:
        case "record changed":
            record.write_text(record.read_text().replace('"seed":0', '"seed":1'))
        case "record truncated":
            record.write_bytes(record.read_bytes()[:100])
        case "weights changed":
            (results.artifact(distill) / "model.safetensors").write_text("other")
            record.unlink()
        case "file missing":
            (results.artifact(distill) / "history.json").unlink()
            record.unlink()
        case "manifest truncated":
            (results.artifact(student) / "stage.json").write_text("{")
            record.unlink()
        case _:
            shutil.rmtree(results.artifact(student))
            (results.artifact(distill) / "stage.json").unlink()
            record.unlink()


@pytest.mark.parametrize(
    "damages",
    [
        ["record changed", "record truncated", "weights changed"],
        ["file missing", "manifest truncated"],
        ["an input gone"],
    ],
    ids=", ".join,
)
def test_damage_is_moved_aside_and_made_again(
    tmp_path: Path, whole: Path, undisturbed: dict[str, bytes], damages: list[str]
) -> None:
    """Several at once where each run has a damage of its own."""
    results = shutil.copytree(whole, tmp_path / "results")
    for k, what in enumerate(damages, start=1):
        damage(Results(results), what, k)
    output = completes(results, undisturbed)
    assert len(list((results / "quarantine").iterdir())) == len(damages)
    assert output.count("moved to") == (0 if damages == ["an input gone"] else len(damages))


def test_a_damaged_checkpoint_is_not_continued(
    tmp_path: Path, killed: Path, undisturbed: dict[str, bytes]
) -> None:
    results = shutil.copytree(killed, tmp_path / "place") / "results"
    (state,) = results.glob("checkpoints/*/step-*/state.json")
    state.write_text(json.dumps({"step": 3, "text": "made up"}))
    completes(results, undisturbed)
    assert not any(name.endswith("-continued") for name in built(results))


# Two at once


def test_two_runs_of_one_grid_share_the_work(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    results = tmp_path / "results"
    both = [
        start(results, STUDY_TEST_STEP_S="0.1"),
        start(results, STUDY_TEST_STEP_S="0.1", STUDY_HOST="another"),
    ]
    ends = [finish(process) for process in both]
    assert [code for code, _ in ends] == [0, 0], ends
    assert contents(results) == undisturbed
    assert sorted(built(results)) == sorted(
        ["pretrain"] * 2 + ["sft"] + ["distill"] * 3 + ["evaluate"] * 3
    )
    assert not leftovers(results)


def test_a_runner_that_waits_for_another_one_uses_no_processor() -> None:
    """Its tasks are all made elsewhere, so it has no worker whose end it could wait for."""
    engine = LocalEngine.__new__(LocalEngine)
    engine._workers, engine._stillborn = {}, []
    engine._warming = Thread(target=int)
    engine._warming.start()
    engine._warming.join()
    began = time.monotonic()
    assert engine.events(0.2) == []
    assert time.monotonic() - began >= 0.2
    engine._stillborn = [Failed("a", "no worker could be started")]
    assert engine.events(600.0) == [Failed("a", "no worker could be started")]


def test_a_host_that_vanishes_is_taken_over(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    results = tmp_path / "results"
    profile = {"lease_s": 1.5, "checkpoint_s": 0}
    gone = start(results, STUDY_HOST="gone", fault="distill:slow", profile=profile)
    wait_for(lambda: (results.parent / "built.log").exists() and "distill" in built(results))
    other = start(results, STUDY_HOST="other", profile=profile)
    for pid in {*workers(results), gone.pid} - descendants(other.pid):
        os.kill(pid, signal.SIGKILL)
    gone.wait()
    code, output = finish(other)
    assert code == 0, output
    assert contents(results) == undisturbed
    assert not leftovers(results)


def test_an_owner_that_is_frozen_past_its_lease_wakes_beside_the_new_one(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """It wakes while the other host is at work on its task: no stage fails, no lock is lost."""
    results = tmp_path / "results"
    profile = {"lease_s": 1.5, "checkpoint_s": 0}
    environment = {"ks": (1,), "profile": profile, "STUDY_TEST_STEP_S": "1.0"}
    first = start(results, STUDY_HOST="first", **environment)
    wait_for(lambda: list(results.glob("locks/sft-*")))
    (lock,) = results.glob("locks/sft-*")
    frozen = descendants(first.pid)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    second = start(results, STUDY_HOST="second", **environment)
    wait_for(lambda: any(path != lock for path in results.glob("locks/sft-*")))
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    ends = [finish(process) for process in (first, second)]
    assert [code for code, _ in ends] == [0, 0], ends
    run = plan_of(1).run_id
    assert contents(results) == {run: undisturbed[run]}
    assert not leftovers(results)
    (log,) = results.glob("stages/sft-*/log.txt")
    assert log.read_text().count("lost the lock") == 1


def test_locks_exclude_each_other_and_end_with_their_block(tmp_path: Path) -> None:
    with locked(tmp_path, "a", 60) as first:
        assert first
        with locked(tmp_path, "a", 60) as second:
            assert not second
        with locked(tmp_path, "b", 60) as other:
            assert other
        found = holder(tmp_path, "a")
        assert found is not None
        assert found.owner == owner()
    assert holder(tmp_path, "a") is None


def test_a_task_locked_elsewhere_is_busy(tmp_path: Path) -> None:
    results = Results(tmp_path)
    node = stage_graph(cell(1).model, 0)[0]
    results.locks.mkdir()
    (results.locks / f"{node.id}~1").write_text("00000000-1-1")
    assert do(node, results) == Busy(node.id)


@pytest.mark.parametrize("skew_s", [-86400.0, 0.0, 86400.0])
def test_clocks_of_two_hosts_are_never_compared(tmp_path: Path, skew_s: float) -> None:
    """A heartbeat counts by its change, whatever the other host thinks the time is."""
    now = 1000.0
    path = tmp_path / "task~1"
    path.write_text("00000000-1-1")
    watch = Watch(tmp_path, 60, lambda: now)
    for beat in range(5):
        os.utime(path, (path.stat().st_atime, 1e9 + skew_s + beat))
        assert watch.held("task")
        now += 50
    now += 20
    assert not watch.held("task")
    assert not path.exists()


def test_a_dead_process_of_this_host_is_taken_over_at_once(tmp_path: Path) -> None:
    (tmp_path / "task~3").write_text(
        f"{host()}-{os.getpid()}-1"
    )  # this pid, started at another time: a reused number
    with locked(tmp_path, "task", 60) as ours:
        assert ours
    assert not list(tmp_path.glob("*~*"))


# Cells that misbehave


def test_a_killed_worker_is_tried_again_at_once(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    results = tmp_path / "results"
    code, output = finish(start(results, fault="distill-k2:kill"))
    assert code == 0, output
    assert "tried again: the worker was killed by SIGKILL (out of memory?)" in output
    assert contents(results) == undisturbed


def test_a_worker_that_hangs_is_killed_at_its_deadline(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    results = tmp_path / "results"
    code, output = finish(start(results, fault="distill-k2:hang", profile={"silent_s": 1.5}))
    assert code == 0, output
    assert "killed: no sign of life for 1.5 s" in output
    assert contents(results) == undisturbed


def test_weights_that_are_not_kept_are_made_again_when_needed(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    results = tmp_path / "results"
    assert finish(start(results, profile={"keep": {"distill": "none"}}))[0] == 0
    folders = [Results(results).artifact(stage_id(cell(k).model, 0)) for k in KS]
    assert not [folder for folder in folders if (folder / "model.safetensors").exists()]
    assert all((folder / "history.json").is_file() for folder in folders)
    assert finish(start(results))[0] == 0
    assert built(results).count("distill") == 3
    Results(results).record(plan_of(1).run_id).unlink()
    completes(results, undisturbed)
    assert built(results).count("distill") == 4
    assert read_record(Results(results).record(plan_of(1).run_id)).status == "completed"


def test_random_kills_end_in_the_same_records(tmp_path: Path) -> None:
    """The short form of `make soak`."""
    soak = Soak(seed=1, longest_s=4.0)
    torch_free(soak, 6, tmp_path)
    assert soak.kills.total() >= 6
    assert soak.records == len(KS) * soak.grids
    assert soak.grids >= 1
