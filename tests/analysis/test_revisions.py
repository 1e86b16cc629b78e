"""Stage revisions on pages: numbers of two revisions never stand together, and an older record is
never left out without a word.
"""

from pathlib import Path

import pytest

from analysis.evidence.loading import evidence_from, require_complete
from analysis.pages.tables import build
from study.errors import IncompleteResults, RecordMismatch
from study.record.revisions import mixed, recorded_under, slug_and_seed
from study.record.schema import Record, sealed
from study.record.store import write_record
from study.spec import identity
from study.spec.grid.grid import load_grid
from tests.support import synthetic


def of_revision(record: Record, kind: str, number: int) -> Record:
    return sealed(record.model_copy(update={"revisions": record.revisions | {kind: number}}))


def test_names_of_runs() -> None:
    slug = "distill-topk-k5-from_grpo-120steps"
    assert slug_and_seed(f"{slug}-0092bbfd-s12") == (slug, 12, 0)
    assert slug_and_seed(f"{slug}-0092bbfd-s12r1") == (slug, 12, 1)
    assert slug_and_seed("notes") is None
    assert mixed([("a", {"distill": 1}), ("b", {"distill": 1, "grpo": 2})]) == {}


def test_records_of_two_revisions_are_refused_with_both_named(tmp_path: Path) -> None:
    grid = load_grid("smoke")
    first, *others = synthetic.records(grid, lambda labels, seed: (0.3, 0.8))
    newer = of_revision(first, "distill", 2)
    with pytest.raises(RecordMismatch) as caught:
        evidence_from([newer, *others], grid, scale="lab")
    assert "distill revision 1: " in caught.value.message
    assert f"distill revision 2: 1 runs, {first.run}" in caught.value.message
    assert "study run --grid smoke --seeds 0" in caught.value.hint
    assert len(evidence_from([first, *others], grid, scale="lab").runs) == len(grid.runs())


def test_a_verb_that_writes_pages_refuses_them_too(tmp_path: Path) -> None:
    from study.cli.analyze import analyze

    first, *others = synthetic.records(load_grid("smoke"), lambda labels, seed: (0.3, 0.8))
    for record in (of_revision(first, "evaluate", 2), *others):
        write_record(tmp_path / "runs" / record.run / "record.json", record)
    with pytest.raises(RecordMismatch, match="evaluate revision 2"):
        analyze(grid="smoke", results=tmp_path)
    assert not (tmp_path / "analysis").exists()


def test_missing_runs_that_are_recorded_under_an_older_revision_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = synthetic.records(load_grid("smoke"), lambda labels, seed: (0.3, 0.8))
    monkeypatch.setitem(identity.REVISIONS, "distill", 2)
    grid = load_grid("smoke")
    first, *_ = grid.runs()
    evidence = evidence_from([*before, synthetic.record(first, 0.3, 0.8)], grid, scale="lab")
    assert [row["run"] for row in evidence.run_rows] == [first.run_id]
    older = f"recorded under distill revision 1 (now 2): {before[1].run}"
    assert list(evidence.older.values()) == [older]
    with pytest.raises(IncompleteResults) as caught:
        require_complete(evidence, Path("results/runs"))
    assert caught.value.message.endswith(
        f"1 of them are recorded under an older stage revision, the first {older}"
    )
    assert older in " ".join(build(None, evidence).notes)


def test_another_cell_of_the_same_slug_is_not_taken_for_an_older_record() -> None:
    grid = load_grid("smoke")
    first, *others = synthetic.records(grid, lambda labels, seed: (0.3, 0.8))
    stranger = sealed(
        first.model_copy(
            update={
                "run": "-".join([*first.run.split("-")[:-2], "00000000", "s0"]),
                "spec": {"scale": "lab"},
            }
        )
    )
    evidence = evidence_from([stranger, *others], grid, scale="lab")
    assert [run.run_id for run in evidence.missing] == [first.run]
    assert evidence.older == {}


def test_an_id_that_no_revision_explains_says_so() -> None:
    run = load_grid("smoke").runs()[0]
    said = recorded_under("x-00000000-s0", identity.cell_revisions(run.cell), run.cell)
    assert said == "recorded under another rule of naming: x-00000000-s0"
    assert "distill revision unknown (now 1)" in recorded_under("x-00000000-s0", {}, run.cell)
