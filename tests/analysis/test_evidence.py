"""The committed evidence: every record sealed and small, none missing, and every page, the README's
results included, rebuilt from them.
"""

import pytest

from study.cli.report import report
from study.record.schema import MAX_RECORD_BYTES
from study.record.store import read_record
from study.spec.grid.grid import load_grid
from tests.support.paths import ROOT

RESULTS = ROOT / "results"
RECORDS = sorted((RESULTS / "records").glob("*.json"))


def test_every_run_of_the_math_grid_has_a_sealed_record() -> None:
    for run in load_grid("math", "lab").runs():
        record = read_record(RESULTS / "records" / f"{run.run_id}.json")
        assert (record.run, record.seed, record.status) == (run.run_id, run.seed, "completed")
        assert len({c.step for c in record.completions}) == 3
        assert all(
            sum(c.step == step for c in record.completions) == 8
            for step in {c.step for c in record.completions}
        )


def test_every_record_belongs_to_the_study_and_is_small() -> None:
    planned = {
        run.run_id
        for grid in ("math", "full", "hidden-fact")
        for run in load_grid(grid, "lab").runs()
    }
    for path in RECORDS:
        assert path.stem in planned
        assert path.stat().st_size <= MAX_RECORD_BYTES


def test_the_claims_in_force_are_kept_for_every_record() -> None:
    """A record names the state of the claims when it was made; the texts of that state are
    committed.
    """
    kept = {folder.name for folder in (RESULTS / "declared").iterdir()}
    hashes = {read_record(path).provenance.claims for path in RECORDS}
    assert None not in hashes
    assert {str(digest)[:16] for digest in hashes} <= kept


@pytest.mark.slow
def test_every_committed_page_is_what_the_records_give() -> None:
    report(results=RESULTS, check=True)
