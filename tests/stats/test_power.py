"""Power: the formulas against simulated experiments, the components against known ones, the command
as it is typed.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from study.cli.main import build_app
from study.stats.power import (
    Components,
    Design,
    Spread,
    assumed,
    fewest,
    measured,
    power_of,
    sight,
    typical,
)
from tests.support.paths import ROOT

RESULTS = ROOT / "results"


def normal_spread(base: float, problem: float, sampling: float) -> Spread:
    return Spread(
        Components(base, problem, 0.0, sampling / 2), Components(base, problem, 0.0, sampling)
    )


def beta(mean: float, between: float) -> tuple[float, float]:
    """Shape of accuracies with this mean and this share of the variance between problems."""
    total = 1.0 / between - 1.0
    return mean * total, (1.0 - mean) * total


def rejections(effect: float, design: Design, *, repeats: int, seed: int) -> float:
    """Share of simulated comparisons that a t-test over problems calls significant; a problem is
    equally hard for both arms.
    """
    from scipy import stats

    rng = np.random.default_rng(seed)
    shape = beta(0.5, 0.2)
    hard_a = rng.beta(*shape, (repeats, design.problems))
    hard_b = hard_a if design.paired else rng.beta(*shape, hard_a.shape)
    a = rng.binomial(design.k, np.clip(hard_a + effect, 0, 1)) / design.k
    b = rng.binomial(design.k, hard_b) / design.k
    test = stats.ttest_rel(a, b, axis=1) if design.paired else stats.ttest_ind(a, b, axis=1)
    return float(np.mean(test.pvalue < 0.05))


@pytest.mark.parametrize(("paired", "k"), [(True, 1), (True, 4), (False, 4)])
def test_the_detectable_effect_is_found_in_eighty_of_a_hundred_simulated_comparisons(
    paired: bool, k: int
) -> None:
    design = Design(problems=300, k=k, paired=paired)
    seen = sight(assumed(0.5, between=0.2, alike=1.0), design, "problems")
    assert seen is not None
    assert abs(rejections(seen.detectable, design, repeats=2000, seed=1) - 0.8) < 0.035
    assert abs(rejections(0.0, design, repeats=2000, seed=2) - 0.05) < 0.015


def test_a_paired_design_sees_what_an_unpaired_one_does_not() -> None:
    design = Design(problems=300, k=4)
    paired, unpaired = (
        sight(assumed(), Design(300, 4, paired=p), "problems") for p in (True, False)
    )
    assert paired is not None
    assert unpaired is not None
    assert unpaired.detectable > 1.3 * paired.detectable
    assert rejections(paired.detectable, Design(300, 4, paired=False), repeats=1500, seed=3) < 0.65
    assert design.samples == 2400


def test_over_bases_the_simulated_power_is_the_predicted_one() -> None:
    from scipy import stats

    rng, effect, n = np.random.default_rng(4), 0.08, 5
    design = Design(problems=100, k=4, bases=n)
    spread = assumed(0.5, between=0.2, alike=1.0, effect_sd=0.03)
    hard = rng.beta(*beta(0.5, 0.2), (4000, 1, 100))
    shift = effect + rng.normal(0, 0.03, (4000, n, 1))
    a, b = (
        rng.binomial(4, np.clip(hard + move, 0, 1), (4000, n, 100)).mean(axis=2) / 4
        for move in (shift, 0.0)
    )
    found = float(np.mean(stats.ttest_rel(a, b, axis=1).pvalue < 0.05))
    predicted = power_of(effect, spread, design, "bases")
    assert predicted is not None
    assert 0.3 < predicted < 0.99
    assert abs(found - predicted) < 0.03


def test_thirty_questions_and_one_sample_show_nothing_under_about_twenty_five_points() -> None:
    seen = sight(assumed(), Design(30, 1, paired=False), "problems")
    assert seen is not None
    assert 0.24 < seen.critical < 0.27
    assert seen.detectable > 0.35
    more = sight(assumed(), Design(30, 16), "problems")
    assert more is not None
    assert more.detectable < 0.15


def test_components_come_back_from_simulated_counts() -> None:
    rng, k = np.random.default_rng(5), 8
    base, problem = rng.normal(0, 0.04, (40, 1)), rng.normal(0, 0.06, (1, 400))
    b = np.clip(0.5 + rng.normal(0, 0.1, (1, 400)), 0.05, 0.95) + np.zeros((40, 400))
    a = np.clip(b + 0.05 + base + problem, 0.0, 1.0)
    found = measured(rng.binomial(k, a).tolist(), rng.binomial(k, b).tolist(), k).difference
    assert found.base**0.5 == pytest.approx(0.04, rel=0.3)
    assert found.problem**0.5 == pytest.approx(0.06, rel=0.15)
    assert found.sampling == pytest.approx(float(np.mean(a * (1 - a) + b * (1 - b))), rel=0.02)
    assert found.both < 0.002


def test_arms_that_draw_the_same_random_numbers_are_not_given_the_noise_of_independent_ones() -> (
    None
):
    rng = np.random.default_rng(6)
    counts = rng.binomial(4, 0.5, (3, 200))
    other = counts.copy()
    other[:, 0] = (counts[:, 0] + 1) % 5
    spread = measured(counts.tolist(), other.tolist(), 4)
    assert spread.difference.sampling < 0.1 * spread.score.sampling


def test_one_base_says_nothing_about_bases_and_one_sample_nothing_about_chance() -> None:
    counts = [[0, 1, 2, 4, 3, 0]]
    one = measured(counts, [[1, 1, 0, 4, 2, 0]], 4).difference
    assert one.base == 0.0
    single = measured([[0, 1, 1, 0]], [[0, 0, 1, 1]], 1).difference
    assert (single.problem, single.both) == (0.0, 0.0)
    assert single.sampling == pytest.approx(np.var([0, 1, 0, -1], ddof=1))
    assert sight(assumed(), Design(100, 4, bases=1), "bases") is None
    with pytest.raises(ValueError, match="same problems"):
        measured([[1, 2]], [[1, 2, 3]], 4)


def test_the_fewest_are_enough_and_one_less_is_not() -> None:
    spread, design = assumed(), Design(100, 4)
    for knob in ("problems", "k"):
        needed = fewest(0.08, spread, design, "problems", knob)
        assert needed is not None
        reached = sight(spread, Design(**{"problems": 100, "k": 4, knob: needed}), "problems")
        short = sight(spread, Design(**{"problems": 100, "k": 4, knob: needed - 1}), "problems")
        assert reached is not None
        assert short is not None
        assert reached.detectable <= 0.08 < short.detectable
    assert (
        fewest(0.01, spread, Design(30, 1), "problems", "k") is None
    )  # problems differ in the effect: no number of samples helps


def test_what_is_typical_is_the_median() -> None:
    three = typical(
        [normal_spread(0.0, 0.2, 0.4), normal_spread(0.2, 0.0, 0.2), normal_spread(9.0, 0.1, 0.3)]
    )
    assert three.difference == Components(0.2, 0.1, 0.0, pytest.approx(0.3))
    with pytest.raises(ValueError, match="no pair"):
        typical([])


def run(*arguments: str) -> str:
    done = CliRunner().invoke(build_app(), ["power", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_the_command_shows_what_is_seen_and_what_it_costs(tmp_path: Path) -> None:
    shown = run(
        "--tasks",
        "aime24,mine=200",
        "--k",
        "4",
        "--effect",
        "5",
        "--tokens",
        "1000",
        "--json",
        str(tmp_path / "p.json"),
    )
    assert "aime24" in shown
    assert "assumed" in shown
    page = json.loads((tmp_path / "p.json").read_text())
    first = page["tasks"][0]
    assert (first["problems"], first["k"], first["samples"], first["tokens"]) == (
        30,
        4,
        240,
        240_000,
    )
    assert (
        first["over"]["problems"]["paired"]["detectable"]
        < first["over"]["problems"]["unpaired"]["detectable"]
    )


def test_the_command_takes_components_and_costs_from_records(tmp_path: Path) -> None:
    pair = ("--pair", "rlvr,biased_k1,standard", "rlvr,stop_gradient_k1,standard")
    shown = run(
        "--grid",
        "math",
        *pair,
        "--results",
        str(RESULTS),
        "--bases",
        "3",
        "--json",
        str(tmp_path / "p.json"),
    )
    assert "measured" in shown
    page = json.loads((tmp_path / "p.json").read_text())
    assert page["tasks"][0]["task"] == "lab_math"
    assert page["tasks"][0]["core_minutes"] > 0


def test_a_wrong_task_is_one_message() -> None:
    from study.errors import SpecError

    with pytest.raises(SpecError, match="aime99"):
        run("--tasks", "aime99")
    with pytest.raises(SpecError, match="--tasks"):
        run()
