"""How far each undecided claim is from a decision: the bases it needs, and what they would say.

The numbers take the mean and the spread of the records for the true ones, at the level at which the
claim is decided today (`study/stats/needed.py`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from analysis.claims.contrasts import components
from analysis.claims.decide import Verdict
from analysis.claims.evaluation_noise import sampling_share
from analysis.evidence.frames import Evidence
from analysis.pages.render import ABSENT, Column, Table, Value
from study.stats.comparisons import bases_to_decide
from study.stats.needed import (
    MOST,
    PROBABILITY,
    Needed,
    bases_needed,
    decision_chance,
    word_in_sight,
)
from study.stats.repeats import RepeatComponents

COLUMNS = (
    Column("grid", "Grid"),
    Column("claim", "Claim"),
    Column("effect", "Effect"),
    Column("smallest", "Smallest"),
    Column("sd", "sd"),
    Column("word", "Would be"),
    Column("n90", "n90"),
    Column("range", "Range"),
    Column("own", "Rules 1"),
    Column("p10", "P10"),
    Column("p20", "P20"),
    Column("evaluation", "Eval"),
)
# What keeps a claim undecided, in the words of the table. The rule's own names are in the JSON.
REASONS = {
    "holds": "interval",
    "sign_flip": "sign-flip test",
    "differs": "failing bases",
    "too_few": "too few bases",
}
NOTES = (
    "Undecided claims only, those that need the fewest bases first. sd: of the contrast between"
    " bases. Would be: the word if the observed effect is the true one.",
    f"n90: bases at which that word falls with probability {PROBABILITY:g}, if effect and sd are"
    " the true ones, at the claim's level. Range: the same at the 80 % limits of sd.",
    "Rules 1: the bases that the first rules named, at which the expected interval just leaves the"
    " threshold out; about half of such studies decide. never: more than 50; -: they named none.",
    "P10, P20: probability of that word with 10 and 20 bases. Eval: share of sd^2 that is sampling"
    " of the evaluation; - = not known for this outcome.",
)


@dataclass(frozen=True)
class ClaimPower:
    """own: the number of bases under the first rules. evaluation: share of the variance.

    components: of the variance, where bases have several training seeds. why: what keeps it
    undecided (`Because` of study/stats/decision.py).
    """

    grid: str
    claim: str
    expectation: str
    effect: float
    threshold: float
    deviation: float
    n: int
    word: str
    needed: Needed
    own: int | None
    chance_10: float
    chance_20: float
    evaluation: float | None
    components: RepeatComponents | None = None
    why: str = "holds"

    def to_json(self) -> dict[str, Any]:
        """Return the value that `study power --claims --json` writes."""
        return asdict(self)


def claim_power(verdict: Verdict, evidence: Evidence) -> ClaimPower | None:
    """Return the power behind one verdict; None unless it is UNDECIDED with a spread."""
    found = verdict.comparison
    if verdict.word != "UNDECIDED" or found is None or found.deviation is None:
        return None
    claim, mean, deviation = verdict.claim, found.interval.mean, found.deviation
    bar, alpha = verdict.threshold, verdict.planning_alpha

    def chance(bases: int) -> float:
        return decision_chance(mean, deviation, bases, bar, claim.expectation, alpha)

    # Under the first rules the page gave no number for equivalence.
    own = bases_to_decide(mean, deviation, bar, alpha=verdict.alpha) if claim.directed else None
    return ClaimPower(
        evidence.grid,
        claim.id,
        claim.expectation,
        mean,
        bar,
        deviation,
        found.interval.n,
        word_in_sight(mean, bar, claim.expectation),
        bases_needed(mean, deviation, found.interval.n, bar, claim.expectation, alpha),
        own,
        chance(10),
        chance(20),
        sampling_share(claim, evidence, verdict.differences, deviation),
        components(claim.contrast, claim.outcome, evidence),
        _why(verdict),
    )


def _why(verdict: Verdict) -> str:
    return verdict.decision.because if verdict.decision else "holds"


def to_table(found: Sequence[ClaimPower]) -> Table:
    """Write the claims as a table, those that need the fewest bases first."""
    order = sorted(found, key=lambda one: (one.needed.n or MOST + 1, one.grid, one.claim))
    table = Table("Undecided claims", COLUMNS, tuple(_row(one) for one in order), NOTES)
    if any(one.why != "holds" for one in order):
        table = _with_reasons(table, order)
    return table if all(one.components is None for one in order) else _with_components(table, order)


def _with_reasons(table: Table, order: Sequence[ClaimPower]) -> Table:
    """Add what keeps each claim undecided, where for some it is not the interval."""
    reasons = [REASONS.get(one.why, one.why) for one in order]
    rows = tuple((*row, reason) for row, reason in zip(table.rows, reasons, strict=True))
    note = (
        "Why: what keeps the claim undecided. interval: it contains the threshold; sign-flip test:"
        " it disagrees with the interval; failing bases: the words with and without the bases that"
        " fail a gate differ; placebo: the effect is not separated from a placebo's. n90 is about"
        " the interval alone."
    )
    columns = (*table.columns, Column("why", "Why"))
    return replace(table, columns=columns, rows=rows, notes=(*table.notes, note))


def _with_components(table: Table, order: Sequence[ClaimPower]) -> Table:
    """Add the deviations between bases and between training seeds of one base."""
    parts = [one.components for one in order]
    rows = tuple(
        (*row, *((ABSENT, ABSENT) if part is None else (part.base**0.5, part.repeat**0.5)))
        for row, part in zip(table.rows, parts, strict=True)
    )
    note = "sd bases, sd repeats: between bases, and between training seeds on one base."
    more = (Column("sd_base", "sd bases"), Column("sd_repeat", "sd repeats"))
    return replace(table, columns=(*table.columns, *more), rows=rows, notes=(*table.notes, note))


def _row(one: ClaimPower) -> tuple[Value, ...]:
    never = "-" if one.expectation == "equal" else "never"
    bar = f"within {one.threshold:.2f}" if one.expectation == "equal" else _limit(one.threshold)
    evaluation = "-" if one.evaluation is None else f"{one.evaluation:.2f}"
    return (
        one.grid,
        one.claim,
        _signed(one.effect),
        bar,
        f"{one.deviation:.3f}" if one.deviation < 1 else f"{one.deviation:.2f}",
        one.word,
        _bases(one.needed.n),
        f"{_bases(one.needed.low)} to {_bases(one.needed.high)}",
        never if one.own is None else one.own,
        f"{one.chance_10:.2f}",
        f"{one.chance_20:.2f}",
        evaluation,
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}" if abs(value) < 1 else f"{value:+.2f}"


def _limit(threshold: float) -> str:
    return f"{threshold:+.2f}" if threshold else "0"


def _bases(number: int | None) -> str:
    return f"> {MOST:,}" if number is None else str(number)
