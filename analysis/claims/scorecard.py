"""The scorecard: a row per finding of the paper, with one word from the verdict of the claim that
decides it.

Effects are drawn in units of the smallest effect that counts, turned so that right is what the
source says:

    position = sign * contrast / smallest effect     sign = -1 for an expected fall, else +1

A directed claim holds where the whole interval is beyond +1; a claim of equality where it is within
-1 and +1; one of non-inferiority where it is beyond -1. A claim without a smallest effect has a
unit of its own: half of its largest distance from zero, so that the row shows signs and no sizes. A
finding whose claim these worlds cannot test has dots and no result: `this lab cannot tell`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from analysis.claims.decide import NOT_TESTABLE, Verdict
from study.spec.report.finding import Finding, Findings
from study.spec.yaml.load import find, load, names
from study.spec.yaml.validation import validate
from study.stats.sign_flip import FROM

NOT_RUN = "not run"
WORDS: dict[str, str] = {
    "REPRODUCED": "holds",
    "CONTRADICTED": "does not appear",
    "UNDECIDED": "undecided",
    "INVALID": "control failed",
    "REPORTED": "no expectation",
    NOT_TESTABLE: "this lab cannot tell",
}
# where the source's statement would be
Zone = Literal["beyond", "within", "not_worse", "any"]
Verdicts = Mapping[tuple[str, str], Verdict]  # (grid, claim) -> verdict


@dataclass(frozen=True)
class Scored:
    """A finding with the verdict of its deciding claim, None where no record of it exists."""

    finding: Finding
    verdict: Verdict | None

    @property
    def word(self) -> str:
        return WORDS[self.verdict.word] if self.verdict else NOT_RUN

    @property
    def label(self) -> str:
        provisional = self.verdict is not None and self.verdict.provisional
        return f"{self.word} (provisional)" if provisional else self.word

    @property
    def reason(self) -> str:
        """Why the worlds of this study cannot tell; empty for a finding that they can test."""
        untestable = self.verdict is not None and self.verdict.word == NOT_TESTABLE
        declared = self.verdict.claim.not_testable if self.verdict and untestable else None
        return declared.reason if declared else ""

    @property
    def remark(self) -> str:
        """That the word is another one without the bases that fail a control; else empty."""
        decision = self.verdict.decision if self.verdict else None
        if decision is None or decision.every is None or decision.passing is None:
            return ""
        with_all, without = decision.every.word, decision.passing.word
        if with_all == without:
            return ""
        failing = ", ".join(map(str, self.verdict.failing)) if self.verdict else ""
        bases = "base" if "," not in failing else "bases"
        return f"{WORDS[with_all]} with all bases, {WORDS[without]} without {bases} {failing}"

    @property
    def zone(self) -> Zone:
        if self.verdict is None or not self.verdict.claim.smallest_effect:
            return "any"
        zones: dict[str, Zone] = {"equal": "within", "not_worse": "not_worse"}
        return zones.get(self.verdict.claim.expectation, "beyond")

    @property
    def unit(self) -> float:
        """The contrast that is drawn as 1, in the unit of the outcome."""
        if self.verdict is None:
            return 1.0
        if self.verdict.claim.smallest_effect:
            return self.verdict.claim.smallest_effect
        values = [*self.verdict.differences.values(), *self._limits(self.verdict)]
        return max((abs(value) for value in values if math.isfinite(value)), default=0.0) / 2 or 1.0

    @property
    def dots(self) -> dict[int, float]:
        """Base student -> position; what is not a finite number has none."""
        if self.verdict is None:
            return {}
        values = self.verdict.differences.items()
        return {base: self._position(value) for base, value in values if math.isfinite(value)}

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval that decides, as positions, the lower first."""
        limits = self._limits(self.verdict) if self.verdict else ()
        if not limits:
            return None
        low, high = sorted(self._position(limit) for limit in limits)
        return low, high

    def _position(self, value: float) -> float:
        assert self.verdict is not None
        return self.verdict.sign * value / self.unit + 0.0  # no minus zero

    @staticmethod
    def _limits(verdict: Verdict) -> tuple[float, ...]:
        interval = verdict.deciding
        if interval is None or interval.low is None or interval.high is None:
            return ()
        return interval.low, interval.high


def findings(root: Path | None = None) -> list[Finding]:
    """Every finding of `experiments/findings/`. Errors: SpecError with file and line."""
    found = (
        validate(Findings, load(find("findings", name, root)), "")
        for name in names("findings", root)
    )
    return [finding for each in found for finding in each.findings]


def by_claim(grid: str, verdicts: Iterable[Verdict]) -> dict[tuple[str, str], Verdict]:
    """(grid, claim) -> verdict, of those that have a measurement."""
    return {(grid, verdict.claim.id): verdict for verdict in verdicts if verdict.n}


def scorecard(verdicts: Verdicts, root: Path | None = None) -> tuple[Scored, ...]:
    """Every finding in the order of its file; empty where no finding has a verdict."""
    rows = tuple(Scored(each, verdicts.get(each.deciding)) for each in findings(root))
    return rows if any(row.verdict for row in rows) else ()


def scorecard_of(
    grid: str, verdicts: Sequence[Verdict], root: Path | None = None
) -> tuple[Scored, ...]:
    """The findings that claims of this one grid decide."""
    return tuple(row for row in scorecard(by_claim(grid, verdicts), root) if row.verdict)


def tally(rows: Sequence[Scored]) -> str:
    """`12 findings: 5 hold, ...` in the order of the words."""
    counts = [(word, sum(row.word == word for row in rows)) for word in (*WORDS.values(), NOT_RUN)]
    said = [f"{count} {_counted(word, count)}" for word, count in counts if count]
    number = "1 finding" if len(rows) == 1 else f"{len(rows)} findings"
    return f"{number}: {', '.join(said)}"


def firmness(rows: Sequence[Scored]) -> str:
    """How many words rest on the normal shape of the differences alone; empty where none does."""
    normal = sum(row.verdict is not None and row.verdict.normal for row in rows)
    if not normal:
        return ""
    decided = ("REPRODUCED", "CONTRADICTED")
    all_words = sum(row.verdict is not None and row.verdict.word in decided for row in rows)
    if all_words == 1:
        which = "The one finding that holds or does not appear rests"
    elif normal == all_words:
        which = f"All {normal} findings that hold or do not appear rest"
    else:
        which = f"{normal} of the {all_words} findings that hold or do not appear rest"
    return (
        f"{which} on normality: no exact sign-flip test confirms it, which takes {FROM} bases or"
        " more."
    )


def _counted(word: str, count: int) -> str:
    """A word of the scorecard behind the number of its findings."""
    if word == WORDS[NOT_TESTABLE]:
        return f"that {word}"
    plural = {
        "holds": "hold",
        "does not appear": "do not appear",
        "control failed": "with a failed control",
    }
    return plural.get(word, word) if count > 1 else word
