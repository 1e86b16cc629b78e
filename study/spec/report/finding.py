"""Findings: statements of the paper, and the claims that test them here
(`experiments/findings/*.yaml`).
"""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from study.spec.base import Spec
from study.spec.yaml.load import find, load, names
from study.spec.yaml.validation import validate


class Finding(Spec):
    """A finding. id: its name, also that of its family: Holm's adjustment runs over the primary
    claims of a finding, at whatever grid. text: what the source reports. sentence: the text of the
    scorecard, `text` by default.

    claims: grid -> ids of its claims (`experiments/claims/<grid>.yaml`). decided_by: the claim
    whose verdict gives the finding its word on the scorecard; the others support it. `GRID/CLAIM`
    if two grids have a claim of that name.
    """

    id: str
    text: str
    sentence: str | None = None
    source: str
    decided_by: str
    claims: dict[str, list[str]] = Field(min_length=1)

    @model_validator(mode="after")
    def _decided_by_one_of_its_claims(self) -> Self:
        if len(self._decisive) != 1:
            known = [f"{grid}/{claim}" for grid, claims in self.claims.items() for claim in claims]
            problem = "is none" if not self._decisive else "are several"
            raise ValueError(
                f"decided_by: {self.decided_by!r} {problem} of the finding's own claims, name one:"
                f" {', '.join(known)}"
            )
        return self

    @property
    def _decisive(self) -> list[tuple[str, str]]:
        return [
            (grid, claim)
            for grid, claims in self.claims.items()
            for claim in claims
            if self.decided_by in (claim, f"{grid}/{claim}")
        ]

    @property
    def deciding(self) -> tuple[str, str]:
        """Return grid and claim that give the word."""
        return self._decisive[0]

    @property
    def plain(self) -> str:
        """Return the sentence of the scorecard."""
        return self.sentence or self.text


class Findings(Spec):
    findings: list[Finding] = Field(min_length=1)


def load_findings(root: Path | None = None) -> list[Finding]:
    """Return every finding of `experiments/findings/`. Errors: SpecError with file and line."""
    pages = (
        validate(Findings, load(find("findings", name, root)), "")
        for name in names("findings", root)
    )
    return [finding for page in pages for finding in page.findings]
