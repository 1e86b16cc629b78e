"""Each verdict from the records that should give it, and the word that is missing evidence."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from analysis.claims.decide import Verdict, decide_all
from analysis.claims.declared import Declared
from analysis.claims.declared import declared as declared_state
from analysis.claims.rules import FIRST, SECOND, Rules
from analysis.claims.verdicts import changed
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import evidence_from, load
from analysis.pages.numbered import claims_of
from study.errors import RecordMismatch, SpecError
from study.record.declared.states import keep
from study.runner.verbs.check_families import refuse_undecidable
from study.spec.grid.grid import Grid, load_grid
from study.spec.report.claim import Claims
from tests.support.paths import ROOT
from tests.support.synthetic import plausible, records

Ends = Callable[[Mapping[str, str], int], tuple[float, float]]


@cache
def grid() -> Grid:
    return load_grid("math")


def declared() -> Claims:
    claims = claims_of("math")
    assert claims is not None
    return claims


def evidence(
    ends: Ends = plausible,
    seeds: tuple[int, ...] = (0, 1, 2),
    expected: tuple[int, ...] | None = None,
) -> Evidence:
    return evidence_from(
        records(grid(), ends, seeds=seeds), grid(), scale="lab", seeds=expected or seeds
    )


def verdicts(ends: Ends = plausible, seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, Verdict]:
    return {verdict.claim.id: verdict for verdict in decide_all(declared(), evidence(ends, seeds))}


def with_final(
    objective: str, by_seed: Mapping[int, float], teacher: str = "rlvr", length: str = "standard"
) -> Ends:
    """The plausible world with one arm's final accuracies given."""

    def ends(labels: Mapping[str, str], seed: int) -> tuple[float, float]:
        before, after = plausible(labels, seed)
        hit = (labels["teacher"], labels["objective"], labels["length"]) == (
            teacher,
            objective,
            length,
        )
        return before, by_seed[seed] if hit else after

    return ends


def test_the_trial_s_shape_reproduces_what_is_expected() -> None:
    words = {name: verdict.word for name, verdict in verdicts().items()}
    reported = {name for name, word in words.items() if word == "REPORTED"}
    assert reported == {
        "biased_k20_tail",
        "policy_gradient_beside_stop_gradient_k1",
    }
    untestable = {name for name, word in words.items() if word == "NOT TESTABLE HERE"}
    assert untestable == {"biased_k20_reported", "renormalised_k20_reported"}
    others = words.keys() - reported - untestable
    assert {words[name] for name in others} == {"REPRODUCED"}


def test_three_bases_are_provisional_and_five_are_not() -> None:
    assert verdicts()["biased_k1_collapses"].label == "REPRODUCED (provisional)"
    assert verdicts(seeds=(0, 1, 2, 3, 4))["biased_k1_collapses"].label == "REPRODUCED"


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_fewer_than_three_bases_decide_nothing_and_name_command_and_minutes(
    seeds: tuple[int, ...],
) -> None:
    every = verdicts(seeds=seeds)
    tested = [verdict for verdict in every.values() if verdict.claim.not_testable is None]
    assert {verdict.word for verdict in tested} == {"UNDECIDED"}
    step = every["biased_k1_collapses"].next_step
    assert step.startswith("study run --grid math --seeds 0,1,2  (")
    # per new base: 22 cells of 120 steps (1 + .1 minutes) and 2 of 400 (200 s + 6 s), and its
    # shared stages once (290 s)
    minutes = (3 - len(seeds)) * (22 * (60 + 6) + 2 * (200 + 6) + 290) / 60
    assert f"{(3 - len(seeds)) * 24} runs, about {round(minutes)} core minutes" in step


def test_no_record_at_all_has_no_cost_to_estimate_from() -> None:
    empty = evidence_from([], grid(), scale="lab")
    assert "cost unknown" in decide_all(declared(), empty)[0].next_step


def test_contradicted_when_an_effect_of_that_size_is_excluded() -> None:
    held = verdicts(with_final("biased_k5", {0: 0.88, 1: 0.87, 2: 0.9}, length="long"))[
        "biased_k5_collapses_later"
    ]
    assert held.word == "CONTRADICTED"
    assert "excluded" in held.reason
    assert held.comparison is not None
    assert held.comparison.interval.low is not None
    assert held.comparison.interval.low > -0.10


def test_undecided_when_the_interval_holds_the_smallest_effect_and_says_how_many_bases() -> None:
    ends = with_final("renormalised_k5", {0: 0.82, 1: 0.86, 2: 0.93})
    scattered = verdicts(ends)["renormalised_k5_ahead"]
    assert scattered.word == "UNDECIDED"
    assert "contains +" not in scattered.reason
    step = scattered.next_step
    assert "would decide it with probability 0.9: study run --grid math --seeds 0,1,2,3" in step
    first = {each.claim.id: each for each in decide_all(declared(), evidence(ends), FIRST)}
    old = first["renormalised_k5_ahead"].next_step
    assert "bases would decide it: study run --grid math --seeds 0,1,2,3" in old
    whole = replace(evidence(ends), only_seeds=None)  # as if the grid had three seeds
    again = {each.claim.id: each for each in decide_all(declared(), whole)}
    steps = again["renormalised_k5_ahead"].next_step
    assert re.search(r"add seeds (3-\d+) to grids/math.yaml; study declare .* --seeds \1;", steps)


def test_a_teacher_that_does_not_teach_makes_the_claims_invalid() -> None:
    def no_lift(labels: Mapping[str, str], seed: int) -> tuple[float, float]:
        before, after = plausible(labels, seed)
        return before, (
            before + 0.01 if (labels["teacher"], labels["objective"]) == ("rlvr", "full") else after
        )

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
    assert min(
        verdict.p_holm for verdict in primary if verdict.p_holm is not None
    ) == pytest.approx(len(primary) * smallest)


def test_a_diverged_outcome_is_invalid_not_missing() -> None:
    diverging = records(grid())
    arm = {"teacher": "rlvr", "objective": "biased_k1", "length": "standard"}
    cell = evidence().cell_of(arm).cell_id
    broken = [
        (
            r.model_copy(
                update={
                    "history": r.history | {"eval/avg@2": [*r.history["eval/avg@2"][:-1], "nan"]}
                }
            )
            if r.cell == cell
            else r
        )
        for r in diverging
    ]
    every = decide_all(declared(), evidence_from(broken, grid(), scale="lab"))
    assert every[0].word == "INVALID"
    assert "not a finite number" in every[0].reason


def test_an_unknown_gate_is_named() -> None:
    page = declared()
    wrong = page.model_copy(
        update={"claims": (page.claims[0].model_copy(update={"gates": ("rlvr_teach",)}),)}
    )
    with pytest.raises(SpecError, match="rlvr_teach"):
        decide_all(wrong, evidence())


PLAIN = {"objective": "biased_k1", "teacher": "rlvr", "length": "standard"}
FIXED = PLAIN | {"objective": "stop_gradient_k1"}
GAIN = {
    "id": "gain", "text": "t", "source": "none", "outcome": "score", "expectation": "positive",
    "smallest_effect": 0.1,
    "contrast": {"kind": "difference", "arm": FIXED, "versus": PLAIN},
}  # fmt: skip


def page_of(*claims: dict[str, object], gates: tuple[dict[str, object], ...] = ()) -> Claims:
    return Claims.model_validate_json(
        json.dumps({"grid": "math", "gates": gates, "claims": claims})
    )


def judged(page: Claims, ends: Ends = plausible, rules: Rules = SECOND) -> Verdict:
    return decide_all(page, evidence(ends, (0, 1, 2, 3, 4)), rules)[0]


def test_a_gain_below_its_placebo_is_not_a_gain() -> None:
    placebo = PLAIN | {"objective": "sampled_plain"}
    page = page_of(GAIN | {"placebos": [placebo]})
    beaten = judged(page)
    assert (beaten.word, "beaten" in beaten.placebos[0]) == ("REPRODUCED", True)
    equal = judged(page, with_final("sampled_plain", dict.fromkeys(range(5), 0.81)))
    assert equal.word == "CONTRADICTED"
    assert "a gain below its placebo is not a gain" in equal.reason
    unclear = judged(page, with_final("sampled_plain", dict(enumerate((0.2, 0.95, 0.5, 0.9, 0.3)))))
    assert unclear.word == "UNDECIDED"


def test_a_teacher_that_its_prompt_does_not_change_makes_the_arm_invalid() -> None:
    gate = {
        "id": "moved",
        "text": "the prompt moves the teacher",
        "outcome": "score",
        "contrast": GAIN["contrast"],
        "at_least": 0.2,
    }
    page = page_of(GAIN | {"gates": ["moved"]}, gates=(gate,))
    assert judged(page).word == "REPRODUCED"
    assert judged(page, with_final("biased_k1", dict.fromkeys(range(5), 0.66))).word == "INVALID"


def test_a_gate_can_have_an_upper_limit() -> None:
    gate = {
        "id": "rate",
        "text": "few are cut",
        "outcome": "truncated_fraction",
        "contrast": {"kind": "level", "arm": PLAIN},
        "at_most": 0.5,
    }
    page = page_of(GAIN | {"gates": ["rate"]}, gates=(gate,))
    assert "at most 0.500 in 0 of 5 bases" in judged(page).reason
    assert "above 0.500" in judged(page, rules=FIRST).reason


def test_holm_widens_the_interval_that_decides_a_primary_claim() -> None:
    ends = with_final("stop_gradient_k1", dict(enumerate((0.135, 0.16, 0.14, 0.17, 0.15))))
    alone = judged(page_of(GAIN | {"primary": True}), ends)
    others = [GAIN | {"id": f"other_{i}", "primary": True} for i in range(9)]
    among = judged(page_of(GAIN | {"primary": True}, *others), ends)
    assert (alone.word, alone.factor, among.word, among.factor) == (
        "REPRODUCED",
        1.0,
        "UNDECIDED",
        10.0,
    )
    assert among.deciding is not None
    assert among.deciding.low is not None
    assert among.deciding.low < 0.1
    assert "99.5% interval" in among.reason


def test_descriptive_numbers_stand_beside_the_verdict() -> None:
    found = judged(page_of(GAIN))
    assert found.sign_flip == pytest.approx(2 / 2**5)
    assert found.problems is not None
    assert found.comparison is not None
    assert found.problems.mean == pytest.approx(found.comparison.interval.mean)


def under(state: str | None, folder: Path, page: Claims) -> Declared:
    """What the records of two arms say when they name this state."""
    made = [
        one.model_copy(update={"provenance": one.provenance.model_copy(update={"claims": state})})
        for one in records(grid(), seeds=(0, 1, 2), only="*_k1,rlvr")
    ]
    loaded = evidence_from(made, grid(), scale="lab", seeds=(0, 1, 2))
    return declared_state(page, page.claims[0], replace(loaded, declared=folder))


def state_of(page: dict[str, object], folder: Path) -> str | None:
    return keep(folder, {"math.yaml": json.dumps(page).encode()})


def test_declared_before_changed_after_and_declared_after_are_read_from_the_records(
    tmp_path: Path,
) -> None:
    page, then = page_of(GAIN), GAIN | {"smallest_effect": 0.3}
    states = [
        state_of({"grid": "math", "claims": claims}, tmp_path)
        for claims in ([GAIN], [then], [GAIN | {"id": "another"}])
    ]
    found = [under(state, tmp_path, page) for state in (*states, None, "0" * 64)]
    assert [each.word for each in found] == [
        "text before data, world not recorded", "changed after data", "declared after data",
        "declared after data", "declared after data",
    ]  # fmt: skip
    assert found[1].earlier[0]["smallest_effect"] == 0.3
    table = "\n".join(changed(found[1]))
    assert "| **smallest_effect** | 0.3 | 0.1 |" in table
    assert changed(found[0]) == []


def test_a_changed_gate_changes_the_declaration(tmp_path: Path) -> None:
    gate = {
        "id": "g",
        "text": "t",
        "outcome": "score",
        "contrast": {"kind": "level", "arm": PLAIN},
        "at_least": 0.2,
    }
    page = page_of(GAIN | {"gates": ["g"]}, gates=(gate,))
    state = state_of(
        {"grid": "math", "gates": [gate | {"at_least": 0.1}], "claims": [GAIN | {"gates": ["g"]}]},
        tmp_path,
    )
    assert under(state, tmp_path, page).word == "changed after data"


def test_a_state_that_was_written_over_is_refused(tmp_path: Path) -> None:
    state = state_of({"grid": "math", "claims": [GAIN]}, tmp_path)
    assert state is not None
    (tmp_path / state[:16] / "math.yaml").write_text("{grid: math, claims: []}", encoding="utf-8")
    with pytest.raises(RecordMismatch, match="are not those of the state"):
        under(state, tmp_path, page_of(GAIN))


def test_the_labels_of_the_committed_math_claims() -> None:
    loaded = load(ROOT / "results" / "records")
    words = {each.id: declared_state(declared(), each, loaded).word for each in declared().claims}
    # seeds 3 and 4 came after the others; three claims have a text that is newer than the records
    newer = {
        "biased_k20_reported": "changed after data",
        "renormalised_k20_reported": "changed after data",
        "biased_k20_tail": "declared after data",
    }
    assert words == dict.fromkeys(words, "extended after data") | newer


@pytest.mark.parametrize(
    ("claim", "seeds", "word"),
    [
        ({}, 2, "no verdict is drawn from fewer than 3"),
        ({"spread": 0.2}, 5, "not one of 0.1"),
        ({"spread": 0.04, "primary": True}, 3, "level 0.05"),
    ],
)
def test_check_refuses_a_claim_that_its_seeds_could_never_decide(
    claim: dict[str, object], seeds: int, word: str
) -> None:
    page = page_of(GAIN | claim)
    with pytest.raises(SpecError, match=re.escape(word)):
        refuse_undecidable(page, page.claims[0], seeds)
    easy = page_of(GAIN | {"spread": 0.04})
    refuse_undecidable(easy, easy.claims[0], 5)
