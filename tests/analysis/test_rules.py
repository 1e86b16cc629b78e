"""The versions of the rules: the first give the words they gave, each switch can change a word."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.claims.decide import NOT_TESTABLE, Verdict, decide_all, judge
from analysis.claims.rules import FIRST, SECOND, SWITCHES, order
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import evidence_from, load
from analysis.pages import overview, report
from analysis.verdicts import changes
from analysis.verdicts.families import families, own_family
from analysis.verdicts.study import Study, study_of, study_with
from study.cli.main import build_app
from study.spec.grid.grid import load_grid
from study.spec.report.claim import Claims
from study.spec.report.finding import Finding
from tests.support.paths import ROOT
from tests.support.synthetic import Ends, plausible, records

RECORDS = ROOT / "results/records"
PLAIN = {"objective": "biased_k1", "teacher": "rlvr", "length": "standard"}
FIXED = PLAIN | {"objective": "stop_gradient_k1"}
GAIN = {
    "id": "gain", "text": "t", "source": "none", "outcome": "score", "expectation": "positive",
    "smallest_effect": 0.1, "primary": True,
    "contrast": {"kind": "difference", "arm": FIXED, "versus": PLAIN},
}  # fmt: skip
HIGH = {
    "id": "high", "text": "the plain arm scores", "outcome": "score",
    "contrast": {"kind": "level", "arm": PLAIN}, "at_least": 0.2,
}  # fmt: skip
EVERY = {"1": FIRST, **dict(order())}


def page_of(*claims: Mapping[str, object], gates: tuple[Mapping[str, object], ...] = ()) -> Claims:
    return Claims.model_validate_json(
        json.dumps({"grid": "math", "gates": gates, "claims": claims})
    )


def finals(plain: tuple[float, ...], fixed: tuple[float, ...]) -> Ends:
    """The final accuracies of the two arms, base by base."""

    def ends(labels: Mapping[str, str], seed: int) -> tuple[float, float]:
        before, after = plausible(labels, seed)
        by_arm = {"biased_k1": plain, "stop_gradient_k1": fixed}.get(labels["objective"])
        ours = labels["teacher"] == "rlvr" and labels["length"] == "standard"
        return before, by_arm[seed] if by_arm and ours else after

    return ends


def evidence(ends: Ends, bases: int = 5) -> Evidence:
    seeds = tuple(range(bases))
    grid = load_grid("math")
    return evidence_from(records(grid, ends, seeds=seeds), grid, scale="lab", seeds=seeds)


def words(page: Claims, made: Evidence) -> dict[str, str]:
    """The word of the first claim under the first rules and after each switch."""
    return {name: decide_all(page, made, rules)[0].word for name, rules in EVERY.items()}


@cache
def committed() -> Study:
    grids = json.loads((Path(__file__).parent / "first_words.json").read_text())
    return study_with({grid: load(RECORDS, grid=grid) for grid in grids})


def test_the_first_rules_give_the_words_that_were_committed_under_them() -> None:
    then = json.loads((Path(__file__).parent / "first_words.json").read_text())
    assert sum(map(len, then.values())) == 88
    now = {
        grid: {verdict.claim.id: verdict.word for verdict in verdicts}
        for grid, verdicts in committed().verdicts(FIRST).items()
    }
    assert {grid: {name: now[grid].get(name) for name in each} for grid, each in then.items()} == (
        then
    )


def test_every_switch_is_turned_on_once() -> None:
    assert [name for name, _ in order()] == list(SWITCHES) == list(changes.RULES)
    assert list(order())[-1][1] == SECOND


def test_gates_by_base_change_a_word() -> None:
    """The mean of the gate holds, two bases of five fail."""
    page = page_of(GAIN | {"gates": ["high"]}, gates=(HIGH,))
    made = evidence(finals((0.5, 0.5, 0.5, 0.05, 0.1), (0.8, 0.8, 0.81, 0.4, 0.42)))
    found = words(page, made)
    assert (found["families"], found["gates_by_base"]) == ("REPRODUCED", "INVALID")
    reason = decide_all(page, made)[0].reason
    assert "not in base 3: 0.051, base 4: 0.102; more than 20% of the bases fail" in reason


def test_one_failing_base_of_five_is_shown_with_and_without() -> None:
    page = page_of(GAIN | {"gates": ["high"]}, gates=(HIGH,))
    verdict = decide_all(page, evidence(finals((0.5, 0.5, 0.5, 0.5, 0.1), (0.8,) * 4 + (0.4,))))[0]
    assert verdict.decision is not None
    assert verdict.decision.every is not None
    assert verdict.decision.passing is not None
    assert verdict.failing == (4,)
    assert (verdict.decision.every.n, verdict.decision.passing.n) == (5, 4)
    assert verdict.label == "REPRODUCED (provisional)"  # four bases without it
    assert "; without base 4, where a control fails: the whole" in verdict.reason


def test_a_failing_base_that_makes_the_word_takes_it_away() -> None:
    page = page_of(GAIN | {"gates": ["high"], "expectation": "equal"}, gates=(HIGH,))
    made = evidence(finals((0.5, 0.5, 0.5, 0.5, 0.1), (0.52, 0.49, 0.51, 0.5, 0.9)))
    verdict = decide_all(page, made)[0]
    assert verdict.word == "UNDECIDED"
    assert "a decided word needs both" in verdict.reason


def test_a_gate_that_was_not_measured_in_a_base_fails_there() -> None:
    page = page_of(GAIN | {"gates": ["high"]}, gates=(HIGH | {"outcome": "probe:none.x"},))
    verdict = decide_all(page, evidence(plausible))[0]
    assert verdict.word == "INVALID"
    assert "base 0: not measured" in verdict.reason


def test_an_undefined_share_counts_as_a_failing_base() -> None:
    share = {
        "kind": "share",
        "arm": FIXED,
        "start": PLAIN,
        "full": FIXED | {"objective": "full"},
        "moves_at_least": 0.3,
    }
    page = page_of(GAIN | {"contrast": share, "smallest_effect": 0.5})
    start, near = (0.1, 0.12, 0.11, 0.09, 0.7), (0.8, 0.81, 0.8, 0.82, 0.8)
    one = decide_all(page, evidence(finals(start, near)))[0]
    assert (one.word, one.failing) == ("REPRODUCED", (4,))
    assert math.isnan(one.differences[4])
    assert "in 4 of 5 bases, not in base 4" in one.gates[-1]
    two = decide_all(page, evidence(finals((0.1, 0.12, 0.11, 0.7, 0.7), near)))[0]
    assert two.word == "INVALID"
    none = decide_all(page, evidence(finals((0.8,) * 5, near)))[0]
    assert (none.word, none.comparison) == ("INVALID", None)
    assert "in 0 of 5 bases" in none.reason
    assert decide_all(page, evidence(finals(start, near)), FIRST)[0].word == "INVALID"


def test_sign_flip_changes_a_word() -> None:
    fixed = (0.40, 0.41, 0.42, 0.43, 0.44, 0.45, 0.46, 0.25)
    page = page_of(GAIN | {"smallest_effect": 0.06}, *_more(4))
    found = words(page, evidence(finals((0.2,) * 8, fixed), bases=8))
    assert (found["bounded"], found["sign_flip"]) == ("REPRODUCED", "UNDECIDED")


def test_bounded_changes_a_word() -> None:
    level = {"kind": "level", "arm": PLAIN}
    page = page_of(GAIN | {"contrast": level, "smallest_effect": 0.70, "primary": False})
    found = words(page, evidence(finals((0.99, 0.62, 0.96, 0.98, 0.97), (0.5,) * 5)))
    assert (found["1"], found["bounded"]) == ("REPRODUCED", "UNDECIDED")


def test_not_testable_changes_a_word_and_stays_in_its_family() -> None:
    why = {"reason": "no room", "world": "one with room"}
    page = page_of(GAIN | {"not_testable": why}, *_more(1))
    made = evidence(finals((0.2,) * 5, (0.5, 0.51, 0.52, 0.5, 0.51)))
    found = words(page, made)
    assert (found["gates_by_base"], found["not_testable"]) == ("REPRODUCED", NOT_TESTABLE)
    verdicts = decide_all(page, made)
    assert verdicts[0].p is None
    assert [verdict.family_size for verdict in verdicts] == [2, 2]


def test_families_change_a_word() -> None:
    """A claim that is alone in its finding is no longer decided at its page's level."""
    made = evidence(finals((0.2,) * 5, (0.32, 0.36, 0.33, 0.38, 0.34)))
    page = page_of(GAIN, *_more(9))
    finding = Finding(
        id="alone", text="t", source="s", decided_by="gain", claims={"math": ["gain"]}
    )
    by_switch = {
        name: judge({"math": page}, {"math": made}, findings=[finding], rules=rules)["math"][0]
        for name, rules in EVERY.items()
    }
    assert by_switch["sign_flip"].word == "UNDECIDED"
    assert by_switch["families"].word == "REPRODUCED"
    assert (by_switch["families"].family, by_switch["families"].family_size) == ("alone", 1)


def test_a_family_runs_over_grids_and_counts_what_has_no_records() -> None:
    made = evidence(finals((0.2,) * 5, (0.5, 0.51, 0.52, 0.5, 0.51)))
    ours = page_of(GAIN, GAIN | {"id": "equality", "expectation": "equal"})
    other = ours.model_copy(update={"grid": "elsewhere"})
    finding = Finding(
        id="both",
        text="t",
        source="s",
        decided_by="math/gain",
        claims={"math": ["gain", "equality"], "elsewhere": ["gain"]},
    )
    pages = {"math": ours, "elsewhere": other}
    verdicts = judge(pages, {"math": made}, findings=[finding])["math"]
    assert [verdict.family_size for verdict in verdicts] == [3, 3]
    assert families(pages.values(), [finding], SECOND).of[("elsewhere", "equality")] == (
        own_family("elsewhere")
    )
    gone = judge(pages, {"math": made}, findings=[finding], withdrawn={"both": ["math/old"]})
    assert gone["math"][0].family_size == 4
    assert gone["math"][0].factor > verdicts[0].factor
    first = judge(pages, {"math": made}, findings=[finding], rules=FIRST)["math"]
    assert [verdict.family_size for verdict in first] == [1, 1]
    assert first[1].family == ""  # equality was outside


def test_a_withdrawn_claim_can_take_a_word_away() -> None:
    made = evidence(finals((0.2,) * 5, (0.32, 0.36, 0.33, 0.38, 0.34)))
    page = page_of(GAIN)
    names = [f"math/old_{i}" for i in range(9)]
    alone = judge({"math": page}, {"math": made})["math"][0]
    among = judge({"math": page}, {"math": made}, withdrawn={own_family("math"): names})["math"][0]
    assert (alone.word, among.word) == ("REPRODUCED", "UNDECIDED")
    assert among.family_size == 10


def test_one_grid_gets_the_words_of_the_whole_report() -> None:
    whole = committed().verdicts()
    for grid in ("loss", "hidden-fact"):
        around = study_of(load(RECORDS, grid=grid))
        alone = around.verdicts(wanted=[grid])[grid]
        assert set(around.evidence) > {grid}
        assert [_numbers(each) for each in alone] == [_numbers(each) for each in whole[grid]]


def test_the_page_of_changes_names_the_rule_and_both_words() -> None:
    found = {(each.grid, each.second.claim.id): each for each in changes.changes(committed())}
    hidden = found[("hidden-fact", "direct_sft_hallucinates")]
    assert (hidden.first.word, hidden.second.word) == ("REPRODUCED", "INVALID")
    assert hidden.steps == (("gates_by_base", "REPRODUCED", "INVALID"),)
    text = changes.markdown(committed())
    assert "gates_by_base: REPRODUCED to INVALID" in text
    assert text.count("| hidden-fact ") >= 4 + 4
    assert all(f"`{name}`" in text for name in SWITCHES)


def test_what_chance_may_give_is_spelled_out() -> None:
    why = {"reason": "no room", "world": "one with room"}
    page = page_of(GAIN, GAIN | {"id": "second", "primary": False}, _more(1)[0])
    untestable = page_of(GAIN | {"not_testable": why}).model_copy(update={"grid": "other"})
    study = Study({"math": page, "other": untestable}, {})
    budget = study.error_budget()
    assert budget.families == {own_family("math"): 2}
    assert (budget.secondary, budget.false_words) == (1, pytest.approx(0.10))
    assert "2 primary claims in 1 family" in budget.text
    assert "0.05 + 0.05 = 0.10 claims would get a decided word by chance" in budget.text


def test_equal_values_are_shown_without_an_interval() -> None:
    page = page_of(GAIN)
    verdict = decide_all(page, evidence(finals((0.25,) * 5, (0.5,) * 5)))[0]
    assert verdict.word == "REPRODUCED"
    assert "0.250 [no interval: all 5 equal]" in verdict.reason


def test_rules_on_the_command_line(tmp_path: Path) -> None:
    arguments = ["analyze", "--grid", "hidden-fact", "--records", str(RECORDS)]
    app, runner = build_app(), CliRunner()
    for rules, word in (("1", "REPRODUCED"), ("2", "INVALID")):
        out = tmp_path / rules
        ended = runner.invoke(app, [*arguments, "--out", str(out), "--rules", rules])
        assert ended.exit_code == 0, ended.output
        page = json.loads((out / "verdicts/hidden-fact.json").read_text())
        found = {each["id"]: each for each in page["verdicts"]}
        assert found["direct_sft_hallucinates"]["verdict"] == word
        assert found["direct_sft_hallucinates"]["rules"] == rules
    unknown = runner.invoke(app, [*arguments, "--rules", "3"])
    assert unknown.exit_code != 0


def test_the_report_says_what_chance_may_give() -> None:
    made = evidence(plausible)
    part = report.Part(made, report.build(made), "question", study_with({"math": made}))
    text = overview.markdown([part])
    assert "share 5% per family (Holm)" in text
    assert f"[{overview.CHANGED_PAGE}]" in text
    first = overview.markdown([replace(part, rules=FIRST)])
    assert overview.CHANGED_PAGE not in first


def _more(count: int) -> list[Mapping[str, object]]:
    """Further primary claims that are as clear as the first."""
    return [GAIN | {"id": f"other_{i}"} for i in range(count)]


def _numbers(verdict: Verdict) -> tuple[object, ...]:
    return verdict.claim.id, verdict.word, verdict.factor, verdict.p, verdict.family_size
