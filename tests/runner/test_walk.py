"""One walk through a grid reads each record once, and leaves to others what they made meanwhile."""

from collections import Counter
from pathlib import Path

import pytest

from study.cli.carry_out import carry_out
from study.errors import StudyError
from study.record.schema import Record
from study.record.store import Results, read_record
from study.runner.engines.notices import Notice
from study.runner.engines.schedule import run_grid
from study.runner.graph import plan, walk
from study.runner.graph.plan import State
from study.runner.graph.walk import Walk
from study.runner.work.worker import Event, Finished, Payload
from study.spec.grid.labelled import LabelledRun
from tests.support.fake_work import WORK
from tests.support.harness import KS, make_undisturbed, plan_of


def walk_of(results: Results, *ks: int) -> Walk:
    plans = [(k, plan_of(k)) for k in ks]
    runs = tuple(
        LabelledRun(one.run_id, one.cell, {"objective": f"k{k}"}, one.seed, one.cell_id)
        for k, one in plans
    )
    return Walk("fake", "lab", runs, results, WORK, claims={})


class NoEngine:
    """Accepts every task and must be given none."""

    def require(self, kinds: set[str]) -> None:
        assert kinds

    def fits(self, payload: Payload) -> bool:
        return True

    def adopts(self, payload: Payload) -> bool:
        return False

    def start(self, payload: Payload) -> None:
        raise AssertionError(f"{payload} was started although another runner made it")

    def events(self, timeout: float) -> list[Event]:
        return []

    def parting(self) -> str:
        return ""

    def stop(self) -> None:
        return


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the walk or its plan opened the record of each run."""
    counted: Counter[str] = Counter()

    def counting_read(path: Path) -> Record:
        counted[path.parent.name] += 1
        return read_record(path)

    def not_again(path: Path) -> None:
        counted[path.parent.name] += 1

    monkeypatch.setattr(walk, "read_record", counting_read)
    monkeypatch.setattr(plan, "sealed_record", not_again)
    return counted


def test_a_complete_grid_is_read_once_and_never_planned(
    tmp_path: Path, reads: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path)
    make_undisturbed(results)
    one = walk_of(results, *KS)

    def preflight() -> None:
        raise StudyError("the preflight of a complete grid is not needed")

    summary = carry_out(one, 1, preflight=preflight)
    assert summary.sealed_before == [run.run_id for run in one.runs]
    assert reads == Counter(summary.sealed_before)
    assert "plan" not in vars(one)
    assert "nothing to do: all 3 runs of fake are sealed" in capsys.readouterr().out


def test_a_plan_of_a_walk_reads_no_record_again(tmp_path: Path, reads: Counter[str]) -> None:
    results = Results(tmp_path)
    make_undisturbed(results)
    results.record(plan_of(2).run_id).unlink()
    one = walk_of(results, *KS)
    assert [task.id for task in one.tasks] == [plan_of(2).run_id]
    assert [run.state for run in one.plan.runs] == ["done", "pending", "done"]
    assert set(reads.values()) == {1}


def test_a_damaged_record_is_moved_aside_with_one_remark(tmp_path: Path) -> None:
    results = Results(tmp_path)
    make_undisturbed(results)
    record = results.record(plan_of(1).run_id)
    record.write_bytes(record.read_bytes().replace(b"completed", b"collapsed"))
    one = walk_of(results, *KS)
    assert [run.run_id for run in one.pending] == [plan_of(1).run_id]
    assert one.plan.counts[State.DONE] == len(one.sealed) == 2
    assert len(one.moved_aside) == 1
    assert "its run is made again" in one.moved_aside[0]
    assert not record.exists()


def test_what_others_made_after_the_look_is_not_made_again(tmp_path: Path) -> None:
    results, seen = Results(tmp_path), list[Notice]()
    one = walk_of(results, *KS)
    assert len(one.tasks) == 3 + 3 + 3  # shared stages, distill stages, runs
    make_undisturbed(results)
    summary = run_grid(one, NoEngine(), seen.append)
    assert summary.sealed_before == []
    assert summary.sealed_now == [run.run_id for run in one.runs]
    assert sum(isinstance(notice, Finished) for notice in seen) == 9
