"""What undecided claims need: committed records give the numbers of an independent analysis, the
variance that sampled answers add is the simulated one.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from analysis.claims.decide import decide_all
from analysis.claims.evaluation_noise import score_variance
from analysis.claims.expected import chance_to_hold
from analysis.claims.power import ClaimPower, claim_power, to_table
from analysis.claims.rules import FIRST
from analysis.declarations.states import stored_state
from analysis.evidence.loading import load
from study.cli.main import build_app
from study.record.schema import Score
from study.spec.report.claim import Gate
from study.spec.report.contrast import Level
from study.stats.needed import bases_needed
from tests.support.paths import ROOT

# The claims that were declared when it was made.
STATE = "470b0da9947c5693907c118fd24b4924f00c91563b2367bdc927cedf0cc68e93"
# An analysis of the same records that shares no code with this one. effect, smallest effect, sd,
# word, bases for probability .9, number on the page, probability at 10 and at 20 bases, share of
# the variance that is sampling of the evaluation; > 1 and ? (not computed) as there. It printed one
# number that its others deny: .017 for the sd .01648 of pi_grpo_does_not_rescue.
ANALYSIS = """
better_than_grpo                .073 .02 .043 REPRODUCED   11  7 .86 1.0 .06
stop_gradient_k5_prevents_later .320 .10 .167 REPRODUCED   11  7 .86 1.0 .01
style_is_internalised           .288 .20 .070 REPRODUCED   12  7 .82 1.0 .05
biased_k5_collapses_strong_c    .230 -.10 .338 CONTRADICTED 14 7 .78 .99 .01
tail_bucket_k5                  .105 .05 .055 REPRODUCED   16  9 .67 .97 .04
solution_fails                  .025 0   .030 CONTRADICTED 17  8 .66 .95 .51
biased_k5_collapses_later      -.229 -.10 .139 REPRODUCED  18  9 .61 .95 .01
stop_gradient_k5_ahead          .081 .05 .038 REPRODUCED   18  9 .63 .93 .09
renormalised_k5_ahead           .078 .05 .039 REPRODUCED   24 11 .50 .84 .09
near_beats_strong              -.014 .05 .079 CONTRADICTED 25 13 .36 .80 .01
pi_grpo_does_not_rescue         .011 0   .016 CONTRADICTED 26 12 .47 .80 >1
concise_is_internalised        -6.2  -4  3.43 REPRODUCED   33 16 .31 .67 ?
near_beats_strong_k5           -.006 .05 .091 CONTRADICTED 39 19 .23 .57 .01
direct_student_abstains        -.166 .10 .137 CONTRADICTED 48  - .28 .53 .01
distribution_not_strength_k5    .037 .05 .027 CONTRADICTED 55 25 .18 .41 .11
faster_than_grpo                .073 .10 .062 CONTRADICTED 59 24 .22 .44 .39
bias_drains_mass               -.054 -.05 .010 REPRODUCED  60 24 .23 .44 ?
student_at_the_geometric_mean  -.033 -.05 .052 CONTRADICTED 102 38 .15 .29 ?
solution_widens_the_mismatch    .069 .05 .060 REPRODUCED  106 41 .15 .27 ?
concise_keeps_accuracy          .041 .05 .033 REPRODUCED  134  - .12 .23 .31
distribution_not_strength       .079 .05 .158 REPRODUCED  350 never .07 .12 .00
better_than_sft                 .022 .02 .011 REPRODUCED  400 never .07 .11 .72
early_crash_far                -.119 -.10 .122 REPRODUCED 450 never .07 .10 .09
warm_up_helps_far               .061 .05 .077 REPRODUCED  650 never .05 .07 .01
more_than_sft                   .060 .05 .086 REPRODUCED  950 never .04 .06 .01
"""
ROWS = {line.split()[0]: line.split()[1:] for line in ANALYSIS.strip().splitlines()}


@pytest.fixture(scope="module")
def found() -> dict[str, ClaimPower]:
    """Every undecided claim of that time's bases and declarations under the first rules."""
    powers: dict[str, ClaimPower] = {}
    state = stored_state(ROOT / "results/declared", STATE)
    assert state is not None
    for grid in state.grids:
        page = state.page(grid)
        assert page is not None
        evidence = load(ROOT / "results/records", grid=grid, seeds=range(5))
        for verdict in decide_all(page, evidence, FIRST):
            if one := claim_power(verdict, evidence):
                powers[one.claim] = one
    return powers


def as_printed(value: float, text: str, more: float = 0.0) -> bool:
    """Whether a number is what was printed, within half of its last digit and `more`."""
    digits = len(text.partition(".")[2])
    return abs(value - float(text)) <= 0.5 * 10**-digits + more + 1e-9


def on_its_steps(bases: int) -> int:
    """The search of that analysis went in steps of 4 beyond 60 bases and of 50 beyond 300."""
    if bases <= 60:
        return bases
    if bases <= 300:
        return 62 + 4 * math.ceil((bases - 62) / 4)
    return 50 * math.ceil(bases / 50)


def test_the_same_claims_are_undecided(found: dict[str, ClaimPower]) -> None:
    assert sorted(found) == sorted(ROWS)


@pytest.mark.parametrize("claim", ROWS)
def test_every_number_of_the_analysis_comes_back(claim: str, found: dict[str, ClaimPower]) -> None:
    effect, smallest, deviation, word, n90, own, p10, p20, evaluation = ROWS[claim]
    one = found[claim]
    assert as_printed(one.effect, effect)
    assert as_printed(one.threshold, smallest)
    assert as_printed(one.deviation, deviation)
    assert one.word == word
    assert one.needed.n is not None
    assert on_its_steps(one.needed.n) == int(n90)
    assert (one.own is None) if own in ("-", "never") else (one.own == int(own))
    # Equivalence was simulated there.
    noise = 0.005 if one.expectation == "equal" else 0.0
    assert as_printed(one.chance_10, p10, noise)
    assert as_printed(one.chance_20, p20, noise)
    if evaluation == "?":
        assert one.evaluation is None
    elif evaluation == ">1":
        assert one.evaluation is not None
        assert one.evaluation > 1
    else:
        assert one.evaluation is not None
        assert as_printed(one.evaluation, evaluation)


def test_the_table_starts_with_the_claim_that_needs_least(found: dict[str, ClaimPower]) -> None:
    table = to_table([one for name, one in found.items() if name in ROWS])
    keys = [column.key for column in table.columns]
    needed = [int(str(row[keys.index("n90")])) for row in table.rows]
    assert needed == sorted(needed)
    assert len(table.rows) == 25
    row = next(row for row in table.rows if row[1] == "solution_fails")
    assert row[keys.index("smallest")] == "0"


def test_the_variance_of_sampled_answers_is_the_simulated_one() -> None:
    rng, k, problems = np.random.default_rng(3), 4, 200
    accuracy = rng.uniform(0, 1, problems)
    counts = rng.binomial(k, accuracy, (500, problems))
    shown = [score_variance(score(row.tolist(), k)) for row in counts]
    assert None not in shown
    simulated = float(np.var(counts.mean(axis=1) / k))
    assert float(np.mean([one for one in shown if one])) == pytest.approx(simulated, rel=0.12)
    assert score_variance(score([0, 1, 1, 0], 1)) is None


def score(counts: list[int], k: int) -> Score:
    return Score(
        k=k, num_problems=len(counts), problems="0" * 16, temperature=1.0, top_p=1.0,
        max_completion_length=8, grader="boxed-1", mean=sum(counts) / (k * len(counts)),
        truncated_fraction=0.0, unparsed_fraction=0.0, mean_tokens=4.0,
        correct="".join(map(str, counts)), truncated="0" * len(counts),
    )  # fmt: skip


def run(*arguments: str) -> str:
    done = CliRunner().invoke(build_app(), ["power", "--claims", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_the_command_prints_one_grid_and_writes_it(tmp_path: Path) -> None:
    target = tmp_path / "power.json"
    shown = run(
        "--rules", "1", "--grid", "loss", "--results", str(ROOT / "results"), "--json", str(target)
    )
    assert "tail_bucket_k5" in shown
    assert "better_than_grpo" not in shown
    claims = {one["claim"]: one for one in json.loads(target.read_text())["claims"]}
    assert claims["tail_bucket_k5"]["needed"]["n"] == 16
    assert claims["tail_bucket_k5"]["own"] == 9


def test_a_grid_without_claims_is_one_message() -> None:
    from study.errors import SpecError

    with pytest.raises(SpecError, match="no claims on smoke"):
        run("--grid", "smoke", "--results", str(ROOT / "results"))


def test_rules_that_do_not_exist_are_one_message() -> None:
    from study.errors import SpecError

    with pytest.raises(SpecError, match="no version"):
        run("--rules", "3", "--grid", "loss", "--results", str(ROOT / "results"))


def test_the_table_says_what_keeps_a_claim_undecided_where_it_is_not_the_interval() -> None:
    needed = bases_needed(0.1, 0.05, 8, 0.05, "positive")
    plain = ClaimPower(
        "math", "one", "positive", 0.1, 0.05, 0.05, 8, "REPRODUCED", needed, 7, 0.8, 0.9, None
    )
    assert "why" not in [column.key for column in to_table([plain]).columns]
    flipped = ClaimPower(**{**vars(plain), "why": "sign_flip"})
    table = to_table([plain, flipped])
    assert [row[-1] for row in table.rows] == ["interval", "sign-flip test"]
    assert "sign-flip test: it disagrees" in table.notes[-1]


def test_expected_words_of_all_claims_of_a_grid(tmp_path: Path) -> None:
    target = tmp_path / "power.json"
    wanted = ("--grid", "loss", "--results", str(ROOT / "results"), "--json", str(target))
    shown = run("--expected", "--bases", "5", *wanted)
    assert "Expected words on 5 bases" in shown
    expected = json.loads(target.read_text())["expected"]["loss"]["tail_bucket_k5"]
    assert sum(expected["words"].values()) == pytest.approx(1.0, abs=0.01)
    few = expected["words"]["REPRODUCED"]
    run("--expected", "--bases", "20", *wanted)
    many = json.loads(target.read_text())["expected"]["loss"]["tail_bucket_k5"]["words"]
    assert many["REPRODUCED"] > few + 0.2


@pytest.mark.parametrize(("at_least", "chance"), [(0.0, 5.5 / 6), (0.999, 0.5 / 6)])
def test_a_control_that_held_in_all_bases_may_still_fail_in_the_next(
    at_least: float, chance: float
) -> None:
    """(k + .5) / (n + 1) of n = 5: neither 1 nor 0."""
    earlier = load(ROOT / "results/records", grid="loss")
    level = Level(arm=earlier.cells[0].labels)
    gate = Gate(id="g", text="t", outcome="score", contrast=level, at_least=at_least)
    assert len(earlier.scores(level.arm)) == 5
    assert chance_to_hold(gate, earlier) == pytest.approx(chance)
    assert chance_to_hold(gate, None) == 1.0
