"""A finding: a statement of the paper, and the claims by which it is asked for here
(`experiments/findings/*.yaml`).
"""

from pydantic import Field

from study.spec.base import Spec


class Finding(Spec):
    """claims: grid -> ids of its claims (`experiments/claims/<grid>.yaml`)."""

    text: str
    source: str
    claims: dict[str, list[str]] = Field(min_length=1)


class Findings(Spec):
    findings: list[Finding] = Field(min_length=1)
