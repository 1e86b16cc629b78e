"""`study check` on families: a result counts once; a family that could never pass is named."""

from pathlib import Path
from typing import Any

import pytest

from study.errors import SpecError
from study.runner.verbs.check import check_experiments
from study.runner.verbs.check_families import (
    check_families,
    refuse_nothing,
    refuse_unclear_side,
)
from study.spec.grid.grid import load_grid
from study.spec.report.claim import load_claims
from study.spec.report.sentences import claim_sentence, failing_rule, gate_sentence
from tests.support.tiny import GAIN, Tiny

ARM, VERSUS = {"loss": "biased"}, {"loss": "full"}
MIRRORED = {"kind": "difference", "arm": VERSUS, "versus": ARM}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setattr("study.runner.verbs.check_families.names", lambda *_: ["tiny"])
    return Tiny(tmp_path, monkeypatch)


def problems() -> list[SpecError]:
    return [outcome for _, outcome in check_families() if isinstance(outcome, SpecError)]


def another(**changes: Any) -> dict[str, Any]:
    return GAIN | {"id": "another"} | changes


@pytest.mark.parametrize(
    ("claim", "twice"),
    [
        (another(), True),
        (another(contrast=MIRRORED, expectation="positive"), True),
        (another(contrast=GAIN["contrast"] | {"scale": "log"}), True),
        (another(outcome="score:lab_math"), True),
        (another(outcome="pass@1"), True),
        (another(outcome="pass@2"), False),
        (another(outcome="greedy"), False),
        (another(outcome="eval/avg@k@40"), False),
        (another(primary=False), False),
        (another(expectation="none"), False),
        (another(contrast={"kind": "level", "arm": ARM}), False),
    ],
)
def test_two_primary_claims_that_read_the_same_are_refused(
    tiny: Tiny, claim: dict[str, Any], twice: bool
) -> None:
    tiny.write_claims(GAIN, claim)
    said = [error.message for error in problems()]
    assert len(said) == twice
    if twice:
        assert "claims/tiny.yaml another: reads the same runs and outcome as" in said[0]
        assert "biased_is_worse" in said[0]


@pytest.mark.parametrize(("seeds", "claims", "passes"), [(8, 6, True), (8, 7, False), (7, 7, True)])
def test_a_family_that_the_sign_flip_test_could_never_decide_is_refused(
    tiny: Tiny, seeds: int, claims: int, passes: bool
) -> None:
    tiny.write_grid(seeds=range(seeds))
    steps = [another(id=f"at_{step}", outcome=f"eval/avg@k@{step}") for step in range(claims)]
    tiny.write_claims(*steps)
    said = [f"{error.message} {error.hint}" for error in problems()]
    assert bool(said) != passes
    for text in said:
        assert "the family grid tiny has 7 primary claims; with 8 bases" in text
        assert "at most 6 primary claims" in text


def test_sentences_say_what_is_computed(tiny: Tiny) -> None:
    gate = {"id": "g", "text": "t", "outcome": "score", "at_least": 0.2,
            "contrast": {"kind": "level", "arm": VERSUS}}  # fmt: skip
    logs = GAIN["contrast"] | {"scale": "log"}
    tiny.write_claims(
        GAIN,
        another(expectation="equal", contrast={"kind": "level", "arm": ARM}),
        another(id="b", expectation="not_worse", better="lower", outcome="mean_tokens"),
        another(id="c", expectation="positive", smallest_effect=0.0, contrast=logs),
        another(id="d", placebos=[VERSUS]),
        gates=[gate],
    )
    page = load_claims("tiny")
    assert [claim_sentence(claim) for claim in page.claims] == [
        "score: [loss=biased] minus [loss=full] is below -0.05",
        "score: [loss=biased] is between -0.05 and 0.05",
        "mean_tokens: [loss=biased] minus [loss=full] is below 0.05, where lower is better",
        "score: log of [loss=biased] / [loss=full] is above 0",
        "score: [loss=biased] minus [loss=full] is below -0.05; and beyond the same with"
        " [loss=full] in the first arm's place",
    ]
    assert gate_sentence(page.gates[0]) == "score: [loss=full] is at least 0.2 in each base"
    assert "more than 20 % of the bases" in failing_rule(page.gates[0])


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"outcome": "mean_tokens"}, "write better: higher or better: lower"),
        ({"outcome": "probe:facts.kl"}, "write better: higher or better: lower"),
        ({"outcome": "mean_tokens", "better": "higher"}, ""),
        ({"outcome": "mean_tokens", "better": "lower"}, ""),
        ({"outcome": "truncated_fraction"}, "better: lower"),
        ({"outcome": "truncated_fraction", "better": "lower"}, ""),
        ({"outcome": "score"}, ""),
        ({"outcome": "score", "better": "lower"}, "better: higher"),
        ({"outcome": "mean_tokens", "expectation": "equal"}, ""),
        ({"expectation": "negative", "better": "lower"}, "remove better"),
        (
            {
                "outcome": "mean_tokens",
                "contrast": {"kind": "share", "arm": ARM, "start": VERSUS, "full": ARM,
                             "moves_at_least": 1.0},
            },
            "",
        ),
    ],
)  # fmt: skip
def test_not_worse_needs_the_side_that_is_better(
    tiny: Tiny, changes: dict[str, Any], hint: str
) -> None:
    tiny.write_claims(another(**({"expectation": "not_worse"} | changes)))
    page = load_claims("tiny")
    if not hint:
        refuse_unclear_side(page, page.claims[0])
        return
    with pytest.raises(SpecError, match=r"claims/tiny\.yaml another: ") as error:
        refuse_unclear_side(page, page.claims[0])
    assert hint in str(error.value.hint)


@pytest.mark.parametrize(
    ("contrast", "refused"),
    [
        ({"kind": "difference", "arm": ARM, "versus": ARM}, True),
        ({"kind": "difference", "arm": ARM, "versus": VERSUS}, False),
        ({"kind": "interaction", "arm": ARM, "versus": VERSUS, "control_arm": ARM,
          "control_versus": VERSUS}, True),
        ({"kind": "share", "arm": ARM, "start": VERSUS, "full": ARM, "moves_at_least": 0.1}, True),
    ],
)  # fmt: skip
def test_a_contrast_that_is_known_without_a_run_is_refused(
    tiny: Tiny, contrast: dict[str, Any], refused: bool
) -> None:
    """`equal` would hold in it, with no spread at all."""
    tiny.write_claims(GAIN | {"contrast": contrast, "expectation": "equal", "primary": False})
    (claim,) = load_claims("tiny").claims
    if not refused:
        refuse_nothing("tiny", claim, load_grid("tiny"))
        return
    with pytest.raises(SpecError, match=r"claims/tiny.yaml biased_is_worse: .* in every base"):
        refuse_nothing("tiny", claim, load_grid("tiny"))
    said = {name: found for name, found in check_experiments() if name == "claims/tiny.yaml"}
    assert isinstance(said["claims/tiny.yaml"], SpecError)


def test_ids_are_given_once_and_limits_leave_room(tiny: Tiny) -> None:
    tiny.write_claims(GAIN, GAIN | {"text": "Something else."})
    with pytest.raises(SpecError, match="the id 'biased_is_worse' is given twice"):
        load_claims("tiny")
    gate = {"id": "g", "text": "t", "outcome": "score", "at_least": 0.9, "at_most": 0.1,
            "contrast": {"kind": "level", "arm": VERSUS}}  # fmt: skip
    tiny.write_claims(GAIN, gates=[gate])
    with pytest.raises(SpecError, match="no value is at least"):
        load_claims("tiny")
    tiny.write_claims(GAIN, gates=[gate | {"at_most": 0.95}] * 2)
    with pytest.raises(SpecError, match="the id 'g' is given twice"):
        load_claims("tiny")
