"""Verdicts as data: `results/verdicts/GRID.json`."""

import json
from collections.abc import Sequence
from typing import Any

from analysis.claims.withdrawn import Withdrawn
from analysis.evidence.frames import Evidence
from analysis.verdicts.facts import sign_flip_state
from analysis.verdicts.verdict import Verdict


def to_json(
    verdicts: tuple[Verdict, ...], evidence: Evidence, withdrawn: Sequence[Withdrawn] = ()
) -> str:
    """The same as data; numbers rounded to six decimals so that the bytes do not depend on the
    last bit of a sum. withdrawn: claims that were withdrawn and count in these families.
    """
    page = {
        "grid": evidence.grid,
        "scale": evidence.scale,
        "seeds": list(evidence.seeds),
        "verdicts": [_as_data(v) for v in verdicts],
        "withdrawn": [
            {
                "grid": each.grid,
                "id": each.claim.id,
                "family": each.counts_in,
                "how": each.how,
                "text": each.claim.text,
                "states": list(each.states),
            }
            for each in withdrawn
        ],
    }
    return json.dumps(page, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _as_data(verdict: Verdict) -> dict[str, Any]:
    claim, interval = verdict.claim, verdict.comparison.interval if verdict.comparison else None
    decision = verdict.decision
    return {
        "id": claim.id,
        "verdict": verdict.word,
        "provisional": verdict.provisional,
        "n": verdict.n,
        "n_defined": len(verdict.defined),
        "k": claim.k,
        "expectation": claim.expectation,
        "smallest_effect": claim.smallest_effect,
        "mean": _rounded(interval.mean if interval else None),
        "low": _rounded(interval.low if interval else None),
        "high": _rounded(interval.high if interval else None),
        "primary": claim.in_family,
        "rules": verdict.rules,
        "family": verdict.family or None,
        "family_size": verdict.family_size,
        "confidence": _rounded(1.0 - verdict.alpha),
        "decided_low": _rounded(verdict.deciding.low if verdict.deciding else None),
        "decided_high": _rounded(verdict.deciding.high if verdict.deciding else None),
        "p": _rounded(verdict.p),
        "p_holm": _rounded(verdict.p_holm),
        "p_sign_flip": _rounded(verdict.sign_flip),
        "sign_flip_test": sign_flip_state(verdict),
        "rests_on_normality": verdict.normal,
        "failing_bases": list(verdict.failing),
        "word_with_all": decision.every.word if decision and decision.every else None,
        "word_without_failing": decision.passing.word if decision and decision.passing else None,
        "over_problems": (
            [_rounded(verdict.problems.low), _rounded(verdict.problems.high)]
            if verdict.problems
            else None
        ),
        "minimum_detectable_effect": _rounded(verdict.minimum_detectable),
        "by_base": {str(base): _rounded(value) for base, value in verdict.differences.items()},
        "gates": list(verdict.gates),
        "placebos": list(verdict.placebos),
        "declared": verdict.declared.word,
        "declared_details": list(verdict.declared.details),
        "preregistered": list(verdict.declared.preregistered),
        "not_testable": claim.not_testable.model_dump() if claim.not_testable else None,
        "reason": verdict.reason,
        "next": verdict.next_step,
    }


def _rounded(value: float | None) -> float | str | None:
    if value is None:
        return None
    return round(value, 6) + 0.0 if abs(value) < float("inf") else str(value)
