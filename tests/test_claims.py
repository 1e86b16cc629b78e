"""Each verdict from the records that should give it, and the word that is missing evidence."""

from collections.abc import Callable, Mapping
from functools import cache

import pytest
from synthetic import plausible, records

from analysis.claims import Verdict, judge_all
from analysis.frames import Evidence, evidence_from
from analysis.pages import claims_of
from study.errors import SpecError
from study.spec.claim import Claims
from study.spec.grid import Grid, load_grid

Ends = Callable[[Mapping[str, str], int], tuple[float, float]]


@cache
def grid() -> Grid:
    return load_grid("math")


def declared() -> Claims:
    claims = claims_of("math")
    assert claims is not None
    return claims


def evidence(ends: Ends = plausible, seeds: tuple[int, ...] = (0, 1, 2), expected: tuple[int, ...] | None = None) -> Evidence:
    return evidence_from(records(grid(), ends, seeds=seeds), grid(), scale="lab", seeds=expected or seeds)


def verdicts(ends: Ends = plausible, seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, Verdict]:
    return {verdict.claim.id: verdict for verdict in judge_all(declared(), evidence(ends, seeds))}


def with_final(objective: str, by_seed: Mapping[int, float], teacher: str = "rlvr", length: str = "standard") -> Ends:
    """The plausible world with one arm's final accuracies given."""

    def ends(labels: Mapping[str, str], seed: int) -> tuple[float, float]:
        before, after = plausible(labels, seed)
        hit = (labels["teacher"], labels["objective"], labels["length"]) == (teacher, objective, length)
        return before, by_seed[seed] if hit else after

    return ends


def test_the_trial_s_shape_reproduces_what_is_expected() -> None:
    words = {name: verdict.word for name, verdict in verdicts().items()}
    reported = {name for name, word in words.items() if word == "REPORTED"}
    assert reported == {"biased_k20_reported", "renormalised_k20_reported", "policy_gradient_beside_stop_gradient_k1"}
    assert {word for name, word in words.items() if name not in reported} == {"REPRODUCED"}


def test_three_bases_are_provisional_and_five_are_not() -> None:
    assert verdicts()["biased_k1_collapses"].label == "REPRODUCED (provisional)"
    assert verdicts(seeds=(0, 1, 2, 3, 4))["biased_k1_collapses"].label == "REPRODUCED"


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_fewer_than_three_bases_decide_nothing_and_name_command_and_minutes(seeds: tuple[int, ...]) -> None:
    every = verdicts(seeds=seeds)
    assert {verdict.word for verdict in every.values()} == {"UNDECIDED"}
    step = every["biased_k1_collapses"].next_step
    assert step.startswith("study run --grid math --seeds 0,1,2  (")
    # per new base: 22 cells of 120 steps (1 + .1 minutes) and 2 of 400 (200 s + 6 s), and its shared stages once (290 s)
    minutes = (3 - len(seeds)) * (22 * (60 + 6) + 2 * (200 + 6) + 290) / 60
    assert f"{(3 - len(seeds)) * 24} runs, about {round(minutes)} core minutes" in step


def test_no_record_at_all_has_no_cost_to_estimate_from() -> None:
    empty = evidence_from([], grid(), scale="lab")
    assert "cost unknown" in judge_all(declared(), empty)[0].next_step


def test_contradicted_when_an_effect_of_that_size_is_excluded() -> None:
    held = verdicts(with_final("biased_k5", {0: 0.88, 1: 0.87, 2: 0.9}, length="long"))["biased_k5_collapses_later"]
    assert held.word == "CONTRADICTED"
    assert "excluded" in held.reason
    assert held.comparison is not None
    assert held.comparison.interval.low is not None
    assert held.comparison.interval.low > -0.10


def test_undecided_when_the_interval_holds_the_smallest_effect_and_says_how_many_bases() -> None:
    scattered = verdicts(with_final("renormalised_k5", {0: 0.75, 1: 0.85, 2: 0.93}))["renormalised_k5_ahead"]
    assert scattered.word == "UNDECIDED"
    assert "holds +" not in scattered.reason
    assert "bases would decide it: study run --grid math --seeds 0,1,2,3" in scattered.next_step


def test_a_teacher_that_does_not_teach_makes_the_claims_invalid() -> None:
    def no_lift(labels: Mapping[str, str], seed: int) -> tuple[float, float]:
        before, after = plausible(labels, seed)
        return before, before + 0.01 if (labels["teacher"], labels["objective"]) == ("rlvr", "full") else after

    every = verdicts(no_lift)
    assert every["biased_k1_collapses"].word == "INVALID"
    assert "the teacher is better than the base" in every["biased_k1_collapses"].reason
    assert every["biased_k5_collapses_strong_c"].word == "REPRODUCED"  # its own gates hold


def test_a_base_too_low_to_fall_makes_the_collapse_invalid() -> None:
    low = verdicts(lambda labels, seed: (0.05, plausible(labels, seed)[1]))
    assert low["biased_k1_collapses"].word == "INVALID"
    assert low["stop_gradient_k1_prevents"].word == "REPRODUCED"


def test_each_k_is_judged_on_its_own() -> None:
    every = verdicts(with_final("biased_k1", {0: 0.8, 1: 0.82, 2: 0.81}))
    assert every["biased_k1_collapses"].word == "CONTRADICTED"
    assert every["biased_k5_collapses_later"].word == "REPRODUCED"


def test_the_interaction_is_the_difference_of_differences() -> None:
    ends = with_final("stop_gradient_k5", {0: 0.5, 1: 0.5, 2: 0.5}, teacher="strong_c")
    found = verdicts(ends)["stop_gradient_k5_needs_a_near_teacher"].differences
    made = evidence(ends)

    def score(teacher: str, objective: str) -> dict[int, float]:
        return made.scores({"teacher": teacher, "objective": objective, "length": "standard"})

    for base in (0, 1, 2):
        far = score("strong_c", "stop_gradient_k5")[base] - score("strong_c", "full")[base]
        near = score("rlvr", "stop_gradient_k5")[base] - score("rlvr", "full")[base]
        assert found[base] == pytest.approx(far - near)


def test_holm_runs_over_the_primary_claims_alone() -> None:
    every = verdicts()
    primary = [verdict for verdict in every.values() if verdict.claim.primary]
    assert all(verdict.p_holm is not None for verdict in primary)
    assert all(verdict.p_holm is None for verdict in every.values() if not verdict.claim.primary)
    smallest = min(verdict.p for verdict in primary if verdict.p is not None)
    assert min(verdict.p_holm for verdict in primary if verdict.p_holm is not None) == pytest.approx(len(primary) * smallest)


def test_a_diverged_outcome_is_invalid_not_missing() -> None:
    diverging = records(grid())
    arm = {"teacher": "rlvr", "objective": "biased_k1", "length": "standard"}
    cell = evidence().cell_of(arm).cell_id
    broken = [
        r.model_copy(update={"history": r.history | {"eval/avg@2": [*r.history["eval/avg@2"][:-1], "nan"]}}) if r.cell == cell else r
        for r in diverging
    ]
    every = judge_all(declared(), evidence_from(broken, grid(), scale="lab"))
    assert every[0].word == "INVALID"
    assert "not a finite number" in every[0].reason


def test_an_unknown_gate_is_named() -> None:
    page = declared()
    wrong = page.model_copy(update={"claims": (page.claims[0].model_copy(update={"gates": ("rlvr_teach",)}),)})
    with pytest.raises(SpecError, match="rlvr_teach"):
        judge_all(wrong, evidence())
