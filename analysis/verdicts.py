"""Verdicts as a page and as data."""

import json
from typing import Any

from analysis.claims import ENOUGH, FIRM, Verdict, contrast_text
from analysis.frames import Evidence
from analysis.render import Column, Table, Value, number
from analysis.render import to_markdown as table_markdown
from analysis.tables import scope_note

COLUMNS = (
    Column("verdict", "Verdict"),
    Column("claim", "Claim"),
    Column("k", "K"),
    Column("effect", "Effect [95% t-interval]", interval=True),
    Column("smallest", "Smallest effect that counts", 2),
    Column("n", "n bases"),
    Column("p_holm", "p (Holm)"),
    Column("detectable", "Detectable at power .8", 2),
)


def summary_table(verdicts: tuple[Verdict, ...], evidence: Evidence) -> Table:
    """One row per claim; what is not there is a dash."""
    rows = tuple(_row(verdict) for verdict in verdicts)
    notes = (
        scope_note(evidence),
        "Effect: mean over base students of the claim's contrast, in accuracy. A verdict needs the whole interval beyond the smallest "
        "effect (REPRODUCED) or short of it (CONTRADICTED).",
        f"Below {ENOUGH} bases every verdict is UNDECIDED, below {FIRM} it is provisional.",
        "p: paired t-test against no difference, Holm-adjusted over the primary claims; a dash for the others.",
    )
    return Table("Verdicts on declared claims", COLUMNS, rows, notes)


def _row(verdict: Verdict) -> tuple[Value, ...]:
    claim = verdict.claim
    sign = {"negative": "-", "positive": "+", "none": "+-"}[claim.expectation]
    return (
        verdict.label,
        claim.id,
        "-" if claim.k is None else claim.k,
        verdict.comparison.interval if verdict.comparison else "-",
        f"{sign}{number(claim.smallest_effect, 2)}" if claim.expectation != "none" else "-",
        verdict.n,
        "-" if verdict.p_holm is None else p_text(verdict.p_holm),
        "-" if verdict.minimum_detectable is None else verdict.minimum_detectable,
    )


def p_text(p: float) -> str:
    return "< .0001" if p < 1e-4 else number(p, 4)


def to_markdown(verdicts: tuple[Verdict, ...], evidence: Evidence) -> str:
    """The table, then a paragraph per claim: what it says, where it comes from, what was compared, why this word, what would help."""
    details = [line for verdict in verdicts for line in _paragraph(verdict)]
    return "\n".join([table_markdown(summary_table(verdicts, evidence)), *details])


def _paragraph(verdict: Verdict) -> list[str]:
    claim = verdict.claim
    per_base = ", ".join(f"base {base}: {number(value, 3)}" for base, value in verdict.differences.items()) or "none"
    lines = [
        f"### {claim.id}: {verdict.label}",
        "",
        claim.text,
        "",
        f"- Source: {claim.source}.",
        f"- Outcome: `{claim.outcome}`; contrast: {contrast_text(claim.contrast)}; expected: {claim.expectation}.",
        f"- Per base: {per_base}.",
        f"- Why: {verdict.reason}.",
    ]
    lines += [f"- Control: {gate}." for gate in verdict.gates]
    lines += [f"- What would help: {verdict.next_step}." for _ in range(bool(verdict.next_step))]
    return [*lines, ""]


def to_json(verdicts: tuple[Verdict, ...], evidence: Evidence) -> str:
    """The same as data; numbers rounded to six decimals so that the bytes do not hang on the last bit of a sum."""
    page = {"grid": evidence.grid, "scale": evidence.scale, "seeds": list(evidence.seeds), "verdicts": [_as_data(v) for v in verdicts]}
    return json.dumps(page, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _as_data(verdict: Verdict) -> dict[str, Any]:
    claim, interval = verdict.claim, verdict.comparison.interval if verdict.comparison else None
    return {
        "id": claim.id,
        "verdict": verdict.word,
        "provisional": verdict.provisional,
        "n": verdict.n,
        "k": claim.k,
        "expectation": claim.expectation,
        "smallest_effect": claim.smallest_effect,
        "mean": _rounded(interval.mean if interval else None),
        "low": _rounded(interval.low if interval else None),
        "high": _rounded(interval.high if interval else None),
        "p_holm": _rounded(verdict.p_holm),
        "minimum_detectable_effect": _rounded(verdict.minimum_detectable),
        "by_base": {str(base): _rounded(value) for base, value in verdict.differences.items()},
        "gates": list(verdict.gates),
        "reason": verdict.reason,
        "next": verdict.next_step,
    }


def _rounded(value: float | None) -> float | str | None:
    if value is None:
        return None
    return round(value, 6) + 0.0 if abs(value) < float("inf") else str(value)
