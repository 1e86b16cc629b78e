"""Joint power: against closed forms where there are any - one claim by the noncentral t, gates by
the binomial - and in the right direction elsewhere.
"""

import time

import pytest
from scipy import stats

from benchmarks import joint_power as script
from study.stats.decision import Rule
from study.stats.joint_power import STUDIES, Normal, PlannedClaim, PlannedGate, joint_power
from study.stats.needed import decision_chance
from tests.support.paths import ROOT

RULE = Rule("positive", 0.05)
EFFECT = Normal(0.10, 0.04)


def four_gates(screened: bool = False) -> tuple[PlannedGate, ...]:
    return tuple(PlannedGate(f"gate {i}", 0.9, screened=screened) for i in range(4))


def chance(claim: PlannedClaim, bases: int, **more: object) -> float:
    return joint_power([claim], bases, **more).claims[claim.name].chance()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "mean"),
    [
        (Rule("positive", 0.05), 0.09),
        (Rule("negative", 0.05), -0.09),
        (Rule("not_worse", 0.05), 0.0),
        (Rule("equal", 0.05), 0.0),
    ],
)
def test_one_claim_without_gates_has_the_power_of_its_interval(rule: Rule, mean: float) -> None:
    found = chance(PlannedClaim("one", rule, Normal(mean, 0.04)), 7, studies=3000)
    threshold = rule.smallest_effect if rule.expectation == "equal" else rule.thresholds[0]
    assert found == pytest.approx(
        decision_chance(mean, 0.04, 7, threshold, rule.expectation), abs=0.03
    )
    assert 0.2 < found < 0.98


@pytest.mark.parametrize("bases", [5, 10, 20])
def test_families_stay_whole_as_often_as_the_binomial_says(bases: int) -> None:
    claim = PlannedClaim("one", RULE, EFFECT, "family", four_gates())
    found = joint_power([claim], bases, studies=3000)
    exact = _families_whole(0.9, bases)
    assert found.whole["family"] == pytest.approx(exact, abs=0.03)
    assert found.claims["one"].chance("INVALID") == pytest.approx(1 - exact, abs=0.03)


def test_screening_by_the_gates_keeps_every_family_whole() -> None:
    open_to_failure = PlannedClaim("one", RULE, EFFECT, "family", four_gates())
    screened = PlannedClaim("one", RULE, EFFECT, "family", four_gates(screened=True))
    assert joint_power([screened], 10).whole["family"] == 1.0
    assert chance(screened, 10) > chance(open_to_failure, 10) + 0.15
    bare = PlannedClaim("one", RULE, EFFECT, "family")
    assert chance(screened, 10) == chance(bare, 10)


def test_a_family_costs_power_and_so_do_claims_of_other_grids() -> None:
    alone = PlannedClaim("one", RULE, EFFECT, "family")
    weak = [PlannedClaim(f"other {i}", RULE, Normal(0.05, 0.04), "family") for i in range(4)]
    single = chance(alone, 7)
    together = joint_power([alone, *weak], 7).claims["one"].chance()
    elsewhere = joint_power([alone], 7, others={"family": 4}).claims["one"].chance()
    assert single > together + 0.1
    assert single > elsewhere + 0.1
    assert elsewhere <= together + 0.05


def test_all_claims_of_a_family_hold_less_often_than_each() -> None:
    claims = [PlannedClaim(f"claim {i}", RULE, EFFECT, "family") for i in range(3)]
    found = joint_power(claims, 8)
    assert found.families["family"] < min(one.chance() for one in found.claims.values())
    assert found.families["family"] > 0.0


def test_a_placebo_that_does_as_much_costs_the_claim() -> None:
    beaten = PlannedClaim("one", RULE, EFFECT, placebos=(Normal(0.10, 0.02),))
    not_beaten = PlannedClaim("one", RULE, EFFECT, placebos=(Normal(0.0, 0.02),))
    assert chance(beaten, 7) > 0.6
    assert chance(not_beaten, 7) < 0.05


def test_the_sign_flip_test_costs_power_from_eight_bases_on() -> None:
    strict = PlannedClaim("one", RULE, Normal(0.09, 0.04))
    plain = PlannedClaim("one", Rule("positive", 0.05, sign_flip=False), Normal(0.09, 0.04))
    assert chance(strict, 8) <= chance(plain, 8)
    assert chance(strict, 7) == chance(plain, 7)


def test_the_same_seed_gives_the_same_numbers_and_another_one_similar_ones() -> None:
    claim = PlannedClaim("one", RULE, EFFECT, "family", four_gates())
    first, again, other = (joint_power([claim], 6, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    low, high = first.claims["one"].limits()
    assert low <= first.claims["one"].chance() <= high
    assert high - low < 0.07


def test_two_plans_of_one_name_are_refused() -> None:
    claim = PlannedClaim("one", RULE, EFFECT)
    with pytest.raises(ValueError, match="same name"):
        joint_power([claim, claim], 5)


def test_a_page_of_fifteen_claims_takes_seconds() -> None:
    """A quarter of the default number of studies: ten seconds for all of them."""
    claims = [
        PlannedClaim(f"claim {i}", RULE, EFFECT, f"family {i % 4}", four_gates(), (EFFECT,))
        for i in range(15)
    ]
    started = time.process_time()
    joint_power(claims, 10, studies=STUDIES // 4)
    assert time.process_time() - started < 2.5


@pytest.mark.slow
def test_the_table_of_the_docs_is_made_by_its_script() -> None:
    """The rows of five bases again, which are the cheap ones; the others by what needs no draw."""
    page = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
    table = page.partition(f"{script.BEGIN}\n")[2].partition(script.END)[0]
    assert script.written(page, table) == page
    assert table.startswith(script.HEAD)
    lines = table.removeprefix(script.HEAD).splitlines(keepends=True)
    assert lines[::3] == [*script.rows([5])], (
        "run: python -m benchmarks.joint_power docs/statistics.md"
    )
    plan = [(passes, bases) for passes in script.PASSES for bases in script.BASES]
    for (passes, bases), line in zip(plan, lines, strict=True):
        cells = line.strip("| \n").split(" | ")
        assert cells[:3] == [f"{passes:g}", f"{bases}", f"{passes ** (4 * bases):.2g}"]
        held, invalid = float(cells[3]), float(cells[4])
        assert held == pytest.approx(_families_whole(passes, bases), abs=0.04)
        assert held + invalid == pytest.approx(1, abs=0.011)  # both are rounded
        assert cells[9] == f"{bases / passes**4:.0f}"
    with pytest.raises(ValueError, match="the page has no"):
        script.written("no marks", "")


def _families_whole(passes: float, bases: int) -> float:
    return float(stats.binom.cdf(int(0.2 * bases), bases, 1 - passes)) ** 4
