"""`study power --claims`: what each undecided claim needs, from records alone."""

from collections import Counter
from pathlib import Path
from typing import Any

from analysis.claims.decide import Verdict, decide_all
from analysis.claims.power import ClaimPower, claim_power, to_table
from analysis.evidence.frames import Evidence, load
from analysis.pages.numbered import claims_of
from analysis.pages.overview import grids_with_records
from study.cli import console
from study.cli.evidence import show_table
from study.errors import SpecError


def show(grid: str | None, scale: str, results: Path) -> dict[str, Any]:
    """Print the undecided claims of a grid, or of every grid with records; return them as data.

    Records: RESULTS/records, else RESULTS/runs. Errors: SpecError for a grid without claims;
    IncompleteResults without records.
    """
    source = _source(results)
    grids = [grid] if grid else grids_with_records(source, scale)
    decided = [
        (verdict, evidence)
        for name in grids
        for verdict, evidence in _verdicts(name, scale, source)
    ]
    if not decided:
        raise SpecError(
            f"no claims on {grid or 'the grids with records'}",
            hint="claims are declared in experiments/claims/GRID.yaml",
        )
    found = [one for verdict, evidence in decided if (one := claim_power(verdict, evidence))]
    words = Counter(verdict.word for verdict, _ in decided)
    _say(found, words)
    return {"words": dict(sorted(words.items())), "claims": [one.to_json() for one in found]}


def _source(results: Path) -> Path:
    committed = results / "records"
    return committed if committed.is_dir() else results / "runs"


def _verdicts(grid: str, scale: str, source: Path) -> list[tuple[Verdict, Evidence]]:
    page = claims_of(grid)
    if page is None:
        return []
    evidence = load(source, grid=grid, scale=scale)
    return [(verdict, evidence) for verdict in decide_all(page, evidence)]


def _say(found: list[ClaimPower], words: Counter[str]) -> None:
    tally = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
    console.say(f"{sum(words.values())} claims: {tally}")
    if found:
        show_table(to_table(found))
