"""`study power --claims --expected`: the words that all claims of a grid can be expected to get."""

from pathlib import Path
from typing import Any

from analysis.claims.expected import expected_power
from analysis.pages.render import Column, Table
from study.cli.evidence import show_table
from study.cli.power_claims import evidence_for, records_in, study_around
from study.spec.report.claim import Claims
from study.stats.decision import Word

WORDS: tuple[Word, ...] = ("REPRODUCED", "CONTRADICTED", "UNDECIDED", "INVALID")
COLUMNS = (
    Column("grid", "Grid"),
    Column("claim", "Claim"),
    Column("effect", "Effect"),
    Column("sd", "sd"),
    *(Column(word.lower(), word, 2) for word in WORDS),
)
NOTES = (
    "Shares of simulated studies: effect and sd of the records are taken for the true ones; a gate"
    " that held in k of n bases holds with probability (k + .5) / (n + 1). With Holm's adjustment,"
    " placebos and the sign-flip test; claims and gates are taken as independent.",
)


def show(grid: str | None, scale: str, results: Path, bases: int) -> dict[str, Any]:
    """Print the simulated words of the claims on a grid, or of every grid with records; return them
    as data. A page with `screening` has its own number of bases.
    """
    evidence = evidence_for(grid, scale, records_in(results))
    study = study_around(evidence)
    made = study.families()
    found = {
        name: expected_power(
            study.pages[name], _bases(study.pages[name], bases), made, each, "the records"
        )
        for name, each in evidence.items()
    }
    rows = tuple(
        (name, claim, f"{one.mean:+.3g}", f"{one.deviation:.3g}", *map(one.words.get, WORDS))
        for name, claims in found.items()
        for claim, one in claims.items()
    )
    if rows:
        show_table(Table(f"Expected words on {bases} bases", COLUMNS, rows, NOTES))
    return {
        name: {claim: one.model_dump(mode="json") for claim, one in claims.items()}
        for name, claims in found.items()
    }


def _bases(page: Claims, bases: int) -> int:
    return page.screening.bases if page.screening else bases
