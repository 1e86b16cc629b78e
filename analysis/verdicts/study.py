"""All claims of the study with the evidence for them: what a verdict on one grid depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.claims.decide import OverProblems, Place, judge
from analysis.claims.rules import SECOND, Rules
from analysis.claims.scorecard import findings
from analysis.claims.screening import load_screened
from analysis.claims.withdrawn import Withdrawn, by_family, states_of, unstored, withdrawn
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import load
from analysis.pages.numbered import claims_of
from analysis.verdicts.families import ErrorBudget, Families, error_budget, families
from analysis.verdicts.verdict import Verdict
from study.errors import PrerequisiteError, SpecError
from study.spec.report.claim import Claims
from study.spec.report.finding import Finding
from study.spec.yaml.load import names
from study.stats.intervals import Interval


@dataclass(frozen=True)
class Study:
    """pages: the claims of every grid. evidence: of the grids that have any at this scale.
    unstored: states that records name and that are not stored with them. known: what `judge`
    computed that no rule changes; a report judges seven times.
    """

    pages: Mapping[str, Claims]
    evidence: Mapping[str, Evidence]
    findings: tuple[Finding, ...] = ()
    withdrawn: tuple[Withdrawn, ...] = ()
    unstored: tuple[str, ...] = ()
    known: OverProblems = field(default_factory=dict[Place, Interval | None], compare=False)

    def verdicts(
        self, rules: Rules = SECOND, wanted: Sequence[str] | None = None
    ) -> dict[str, tuple[Verdict, ...]]:
        """The verdicts of every grid with evidence and claims, or of those that are wanted."""
        return judge(
            self.pages,
            self.evidence,
            findings=self.findings,
            rules=rules,
            withdrawn=by_family(self.withdrawn),
            wanted=wanted,
            known=self.known,
        )

    def families(self, rules: Rules = SECOND) -> Families:
        """Holm's families over all pages, with or without evidence."""
        return families(self.pages.values(), self.findings, rules, by_family(self.withdrawn))

    def error_budget(self, rules: Rules = SECOND) -> ErrorBudget:
        """How many false words chance alone may give."""
        return error_budget(self.pages.values(), self.families(rules), rules)

    def withdrawn_beside(self, grid: str) -> tuple[Withdrawn, ...]:
        """The withdrawn claims of a grid, and those that count in a family of its claims."""
        made = self.families()
        names = {family for (place, _), family in made.of.items() if place == grid}
        return tuple(
            each for each in self.withdrawn if each.grid == grid or each.counts_in in names
        )


def study_of(evidence: Evidence, root: Path | None = None) -> Study:
    """The study around one grid's evidence: the records of every grid that shares a family with it
    are read from the same folder, with the same choice of seeds and core.
    """
    pages = all_pages(root)
    made = families(pages.values(), findings(root), SECOND)
    beside = made.grids_beside(evidence.grid)
    found = {evidence.grid: evidence}
    for grid in beside:
        neighbour = _neighbour(evidence, grid)
        if neighbour is not None:
            found[grid] = neighbour
    return study_with(found, root)


def study_with(evidence: Mapping[str, Evidence], root: Path | None = None) -> Study:
    """The study with the evidence of these grids, and of all that share a family with them."""
    pages, statements = all_pages(root), findings(root)
    first = next(iter(evidence.values()), None)
    gone = withdrawn(pages, statements, states_of(first)) if first is not None else ()
    with_claims = {grid: each for grid, each in evidence.items() if grid in pages}
    lost = unstored(first) if first is not None else ()
    return Study(pages, with_claims, tuple(statements), gone, lost)


def whole_study(
    folder: Path, scale: str, found: Mapping[str, Evidence], root: Path | None
) -> Study:
    """The study with every grid that has claims; `found`: evidence that is there already."""
    every = dict(found)
    for grid in all_pages(root):
        if grid not in every and (each := _loaded(folder, grid, scale)) is not None:
            every[grid] = each
    return study_with(every, root)


def all_pages(root: Path | None = None) -> dict[str, Claims]:
    """The claims of every grid, by grid."""
    pages = ((name, claims_of(name, root)) for name in names("claims", root))
    return {name: page for name, page in pages if page is not None}


def _neighbour(evidence: Evidence, grid: str) -> Evidence | None:
    if evidence.folder is None:
        return None
    return _loaded(
        evidence.folder, grid, evidence.scale, seeds=evidence.only_seeds, core=evidence.core
    )


def _loaded(
    folder: Path,
    grid: str,
    scale: str,
    *,
    seeds: Sequence[int] | None = None,
    core: bool = False,
) -> Evidence | None:
    """The evidence of a grid; None where it has none, or cannot be bound to this scale."""
    try:
        if seeds is None:
            found = load_screened(folder, grid, scale, core=core)
        else:
            found = load(folder, grid=grid, scale=scale, seeds=seeds, core=core)
    except (SpecError, PrerequisiteError):
        return None
    return found if found.run_rows else None
