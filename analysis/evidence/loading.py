"""Load the evidence for a grid: from a folder of records, or from records in memory."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from analysis.evidence.columns import RUN_COLUMNS, frame
from analysis.evidence.frames import Evidence, arm_text
from analysis.evidence.gather import Gathered, gather
from analysis.evidence.reading import read_again
from analysis.evidence.revisions import older, older_text, refuse_mixed
from study.errors import IncompleteResults, RecordMismatch
from study.record.schema import Record
from study.record.store import record_paths
from study.spec.grid.grid import Grid, load_grid
from study.spec.grid.labelled import LabelledCell
from study.spec.yaml.load import names


def load(
    path: str | Path,
    *,
    grid: str = "math",
    scale: str = "lab",
    seeds: Sequence[int] | None = None,
    core: bool = False,
) -> Evidence:
    """The evidence for a grid from a folder of records (`results/records`, or `results/runs`).

    Records of other cells or seeds are left aside. Runs without a record are in `missing`. Errors:
    RecordMismatch on a corrupt record.
    """
    loaded, places = load_grid(grid, scale), dict[str, Path]()
    made = gather(
        _reading(Path(path), places),
        _cells_of_runs(loaded, seeds, core),
        lambda run: read_again(places[run]),
    )
    return _evidence(
        made,
        loaded,
        scale=scale,
        seeds=seeds,
        core=core,
        reference=grid,
        declared=Path(path).parent / "declared",
        folder=Path(path),
    )


def _reading(folder: Path, places: dict[str, Path]) -> Iterator[Record]:
    """The records below a folder, one at a time; `places`: run id -> its file.

    One under another name would count twice.
    """
    for path in record_paths(folder):
        record = read_again(path)
        name = path.parent.name if path.name == "record.json" else path.stem
        if record.run != name:
            raise RecordMismatch(
                f"{path}: holds the record of another run, {record.run}",
                hint=f"remove it: rm {path}",
            )
        places[record.run] = path
        yield record


def evidence_from(
    records: Iterable[Record],
    grid: Grid,
    *,
    scale: str,
    seeds: Sequence[int] | None = None,
    core: bool = False,
    reference: str = "",
) -> Evidence:
    """The same from records in memory."""
    return _evidence(
        gather(records, _cells_of_runs(grid, seeds, core)),
        grid,
        scale=scale,
        seeds=seeds,
        core=core,
        reference=reference,
    )


def _cells_of_runs(grid: Grid, seeds: Sequence[int] | None, core: bool) -> dict[str, LabelledCell]:
    cells = {cell.cell_id: cell for cell in (grid.core_cells if core else grid.cells)}
    return {run.run_id: cells[run.cell_id] for run in grid.runs(seeds=seeds, core=core)}


def _evidence(
    made: Gathered,
    grid: Grid,
    *,
    scale: str,
    seeds: Sequence[int] | None,
    core: bool,
    reference: str,
    declared: Path | None = None,
    folder: Path | None = None,
) -> Evidence:
    refuse_mixed(made.present, grid.name, scale)
    expected = tuple(grid.runs(seeds=seeds, core=core))
    found = {row["run"] for row in made.rows}
    missing = tuple(run for run in expected if run.run_id not in found)
    return Evidence(
        grid=grid.name,
        scale=scale,
        factors=tuple(grid.factors),
        seeds=tuple(sorted({run.seed for run in expected})),
        cells=grid.core_cells if core else grid.cells,
        all_cells=grid.cells,
        runs=frame(RUN_COLUMNS, made.rows, [f"label.{factor}" for factor in grid.factors]),
        curves=made.curves,
        missing=missing,
        older=older(made.earlier, missing),
        ledger=made.ledger,
        curve_k=made.curve_k,
        core=core,
        reference=grid.name if not reference or grid.name in names("grids") else reference,
        declared=declared,
        folder=folder,
        only_seeds=None if seeds is None else tuple(seeds),
        made=made.made,
        origins=made.origins,
        states=made.states,
        recorded=made.recorded,
        expected_seconds=grid.scale.expected_seconds,
    )


def require_complete(evidence: Evidence, source: Path) -> None:
    """Raises IncompleteResults with the command that fills the gaps: an absent seed is never
    averaged away.
    """
    if not evidence.missing:
        return
    total, first = len(evidence.missing) + len(evidence.runs), evidence.missing[0]
    seeds = sorted({run.seed for run in evidence.missing})
    command = f"study run {evidence.named} " + (
        "--core" if evidence.core else f"--seeds {','.join(map(str, seeds))}"
    )
    look = (
        f"; or look at the {len(evidence.runs)} there are: study analyze {evidence.named} --partial"
    )
    raise IncompleteResults(
        f"{len(evidence.missing)} of {total} runs of grid {evidence.grid} have no record in"
        f" {source}, the first: {arm_text(first.labels)}, seed {first.seed}"
        f" ({first.run_id}){older_text(evidence.older)}",
        hint=command + (look if len(evidence.runs) else ""),
    )
