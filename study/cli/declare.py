"""`study declare`: write a sealed preregistration before runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from analysis.claims.expected import expected_power
from analysis.claims.rules import SECOND
from analysis.claims.withdrawn import by_family, withdrawn_today
from analysis.declarations.states import findings_today
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import load
from analysis.verdicts.families import families
from study.cli import console
from study.cli.options import GridOption, ResultsOption, ScaleOption, parse_seeds
from study.errors import SpecError
from study.record.declared.preregistration import (
    DeclaredClaim,
    ExpectedPower,
    Preregistration,
    changed_claims,
)
from study.record.declared.preregistration_files import preregistrations, write
from study.record.declared.preregistration_text import power_text, seen_text
from study.record.declared.states import in_force, keep
from study.record.declared.world import with_world
from study.record.store import Results, record_paths
from study.runner.verbs.check_families import check_families
from study.runner.verbs.declare import chosen_seeds, preregistration, seen_so_far
from study.spec.grid.grid import Grid, load_grid, named
from study.spec.report.claim import Claims, load_claims
from study.spec.yaml.load import names

RESULTS = Path("results")
NAMED = 5  # changed claims that a warning names
NO_VARIANCE = (
    "for an expected power state `spread` in a claim (docs/claims.md), or name records of its arms"
    " with --variance-from"
)


def declare(
    grid: GridOption,
    scale: ScaleOption = "lab",
    seeds: Annotated[
        str | None, typer.Option(help="Only these of the grid's seeds, e.g. 5-14.")
    ] = None,
    variance_from: Annotated[
        Path | None,
        typer.Option(
            help="Records that give the variance; RESULTS/records, else RESULTS/runs, by default."
        ),
    ] = None,
    pilot: Annotated[
        str | None, typer.Option(help="Take the variance from these seeds of the records only.")
    ] = None,
    results: ResultsOption = RESULTS,
) -> None:
    """Seal claims, arms, seeds, families and expected power of a grid before its runs."""
    loaded, folder = load_grid(grid, scale), Results(results)
    page = _claims(loaded)
    chosen = chosen_seeds(loaded, page, parse_seeds(seeds))
    source = variance_from or _records(folder)
    earlier = None if source is None else _earlier(source, grid, scale, parse_seeds(pilot))
    if earlier is None and (variance_from is not None or pilot is not None):
        raise _no_variance(loaded, source, pilot)
    known = _records(folder)
    gone = () if known is None else withdrawn_today(load(known, grid=grid, scale=scale))
    pages = [load_claims(name) for name in names("claims")]
    made = families(pages, findings_today(), SECOND, by_family(gone))
    origin = "" if source is None else _origin(source, parse_seeds(pilot))
    seen = seen_so_far(loaded, folder)
    pooled = {*chosen, *(seed for seed in seen.seeds if seed in loaded.seeds)}
    bases = page.screening.bases if page.screening else len(pooled)
    power = expected_power(page, bases, made, earlier, origin)
    state = with_world(in_force(), loaded.scale, folder, loaded)
    declared = preregistration(
        loaded,
        page,
        chosen,
        state,
        seen,
        families=made.of,
        withdrawn=made.withdrawn,
        power=power,
        power_from=_power_from(power, bases, origin),
    )
    replaced = _replaced(folder, declared)
    keep(folder.declared, state)
    path = write(folder.preregistrations, declared)
    _show(declared)
    if replaced is not None:
        _warn_of(replaced, declared)
    console.say(f"sealed: {path}, readable: {path.with_suffix('.md')}")
    only = f" --seeds {seeds}" if seeds else ""
    elsewhere = f" --results {results}" if results != RESULTS else ""
    console.say(f"next: study run {named(grid, scale)}{only}{elsewhere}")


def _claims(grid: Grid) -> Claims:
    """Return the claims on a grid. Errors: SpecError without any, or for what `study check`
    refuses.
    """
    if grid.name not in names("claims"):
        raise SpecError(
            f"there is nothing to declare: no claims on the grid {grid.name}",
            hint=f"write them in experiments/claims/{grid.name}.yaml (docs/claims.md)",
        )
    for _, outcome in check_families():
        if isinstance(outcome, SpecError):
            raise outcome
    return load_claims(grid.name)


def _records(results: Results) -> Path | None:
    """Return the folder of earlier records, if there are any."""
    return next((each for each in (results.records, results.runs) if record_paths(each)), None)


def _earlier(source: Path, grid: str, scale: str, pilot: Sequence[int] | None) -> Evidence | None:
    found = load(source, grid=grid, scale=scale, seeds=pilot)
    return found if found.run_rows else None


def _no_variance(grid: Grid, source: Path | None, pilot: str | None) -> SpecError:
    """Return the refusal of a variance that was asked for by name and is not there."""
    of = f" with the seeds {pilot}" if pilot is not None else ""
    return SpecError(
        f"no record of the grid {grid.name} (scale {grid.scale.name}){of} in"
        f" {source or 'the results folder'}: there is no variance to take",
        hint="name seeds and a folder with records, or leave --pilot and --variance-from out",
    )


def _origin(source: Path, pilot: Sequence[int] | None) -> str:
    only = f", seeds {', '.join(map(str, pilot))}" if pilot is not None else ""
    return f"the records in {source.parent.name}/{source.name}{only}"


def _power_from(power: Mapping[str, ExpectedPower], bases: int, origin: str) -> str:
    if not power:
        return "no variance known"
    return (
        f"simulated for {bases} bases, those seen included, with gates, Holm's adjustment, placebos"
        " and the sign-flip test; claims and gates are taken as independent. Earlier evidence:"
        f" {origin or 'none'}"
    )


def _replaced(results: Results, declared: Preregistration) -> Preregistration | None:
    """Return the newest earlier declaration of some of these seeds, if it is of another state."""
    for page in preregistrations(results.preregistrations):
        same_grid = (page.grid, page.scale) == (declared.grid, declared.scale)
        if same_grid and set(page.seeds) & set(declared.seeds):
            return page if page.state != declared.state else None
    return None


def _warn_of(earlier: Preregistration, declared: Preregistration) -> None:
    """Say what differs from an earlier declaration, which new runs cannot cite any more."""
    names = changed_claims(earlier, declared)
    changed = ", ".join(names[:NAMED]) or "arms, families or other grids"
    if len(names) > NAMED:
        changed += f" and {len(names) - NAMED} more"
    console.warn(
        f"{earlier.name} declared these seeds otherwise (changed: {changed});"
        " new runs cite today's declaration"
    )


def _show(declared: Preregistration) -> None:
    seeds = ", ".join(map(str, declared.seeds))
    console.say(f"{declared.grid} ({declared.scale}), seeds {seeds}: {declared.name}")
    console.say(seen_text(declared), "warn" if declared.seen.runs else "")
    for claim in declared.claims:
        console.say(f"  {claim.id}")
        console.say(f"    says      {claim.text}")
        console.say(f"    tests     {claim.sentence}")
        console.say(f"    expected  {power_text(claim)}", "dim")
    if any(map(_without_power, declared.claims)):
        console.say(NO_VARIANCE, "dim")


def _without_power(claim: DeclaredClaim) -> bool:
    """Whether a claim that gets a verdict has no expected power."""
    judged = claim.expectation != "none" and claim.not_testable is None
    return judged and claim.power is None
