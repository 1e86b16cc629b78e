"""Records of older stage revisions: never in a table, and never left out silently."""

from collections.abc import Iterable, Mapping, Sequence

from analysis.evidence.gather import Kept
from study.errors import RecordMismatch
from study.record.revisions import mixed, recorded_under, same_settings, slug_and_seed
from study.spec.grid.grid import named
from study.spec.grid.labelled import LabelledRun


def refuse_mixed(records: Sequence[Kept], grid: str, scale: str) -> None:
    """Numbers of two revisions of one stage kind never share a table."""
    found = mixed((record.run, record.revisions) for record in records)
    if not found:
        return
    lines = [
        f"  {kind} revision {n}: {len(runs)} runs, {runs[0]} ..."
        for kind, numbers in found.items()
        for n, runs in numbers.items()
    ]
    seeds = ",".join(map(str, sorted({record.seed for record in records})))
    hint = (
        f"remove the records of one revision and make them again: study run {named(grid, scale)}"
        f" --seeds {seeds}"
    )
    raise RecordMismatch(
        "\n".join([f"the records of grid {grid} are of different stage revisions:", *lines]),
        hint=hint,
    )


def older(earlier: Iterable[Kept], missing: Iterable[LabelledRun]) -> dict[str, str]:
    """Missing run -> under which older revision it is recorded."""
    runs: dict[tuple[str, int, int] | None, list[LabelledRun]] = {}
    for run in missing:
        runs.setdefault(slug_and_seed(run.run_id), []).append(run)
    pairs = [
        (record, run)
        for record in earlier
        for run in runs.get(slug_and_seed(record.run), [])
        if same_settings(run.cell, record.spec)
    ]
    return {
        run.run_id: recorded_under(record.run, record.revisions, run.cell) for record, run in pairs
    }


def older_text(found: Mapping[str, str]) -> str:
    """The end of a message on missing runs: how many of them are recorded, but under an older
    revision.
    """
    first = next(iter(found.values()), "")
    return (
        f"; {len(found)} of them are recorded under an older stage revision, the first {first}"
        if found
        else ""
    )
