"""The decision of a claim from its numbers: every word, every reason, what each part changes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.evidence.definitions import DEFINITIONS
from study.spec.report.outcome import better, bounds
from study.stats import sign_flip
from study.stats.comparisons import compare, p_against
from study.stats.decision import Expectation, Failing, Rule, decide, p_value
from study.stats.intervals import FRACTION, Span, span_interval, span_p, t_interval
from study.stats.sign_flip import largest_family, p_higher, sign_flip_floor

FIVE = [0.30, 0.32, 0.28, 0.31, 0.29]
EXPECTATIONS: tuple[Expectation, ...] = ("positive", "negative", "equal", "not_worse")


def slow_p_higher(differences: list[float]) -> float:
    """Every choice of signs, one by one."""
    observed = sum(differences)
    sums = [
        sum(sign * value for sign, value in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(each >= observed - 1e-9 for each in sums) / len(sums)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-20, 20).map(lambda n: n / 10), min_size=1, max_size=9))
def test_sign_flip_is_the_share_of_all_signs(differences: list[float]) -> None:
    assert p_higher(differences) == pytest.approx(slow_p_higher(differences))


def test_sign_flip_has_a_floor_and_a_largest_family() -> None:
    assert p_higher([1.0] * 8) * 2 == sign_flip_floor(8) == 2 / 256
    assert [largest_family(n) for n in (4, 5, 6, 7, 8, 10)] == [0, 0, 1, 3, 6, 25]


def test_signs_are_drawn_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [float(value) for value in np.random.default_rng(0).normal(0.2, 1.0, 12)]
    exact = p_higher(values)
    monkeypatch.setattr(sign_flip, "EXACT", 5)
    drawn = p_higher(values)
    assert drawn == p_higher(values)
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(
    ("expectation", "better", "values", "word"),
    [
        ("positive", "higher", FIVE, "REPRODUCED"),
        ("positive", "higher", [v - 0.3 for v in FIVE], "CONTRADICTED"),
        ("positive", "higher", [v - 0.2 for v in FIVE], "UNDECIDED"),
        ("negative", "higher", [-v for v in FIVE], "REPRODUCED"),
        ("negative", "higher", FIVE, "CONTRADICTED"),
        ("equal", "higher", [v - 0.3 for v in FIVE], "REPRODUCED"),
        ("equal", "higher", FIVE, "CONTRADICTED"),
        ("equal", "higher", [-v for v in FIVE], "CONTRADICTED"),
        ("equal", "higher", [v - 0.2 for v in FIVE], "UNDECIDED"),
        ("not_worse", "higher", FIVE, "REPRODUCED"),
        ("not_worse", "higher", [v - 0.3 for v in FIVE], "REPRODUCED"),
        ("not_worse", "higher", [-v for v in FIVE], "CONTRADICTED"),
        ("not_worse", "lower", FIVE, "CONTRADICTED"),
        ("not_worse", "lower", [-v for v in FIVE], "REPRODUCED"),
        ("not_worse", "lower", [v - 0.2 for v in FIVE], "UNDECIDED"),
    ],
)
def test_each_expectation_has_each_word(
    expectation: Expectation, better: str, values: list[float], word: str
) -> None:
    rule = Rule(expectation, 0.1, better="lower" if better == "lower" else "higher")
    assert decide(values, rule).word == word


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(EXPECTATIONS),
    st.lists(st.floats(-1, 1), min_size=3, max_size=7, unique=True),
    st.floats(0.001, 0.5),
    st.floats(0.001, 0.2),
)
def test_a_claim_is_decided_exactly_where_its_p_is_below_alpha(
    expectation: Expectation, values: list[float], effect: float, alpha: float
) -> None:
    rule = Rule(expectation, effect, alpha)
    p = p_value(values, rule)
    assert p is not None
    if abs(p - alpha) > 1e-9:
        assert (decide(values, rule).word in ("REPRODUCED", "CONTRADICTED")) == (p < alpha)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(("positive", "equal", "not_worse")),  # thresholds that a level can pass
    st.lists(st.floats(0.001, 0.999), min_size=3, max_size=7, unique=True),
    st.floats(0.001, 0.9),
    st.floats(0.001, 0.2),
)
def test_a_level_is_decided_exactly_where_its_p_is_below_alpha(
    expectation: Expectation, values: list[float], effect: float, alpha: float
) -> None:
    rule = Rule(expectation, effect, alpha, better="lower", span=FRACTION)
    p = p_value(values, rule)
    assert p is not None
    if abs(p - alpha) > 1e-9:
        assert (decide(values, rule).word in ("REPRODUCED", "CONTRADICTED")) == (p < alpha)


def test_p_of_an_equal_level_is_on_the_scale_of_its_interval() -> None:
    """The lower limit, -.2, has no logit: both the interval and p are plain."""
    values = [0.1, 0.12, 0.16, 0.11, 0.13]
    rule = Rule("equal", 0.2, span=FRACTION)
    assert p_value(values, rule) == span_p(values, 0.2)
    assert p_value(values, rule) != span_p(values, 0.2, FRACTION)


def test_p_of_equality_is_twice_the_larger_one_sided_p() -> None:
    values, effect = [0.01, -0.02, 0.03, 0.0, 0.02], 0.05
    n, mean = len(values), float(np.mean(values))
    error = float(np.std(values, ddof=1)) / n**0.5
    larger = max(
        p_against(compare(values), bar) or 0.0
        for bar in (min((-effect, effect), key=lambda bar: abs(bar - mean)),)
    )
    assert abs(effect - mean) / error < abs(-effect - mean) / error
    assert p_value(values, Rule("equal", effect)) == pytest.approx(larger)


def test_few_bases_and_broken_numbers_decide_nothing() -> None:
    rule = Rule("positive", 0.1)
    assert decide(FIVE[:2], rule).because == "too_few"
    assert decide([*FIVE, math.nan], rule).word == "INVALID"
    assert p_value(FIVE[:2], rule) is None
    assert p_value([*FIVE, math.inf], rule) is None


def test_sign_flip_must_agree_from_eight_bases_on() -> None:
    """One base in the wrong direction of eight: the normal interval decides, the signs do not."""
    values = [0.20, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26, 0.05]
    strict = Rule("positive", 0.06, alpha=0.01)
    assert decide(values, Rule("positive", 0.06, 0.01, sign_flip=False)).word == "REPRODUCED"
    found = decide(values, strict)
    assert (found.word, found.because) == ("UNDECIDED", "sign_flip")
    assert found.every is not None
    assert found.every.sign_flip == pytest.approx(4 / 256)
    agreed = decide([*values[:7], 0.2], strict)
    assert agreed.every is not None
    assert (agreed.word, agreed.every.flip) == ("REPRODUCED", "agrees")
    assert decide(values[:7], strict).every is not None
    assert decide(values[:7], strict).word == "REPRODUCED"  # seven bases: not asked


def test_sign_flip_out_of_reach_is_told_and_does_not_decide() -> None:
    values = [0.20, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26, 0.27]
    found = decide(values, Rule("positive", 0.06, alpha=0.05 / 7))
    assert found.every is not None
    assert (found.word, found.every.flip) == ("REPRODUCED", "out of reach")
    within = decide(values, Rule("positive", 0.06, alpha=0.05 / 6))
    assert within.every is not None
    assert within.every.flip == "agrees"


def test_equality_needs_both_sides_of_the_sign_flip() -> None:
    near = [0.0] * 7 + [-0.045]
    rule = Rule("equal", 0.05, alpha=0.05)
    assert decide(near, rule).word == "REPRODUCED"
    skewed = [0.0, 0.001, 0.002, -0.001, -0.002, 0.001, 0.0, -0.07]
    plain = Rule("equal", 0.05, alpha=0.01, sign_flip=False)
    assert decide(skewed, plain).word == "REPRODUCED"
    assert decide(skewed, Rule("equal", 0.05, alpha=0.01)).because == "sign_flip"


def test_more_failing_bases_than_tolerated_are_invalid() -> None:
    rule = Rule("positive", 0.1)
    assert decide(FIVE, rule, gates=[Failing({0, 1})]).because == "gates"
    one = decide(FIVE, rule, gates=[Failing({0})])
    assert one.word == "REPRODUCED"
    assert one.passing is not None
    assert (one.passing.n, one.n, one.failing) == (4, 4, (0,))
    assert decide(FIVE, rule, gates=[Failing({0}, tolerated=0.0)]).over == (0,)
    assert decide(FIVE[:4], rule, gates=[Failing({0})]).word == "INVALID"  # one in four


def test_a_decided_word_needs_the_bases_with_and_without() -> None:
    rule = Rule("positive", 0.1)
    helped_by_a_failing_base = [0.12, 0.13, 0.11, 0.12, 0.14]
    assert decide(helped_by_a_failing_base, rule).word == "REPRODUCED"
    found = decide([0.12, 0.13, 0.11, 0.12, 0.45], rule, gates=[Failing({4})])
    assert found.every is not None
    assert found.passing is not None
    assert (found.every.word, found.passing.word, found.word) == (
        "UNDECIDED",
        "REPRODUCED",
        "UNDECIDED",
    )
    assert found.because == "differs"
    # A base that the manipulation did not reach cannot refute the claim by itself.
    pulled = decide([0.09, 0.08, 0.05, 0.085, 0.03], rule, gates=[Failing({4})])
    assert pulled.every is not None
    assert pulled.passing is not None
    assert (pulled.every.word, pulled.passing.word) == ("CONTRADICTED", "UNDECIDED")
    assert pulled.word == "UNDECIDED"


def test_failing_bases_of_several_gates_are_taken_out_together() -> None:
    found = decide([*FIVE, 0.3], Rule("positive", 0.1), gates=[Failing({0}), Failing({1})])
    assert found.passing is not None
    assert found.passing.n == 4
    three = [Failing({i}) for i in range(3)]
    few = decide(FIVE, Rule("positive", 0.1), gates=three)
    assert few.word == "UNDECIDED"
    assert few.passing is not None
    assert few.passing.because == "too_few"


def test_an_undefined_base_is_a_failing_gate() -> None:
    values = [math.nan, *FIVE]
    rule = Rule("positive", 0.1)
    assert decide(values, rule).word == "INVALID"
    assert decide(values, rule, undefined={0}).word == "REPRODUCED"
    assert decide(values[:5], rule, undefined={0, 1}).over == (0,)


def test_placebos_of_a_directed_claim() -> None:
    rule = Rule("positive", 0.1)
    assert decide(FIVE, rule, excess=[FIVE]).word == "REPRODUCED"
    small = [0.01, -0.01, 0.02, 0.0, -0.02]
    assert decide(FIVE, rule, excess=[FIVE, small]).word == "CONTRADICTED"
    assert decide(FIVE, rule, excess=[[0.3, -0.2, 0.4, -0.1, 0.2]]).word == "UNDECIDED"
    assert decide(FIVE, rule, excess=[[0.3, None, None, None, 0.3]]).word == "INVALID"
    fallen = decide([-v for v in FIVE], Rule("negative", 0.1), excess=[[-v for v in FIVE]])
    assert fallen.word == "REPRODUCED"
    assert fallen.every is not None
    assert fallen.every.placebos[0].interval == t_interval([-v for v in FIVE])


def test_a_word_below_eight_bases_rests_on_normality() -> None:
    assert decide(FIVE, Rule("positive", 0.1)).normal
    assert not decide([*FIVE, 0.3, 0.31, 0.29], Rule("positive", 0.1)).normal
    assert not decide(FIVE, Rule("positive", 0.3)).normal  # undecided


def test_a_level_stays_inside_its_limits_and_tests_what_it_shows() -> None:
    values = [0.99, 0.6, 0.95, 0.97, 0.72]
    plain, kept = t_interval(values), span_interval(values, span=FRACTION)
    assert plain.high is not None
    assert plain.high > 1.0
    assert kept.mean == plain.mean
    assert kept.low is not None
    assert kept.high is not None
    assert plain.low is not None
    assert 0.0 < kept.low < plain.low
    assert kept.mean < kept.high < 1.0
    p = span_p(values, kept.low, FRACTION)
    assert p == pytest.approx(0.05)


def test_a_level_by_hand() -> None:
    """n = 3, mean .8, s = .1: logit .8 = 1.386, half = 4.303 * .1 / sqrt(3) / .16 = 1.553."""
    kept = span_interval([0.7, 0.8, 0.9], span=FRACTION)
    assert kept.low == pytest.approx(1 / (1 + math.exp(-(1.3863 - 1.5526))), abs=1e-4)
    assert kept.high == pytest.approx(1 / (1 + math.exp(-(1.3863 + 1.5526))), abs=1e-4)


def test_what_is_not_a_level_between_two_limits_is_cut() -> None:
    assert span_interval([0.9, 0.2, 0.99, 0.99, 0.99], span=Span(-1.0, 1.0)).high == 1.0
    assert span_interval([0.0, 0.0, 5.0], span=Span(0.0, None, level=True)).low == 0.0
    at_a_limit = span_interval([0.0, 0.1, 0.0], span=FRACTION, thresholds=(0.0,))
    assert at_a_limit.low == 0.0  # a threshold at the limit is tested on the plain scale


@pytest.mark.parametrize("value", [0.1, 0.3, 0.55, 0.7, 0.9, 1.0])
def test_equal_levels_have_exactly_their_value_as_limits(value: float) -> None:
    """Also where the logit and back is another number in the last digit."""
    kept = span_interval([value] * 5, span=FRACTION, thresholds=(value,))
    assert kept.low == kept.high == value
    rule = Rule("positive", value, span=FRACTION)
    assert decide([value] * 5, rule).word == "UNDECIDED"
    assert p_value([value] * 5, rule) == 1.0


def test_bounded_can_change_a_word() -> None:
    values = [0.99, 0.62, 0.96, 0.98, 0.97]
    assert decide(values, Rule("positive", 0.70)).word == "REPRODUCED"
    assert decide(values, Rule("positive", 0.70, span=FRACTION)).word == "UNDECIDED"


def test_bounds_of_outcomes_agree_with_the_definitions_of_metrics() -> None:
    general = {"pass@k": "pass@4", "steps_to": "steps_to:0.5:eval/avg@k"}
    for each in DEFINITIONS:
        name = each.name.removeprefix("score/")
        if name not in ("auc", "best"):  # they have the limits of their metric
            assert bounds(general.get(name, name)) == each.bounds, name
        if name not in ("auc", "best", "steps_to"):  # their metric says which side is better
            assert better(general.get(name, name)) == each.better, name
    assert bounds("probe:facts.kl_geometric") == (None, None)
    assert bounds("probe:facts.abstained_fraction") == (0.0, 1.0)
    assert bounds("auc:eval/avg@k") == (0.0, 1.0)
    assert bounds("eval/mean_tokens@40") == (0.0, None)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("auc:eval/avg@k", "higher"),
        ("best:rollout/truncated_fraction", "lower"),
        ("steps_to:0.6:eval/avg@k", "lower"),
        ("steps_to:0.6:eval/repetition_3gram", "higher"),
        ("steps_to:20:eval/mean_tokens", "neither"),
        ("eval/greedy@40", "higher"),
        ("unparsed_fraction:other", "lower"),
        ("pass@4:other", "higher"),
        ("probe:facts.accuracy", "higher"),
        ("probe:facts.abstained_fraction", "neither"),
    ],
)
def test_the_better_side_of_an_outcome(text: str, side: str) -> None:
    assert better(text) == side
