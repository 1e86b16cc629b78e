"""Holm's families: the primary claims of a finding, over all grids; a primary claim of no finding
belongs to a family of its own page.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from analysis.claims.rules import Rules
from study.spec.report.claim import Claim, Claims
from study.spec.report.finding import Finding

Place = tuple[str, str]  # grid, id of the claim


@dataclass(frozen=True)
class Families:
    """of: the family of every primary claim with an expectation. withdrawn: family -> claims that a
    stored state declares and no page has any more; they count like any other without a p.
    """

    of: Mapping[Place, str]
    withdrawn: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])

    def size(self, family: str) -> int:
        """The number of claims that share 5 %."""
        standing = sum(name == family for name in self.of.values())
        return standing + len(self.withdrawn.get(family, ()))

    def members(self, family: str) -> list[Place]:
        return [place for place, name in self.of.items() if name == family]

    def grids_beside(self, grid: str) -> list[str]:
        """The other grids whose claims share a family with claims of this one, in order."""
        names = {name for (place, _), name in self.of.items() if place == grid}
        found = {place for (place, _), name in self.of.items() if name in names}
        return sorted(found - {grid})


def families(
    pages: Iterable[Claims],
    findings: Sequence[Finding],
    rules: Rules,
    withdrawn: Mapping[str, Collection[str]] | None = None,
) -> Families:
    """The families of these pages.

    A claim of two findings belongs to the first that lists it. A claim that is declared not
    testable stays in its family without a p: else declaring it so after the data would promote the
    others. Under the first rules each page is a family of its directed primary claims.
    """
    by_claim: dict[Place, str] = {}
    for finding in findings if rules.families else ():
        for grid, names in finding.claims.items():
            for name in names:
                by_claim.setdefault((grid, name), finding.id)
    of = {
        (page.grid, claim.id): by_claim.get((page.grid, claim.id), own_family(page.grid))
        for page in pages
        for claim in page.claims
        if _counts(claim, rules)
    }
    return Families(of, withdrawn or {} if rules.families else {})


def own_family(grid: str) -> str:
    """The family of the primary claims of a page that no finding lists."""
    return f"grid {grid}"


def _counts(claim: Claim, rules: Rules) -> bool:
    return claim.in_family if rules.families else claim.in_first_family


@dataclass(frozen=True)
class ErrorBudget:
    """How many false words chance alone may give. families: name -> claims in it."""

    families: Mapping[str, int]
    secondary: int
    alpha: float = 0.05

    @property
    def false_words(self) -> float:
        """The sum of the levels: one alpha per family and one per secondary claim."""
        return self.alpha * (len(self.families) + self.secondary)

    @property
    def text(self) -> str:
        """Spell out how many words would be false if each effect were on its threshold."""
        each = f"{100 * self.alpha:g}%"
        primary = self.alpha * len(self.families)
        secondary = self.alpha * self.secondary
        count = len(self.families)
        plural = "family" if count == 1 else "families"
        return (
            f"{sum(self.families.values())} primary claims in {count} {plural} share"
            f" {each} per family (Holm), {self.secondary} secondary claims have {each} each. If"
            " every true effect were exactly the smallest that counts, about"
            f" {len(self.families)} x {self.alpha:g} + {self.secondary} x {self.alpha:g} ="
            f" {primary:.2f} + {secondary:.2f} = {self.false_words:.2f} claims would get a decided"
            f" word by chance: half of them, {self.false_words / 2:.2f}, a false REPRODUCED"
            f" ({primary / 2:.2f} among the primary ones), the other half a false CONTRADICTED."
            " Gates, placebos and the sign-flip test only lower this."
        )


def error_budget(pages: Iterable[Claims], made: Families, rules: Rules) -> ErrorBudget:
    """The budget of these pages. Claims that make no test give no false word: those declared not
    testable, and families of such claims alone.
    """
    testing = [
        (page.grid, claim.id)
        for page in pages
        for claim in page.claims
        if claim.expectation != "none" and not (rules.not_testable and claim.not_testable)
    ]
    sizes = {made.of[place]: made.size(made.of[place]) for place in testing if place in made.of}
    return ErrorBudget(sizes, sum(place not in made.of for place in testing))
