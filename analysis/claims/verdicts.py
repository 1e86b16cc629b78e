"""Verdicts as Markdown and as data."""

import json
from typing import Any

from analysis.claims.decide import NOT_TESTABLE, Verdict
from analysis.claims.declared import MEANING, Declared
from analysis.evidence.frames import Evidence
from analysis.pages.render import Column, Table, Value, number
from analysis.pages.render import to_markdown as table_markdown
from analysis.pages.tables import scope_note
from analysis.verdicts.facts import facts, p_text, sign_flip_state
from study.spec.report.claim import Claim
from study.stats.comparisons import ENOUGH, FIRM
from study.stats.sign_flip import FROM

COLUMNS = (
    Column("verdict", "Verdict"),
    Column("claim", "Claim"),
    Column("k", "K"),
    Column("effect", "Effect [95% t-interval]", interval=True),
    Column("smallest", "Smallest effect that counts", 2),
    Column("n", "n bases"),
    Column("p_holm", "p (Holm)"),
    Column("detectable", "Detectable at power .8", 2),
    Column("passing", "Without failing bases"),
    Column("firm", "Rests on"),
    Column("declared", "Declared"),
)
UNTESTED = (
    f"{NOT_TESTABLE}: the page declares that this lab cannot test the claim, why, and what world"
    " could. Its effect is measured and is no result."
)


def summary_table(verdicts: tuple[Verdict, ...], evidence: Evidence) -> Table:
    """One row per claim; what is not there is a dash."""
    rows = tuple(_row(verdict) for verdict in verdicts)
    notes = (
        scope_note(evidence),
        (
            "Effect: mean over base students of the claim's contrast, in the unit of its outcome. A"
            " verdict needs the whole interval beyond the smallest effect and every placebo beaten"
            " (REPRODUCED), or the whole interval short of it (CONTRADICTED)."
        ),
        (
            "Primary claims have a p here and are decided at Holm's level: by an interval that is"
            " wider than the one shown. p: paired t-test against the smallest effect, Holm-adjusted"
            " over the primary claims of its family. Secondary claims, with a dash, are decided at"
            " 95%."
        ),
        (
            f"Below {ENOUGH} bases every verdict is UNDECIDED, below {FIRM} it is provisional."
            " Detectable: the true distance from the smallest effect that this spread and level"
            " find in 8 of 10 studies."
        ),
        (
            "Without failing bases: the word on the bases in which every control holds; a decided"
            " word needs both. Rests on normality: no exact sign-flip test confirms the word; it"
            f" can from {FROM} bases on."
        ),
        *([UNTESTED] if any(verdict.word == NOT_TESTABLE for verdict in verdicts) else []),
        declared_note(verdicts),
    )
    return Table("Verdicts on declared claims", COLUMNS, rows, notes)


def _row(verdict: Verdict) -> tuple[Value, ...]:
    claim = verdict.claim
    return (
        verdict.label,
        claim.id,
        "-" if claim.k is None else claim.k,
        verdict.comparison.interval if verdict.comparison else "-",
        smallest_text(claim),
        verdict.n,
        "-" if verdict.p_holm is None else p_text(verdict.p_holm),
        "-" if verdict.minimum_detectable is None else verdict.minimum_detectable,
        _passing_word(verdict),
        _rests_on(verdict),
        verdict.declared.word,
    )


def _passing_word(verdict: Verdict) -> str:
    """The word without the bases that fail a control; a dash where none fails."""
    decision = verdict.decision
    return decision.passing.word if decision and decision.passing else "-"


def _rests_on(verdict: Verdict) -> str:
    """What a decided word rests on: the normal shape alone, or the sign-flip test too."""
    if verdict.normal:
        return "normality"
    return "sign-flip test" if sign_flip_state(verdict) == "agrees" else "-"


def smallest_text(claim: Claim) -> str:
    """The smallest effect that counts, on the side where the interval must be; a dash without an
    expectation.
    """
    signs = {
        "negative": "-",
        "positive": "+",
        "equal": "within ",
        "not_worse": "not below -" if claim.better == "higher" else "not above +",
    }
    sign = signs.get(claim.expectation)
    return f"{sign}{number(claim.smallest_effect, 2)}" if sign else "-"


def declared_note(verdicts: tuple[Verdict, ...]) -> str:
    """What the labels of these verdicts mean."""
    words = {verdict.declared.word for verdict in verdicts}
    said = [f"{word} = {meaning}" for word, meaning in MEANING.items() if word in words]
    return f"Declared, derived from the records: {'; '.join(said)}."


def to_markdown(verdicts: tuple[Verdict, ...], evidence: Evidence) -> str:
    """The table, then a paragraph per claim: what it says, where it comes from, what was compared,
    why this word, what would help.
    """
    details = [line for verdict in verdicts for line in _paragraph(verdict, evidence)]
    return "\n".join([table_markdown(summary_table(verdicts, evidence)), *details])


def _paragraph(verdict: Verdict, evidence: Evidence) -> list[str]:
    return [
        f"### {verdict.claim.id}: {verdict.label}",
        "",
        verdict.claim.text,
        "",
        *facts(verdict, evidence),
        "",
        *changed(verdict.declared),
    ]


def changed(declared: Declared) -> list[str]:
    """The declared text and today's side by side, field by field; nothing where they agree."""
    lines: list[str] = []
    for text in declared.earlier:
        keys = [*text, *(key for key in declared.now if key not in text)]
        rows = [(key, *(_spelled(side.get(key)) for side in (text, declared.now))) for key in keys]
        lines += ["| | declared before the data | today |", "|---|---|---|"]
        lines += [
            f"| {'**' + key + '**' if then != now else key} | {then} | {now} |"
            for key, then, now in rows
        ]
        lines += [""]
    return lines


def _spelled(value: Any) -> str:
    return "-" if value is None else json.dumps(value, ensure_ascii=False).replace("|", "\\|")
