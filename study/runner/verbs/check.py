"""`study check`: validate every file under `experiments/` before anything runs.

Each grid must expand at each scale with unique ids; labels of a claim, table or figure must name
exactly one cell of its grid.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from study.errors import PrerequisiteError, SpecError
from study.runner.verbs.check_families import (
    check_families,
    refuse_nothing,
    refuse_unclear_side,
    refuse_undecidable,
)
from study.runner.verbs.check_outcomes import refuse_unmeasured
from study.runner.verbs.check_screening import check_screening
from study.spec.grid.grid import Grid, load_grid
from study.spec.grid.labelled import LabelledCell
from study.spec.grid.scale import load_scale
from study.spec.grid.unbound import NotBound
from study.spec.identity import REVISIONS, canonical, is_stage, stage_id
from study.spec.machine.profile import load_profile
from study.spec.recipe.model import DistilledModel
from study.spec.recipe.objective import TOPK_SUPPORTS
from study.spec.report.claim import Claims, all_arms, load_claims
from study.spec.report.finding import Finding, Findings
from study.spec.report.tables import FigurePage, TablePage
from study.spec.yaml.load import Located, find, load, names, suggestion
from study.spec.yaml.validation import validate

Outcome = tuple[str, str | SpecError]  # file, its content or what is wrong


def check_experiments(root: Path | None = None) -> Iterator[Outcome]:
    scales = names("scales", root)
    for name in scales:
        yield f"scales/{name}.yaml", _tried(_check_scale, name, root)
    for grid in names("grids", root):
        for scale in scales:
            yield f"grids/{grid}.yaml at {scale}", _tried(_check_grid, grid, scale, root)
    for name in names("claims", root):
        yield f"claims/{name}.yaml", _tried(_check_claims, name, root)
    for name in names("profiles", root):
        yield f"profiles/{name}.yaml", _tried(check_profile, name, root)
    for name in names("findings", root):
        yield f"findings/{name}.yaml", _tried(check_findings, name, root)
    yield from check_families(root)
    for kind, spec in (("tables", TablePage), ("figures", FigurePage)):
        for name in names(kind, root):
            yield f"{kind}/{name}.yaml", _tried(_check_page, kind, spec, name, root)


def _tried(step: Callable[..., str], *arguments: object) -> str | SpecError:
    """Run one check.

    Data files outside the repository may be absent, and a scale may lack names; then the config
    file is not wrong.
    """
    try:
        return step(*arguments)
    except NotBound as error:
        return error.message
    except PrerequisiteError as error:
        return f"not checked further: {error.message}"
    except SpecError as error:
        return error


def _check_scale(name: str, root: Path | None) -> str:
    """Build every model, also those that no grid uses yet."""
    scale = load_scale(name, root)
    for section, build in (
        ("models", scale.model),
        ("data", scale.data),
        ("pi", scale.privileged),
        ("evaluations", scale.evaluation),
    ):
        entries = scale.page.get(section)
        for entry, node in (entries.entries if entries else {}).items():
            build(Located(entry, node.origin), f"{section}.{entry}")
    return f"{len(scale.shape.models)} models"


def _check_grid(name: str, scale: str, root: Path | None) -> str:
    grid = load_grid(name, scale, root)
    runs = grid.runs()
    if grid.core is not None:
        grid.runs(core=True)
    # Hub models need no stage.
    stages = {stage_id(run.cell.model, run.seed) for run in runs if is_stage(run.cell.model)}
    if len({run.run_id for run in runs}) != len(runs) or len(
        {cell.cell_id for cell in grid.cells}
    ) != len(grid.cells):
        raise SpecError(f"grids/{name}.yaml: two cells have one id")
    note = "; note: a grid of losses has no teacher = student placebo (docs/claims.md)"
    missing = note if _lacks_self_placebo(grid) else ""
    return f"{len(grid.cells)} cells, {len(runs)} runs, {len(stages)} models{missing}"


def _lacks_self_placebo(grid: Grid) -> bool:
    """Whether a grid compares three or more TopK or sampled losses, and in none of its arms the
    teacher is the student itself, without privileged information: there the true gradient is zero,
    and what moves the student is bias.
    """
    models = [cell.cell.model for cell in grid.cells if isinstance(cell.cell.model, DistilledModel)]
    supports = (*TOPK_SUPPORTS, "sampled")
    losses = {canonical(each.objective) for each in models if each.objective.support in supports}
    placebo = any(each.teacher == each.student and each.privileged is None for each in models)
    return len(losses) >= 3 and not placebo


def check_findings(name: str, root: Path | None) -> str:
    """Check that each claim of a finding exists, and that the
    claim that decides it has an expectation.
    """
    located = load(find("findings", name, root))
    page = validate(Findings, located, "")
    places = located.entries["findings"].items
    for finding, place in zip(page.findings, places, strict=True):
        for grid, wanted in finding.claims.items():
            claims = load_claims(grid, root)
            _refuse_unknown_claims(wanted, claims, place)
        _refuse_without_expectation(finding, place, root)
    return f"{len(page.findings)} findings"


def _refuse_unknown_claims(wanted: Sequence[str], page: Claims, place: Located) -> None:
    known = [claim.id for claim in page.claims]
    for claim in wanted:
        if claim not in known:
            raise SpecError(
                f"{place.origin} claims: {page.grid} has no claim"
                f" {claim!r}{suggestion(claim, known)}",
                hint=f"known: {', '.join(known)}",
            )


def _refuse_without_expectation(finding: Finding, place: Located, root: Path | None) -> None:
    """Raise SpecError for a claim that is only reported: it has no verdict."""
    grid, name = finding.deciding
    page = load_claims(grid, root)
    claim = page.claim(name)
    if claim is not None and claim.expectation == "none":
        expecting = {each.id for each in page.claims if each.expectation != "none"}
        given = [each for each in finding.claims[grid] if each in expecting]
        raise SpecError(
            f"{place.origin} decided_by: {name} of {grid} declares no expectation,"
            " so it has no verdict to give",
            hint=f"claims of this finding with an expectation: {', '.join(given) or 'none'}",
        )


def check_profile(name: str, root: Path | None) -> str:
    """Check the names of stage kinds in a profile's tables: a misspelt one would be a setting that
    nothing reads.
    """
    profile = load_profile(name, root)
    known = [*REVISIONS, "evaluate", "default"]
    sections = {
        name: getattr(profile, name)
        for name in ("resources", "keep", "launch", "micro_batch", "recompute")
    }
    for section, kinds in sections.items():
        for kind in kinds:
            if kind not in known or (kind == "default" and section != "resources"):
                raise SpecError(
                    f"profiles/{name}.yaml {section}: no stage kind"
                    f" {kind!r}{suggestion(kind, known)}"
                )
    if profile.profile != name:
        raise SpecError(f"profiles/{name}.yaml: its `profile` is {profile.profile!r}, not {name!r}")
    return f"engine {profile.engine}"


def _check_claims(name: str, root: Path | None) -> str:
    """Check that every arm is one cell, every gate exists, and
    the grid's seeds can decide every claim.
    """
    page = load_claims(name, root)
    if page.grid != name:
        raise SpecError(
            f"claims/{name}.yaml: its `grid` is {page.grid!r}",
            hint=f"rename the file to claims/{page.grid}.yaml",
        )
    grid = load_grid(page.grid, "lab", root)
    for judged in (*page.gates, *page.claims):
        for arm in all_arms(judged):
            cell = _one_cell(grid, arm, f"claims/{name}.yaml {judged.id}")
            refuse_unmeasured(judged.outcome, cell, f"claims/{name}.yaml {judged.id}")
        refuse_nothing(name, judged, grid)
    check_screening(page, grid)
    for claim in page.claims:
        page.gates_of(claim)
        refuse_unclear_side(page, claim)
        refuse_undecidable(page, claim, len(grid.seeds))
    return f"{len(page.claims)} claims, {page.family} of them primary"


def _check_page(
    kind: str, spec: type[TablePage] | type[FigurePage], name: str, root: Path | None
) -> str:
    page = validate(spec, load(find(kind, name, root)), "")
    grid = load_grid(page.grid, page.scale, root)
    named = page.arms
    for arm in named:
        _one_cell(grid, arm, f"{kind}/{name}.yaml")
    if isinstance(page, TablePage) and page.cell:
        _check_settings(page, _one_cell(grid, page.cell, f"{kind}/{name}.yaml"))
    if str(page.number) != name:
        raise SpecError(f"{kind}/{name}.yaml: its `number` is {page.number}, not {name}")
    return page.title


def _check_settings(page: TablePage, cell: LabelledCell) -> None:
    """Check that every dotted path of a settings table leads to a value of the cell."""
    for setting in page.settings:
        if setting.ours is not None and setting.ours not in cell.origin:
            raise SpecError(
                f"table {page.number}, {setting.item}: no value at"
                f" {setting.ours!r}{suggestion(setting.ours, cell.origin)}"
            )


def _one_cell(grid: Grid, arm: Mapping[str, str], where: str) -> LabelledCell:
    """Raise SpecError unless the labels name exactly one cell: none is a typing error, two would be
    averaged unnoticed.
    """
    found = [
        c
        for c in grid.cells
        if any(arm.items() <= labels.items() for labels in (c.labels, *c.also))
    ]
    if len(found) != 1:
        words = ", ".join(f"{factor}={level}" for factor, level in arm.items())
        raise SpecError(f"{where}: {words} names {len(found)} cells of grid {grid.name}, not one")
    return found[0]
