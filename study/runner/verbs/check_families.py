"""Check the families of claims: no result counts twice, and every family can be decided.

A family is a finding with its primary claims (Holm's adjustment runs over them); primary claims of
no finding form the family of their grid.

Two primary claims read the same where their contrasts are the same sum of the same numbers, up to
its sign: the same models, evaluated in the same way, and the same outcome. Cells that differ only
in what the outcome does not read, such as another probe, are the same there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from study.errors import PrerequisiteError, SpecError
from study.spec.grid.cell import Cell
from study.spec.grid.grid import Grid, load_grid
from study.spec.identity import canonical
from study.spec.report.claim import Claim, Claims, Judged, load_claims
from study.spec.report.contrast import (
    Change,
    Contrast,
    Difference,
    Interaction,
    Level,
    Share,
    Start,
)
from study.spec.report.finding import load_findings
from study.spec.report.outcome import ArmLabels, ReportOutcome, better, outcome
from study.spec.report.sentences import claim_sentence, contrast_words
from study.spec.yaml.load import names
from study.stats.comparisons import ENOUGH, minimum_detectable_effect
from study.stats.sign_flip import FROM, largest_family, sign_flip_floor

Reading = frozenset[tuple[str, float]]


@dataclass(frozen=True)
class Member:
    """A primary claim of a family, with its page and its grid."""

    page: Claims
    claim: Claim
    grid: Grid

    @property
    def where(self) -> str:
        return f"claims/{self.page.grid}.yaml {self.claim.id}"

    @property
    def bases(self) -> int:
        """Return the number of base students that decide the claim."""
        return self.page.screening.bases if self.page.screening else len(self.grid.seeds)


def families(root: Path | None = None) -> dict[str, list[Member]]:
    """Return the primary claims with an expectation by the name of their family.

    Invalid files are left out: their own check reports them.
    """
    found: dict[str, list[Member]] = {finding.id: [] for finding in load_findings(root)}
    listed = {
        (grid, claim): finding.id
        for finding in reversed(load_findings(root))
        for grid, claims in finding.claims.items()
        for claim in claims
    }
    for name in names("claims", root):
        for member in _members(name, root):
            family = listed.get((name, member.claim.id), f"grid {name}")
            found.setdefault(family, []).append(member)
    return {family: members for family, members in found.items() if members}


def _members(name: str, root: Path | None) -> list[Member]:
    try:
        page = load_claims(name, root)
        grid = load_grid(page.grid, "lab", root)
        assert grid.cells
    except (SpecError, PrerequisiteError):
        return []
    return [Member(page, claim, grid) for claim in page.claims if claim.in_family]


def check_families(root: Path | None = None) -> Iterator[tuple[str, str | SpecError]]:
    """Yield each family with what it holds, or what is wrong with it."""
    try:
        found = families(root)
    except SpecError:  # a findings page is wrong; its own check says so
        return
    before: dict[Reading, Member] = {}
    for family, members in found.items():
        problem = _undecidable(family, members)
        for member in members:
            same = before.setdefault(reading(member), member)
            if same is not member and problem is None:
                problem = _counted_twice(same, member)
        yield f"family {family}", problem or _counted(members)


def _counted(members: list[Member]) -> str:
    bases = sorted({member.bases for member in members})
    claims = "1 primary claim" if len(members) == 1 else f"{len(members)} primary claims"
    return f"{claims}, on {' or '.join(map(str, bases))} bases"


def _undecidable(family: str, members: list[Member]) -> SpecError | None:
    """Return what is wrong with a family whose level the sign-flip test, or a claim's declared
    spread, can never reach.
    """
    for member in members:
        n, m = member.bases, len(members)
        try:
            refuse_undecidable(member.page, member.claim, n, m)
        except SpecError as error:
            return error
        if n >= FROM and m > largest_family(n):
            return SpecError(
                f"{member.where}: the family {family} has {m} primary claims; with {n} bases the"
                f" smallest p of the sign-flip test is {sign_flip_floor(n):.2g}, above"
                f" .05 / {m} = {0.05 / m:.2g}, so the strictest claim could never be decided",
                hint=f"more seeds, or at most {largest_family(n)} primary claims in this family",
            )
    return None


def refuse_nothing(page: str, judged: Judged, grid: Grid) -> None:
    """Raise SpecError for a contrast whose value is known without any run: two arms that are one
    model under one evaluation.
    """
    wanted = outcome(judged.outcome)
    if isinstance(judged.contrast, Share):
        arms = [_number(grid, arm, wanted) for _, arm, _ in _terms(judged.contrast)]
        empty = len(set(arms)) < len(arms)
    else:
        empty = not _read(judged, grid)
    if empty:
        raise SpecError(
            f"claims/{page}.yaml {judged.id}: its contrast has the same value in every base,"
            f" whatever the runs are ({contrast_words(judged.contrast)})",
            hint="name two arms that differ in what the outcome reads",
        )


def refuse_unclear_side(page: Claims, claim: Claim) -> None:
    """Raise SpecError for `not_worse` where the page does not say which side is better, or says
    another one than the outcome; and for a side that no other expectation reads. A share is not
    the outcome itself: its page says it.
    """
    where = f"claims/{page.grid}.yaml {claim.id}"
    if claim.expectation != "not_worse" and "better" in claim.model_fields_set:
        raise SpecError(
            f"{where}: better is read by expectation: not_worse alone, this one is"
            f" {claim.expectation}",
            hint="remove better, or write expectation: not_worse",
        )
    if claim.expectation != "not_worse" or isinstance(claim.contrast, Share):
        return
    side = better(claim.outcome)
    if side == "neither" and "better" not in claim.model_fields_set:
        raise SpecError(
            f"{where}: not_worse needs a better side, and {claim.outcome} has none of its own",
            hint="write better: higher or better: lower (docs/metrics.md has each outcome's)",
        )
    if side not in ("neither", claim.better):
        raise SpecError(
            f"{where}: {side} values of {claim.outcome} are better,"
            f" the claim has better: {claim.better}",
            hint=f"better: {side}",
        )


def refuse_undecidable(page: Claims, claim: Claim, bases: int, family: int = 1) -> None:
    """Raise SpecError for a claim that cannot get a verdict.

    A verdict needs ENOUGH bases, and an effect of zero must be distinguishable from the smallest
    effect that counts. The strictest level that Holm's adjustment can require is alpha / family.
    """
    where = f"claims/{page.grid}.yaml {claim.id}"
    if claim.expectation == "none":
        return
    if bases < ENOUGH:
        raise SpecError(
            f"{where}: the grid declares {bases} seeds;"
            f" no verdict is drawn from fewer than {ENOUGH}",
            hint="add seeds",
        )
    if claim.spread is None:
        return
    alpha = 0.05 / family
    detectable = minimum_detectable_effect(claim.spread, bases, alpha=alpha)
    if claim.smallest_effect < detectable:
        what = (
            f"{where}: {bases} bases with a spread of {claim.spread:g} find an effect of"
            f" {detectable:.3g} (power .8, level {alpha:.3g})"
        )
        hint = (
            "declare more seeds, fewer primary claims,"
            " a larger smallest effect or a less noisy outcome"
        )
        raise SpecError(f"{what}, not one of {claim.smallest_effect:g}", hint=hint)


def _counted_twice(one: Member, other: Member) -> SpecError:
    return SpecError(
        f"{other.where}: reads the same runs and outcome as {one.where}, so one result would count"
        f" twice ({claim_sentence(other.claim)})",
        hint="make one of them primary: false, or delete it",
    )


def reading(member: Member) -> Reading:
    """Return what a claim's contrast reads: each number with its weight, up to the sign of all."""
    return _read(member.claim, member.grid)


def _read(judged: Judged, grid: Grid) -> Reading:
    terms: dict[str, float] = {}
    wanted = outcome(judged.outcome)
    for place, arm, weight in _terms(judged.contrast):
        number = f"{place} {_number(grid, arm, wanted)}"
        terms[number] = terms.get(number, 0.0) + weight
    kept = {number: weight for number, weight in terms.items() if weight}
    sign = 1.0 if not kept or kept[min(kept)] > 0 else -1.0
    return frozenset((number, sign * weight) for number, weight in kept.items())


def _terms(contrast: Contrast) -> list[tuple[str, ArmLabels, float]]:
    """Return (place in the curve or role, arm, weight) of every number of a contrast."""
    match contrast:
        case Change():
            return [("last", contrast.arm, 1.0), ("first", contrast.arm, -1.0)]
        case Start():
            return [("first", contrast.arm, 1.0)]
        case Level():
            return [("last", contrast.arm, 1.0)]
        case Difference():
            return [("last", contrast.arm, 1.0), ("last", contrast.versus, -1.0)]
        case Share():
            roles = (("arm", contrast.arm), ("start", contrast.start), ("full", contrast.full))
            return [(role, arm, 1.0) for role, arm in roles]
        case Interaction():
            return [
                ("last", contrast.arm, 1.0),
                ("last", contrast.versus, -1.0),
                ("last", contrast.control_arm, -1.0),
                ("last", contrast.control_versus, 1.0),
            ]


def _number(grid: Grid, arm: ArmLabels, wanted: ReportOutcome) -> str:
    """Return what determines an outcome of an arm: the model, how it is evaluated, the column."""
    matching = [
        cell
        for cell in grid.cells
        if any(arm.items() <= labels.items() for labels in (cell.labels, *cell.also))
    ]
    cell = matching[0].cell
    if wanted.kind == "pass" and wanted.k == 1:  # the mean over samples, which is the score
        wanted = ReportOutcome("score", "score", task=wanted.task)
    said = (wanted.kind, wanted.column, wanted.step, wanted.k, wanted.reached)
    return f"{cell.scale} {canonical(cell.model)} {_evaluation(cell, wanted)} {said}"


def _evaluation(cell: Cell, wanted: ReportOutcome) -> str:
    if wanted.kind == "probe":
        found = [canonical(probe) for probe in cell.probes if probe.name == wanted.probe]
    elif wanted.kind in ("score", "pass"):
        named = [each for each in cell.evaluations if wanted.task in (None, each.score_name)]
        found = [canonical(each) for each in named[:1]]
    else:
        found = []
    return found[0] if found else ""
