"""The claims of every finding with their verdicts: first the one that decides it, then its support.

A finding has one word, from the claim that decides it (`scorecard`); the others say how far that
word carries.
"""

from collections.abc import Iterator
from pathlib import Path

from analysis.claims.scorecard import NOT_RUN, Verdicts, findings
from analysis.pages.render import Column, Table, Value
from study.spec.report.finding import Finding

COLUMNS = (
    Column("finding", "Finding of the paper"),
    Column("role", "Claim's part"),
    Column("verdict", "Verdict here"),
    Column("claim", "Claim"),
    Column("grid", "Grid"),
    Column("effect", "Effect [95% t-interval]", interval=True),
    Column("n", "n bases"),
)
DECIDES, SUPPORTS = "decides", "supports"


def findings_table(verdicts: Verdicts, scale: str, root: Path | None = None) -> Table | None:
    """A row per claim, under its finding; None where no claim of any finding has a verdict."""
    rows = [row for finding in findings(root) for row in _rows(finding, verdicts)]
    if all(row[2] == NOT_RUN for row in rows):
        return None
    notes = (
        f"Scale: {scale}. Effects are differences in the outcome of each claim, so their sizes"
        " cannot be compared.",
        "not run: no record of arms that the claim needs.",
    )
    return Table("The claims of each finding", COLUMNS, tuple(rows), notes)


def _rows(finding: Finding, verdicts: Verdicts) -> Iterator[tuple[Value, ...]]:
    name = f"{finding.text} ({finding.source})"
    others = [(grid, claim) for grid, claims in finding.claims.items() for claim in claims]
    others.remove(finding.deciding)
    for grid, claim in (finding.deciding, *others):
        role = DECIDES if (grid, claim) == finding.deciding else SUPPORTS
        verdict = verdicts.get((grid, claim))
        if verdict is None:
            yield name, role, NOT_RUN, claim, grid, "-", 0
        else:
            effect = verdict.comparison.interval if verdict.comparison else "-"
            yield name, role, verdict.label, claim, grid, effect, verdict.n
        name = ""
