"""What the preregistrations say that the runs of a claim cite."""

from collections import Counter
from collections.abc import Iterator, Sequence

from analysis.evidence.frames import Evidence
from study.record.declared.preregistration import Preregistration
from study.record.declared.preregistration_files import by_seal
from study.record.declared.preregistration_text import power_text, seen_text
from study.record.store import PREREGISTRATIONS
from study.spec.report.claim import Claim


def preregistered(claim: Claim, runs: Sequence[str], evidence: Evidence) -> Iterator[str]:
    """Yield a sentence per preregistration that runs of the claim cite, and how many cite none;
    nothing where no run cites any.
    """
    cited = Counter(evidence.origins[run].preregistration for run in runs)
    without = cited.pop(None, 0)
    for seal, count in sorted(cited.items(), key=lambda item: str(item[0])):
        page = _page(str(seal), evidence)
        what = f"{count} of its {len(runs)} runs cite"
        if page is None:
            yield f"{what} one with the seal {str(seal)[:16]}, which is not here"
        else:
            yield f"{what} {page.name} of {page.date[:10]}: {_said(page, claim)}"
    if cited and without:
        yield f"{without} of its {len(runs)} runs cite none"


def _page(seal: str, evidence: Evidence) -> Preregistration | None:
    if evidence.declared is None:
        return None
    return by_seal(evidence.declared.parent / PREREGISTRATIONS, seal)


def _said(page: Preregistration, claim: Claim) -> str:
    """Seeds, what had been seen, and what was expected of this claim."""
    seeds = ", ".join(map(str, page.seeds))
    found = next((each for each in page.claims if each.id == claim.id), None)
    expected = f" Expected: {power_text(found)}" if found else " It does not name this claim"
    return f"seeds {seeds}. {seen_text(page)}{expected}"
