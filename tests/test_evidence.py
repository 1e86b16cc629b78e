"""The committed evidence: every record sealed and small, none missing, and every page, the README's results included, rebuilt from them."""

from pathlib import Path

from study.cli.analyze import analyze
from study.record.schema import MAX_RECORD_BYTES
from study.record.store import read_record
from study.spec.grid import load_grid

RESULTS = Path(__file__).parent.parent / "results"


def test_every_run_of_the_math_grid_has_a_sealed_record_of_at_most_12_kb() -> None:
    for run in load_grid("math", "lab").runs():
        path = RESULTS / "records" / f"{run.run_id}.json"
        assert path.stat().st_size <= MAX_RECORD_BYTES
        record = read_record(path)
        assert (record.run, record.seed, record.status) == (run.run_id, run.seed, "completed")
        assert len({c.step for c in record.completions}) == 3
        assert all(sum(c.step == step for c in record.completions) == 8 for step in {c.step for c in record.completions})


def test_the_claims_were_declared_before_the_runs() -> None:
    """One claims file was in force for all records; its hash is in each of them."""
    hashes = {read_record(path).provenance.claims for path in (RESULTS / "records").glob("*.json")}
    assert len(hashes) == 1
    assert None not in hashes


def test_every_committed_page_is_what_the_records_give() -> None:
    analyze(grid="math", results=RESULTS, check=True)
