"""What the committed claims pages declare, and what committed records say on their newer claims."""

import math
from functools import cache

import pytest

from analysis.claims.contrasts import contrast_by_base
from analysis.claims.declared import declared
from analysis.claims.outcomes import by_base
from analysis.claims.scorecard import findings
from analysis.declarations.changes import told_extensions
from analysis.declarations.origins import Behind
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import load
from analysis.pages.numbered import claims_of
from study.spec.report.claim import Claim, Claims, SeedsAdded
from study.spec.yaml.load import names
from study.stats.intervals import t_interval
from tests.support.paths import ROOT

NOT_TESTABLE = {
    "math": {"biased_k20_reported", "renormalised_k20_reported"},
    "teacher": {
        "near_beats_strong", "near_beats_strong_k5", "distribution_not_strength",
        "distribution_not_strength_k5", "rlvr_beside_strong_of_one_style",
    },
    "teacher-pi": {"answer_hurts", "solution_hurts"},
    "prefix": {
        "student_prefixes_damage", "it_is_the_student", "not_format_alone",
        "near_teacher_suffers_too", "longer_is_worse",
    },
    "warmup": {
        "warm_up_helps_far", "warm_up_helps_far_k5", "warm_up_helps_raw", "near_needs_none",
    },
}  # fmt: skip


def page(grid: str) -> Claims:
    found = claims_of(grid)
    assert found is not None
    return found


def claim(grid: str, name: str) -> Claim:
    found = page(grid).claim(name)
    assert found is not None
    return found


@cache
def committed(grid: str) -> Evidence:
    return load(ROOT / "results" / "records", grid=grid)


def values(grid: str, name: str) -> list[float]:
    wanted = claim(grid, name)
    found = contrast_by_base(wanted.contrast, wanted.outcome, committed(grid))
    return list(found.values())


def test_exactly_these_claims_are_not_testable_each_with_its_world() -> None:
    found: dict[str, set[str]] = {}
    for grid in names("claims"):
        for each in page(grid).claims:
            if each.not_testable is not None:
                found.setdefault(grid, set()).add(each.id)
                assert len(each.not_testable.reason) > 40
                assert len(each.not_testable.world) > 40
                assert each.not_testable.reason.rstrip(".").count(". ") == 0  # one sentence
    assert found == NOT_TESTABLE


def test_four_findings_are_decided_by_a_claim_that_this_lab_cannot_test() -> None:
    decisive = {each.id: each.deciding for each in findings()}
    untestable = {
        name for name, (grid, deciding) in decisive.items() if claim(grid, deciding).not_testable
    }
    assert untestable == {
        "teacher_choice", "student_prefixes", "external_pi_hurts", "warm_up_stabilises",
    }  # fmt: skip


NEWER = [
    ("math", "biased_k20_tail"),
    ("loss", "bias_drains_mass_ratio"),
    ("opsd-instance", "solution_share_of_gain"),
    ("opsd-shared", "concise_not_worse"),
    ("opsd-shared", "style_share_internalised"),
    ("opsd-shared", "concise_share_internalised"),
]


@pytest.mark.parametrize(("grid", "name"), NEWER)
def test_claims_written_after_the_data_say_so_and_are_secondary(grid: str, name: str) -> None:
    wanted = claim(grid, name)
    assert not wanted.primary
    assert declared(page(grid), wanted, committed(grid)).word == "declared after data"


def test_the_tail_at_k_20_doubles_where_accuracy_does_not_move() -> None:
    interval = t_interval(values("math", "biased_k20_tail"))
    assert interval.low is not None
    assert interval.high is not None
    assert min(values("math", "biased_k20_tail")) > 0.0  # in every base
    assert math.exp(interval.mean) == pytest.approx(2.07, abs=0.005)
    assert (interval.low, interval.high) == pytest.approx((0.60, 0.85), abs=0.005)
    accuracy = t_interval(values("math", "biased_k20_reported"))
    assert abs(accuracy.mean) < 0.001


def test_the_tail_at_k_5_grows_many_times() -> None:
    interval = t_interval(values("loss", "bias_drains_mass_ratio"))
    assert math.exp(interval.mean) == pytest.approx(8.8, abs=0.05)


def test_shares_of_what_the_teacher_has() -> None:
    assert t_interval(values("opsd-shared", "style_share_internalised")).mean == pytest.approx(
        1.0, abs=0.005
    )
    assert t_interval(values("opsd-instance", "solution_share_of_gain")).mean == pytest.approx(
        0.067, abs=0.0005
    )
    concise = values("opsd-shared", "concise_share_internalised")
    undefined = [value for value in concise if math.isnan(value)]
    assert len(undefined) == 1  # one base's teacher does not shorten anything
    assert sum(value for value in concise if not math.isnan(value)) / 4 == pytest.approx(
        1.0, abs=0.005
    )


def test_the_text_and_the_contrast_of_the_early_fall_agree() -> None:
    wanted = claim("teacher", "early_crash_far")
    assert "below the student of the RLVR teacher" in wanted.text
    at_20 = by_base(committed("teacher"), {"arm": "strong_c", "objective": "full"}, wanted.outcome)
    start = by_base(committed("teacher"), {"arm": "strong_c", "objective": "full"}, "eval/avg@k@0")
    assert all(at_20[base] > start[base] for base in start)  # never below its start


@pytest.mark.parametrize(
    ("grid", "name", "word", "says"),
    [
        ("math", "biased_k1_collapses", "extended after data", "seeds 3, 4 were added"),
        ("opsd-instance", "rule_beats_answer", "world changed after data", "75 records"),
        ("opsd-instance", "sft_hallucinates", "text before data, world not recorded", ""),
    ],
)
def test_labels_tell_what_older_records_do_not_hold(
    grid: str, name: str, word: str, says: str
) -> None:
    found = declared(page(grid), claim(grid, name), committed(grid))
    assert found.word == word
    assert says in found.text


def test_the_search_world_s_change_names_its_fifteen_arms_and_75_records() -> None:
    (change,) = page("opsd-instance").world_changes
    evidence = committed("opsd-instance")
    assert len(change.arms) == 15
    runs = {row["run"] for arm in change.arms for row in evidence.runs_of(arm)}
    assert len(runs) == 75
    assert "75 records" in change.text


@pytest.mark.parametrize(
    ("bases", "told"),
    [
        ((0, 1, 3), ["2000-01-01: seeds 3 were added late"]),
        ((0, 1, 3, 4), ["2000-01-01: seeds 3, 4 were added late"]),
        ((0, 1, 2), []),
        ((3, 4), []),  # nothing had been seen of these
    ],
)
def test_added_seeds_are_told_only_beside_seeds_that_were_seen(
    bases: tuple[int, ...], told: list[str]
) -> None:
    late = SeedsAdded(date="2000-01-01", seeds=(3, 4), text="added late")
    behind = [Behind(f"run-s{base}", base, frozenset(), recorded=False) for base in bases]
    assert list(told_extensions([late], behind)) == told
