"""`study status`: counts, tasks at work, sessions that live and that were killed, locks of other
hosts; `--watch` ends by itself.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from study.cli import status as verb
from study.record.owner import host, owner
from study.record.store import Results, write_json
from study.runner.work.sessions import Session, folder, present, sessions
from study.runner.work.status import Count, snapshot
from tests.support.paths import ROOT

DEAD = f"{host()}-999999999-1"
ELSEWHERE = "0123abcd-17-5"


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


def at_work(results: Results, place: str, task: str, by: str | None = None, **changes: Any) -> Path:
    path = results.root / place / task / "status.json"
    status = {
        "task": task,
        "owner": by or owner(),
        "phase": "train",
        "done": 30,
        "total": 120,
        "eta_s": 90.0,
        "updated": time.time(),
    }
    latest = {"eval/avg@2": 0.8125, "train/reverse_kl": 0.0321, "train/grad_norm": 9.0}
    write_json(path, status | {"latest": latest} | changes)
    return path


def text(results: Results) -> str:
    return "\n".join(verb.report(snapshot(results)))


def make(path: Path, content: str = "{}") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_a_task_at_work_shows_phase_step_time_left_accuracy_and_kl(results: Results) -> None:
    at_work(results, "stages", "distill-aaaa", updated=time.time() - 300)
    said = text(results)
    row = next(line for line in said.splitlines() if line.startswith("distill-aaaa"))
    assert row.split() == [
        "distill-aaaa",
        "train",
        "30/120",
        "2",
        "min",
        "5",
        "min",
        "eval/avg@2",
        "0.812",
        "train/reverse_kl",
        "0.0321",
    ]


def test_runs_and_stages_of_a_session_are_counted_by_state(results: Results) -> None:
    runs, stages = [f"r{i}-s0" for i in range(5)], ["pretrain-1", "sft-1", "distill-1"]
    make(results.record("r0-s0"))
    make(results.run("r1-s0") / "failure.json")
    at_work(results, "runs", "r2-s0")
    make(results.artifact("pretrain-1") / "stage.json")
    make(results.stage("sft-1") / "failure.json")
    with present(results, "math", "lab", runs, stages):
        seen = snapshot(results)
        assert seen.runs(seen.sessions[0]) == Count(done=1, running=1, failed=1, waiting=2)
        assert seen.stages(seen.sessions[0]) == Count(done=1, running=0, failed=1, waiting=1)
        assert seen.busy
        said = text(results)
    assert (
        "math (lab), for 0 s: 5 runs: 1 sealed, 1 running, 1 failed, 2 waiting; 3 stages: 1 made, 1"
        " failed, 1 waiting" in said
    )
    assert "why: study logs r1-s0" in said
    assert not list(folder(results).iterdir())


def test_a_killed_session_is_shown_with_the_command_that_continues_and_swept_by_the_next(
    results: Results,
) -> None:
    write_json(
        folder(results) / f"{DEAD}.json",
        asdict(Session(DEAD, "math", "lab", time.time() - 7200, ["r-s0"], [])),
    )
    at_work(results, "runs", "r-s0", by=DEAD)
    seen = snapshot(results)
    assert not seen.busy
    assert seen.runs(seen.sessions[0]) == Count(done=0, running=0, failed=0, waiting=1)
    said = text(results)
    assert "killed; it started 2.0 h ago" in said
    assert "continue: study run --grid math --scale lab" in said
    assert "dead (its process is gone)" in said
    with present(results, "math", "lab", [], []):
        assert [session.owner for session in sessions(results)] == [owner()]


def test_what_another_host_does_is_shown_as_far_as_it_can_be_seen(results: Results) -> None:
    write_json(
        folder(results) / f"{ELSEWHERE}.json",
        asdict(Session(ELSEWHERE, "math", "lab", time.time(), ["r-s0"], [])),
    )
    make(results.locks / "distill-1~3", ELSEWHERE)
    make(results.locks / "distill-2~1", owner())
    seen = snapshot(results)
    assert [(task.task, task.host) for task in seen.foreign] == [("distill-1", "0123abcd")]
    assert seen.busy
    said = text(results)
    assert "on another host" in said
    assert any(line.startswith("distill-1 ") and "0123abcd" in line for line in said.splitlines())


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"task": "x"}', "\x00"])
def test_half_written_files_are_passed_over(results: Results, damage: str) -> None:
    make(results.run("a-s0") / "status.json", damage)
    make(folder(results) / "x.json", damage)
    assert snapshot(results).tasks == ()
    assert snapshot(results).sessions == ()
    assert "no task is running" in text(results)


def test_clocks_of_others_never_give_a_negative_time(results: Results) -> None:
    at_work(results, "stages", "distill-1", by=ELSEWHERE, updated=time.time() + 5000)
    seen = snapshot(results)
    assert (seen.tasks[0].silent_s, seen.tasks[0].alive) == (0.0, None)


def test_when_nothing_runs_what_lies_there_is_counted(results: Results) -> None:
    make(results.record("a-s0"))
    make(results.run("b-s0") / "failure.json")
    assert f"no task is running in {results.root}; 1 runs sealed, 1 failed" in text(results)


def test_watch_ends_when_nothing_runs_any_more(
    results: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = at_work(results, "stages", "distill-1")
    looks: list[int] = []

    def pass_time(seconds: float) -> None:
        looks.append(1)
        if len(looks) == 2:
            at_work(results, "stages", "distill-1", done=60)
        if len(looks) == 3:
            path.unlink()

    monkeypatch.setattr(verb.time, "sleep", pass_time)
    verb.status(results.root, watch=True)
    said = capsys.readouterr().out
    assert len(looks) == 3
    assert said.count("30/120") == 1  # a block that did not change is not printed again
    assert said.count("60/120") == 1
    assert said.endswith(
        f"no task is running in {results.root}; no run is there yet: study run --grid GRID starts"
        " one\n"
    )


def test_a_watch_left_by_ctrl_c_is_no_error(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work(results, "stages", "distill-1")

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb.time, "sleep", interrupted)
    verb.status(results.root, watch=True)


def test_on_a_terminal_the_block_is_redrawn_in_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from study.cli import console

    monkeypatch.setattr(console, "is_terminal", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with console.redrawn() as draw:
        for block in (["one", "two"], ["three"]):
            draw(block)
    assert "\x1b[1A" in capsys.readouterr().out  # the cursor goes up over the block before


def test_a_full_disk_costs_no_run_its_presence(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("study.runner.work.sessions.write_json", full)
    with present(results, "math", "lab", ["a"], []):
        assert sessions(results) == []


def study(arguments: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "study.cli.main", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_verb_reads_without_writing(tmp_path: Path, results: Results) -> None:
    at_work(results, "runs", "a-s0")
    before = sorted(tmp_path.rglob("*"))
    done = study(["status"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "30/120" in done.stdout
    assert sorted(tmp_path.rglob("*")) == before
    assert json.loads((results.run("a-s0") / "status.json").read_text())["done"] == 30
