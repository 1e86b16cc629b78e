"""The paper's findings, each with the verdicts of the claims that ask for it: a table of what
appears at this scale and what does not.

A finding has no verdict of its own: several claims, each with its controls, say more than one word
for all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from analysis.claims.decide import Verdict
from analysis.pages.render import Column, Table, Value
from analysis.pages.report import Part
from study.spec.report.finding import Finding, Findings
from study.spec.yaml.load import find, load, names
from study.spec.yaml.validation import validate

COLUMNS = (
    Column("finding", "Finding of the paper"),
    Column("verdict", "Verdict here"),
    Column("claim", "Claim"),
    Column("grid", "Grid"),
    Column("effect", "Effect [95% t-interval]", interval=True),
    Column("n", "n bases"),
)
NOT_RUN = "not run"


def findings(root: Path | None = None) -> list[Finding]:
    """Every finding of every page. Errors: SpecError with file and line."""
    pages = (
        validate(Findings, load(find("findings", name, root)), "")
        for name in names("findings", root)
    )
    return [finding for page in pages for finding in page.findings]


def findings_table(made: Sequence[Part], root: Path | None = None) -> Table | None:
    """A row per claim, under its finding; None where no claim of any finding has a verdict."""
    verdicts = {
        (part.evidence.grid, verdict.claim.id): verdict
        for part in made
        for verdict in part.report.verdicts
    }
    rows = [row for finding in findings(root) for row in _rows(finding, verdicts)]
    if all(row[1] == NOT_RUN for row in rows):
        return None
    scale = (
        f"Scale: {made[0].evidence.scale}. Effects are differences in the outcome of each claim and"
        " are not to be compared in size."
    )
    return Table(
        "The paper's findings at this scale",
        COLUMNS,
        tuple(rows),
        (scale, "not run: no record of arms that the claim needs."),
    )


def _rows(
    finding: Finding, verdicts: Mapping[tuple[str, str], Verdict]
) -> Iterator[tuple[Value, ...]]:
    name = f"{finding.text} ({finding.source})"
    for grid, claims in finding.claims.items():
        for claim in claims:
            verdict = verdicts.get((grid, claim))
            if verdict is None or not verdict.n:
                yield name, NOT_RUN, claim, grid, "-", 0
            else:
                yield (
                    name,
                    verdict.label,
                    claim,
                    grid,
                    verdict.comparison.interval if verdict.comparison else "-",
                    verdict.n,
                )
            name = ""
