"""Claims that were declared and no longer count by today's pages: they stay in the count of their
family.

A family holds every primary claim with an expectation of every state that any record of the
evidence names. A claim that was in one of them and is no longer on its page, or is no longer
primary there, or no longer has an expectation, is withdrawn: it counts in Holm's m, and is listed
with its text and its states.

The family of a withdrawn claim is, in this order: the finding that lists it today; the finding that
listed it in the last of its states in which one did; else the family of its grid. States are in the
order of the earliest start that a record under them tells.

Nor does a claim leave its family by moving: a family also counts every claim that was in one family
with one of its own claims in any of these states. So a sibling that is listed in another finding,
and a finding that has another name, make no family smaller.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from analysis.declarations.states import State, family_of, findings_today, stored_state
from analysis.evidence.frames import Evidence
from analysis.verdicts.families import own_family
from study.spec.report.claim import Claim, Claims, load_claims
from study.spec.report.finding import Finding
from study.spec.report.sentences import claim_sentence
from study.spec.yaml.load import names

How = Literal[
    "no longer declared",
    "no longer primary",
    "no longer with an expectation",
    "in another family now",
]
Place = tuple[str, str]  # grid, id of the claim


@dataclass(frozen=True)
class Withdrawn:
    """A claim that counts although today's pages do not count it.

    claim: as in the last state that has it. family: in which it counts, the id of a finding; None =
    the family of its grid. states: those that have it as primary, by the first start under them.
    """

    grid: str
    claim: Claim
    family: str | None
    how: How
    states: tuple[str, ...]

    @property
    def counts_in(self) -> str:
        """Return the name of the family in which it counts."""
        return self.family or own_family(self.grid)


def states_of(evidence: Evidence) -> tuple[State, ...]:
    """Return every stored state that a record of the folder names, by the first start under it."""
    if evidence.declared is None:
        return ()
    names = sorted(evidence.states, key=lambda name: (evidence.states[name], name))
    found = (stored_state(evidence.declared, name) for name in names)
    return tuple(state for state in found if state is not None)


def unstored(evidence: Evidence) -> tuple[str, ...]:
    """Return the states that records of the folder name and that are not stored beside it: what was
    declared and withdrawn there cannot be counted.
    """
    folder = evidence.declared
    if folder is None:
        return ()
    return tuple(name for name in sorted(evidence.states) if stored_state(folder, name) is None)


def withdrawn_today(evidence: Evidence, root: Path | None = None) -> tuple[Withdrawn, ...]:
    """Return the withdrawn claims by today's pages and the states of all records."""
    pages = {name: load_claims(name, root) for name in names("claims", root)}
    return withdrawn(pages, findings_today(root), states_of(evidence))


def withdrawn(
    pages: Mapping[str, Claims], findings: Sequence[Finding], states: Sequence[State]
) -> tuple[Withdrawn, ...]:
    """Return the withdrawn claims of all grids, by grid and name.

    pages: grid -> the claims of today. findings: those of today. states: as `states_of` gives them.
    """
    last: dict[Place, list[tuple[State, Claim]]] = {}
    for state in states:
        for grid, claim in _primary(state):
            last.setdefault((grid, claim.id), []).append((state, claim))
    ways: dict[Place, How | None] = {place: _how(pages.get(place[0]), place[1]) for place in last}
    left = _left(pages, findings, states)
    found: dict[tuple[Place, str], Withdrawn] = {}
    for family, places in left.items():
        for place in places:
            how = ways[place] or "in another family now"
            found[place, family] = _counted_in(family, place[0], last[place], how)
    moved = {place for place, _ in found}
    for place, way in ways.items():
        if way is not None:
            gone = _withdrawn(place[0], last[place], way, findings)
            if place not in moved or gone.counts_in in left:
                found.setdefault((place, gone.counts_in), gone)
    return tuple(found[key] for key in sorted(found))


def _left(
    pages: Mapping[str, Claims], findings: Sequence[Finding], states: Sequence[State]
) -> dict[str, list[Place]]:
    """Return family of today -> the claims that some state had in one family with one of its
    claims, and that are not in it today.
    """
    before = [
        group
        for state in states
        if state.findings is not None
        for group in _groups(_primary(state), state.findings).values()
    ]
    counted = (
        (page.grid, claim) for page in pages.values() for claim in page.claims if claim.in_family
    )
    found: dict[str, list[Place]] = {}
    for family, places in _groups(counted, tuple(findings)).items():
        siblings = set[Place]().union(*(group for group in before if group & places))
        found[family] = sorted(siblings - places)
    return found


def _groups(
    claims: Iterable[tuple[str, Claim]], findings: tuple[Finding, ...]
) -> dict[str, set[Place]]:
    """Return family -> its claims."""
    found: dict[str, set[Place]] = {}
    for grid, claim in claims:
        family = family_of(grid, claim.id, findings) or own_family(grid)
        found.setdefault(family, set()).add((grid, claim.id))
    return found


def by_family(found: Sequence[Withdrawn]) -> dict[str, list[str]]:
    """Return family -> its withdrawn claims, GRID/CLAIM."""
    families: dict[str, list[str]] = {}
    for each in found:
        name = f"{each.grid}/{each.claim.id}"
        families.setdefault(each.counts_in, []).append(name)
    return families


def lines(found: Sequence[Withdrawn], lost: Sequence[str] = ()) -> list[str]:
    """Return a section of a report on these claims and on states that are not stored (`unstored`);
    none without any.
    """
    if not found and not lost:
        return []
    head = (
        "These claims were declared as primary in a state that a record names, and no longer count"
        " there by today's pages. They stay in the count of their family, without a p."
    )
    section = ["## Withdrawn claims", ""]
    if found:
        section += [head, "", *(_line(each) for each in found), ""]
    if lost:
        listed = ", ".join(f"`{name[:16]}`" for name in lost)
        section += [
            f"Records name states that are not stored with them: {listed}. Claims that were"
            " declared there and withdrawn are not counted, and families may be too small.",
            "",
        ]
    return section


def _line(each: Withdrawn) -> str:
    states = ", ".join(f"`{name[:16]}`" for name in each.states)
    return (
        f"- {each.grid} / {each.claim.id} ({each.how}; family {each.counts_in}): {each.claim.text}"
        f" Tested: {claim_sentence(each.claim)}. Declared in {states}."
    )


def _primary(state: State) -> Iterator[tuple[str, Claim]]:
    for grid in state.grids:
        page = state.page(grid)
        for claim in page.claims if page else ():
            if claim.in_family:
                yield grid, claim


def _how(page: Claims | None, name: str) -> How | None:
    """Return why a claim does not count by today's page; None if it does."""
    claim = page.claim(name) if page else None
    if claim is None:
        return "no longer declared"
    if claim.expectation == "none":
        return "no longer with an expectation"
    return None if claim.primary else "no longer primary"


def _withdrawn(
    grid: str, had: Sequence[tuple[State, Claim]], how: How, findings: Sequence[Finding]
) -> Withdrawn:
    _, claim = had[-1]
    listed = [state.findings for state, _ in reversed(had) if state.findings is not None]
    families = (family_of(grid, claim.id, each) for each in (tuple(findings), *listed))
    family = next((each for each in families if each is not None), None)
    return Withdrawn(grid, claim, family, how, tuple(state.name for state, _ in had))


def _counted_in(family: str, grid: str, had: Sequence[tuple[State, Claim]], how: How) -> Withdrawn:
    named = None if family == own_family(grid) else family
    return Withdrawn(grid, had[-1][1], named, how, tuple(state.name for state, _ in had))
