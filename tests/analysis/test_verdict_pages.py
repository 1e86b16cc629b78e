"""What verdict pages say on one claim: both words, what a word rests on, what cannot be tested."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from analysis.claims.decide import decide_all
from analysis.claims.scorecard import Scored, firmness
from analysis.claims.scorecard_text import to_table, to_text
from analysis.claims.verdicts import smallest_text, summary_table, to_markdown
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import evidence_from
from analysis.figures import scorecard as figure
from analysis.pages.overview import claims_table, what_would_change
from analysis.pages.readme import results
from analysis.pages.render import to_markdown as table_markdown
from analysis.pages.report import Part, build
from analysis.verdicts.data import to_json
from analysis.verdicts.facts import facts
from analysis.verdicts.verdict import Verdict
from study.spec.grid.grid import load_grid
from study.spec.report.claim import Claim, Claims
from study.spec.report.finding import Finding
from tests.support.synthetic import records

ARM = {"teacher": "rlvr", "objective": "biased_k1", "length": "standard"}
FULL = ARM | {"objective": "full"}
MISSES = {0: 0.02, 1: 0.03, 2: 0.025, 3: 0.03, 4: 0.02}
NO_ROOM = {"reason": "All students end at the ceiling.", "world": "Harder problems."}
FALLS: dict[str, Any] = {
    "id": "falls", "text": "The loss falls.", "source": "s", "outcome": "score",
    "contrast": {"kind": "difference", "arm": ARM, "versus": FULL},
    "expectation": "negative", "smallest_effect": 0.1,
}  # fmt: skip
STARTS_LOW = {
    "id": "starts_low", "text": "the start is low", "outcome": "eval/avg@k",
    "contrast": {"kind": "start", "arm": FULL}, "at_most": 0.45,
}  # fmt: skip


def evidence(finals: Mapping[int, float], starts: Mapping[int, float]) -> Evidence:
    def ends(labels: Mapping[str, str], seed: int) -> tuple[float, float]:
        return starts[seed], finals[seed] if labels["objective"] == "biased_k1" else 0.8

    grid = load_grid("math")
    seeds = tuple(finals)
    return evidence_from(records(grid, ends, seeds=seeds), grid, scale="lab", seeds=seeds)


def decided(
    finals: Mapping[int, float], *, fails: tuple[int, ...] = (), **claim: Any
) -> tuple[Verdict, Evidence]:
    """fails: the bases that fail the control."""
    page = Claims.model_validate(
        {
            "grid": "math",
            "gates": [STARTS_LOW],
            "claims": [FALLS | {"gates": ["starts_low"]} | claim],
        }
    )
    found = evidence(finals, {base: 0.6 if base in fails else 0.4 for base in finals})
    (verdict,) = decide_all(page, found)
    return verdict, found


def said(verdict: Verdict, found: Evidence) -> str:
    return "\n".join(facts(verdict, found))


def test_below_eight_bases_a_decided_word_rests_on_normality() -> None:
    verdict, found = decided(MISSES)
    assert verdict.word == "REPRODUCED"
    assert "- Rests on normality: no sign-flip test confirms it (below 8 bases" in said(
        verdict, found
    )
    assert "Both ways" not in said(verdict, found)
    row = summary_table((verdict,), found).rows[0]
    assert "normality" in row
    data = json.loads(to_json((verdict,), found))["verdicts"][0]
    assert data["rests_on_normality"] is True
    assert data["sign_flip_test"] == "not needed"
    assert data["word_with_all"] == "REPRODUCED"
    assert data["word_without_failing"] is None


def test_from_eight_bases_on_the_sign_flip_test_is_named() -> None:
    verdict, found = decided({base: 0.02 + 0.001 * base for base in range(8)})
    assert verdict.word == "REPRODUCED"
    assert "- Sign-flip test: agrees." in said(verdict, found)
    assert "Rests on normality" not in said(verdict, found)
    assert "sign-flip test" in summary_table((verdict,), found).rows[0]


def test_both_words_are_shown_where_a_base_fails_a_control() -> None:
    finals = MISSES | {4: 0.75}  # the base that fails the control does not fall
    verdict, found = decided(finals, fails=(4,), smallest_effect=0.3)
    assert verdict.word == "UNDECIDED"
    text = said(verdict, found)
    assert "- Both ways: UNDECIDED with all 5 bases, REPRODUCED without base 4" in text
    row = summary_table((verdict,), found).rows[0]
    assert "REPRODUCED" in row
    data = json.loads(to_json((verdict,), found))["verdicts"][0]
    assert (data["word_with_all"], data["word_without_failing"]) == ("UNDECIDED", "REPRODUCED")
    assert data["failing_bases"] == [4]
    finding = Finding(id="f", text="It falls", source="s", decided_by="falls",
                      claims={"math": ["falls"]})  # fmt: skip
    scored = Scored(finding, verdict)
    remark = "undecided with all bases, holds without base 4"
    assert scored.remark == remark
    assert remark in " ".join(to_text([scored]).split())
    assert remark in table_markdown(to_table([scored], "lab"))
    assert {point.remark for point in figure.plotted([scored])} == {remark}


def test_where_both_words_agree_the_scorecard_says_nothing_of_it() -> None:
    verdict, found = decided(MISSES, fails=(4,))
    assert "REPRODUCED with all 5 bases, REPRODUCED without base 4" in said(verdict, found)
    finding = Finding(id="f", text="It falls", source="s", decided_by="falls",
                      claims={"math": ["falls"]})  # fmt: skip
    scored = Scored(finding, verdict)
    assert scored.remark == ""
    assert firmness([scored]).startswith("The one finding that holds or does not appear rests on")
    assert firmness([scored, scored]).startswith("All 2 findings that hold or do not appear rest")
    other = replace(scored, verdict=replace(verdict, rules="1"))  # they have no sign-flip test
    assert firmness([scored, other]).startswith("1 of the 2 findings that hold or do not appear")
    assert firmness([replace(scored, verdict=None)]) == ""


@pytest.mark.parametrize(
    ("fails", "claim", "word", "provisional"),
    [
        ((), {}, "REPRODUCED", False),
        ((4,), {}, "REPRODUCED", True),  # four bases without it
        ((0, 4), {}, "INVALID", False),  # three bases pass, five have records
        ((0, 4), {"not_testable": NO_ROOM}, "NOT TESTABLE HERE", False),
        ((4,), {"expectation": "none"}, "REPORTED", False),
    ],
)
def test_the_bases_that_fail_a_control_are_in_the_file_whatever_the_word(
    fails: tuple[int, ...], claim: dict[str, Any], word: str, provisional: bool
) -> None:
    verdict, found = decided(MISSES, fails=fails, **claim)
    data = json.loads(to_json((verdict,), found))["verdicts"][0]
    assert (data["verdict"], data["provisional"]) == (word, provisional)
    assert data["failing_bases"] == list(fails)


def test_a_claim_without_enough_records_is_invalid_only_for_now() -> None:
    few = {base: MISSES[base] for base in range(4)}
    verdict, _ = decided(few, fails=(0,))
    assert verdict.label == "INVALID (provisional)"


def test_the_file_counts_bases_with_records_and_bases_with_a_contrast() -> None:
    share = {"kind": "share", "arm": FULL, "start": ARM, "full": FULL, "moves_at_least": 0.3}
    finals = MISSES | {4: 0.7}  # in base 4 the whole way is .1
    verdict, found = decided(finals, contrast=share, expectation="positive", smallest_effect=0.5)
    data = json.loads(to_json((verdict,), found))["verdicts"][0]
    assert (data["n"], data["n_defined"], data["failing_bases"]) == (5, 4, [4])
    assert (data["verdict"], data["provisional"]) == ("REPRODUCED", True)


def test_a_claim_that_cannot_be_tested_has_its_reason_and_its_world_and_no_result() -> None:
    verdict, found = decided(MISSES, not_testable=NO_ROOM)
    assert verdict.label == "NOT TESTABLE HERE"
    text = said(verdict, found)
    assert text.count("All students end at the ceiling.") == 1
    assert text.count("Harder problems.") == 1
    assert "measured, no verdict" in text
    assert "base 0:" in text  # the effect is shown
    assert "What would help" not in text
    assert "another world" in what_would_change(verdict)
    page = to_markdown((verdict,), found)
    assert "### falls: NOT TESTABLE HERE" in page
    assert "is no result" in page
    data = json.loads(to_json((verdict,), found))["verdicts"][0]
    assert data["verdict"] == "NOT TESTABLE HERE"
    assert data["not_testable"] == NO_ROOM
    tested, _ = decided(MISSES)
    assert json.loads(to_json((tested,), found))["verdicts"][0]["not_testable"] is None
    assert "is no result" not in to_markdown((tested,), found)


def test_a_claim_that_cannot_be_tested_is_never_counted_as_a_result() -> None:
    found = evidence(MISSES, dict.fromkeys(MISSES, 0.4))
    part = Part(found, build(found), "a question")
    words = [verdict.word for verdict in part.report.verdicts]
    untested = words.count("NOT TESTABLE HERE")
    assert untested == 2  # the K = 20 claims of the page
    (note,) = claims_table([part]).notes
    assert f"; {untested} NOT TESTABLE HERE, which are no results" in note
    results_counted = note.partition(": ")[2].partition(";")[0]
    assert "NOT TESTABLE" not in results_counted
    assert f"{untested} of them cannot be tested in this lab's worlds" in " ".join(
        results([part]).split()
    )


def test_rates_and_censored_runs_stand_below_the_effect() -> None:
    finals = {0: 0.01, 1: 0.01, 2: 0.02, 3: 0.8, 4: 0.8}
    verdict, found = decided(finals, outcome="collapsed", expectation="positive")
    text = said(verdict, found)
    assert "3 of 5 collapsed, rate 0.600 [0.147, 0.947] (exact 95%)" in text
    assert "0 of 5 collapsed, rate 0.000 [0.000, 0.522] (exact 95%)" in text
    steps, _ = decided(finals, outcome="steps_to:0.75:eval/avg@k", expectation="positive")
    assert "3 of 5 never reached 0.75" in said(steps, found)


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ({"expectation": "negative"}, "-0.10"),
        ({"expectation": "positive"}, "+0.10"),
        ({"expectation": "equal"}, "within 0.10"),
        ({"expectation": "not_worse"}, "not below -0.10"),
        ({"expectation": "not_worse", "better": "lower"}, "not above +0.10"),
        ({"expectation": "none"}, "-"),
    ],
)
def test_the_smallest_effect_is_on_the_side_where_the_interval_must_be(
    claim: dict[str, str], text: str
) -> None:
    assert smallest_text(Claim.model_validate(FALLS | claim)) == text
