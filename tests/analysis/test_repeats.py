"""Several training seeds on one base in tables and verdicts: a base counts once, with the mean of
its repeats, and their variance is told apart from that of bases.
"""

from collections.abc import Mapping

import pytest

from analysis.claims.contrasts import components, contrast_by_base
from analysis.claims.decide import decide_all
from analysis.claims.power import ClaimPower, to_table
from analysis.evidence.costs import more_evidence
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import evidence_from
from analysis.verdicts.facts import facts
from study.spec.grid.grid import Grid
from study.spec.grid.scale import load_scale
from study.spec.report.claim import Claim, Claims
from study.spec.report.contrast import Difference
from study.spec.yaml.load import find, parse
from study.stats.needed import bases_needed
from study.stats.repeats import RepeatComponents
from tests.support.synthetic import record

ARM = {"teacher": "rlvr", "objective": "full", "length": "standard"}
VERSUS = {**ARM, "objective": "biased_k1"}
CONTRAST = Difference(arm=ARM, versus=VERSUS)
SHIFT = {0: -0.05, 1: 0.05}  # of the arm's score, by repeat


def grid() -> Grid:
    page = find("grids", "math").read_text(encoding="utf-8") + "\nrepeat: 2\n"
    return Grid(parse(page, "grids/math.yaml"), load_scale("lab"))


def score(labels: Mapping[str, str], seed: int, repeat: int) -> float:
    if labels["objective"] != "full":
        return 0.25
    return 0.5 + 0.0625 * seed + SHIFT[repeat]


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    wanted = grid()
    runs = [
        run
        for run in wanted.runs(seeds=(0, 1, 2))
        if run.labels["teacher"] == "rlvr" and run.labels["length"] == "standard"
    ]
    records = [
        record(run, 0.3, score(run.labels, run.seed, run.repeat), problems=80) for run in runs
    ]
    return evidence_from(records, wanted, scale="lab", seeds=(0, 1, 2))


def test_a_base_counts_once_with_the_mean_of_its_repeats(evidence: Evidence) -> None:
    assert evidence.repeats == 2
    assert evidence.by_base(ARM, "score") == pytest.approx({0: 0.5, 1: 0.5625, 2: 0.625})
    assert len(list(evidence.records(ARM))) == 3
    assert len(list(evidence.every_record(ARM))) == 6
    found = contrast_by_base(CONTRAST, "score", evidence)
    assert found == pytest.approx({0: 0.25, 1: 0.3125, 2: 0.375})
    first = contrast_by_base(CONTRAST, "score", evidence.of_repeat(0))
    assert first == pytest.approx({0: 0.2, 1: 0.2625, 2: 0.325})


def test_curves_and_their_ends_are_means_too(evidence: Evidence) -> None:
    metric = "eval/avg@k"
    points = evidence.series(ARM, metric)
    assert len({(point.seed, point.step) for point in points}) == len(points)
    each = [evidence.of_repeat(repeat).ends(ARM, metric)[1].last for repeat in (0, 1)]
    assert None not in each
    mean = sum(value for value in each if value is not None) / 2
    assert evidence.ends(ARM, metric)[1].last == pytest.approx(mean)


def test_the_variance_of_training_is_told_apart(evidence: Evidence) -> None:
    found = components(CONTRAST, "score", evidence)
    assert found is not None
    assert found.repeats == 2
    assert found.repeat == pytest.approx(0.1**2 / 2)  # two values .1 apart
    assert found.base == pytest.approx(max(0.0, 0.0625**2 - found.repeat / 2))
    one = evidence.of_repeat(0)
    assert components(CONTRAST, "score", one) is None


def test_a_verdict_counts_bases_and_says_both_deviations(evidence: Evidence) -> None:
    claim = Claim(
        id="better", text="It is better.", source="here", outcome="score", contrast=CONTRAST,
        expectation="positive", smallest_effect=0.05, primary=True,
    )  # fmt: skip
    verdict = decide_all(Claims(grid="math", claims=(claim,)), evidence)[0]
    assert verdict.n == 3
    told = [line for line in facts(verdict, evidence) if "Variance" in line]
    assert len(told) == 1
    assert "0.071 between training seeds on one base (2 per base" in told[0]


def test_more_bases_cost_all_their_repeats(evidence: Evidence) -> None:
    one, both = more_evidence(evidence.of_repeat(0), [3]), more_evidence(evidence, [3])
    repeated = {row["cell"] for row in evidence.run_rows if row["repeat"]}
    assert both.runs == one.runs + len(repeated)


def test_the_table_of_power_has_both_deviations_where_there_are_repeats() -> None:
    needed = bases_needed(0.1, 0.05, 5, 0.05, "positive")
    plain = ClaimPower(
        "math", "one", "positive", 0.1, 0.05, 0.05, 5, "REPRODUCED", needed, 7, 0.8, 0.9, None
    )
    assert "sd_repeat" not in [column.key for column in to_table([plain]).columns]
    told = ClaimPower(**{**vars(plain), "components": RepeatComponents(0.0009, 0.0016, 2.0)})
    table = to_table([told, plain])
    assert [column.key for column in table.columns][-2:] == ["sd_base", "sd_repeat"]
    assert [row[-2:] for row in table.rows] == [(0.03, 0.04), ("-", "-")]
