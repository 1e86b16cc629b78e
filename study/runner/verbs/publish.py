"""Publish sealed runs as committed evidence: copy results/runs/<run id>/record.json unchanged to
results/records/<run id>.json.

The states of the claims that the records name (results/declared) and the preregistrations that they
cite (results/preregistrations) are copied too. Tables, figures and claims read the committed
records. Only this module writes them, and they never satisfy a plan.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from study.errors import IncompleteResults
from study.record.declared.preregistration_files import copy_preregistrations
from study.record.declared.states import copy_states
from study.record.schema import Record, same_content
from study.record.store import PREREGISTRATIONS, Results, atomic_write, read_record, record_paths


@dataclass
class Published:
    """Run ids by what happened to their committed record.
    `changed`: it existed with other content.
    """

    new: list[str] = field(default_factory=list[str])
    same: list[str] = field(default_factory=list[str])
    changed: list[str] = field(default_factory=list[str])


def publish(results: Results, target: Path, run_ids: Collection[str] | None = None) -> Published:
    """Copy the sealed records of `run_ids` (None = all) to `target` after checking every seal;
    nothing is copied if one is corrupt.

    A committed record with the same content (times and platform aside) stays as it is. Errors:
    IncompleteResults if there is nothing to publish, RecordMismatch for a corrupt record.
    """
    found = {
        path.parent.name: path
        for path in record_paths(results.runs)
        if run_ids is None or path.parent.name in run_ids
    }
    if not found:
        raise IncompleteResults(
            f"no sealed run to publish in {results.runs}",
            hint="make some first: study run --grid GRID",
        )
    records = {run_id: read_record(path) for run_id, path in found.items()}
    published = Published()
    for run_id, record in records.items():
        committed = target / f"{run_id}.json"
        known = read_record(committed) if committed.is_file() else None
        if known is not None and same_content(known, record):
            published.same.append(run_id)
            continue
        (published.new if known is None else published.changed).append(run_id)
        atomic_write(committed, found[run_id].read_bytes())
    copy_states(_states(records.values()), results.declared, target.parent / "declared")
    cited = {record.provenance.preregistration for record in records.values()}
    copy_preregistrations(
        {seal for seal in cited if seal}, results.preregistrations, target.parent / PREREGISTRATIONS
    )
    return published


def _states(records: Iterable[Record]) -> set[str]:
    """Return the states that records name, for themselves or for a stage."""
    made = [record.provenance for record in records]
    named = [name for one in made for name in (one.claims, *(one.stage_claims or {}).values())]
    return {name for name in named if name}
