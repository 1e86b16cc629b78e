"""`study declare`: write a sealed preregistration before runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from analysis.claims.expected import expected_power
from analysis.claims.rules import SECOND
from analysis.claims.withdrawn import by_family, withdrawn_today
from analysis.declarations.states import findings_today
from analysis.evidence.frames import Evidence, load
from analysis.verdicts.families import families
from study.cli import console
from study.cli.options import GridOption, ResultsOption, ScaleOption, parse_seeds
from study.errors import SpecError
from study.record.declared.preregistration import ExpectedPower, Preregistration
from study.record.declared.preregistration_files import write
from study.record.declared.preregistration_text import power_text, seen_text
from study.record.declared.states import in_force, keep
from study.record.declared.world import with_world
from study.record.store import Results, record_paths
from study.runner.verbs.check_families import check_families
from study.runner.verbs.declare import chosen_seeds, preregistration, seen_so_far
from study.spec.grid.grid import Grid, load_grid, named
from study.spec.report.claim import Claims, load_claims
from study.spec.yaml.load import names


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
    results: ResultsOption = Path("results"),
) -> None:
    """Seal claims, arms, seeds, families and expected power of a grid before its runs."""
    loaded, folder = load_grid(grid, scale), Results(results)
    page = _claims(loaded)
    chosen = chosen_seeds(loaded, page, parse_seeds(seeds))
    source = variance_from or _records(folder)
    earlier = None if source is None else _earlier(source, grid, scale, parse_seeds(pilot))
    gone = withdrawn_today(earlier) if earlier is not None else ()
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
    keep(folder.declared, state)
    path = write(folder.preregistrations, declared)
    _show(declared)
    console.say(f"sealed: {path}, readable: {path.with_suffix('.md')}")
    only = f" --seeds {seeds}" if seeds else ""
    console.say(f"next: study run {named(grid, scale)}{only}")


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


def _show(declared: Preregistration) -> None:
    seeds = ", ".join(map(str, declared.seeds))
    console.say(f"{declared.grid} ({declared.scale}), seeds {seeds}: {declared.name}")
    console.say(seen_text(declared), "warn" if declared.seen.runs else "")
    for claim in declared.claims:
        console.say(f"  {claim.id}")
        console.say(f"    says      {claim.text}")
        console.say(f"    tests     {claim.sentence}")
        console.say(f"    expected  {power_text(claim)}", "dim")
