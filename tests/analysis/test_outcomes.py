"""Outcomes: how they are written, and what each reads from a record."""

import math

import pytest

from analysis.claims.outcomes import lasting, value
from study.errors import SpecError
from study.record.schema import Record
from study.spec.grid.grid import load_grid
from study.spec.report.outcome import ReportOutcome, outcome
from study.stats.collapse import fell_at, kaplan_meier
from study.stats.comparisons import holm, holm_factors
from tests.support.synthetic import record

RUN = load_grid("smoke").runs()[0]


def one(before: float = 0.3, after: float = 0.8, **score: float) -> Record:
    made = record(RUN, before, after)
    task = RUN.cell.evaluation.task
    return made.model_copy(
        update={
            "scores": {task: made.scores[task].model_copy(update=score), "other": made.scores[task]}
        }
    )


def read(made: Record, text: str) -> float | None:
    return value(made, outcome(text), RUN.cell.evaluation.task)


def test_outcomes_are_told_apart() -> None:
    assert outcome("score") == ReportOutcome("score", "score")
    assert outcome("mean_tokens:lab_search") == ReportOutcome(
        "score", "mean_tokens", task="lab_search"
    )
    assert outcome("eval/avg@k") == ReportOutcome("last", "eval/avg@k")
    assert outcome("eval/avg@k@40") == ReportOutcome("step", "eval/avg@k", step=40)
    assert outcome("train/reverse_kl@20") == ReportOutcome("step", "train/reverse_kl", step=20)
    assert outcome("eval/avg@2@40") == ReportOutcome("step", "eval/avg@2", step=40)
    assert outcome("auc:eval/avg@k") == ReportOutcome("auc", "eval/avg@k")
    assert outcome("probe:pi.kl_geometric") == ReportOutcome("probe", "kl_geometric", probe="pi")


@pytest.mark.parametrize(
    "text", ["scor", "score:", "loss", "auc:score", "probe:pi", "eval/avg@k@x", ""]
)
def test_an_unknown_outcome_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="is no outcome"):
        outcome(text)


def test_columns_of_a_score() -> None:
    made = one(unparsed_fraction=0.1, truncated_fraction=0.3)
    mean = made.scores[RUN.cell.evaluation.task].mean
    assert read(made, "parsed_accuracy") == pytest.approx(mean / 0.6)
    assert read(made, "score:other") == mean
    assert read(made, "score:absent") is None
    assert math.isnan(
        read(one(unparsed_fraction=0.5, truncated_fraction=0.5), "parsed_accuracy") or 0.0
    )


def test_columns_of_a_curve() -> None:
    history = {"step": [0, 10, 40], "eval/avg@2": [0.2, 0.8, 0.4], "train/loss": [None, 1.0, "nan"]}
    made = one().model_copy(update={"history": history})
    assert read(made, "eval/avg@k") == 0.4
    assert read(made, "eval/avg@k@10") == 0.8
    assert read(made, "eval/avg@k@20") is None
    assert read(made, "best:eval/avg@k") == 0.8
    assert read(made, "auc:eval/avg@k") == pytest.approx((0.5 * 10 + 0.6 * 30) / 40)
    assert math.isnan(read(made, "train/loss") or 0.0)


def test_a_number_of_a_probe() -> None:
    made = one().model_copy(
        update={"probes": {"pi": {"kl_geometric": 0.25, "heterogeneity": "inf"}}}
    )
    assert read(made, "probe:pi.kl_geometric") == 0.25
    assert read(made, "probe:pi.heterogeneity") == math.inf
    assert read(made, "probe:pi.absent") is read(made, "probe:absent.x") is None


def test_time_to_collapse_is_censored_at_the_last_step() -> None:
    steady, fallen = one(0.3, 0.8), one(0.3, 0.01)
    assert lasting(steady) == (120, False)
    found = lasting(fallen)
    assert found is not None
    assert found.collapsed
    assert read(fallen, "collapse_step") == found.step < 120
    stopped = fallen.model_copy(update={"status": "collapsed", "collapsed_at": 7})
    assert lasting(stopped) == (7, True)


def test_a_dip_is_no_collapse_and_a_lasting_fall_is_dated_at_its_beginning() -> None:
    assert fell_at([0, 1, 2, 3], [0.8, 0.1, 0.8, 0.7]) is None
    assert fell_at([0, 1, 2, 3, 4], [0.8, 0.1, 0.8, 0.2, 0.3]) == 3
    assert fell_at([0, 1], [0.0, 0.0]) is None


def test_the_restricted_mean_is_the_area_under_the_kaplan_meier_curve() -> None:
    curve = kaplan_meier([20, 60, 120], [True, True, False], 120)
    assert curve.restricted_mean == pytest.approx((20 + 60 + 120) / 3)
    early = kaplan_meier(
        [40, 100, 100], [False, True, False], 100
    )  # one left early: it counts for as long as it was seen
    assert early.shares[-1] == pytest.approx(0.5)
    assert kaplan_meier([50, 50], [False, False], 80).restricted_mean == 80.0


def test_holm_s_factor_decides_exactly_where_the_adjusted_p_does() -> None:
    p_values = {"a": 0.001, "b": 0.02, "c": 0.021, "d": 0.2}
    factors, adjusted = holm_factors(p_values), holm(p_values)
    assert {name: min(1.0, factors[name] * p) for name, p in p_values.items()} == pytest.approx(
        adjusted
    )
    assert factors["a"] == 4.0
    assert holm_factors(p_values, family=6)["a"] == 6.0  # declared claims without a p still cost
    assert holm_factors({"a": 0.0, "b": 0.5})["a"] == 2.0
