"""What the report has of each grid: the grids with enough records, and what is built of them."""

from pathlib import Path

from analysis.claims.rules import SECOND, Rules
from analysis.claims.screening import load_screened
from analysis.pages.numbered import claims_of, figure_pages, table_pages
from analysis.pages.report import Part, build
from analysis.verdicts.study import whole_study
from study.errors import IncompleteResults, PrerequisiteError, SpecError
from study.record.store import record_paths
from study.spec.grid.grid import load_grid, named
from study.spec.grid.scale import load_scale
from study.spec.yaml.load import names

HALF = 0.5  # the share of a grid's runs that must be recorded


def grids_with_records(folder: Path, scale: str, root: Path | None = None) -> list[str]:
    """Grids of this scale of which at least half of the runs are recorded: fewer may be there only
    because another grid shares them.

    Those with tables, figures or claims, or all of them if none has any. Errors:
    IncompleteResults without any; SpecError for a scale that there is not.
    """
    load_scale(scale, root)
    there = {
        path.parent.name if path.name == "record.json" else path.stem
        for path in record_paths(folder)
    }
    shares = {name: _share(name, scale, there, root) for name in names("grids", root)}
    recorded = [name for name, share in shares.items() if share >= HALF]
    if not recorded:
        begun = (
            ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share)
            or "none of any grid"
        )
        grid = named("GRID", scale)
        hint = f"make more: study run {grid}; or look at one grid: study analyze {grid} --partial"
        committed = folder.parent / "records"
        if committed != folder and record_paths(committed):
            hint += f"; or read the committed records: study report --records {committed}"
        raise IncompleteResults(
            f"no grid has half of its runs recorded in {folder} ({begun})", hint=hint
        )
    own = [
        name
        for name in recorded
        if claims_of(name, root) or table_pages(name, root) or figure_pages(name, root)
    ]
    return own or recorded


def _share(name: str, scale: str, there: set[str], root: Path | None) -> float:
    """The share of a grid's runs that are recorded; none of a grid that cannot be bound to this
    scale.
    """
    try:
        runs = load_grid(name, scale, root).runs()
    except (SpecError, PrerequisiteError):  # a grid of another scale
        return 0.0
    return sum(run.run_id in there for run in runs) / len(runs)


def parts(folder: Path, scale: str, root: Path | None = None, rules: Rules = SECOND) -> list[Part]:
    """Build tables, figures and verdicts of every grid. Errors: IncompleteResults where too little
    is recorded.
    """
    found = grids_with_records(folder, scale, root)
    loaded = {name: load_screened(folder, name, scale, root) for name in found}
    study = whole_study(folder, scale, loaded, root)
    return [
        Part(
            each,
            build(each, root, rules, study),
            load_grid(each.grid, scale, root).question,
            study,
            rules,
        )
        for each in loaded.values()
    ]
