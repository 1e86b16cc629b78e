"""Define an inquiry, pairs of formulas that share one deadline, and its findings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

EQUAL, STOCK = "equal", "stock"  # kinds of questions, see `worker.py`

Pair = tuple[str, str]  # candidate, reference


class Finding(NamedTuple):
    """The result for one pair. seconds: what it took, or the time it was given without success."""

    verdict: bool | None
    reading: str
    seconds: float


@dataclass
class Inquiry:
    """Pairs that share `left` seconds of processor time; findings of the first of them."""

    kind: str
    pairs: Sequence[Pair]
    left: float
    findings: list[Finding] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return len(self.findings) == len(self.pairs)

    @property
    def verdicts(self) -> dict[Pair, bool | None]:
        return {
            pair: finding.verdict for pair, finding in zip(self.pairs, self.findings, strict=True)
        }
