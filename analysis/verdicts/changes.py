"""Which verdicts differ between the first and the second rules, and by which rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.claims.rules import FIRST, SECOND, order
from analysis.pages.render import Column, Table, to_markdown
from analysis.verdicts.study import Study
from analysis.verdicts.verdict import Verdict

RULES: dict[str, str] = {
    "bounded": "limits stay inside what the outcome allows",
    "sign_flip": "from 8 bases on the exact sign-flip test must agree",
    "families": "Holm's adjustment runs over the claims of a finding, on all grids",
    "gates_by_base": "controls are judged in each base",
    "not_testable": "the page declares that this lab cannot test the claim",
}
CHANGED = (
    Column("grid", "Grid"),
    Column("claim", "Claim"),
    Column("first", "First rules"),
    Column("second", "Second rules"),
    Column("rule", "Changed by"),
    Column("reason", "Why"),
)
ALL = (
    Column("grid", "Grid"),
    Column("claim", "Claim"),
    Column("first", "First rules"),
    Column("second", "Second rules"),
    Column("family", "Family (claims in it)"),
    Column("first_level", "Confidence, first"),
    Column("second_level", "Confidence, second"),
)


@dataclass(frozen=True)
class Change:
    """A claim under both rules. steps: each rule that changed its word, with the word before and
    after it.
    """

    grid: str
    first: Verdict
    second: Verdict
    steps: tuple[tuple[str, str, str], ...]


def changes(study: Study) -> list[Change]:
    """Every claim, with the rules turned on one at a time, in the order of `rules.order()`."""
    first = _by_place(study.verdicts(FIRST))
    last, steps = first, {place: list[tuple[str, str, str]]() for place in first}
    for rule, rules in order():
        now = _by_place(study.verdicts(rules))
        for place, verdict in now.items():
            if verdict.word != last[place].word:
                steps[place].append((rule, last[place].word, verdict.word))
        last = now
    return [
        Change(place[0], first[place], verdict, tuple(steps[place]))
        for place, verdict in last.items()
    ]


def _by_place(
    verdicts: Mapping[str, Sequence[Verdict]],
) -> dict[tuple[str, str], Verdict]:
    return {
        (grid, verdict.claim.id): verdict for grid, each in verdicts.items() for verdict in each
    }


def markdown(study: Study) -> str:
    """The page: what the rules allow by chance, what changed, then every claim with both words."""
    found = changes(study)
    changed = [change for change in found if change.first.word != change.second.word]
    back = [change for change in found if change.steps and change not in changed]
    lines = [
        "# Verdicts under the first and the second rules",
        "",
        "Written by `study report` from the records; docs/claims.md has the rules. `study report"
        " --rules 1` and `study analyze --rules 1` give the first words. The rules are turned on in"
        f" this order: {'; '.join(f'`{rule}`: {text}' for rule, text in RULES.items())}.",
        "",
        f"Under the first rules: {study.error_budget(FIRST).text}",
        "",
        f"Under the second rules: {study.error_budget(SECOND).text}",
        "",
        to_markdown(_changed_table(changed, len(found))),
        to_markdown(_all_table(found)),
    ]
    if back:
        names = ", ".join(f"{change.grid}/{change.first.claim.id}" for change in back)
        lines += [f"Changed by one rule and back by a later one: {names}."]
    return "\n".join(lines).rstrip() + "\n"


def _changed_table(changed: Sequence[Change], of: int) -> Table:
    rows = [
        (
            change.grid,
            change.first.claim.id,
            change.first.word,
            change.second.word,
            "; ".join(f"{rule}: {old} to {new}" for rule, old, new in change.steps),
            change.second.reason,
        )
        for change in changed
    ]
    note = f"{len(changed)} of {of} claims."
    return Table("Verdicts that changed", CHANGED, tuple(rows), (note,))


def _all_table(found: Sequence[Change]) -> Table:
    rows = [
        (
            change.grid,
            change.first.claim.id,
            change.first.word,
            change.second.word,
            _family(change.second),
            _confidence(change.first),
            _confidence(change.second),
        )
        for change in found
    ]
    note = "Confidence: of the interval that decides. Family: -, a secondary claim."
    return Table("Every claim", ALL, tuple(rows), (note,))


def _family(verdict: Verdict) -> str:
    return f"{verdict.family} ({verdict.family_size})" if verdict.family else "-"


def _confidence(verdict: Verdict) -> str:
    if verdict.claim.expectation == "none":
        return "-"
    return f"{100 * (1.0 - verdict.alpha):.3g}%"
