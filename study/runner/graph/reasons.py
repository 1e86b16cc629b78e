"""Say why a run is due: its settings changed, its code is newer, or it has no record yet."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.record.revisions import recorded_under, same_settings, slug_and_seed
from study.record.schema import seal_matches
from study.record.store import Results
from study.record.upgrade import upgraded
from study.spec.grid.cell import Cell
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import canonical_value

# The fields of a record that a plan needs; the others are dropped at once.
_READ = ("schema", "run", "spec", "cost", "revisions")


def why_pending(
    run: LabelledRun, missing: tuple[str, ...], earlier: Mapping[tuple[str, int, int], list[Path]]
) -> str:
    records = [
        record
        for path in earlier.get(_slug_and_seed(run.run_id), [])
        if (record := sealed_record(path))
    ]
    # Prefer the run itself to one of other settings.
    records.sort(key=lambda record: not same_settings(run.cell, record["spec"]))
    if records:
        return _what_changed(run.cell, records[0])
    if not missing:
        return "no record yet; its model is made"
    noun = "artifact" if len(missing) == 1 else "artifacts"
    return f"no record yet; {len(missing)} stage {noun} missing"


def _what_changed(cell: Cell, record: dict[str, Any]) -> str:
    if same_settings(cell, record["spec"]):
        revisions = record.get("revisions") or upgraded(record).get("revisions", {})
        return recorded_under(record["run"], revisions, cell)
    changes = _differences(record["spec"], canonical_value(cell))
    more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
    return f"its settings changed since {record['run']}: {changes[0]}{more}"


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the dotted paths at which two canonical values differ; `default` = left out."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [
            d
            for key in keys
            for d in _differences(
                old.get(key, "default"), new.get(key, "default"), f"{path}.{key}".strip(".")
            )
        ]
    return [] if old == new else [f"{path} {_brief(old)} -> {_brief(new)}"]


def _brief(value: Any) -> str:
    return "{...}" if isinstance(value, dict) else str(value)


def earlier_records(
    runs: Sequence[LabelledRun], results: Results
) -> dict[tuple[str, int, int], list[Path]]:
    """Return records of other ids with the slug, seed and repeat of a planned run."""
    planned = {run.run_id for run in runs}
    found: dict[tuple[str, int, int], list[Path]] = defaultdict(list)
    for folder in sorted(results.runs.glob("*")) if results.runs.is_dir() else []:
        if folder.name not in planned and slug_and_seed(folder.name):
            found[_slug_and_seed(folder.name)].append(folder / "record.json")
    return found


def _slug_and_seed(run_id: str) -> tuple[str, int, int]:
    return slug_and_seed(run_id) or (run_id, -1, 0)


def sealed_record(path: Path) -> dict[str, Any] | None:
    """Return a record that matches its seal, else None. Its schema is checked when it is used,
    because thousands must be read in a second here.
    """
    try:
        data = path.read_bytes()
        value: Any = json.loads(data) if seal_matches(data) else None
    except (OSError, ValueError):
        return None
    return {key: value[key] for key in _READ if key in value} if isinstance(value, dict) else None
