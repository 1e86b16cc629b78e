"""`study verify`: recorded runs made again from nothing; equal, consistent, different, of an older
revision, failed.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from study.cli import verify as verb
from study.errors import IncompleteResults, SpecError
from study.record.checkpoints import Checkpoints
from study.record.schema import Machine, Record, Score, sealed
from study.record.store import Results, read_record, write_record
from study.runner.graph.stages import RunPlan, stage_graph
from study.runner.graph.walk import Walk
from study.runner.verbs.verify import (
    RerunResult,
    choose,
    compare_records,
    one_of,
    paired_interval,
    provenance_differences,
)
from study.runner.work.execute import execute_run, execute_stage
from study.runner.work.worker import Event, Payload, perform
from study.spec import identity
from study.spec.machine.profile import Profile
from tests.support.fake_work import WORK, cell
from tests.support.paths import ROOT


class InlineEngine:
    """One task at a time in this very process."""

    def __init__(self, walk: Walk, jobs: int) -> None:
        self._results, self._work, self._profile = walk.results, walk.work, walk.profile
        self._events = list[Event]()

    def require(self, kinds: set[str]) -> None:
        assert kinds <= {"pretrain", "sft", "distill", "evaluate"}

    def fits(self, payload: Payload) -> bool:
        return not self._events

    def start(self, payload: Payload) -> None:
        checkpoints = Checkpoints(self._results.checkpoints("none"))
        self._events.append(
            perform(payload, self._results, self._work, self._profile, lambda *_: None, checkpoints)
        )

    def events(self, timeout: float) -> list[Event]:
        found, self._events = self._events, []
        return found

    def adopts(self, payload: Payload) -> bool:
        return False

    def parting(self) -> str:
        return ""

    def stop(self) -> None:
        self._events.clear()


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "engine_for", InlineEngine)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Record]:
    results = Results(tmp_path_factory.mktemp("made"))
    records: dict[int, Record] = {}
    for k in (1, 2):
        plan = RunPlan(f"{identity.cell_id(cell(k))}-s0", identity.cell_id(cell(k)), cell(k), 0)
        for node in stage_graph(plan.cell.model, 0):
            execute_stage(node, results, WORK, lambda *_: None)
        made = execute_run(plan, results, WORK, lambda *_: None)
        # as on a machine that is not recorded: whether torch was imported depends on other tests
        nowhere = made.provenance.model_copy(update={"machine": None, "stage_machines": {}})
        records[k] = sealed(made.model_copy(update={"provenance": nowhere}))
    return records


def changed(record: Record, **changes: object) -> Record:
    return sealed(record.model_copy(update=changes))


def with_counts(record: Record, change: Callable[[int, int], int], **more: object) -> Record:
    """The record with other counts of correct samples: change(position, count) -> count."""
    (task, score), *_ = record.scores.items()
    counts = [change(i, int(digit, 36)) for i, digit in enumerate(score.correct)]
    update = {
        "correct": "".join(map(str, counts)),
        "mean": round(sum(counts) / (score.k * len(counts)), 6),
        **more,
    }
    return changed(record, scores={task: Score.model_validate({**score.model_dump(), **update})})


def outcomes(records: list[Record], tmp_path: Path) -> list[RerunResult]:
    return [one.outcome for one in verb.check(records, {}, tmp_path / "again", WORK, 2, Profile())]


def test_a_run_made_again_is_bitwise_equal_and_nothing_was_taken_from_results(
    made: dict[int, Record], tmp_path: Path
) -> None:
    assert outcomes([made[1], made[2]], tmp_path) == [RerunResult.EQUAL, RerunResult.EQUAL]
    artifacts = {path.name for path in (tmp_path / "again" / "artifacts").iterdir()}
    assert artifacts == {node.id for k in (1, 2) for node in stage_graph(cell(k).model, 0)}


def test_a_record_that_was_forged_with_a_right_seal_is_found(
    made: dict[int, Record], tmp_path: Path
) -> None:
    forged = with_counts(made[1], lambda i, count: 4)
    assert outcomes([forged], tmp_path) == [RerunResult.DIFFERENT]


def test_a_run_of_an_older_revision_is_told_and_not_executed(
    made: dict[int, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(identity.REVISIONS, "sft", 2)
    found = verb.check([made[1]], {}, tmp_path / "again", WORK, 2, Profile())
    assert [one.outcome for one in found] == [RerunResult.OLDER]
    assert found[0].detail == f"recorded under sft revision 1 (now 2): {made[1].run}"
    assert found[0].passed
    assert not (tmp_path / "again").exists()


def test_a_run_that_fails_now_is_told_with_its_reason(
    made: dict[int, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_TEST_FAULT", "distill-k2:raise")
    monkeypatch.setenv("STUDY_TEST_MARKER", str(tmp_path / "marker"))
    found = verb.check([made[2], made[1]], {}, tmp_path / "again", WORK, 2, Profile())
    assert [one.outcome for one in found] == [RerunResult.FAILED, RerunResult.EQUAL]
    assert "told to fail" in found[0].detail


def test_the_rule_between_equal_and_different(made: dict[int, Record]) -> None:
    then = with_counts(made[1], lambda i, count: 2)
    swings = with_counts(made[1], lambda i, count: 2 + (-1) ** i)
    better = with_counts(made[1], lambda i, count: 3 + i % 2)
    assert compare_records(then, then).outcome is RerunResult.EQUAL
    assert compare_records(then, swings).outcome is RerunResult.CONSISTENT
    assert "[" in compare_records(then, swings).detail
    assert compare_records(then, better).outcome is RerunResult.DIFFERENT
    assert (
        compare_records(then, changed(swings, status="collapsed", collapsed_at=3)).outcome
        is RerunResult.DIFFERENT
    )
    assert (
        compare_records(
            then, with_counts(swings, lambda i, count: count, problems="0" * 16)
        ).outcome
        is RerunResult.DIFFERENT
    )
    assert (
        compare_records(then, changed(swings, scores={"other": swings.scores["lab_math"]})).outcome
        is RerunResult.DIFFERENT
    )


def test_a_record_that_differs_in_history_alone_is_consistent_and_not_equal(
    made: dict[int, Record],
) -> None:
    found = compare_records(made[1], changed(made[1], history={}))
    assert found.outcome is RerunResult.CONSISTENT
    assert "difference +0.0000 [+0.0000, +0.0000]" in found.detail
    assert found.detail.endswith("; not the same: history")


def test_the_interval_is_over_paired_problems(made: dict[int, Record]) -> None:
    then, now = (
        with_counts(made[1], lambda i, count, d=d: d + i % 2).scores["lab_math"] for d in (0, 2)
    )
    interval = paired_interval(then, now)
    assert (interval.mean, interval.low, interval.high, interval.n) == (
        0.5,
        0.5,
        0.5,
        16,
    )  # pairs: no spread although counts vary
    assert paired_interval(now, then).mean == -0.5
    assert interval.confidence == 0.99


def test_what_is_different_around_the_runs_is_listed(made: dict[int, Record]) -> None:
    then = made[1].provenance
    now = then.model_copy(
        update={
            "platform": "Other",
            "python": "3.99",
            "packages": {**then.packages, "torch": "9"},
            "code": "abc",
        }
    )
    lines = provenance_differences(
        then.model_copy(update={"packages": {**then.packages, "torch": "8"}}), now
    )
    assert lines == [
        f"code {then.code} -> abc",
        f"platform {then.platform} -> Other",
        f"python {then.python} -> 3.99",
        "torch 8 -> 9",
    ]


def test_runs_are_drawn_by_the_seed_or_named(made: dict[int, Record], tmp_path: Path) -> None:
    for record in made.values():
        write_record(tmp_path / f"{record.run}.json", record)
    ids = sorted(record.run for record in made.values())
    drawn = [choose(tmp_path, [], 1, seed)[0].stem for seed in range(8)]
    assert set(drawn) == set(ids)
    assert drawn == [choose(tmp_path, [], 1, seed)[0].stem for seed in range(8)]
    assert [path.stem for path in choose(tmp_path, [], 9, 0)] == ids
    assert [path.stem for path in choose(tmp_path, [ids[1][-11:]], 1, 0)] == [ids[1]]
    assert [path.stem for path in choose(tmp_path, [], 9, 0, of=[ids[0]])] == [ids[0]]
    with pytest.raises(SpecError, match="fits 2 runs"):
        one_of("distill", ids)
    with pytest.raises(SpecError, match="fits no run"):
        one_of("grpo", ids)
    with pytest.raises(IncompleteResults, match="no record to verify"):
        choose(tmp_path / "nothing", [], 1, 0)


def test_the_verb_leaves_results_alone_and_removes_its_folder(
    made: dict[int, Record],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(verb, "Work", lambda: WORK)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    results = Results(tmp_path / "results")
    write_record(results.records / f"{made[1].run}.json", made[1])
    before = {path: path.read_bytes() for path in results.root.rglob("*") if path.is_file()}
    verb.verify(results=results.root, seed=3)
    assert "1 bitwise equal" in capsys.readouterr().out
    write_record(results.records / f"{made[1].run}.json", with_counts(made[1], lambda i, count: 4))
    with pytest.raises(typer.Exit) as caught:
        verb.verify([made[1].run], results=results.root, keep=True)
    assert caught.value.exit_code == 1
    said = capsys.readouterr().out
    assert f"different  {made[1].run}" in said
    assert [f"kept: {folder}" in said for folder in (tmp_path / "temporary").iterdir()] == [True]
    assert {path for path in results.root.rglob("*") if path.is_file()} == before.keys()


def test_what_can_be_expected_is_said_before_anything_is_made(
    made: dict[int, Record], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Machine(processor="AMD EPYC 26/2", torch="2.13.0+cpu", threads=1)
    monkeypatch.setattr(verb, "_workers_machine", lambda profile: here)
    monkeypatch.setattr(verb, "packages", lambda: made[1].provenance.packages)
    there = here.model_copy(update={"threads": 8})
    records = [made[1], *(_made_on(made[2], machine) for machine in (here, there, here))]
    verb.foretell(records, Profile())
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert said[0].startswith("bitwise equality is unknown beforehand: the record does not say")
    assert said[0].endswith("(1 of 4 runs)")
    assert said[1].startswith("bitwise equality is expected: same kind of processor")
    assert said[1].endswith("(2 of 4 runs)")
    assert said[2].startswith("bitwise equality is not expected: torch threads 8 -> 1;")
    assert said[2].endswith("(1 of 4 runs)")


def _made_on(record: Record, machine: Machine) -> Record:
    update = {"machine": machine, "stage_machines": {}}
    return changed(record, provenance=record.provenance.model_copy(update=update))


def test_records_without_a_machine_need_no_torch_and_slurm_s_node_is_unknown(
    made: dict[int, Record], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verb, "import_module", lambda name: pytest.fail(f"imports {name}"))
    verb.foretell([made[1]], Profile())
    assert "(1 of 1 runs)" in capsys.readouterr().out
    here = Machine(processor="AMD EPYC 26/2", torch="2.13.0+cpu", threads=1)
    verb.foretell([_made_on(made[1], here)], Profile(engine="slurm"))
    assert "the machine that will do the work is not known here" in capsys.readouterr().out


@pytest.mark.slow
def test_it_works_with_the_engine_of_study_run(made: dict[int, Record], tmp_path: Path) -> None:
    write_record(tmp_path / "records" / f"{made[1].run}.json", made[1])
    script = """
from pathlib import Path

from study.cli import verify
from study.record.store import read_records
from study.spec.machine.profile import Profile
from tests.support.fake_work import WORK

if __name__ == "__main__":
    records = read_records(Path("records"))
    verify.show(verify.check(records, {}, Path("again"), WORK, 2, Profile()))
"""
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 bitwise equal" in done.stdout, done.stdout + done.stderr
    assert (
        read_record(tmp_path / "again" / "runs" / made[1].run / "record.json").stages
        == made[1].stages
    )
