"""Outcomes: how they are written, and what each reads from a record."""

import math
from collections.abc import Mapping

import pytest

from analysis.claims.contrasts import contrast_by_base
from analysis.claims.outcomes import interval_of, lasting, note_of, value
from analysis.evidence.definitions import outcome_bounds, outcome_words
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import evidence_from
from study.errors import SpecError
from study.record.schema import Record
from study.runner.verbs.check import _one_cell
from study.runner.verbs.check_outcomes import refuse_unmeasured
from study.spec.grid.grid import load_grid
from study.spec.report.contrast import Change, Contrast, Difference, Level, Share, Start
from study.spec.report.outcome import ReportOutcome, outcome
from study.stats.collapse import fell_at, kaplan_meier
from study.stats.comparisons import holm, holm_factors
from study.stats.intervals import FRACTION, span_interval, t_interval
from tests.support.synthetic import record, records

RUN = load_grid("smoke").runs()[0]


def one(before: float = 0.3, after: float = 0.8, **score: object) -> Record:
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
    assert outcome("pass@4") == ReportOutcome("pass", k=4)
    assert outcome("pass@2:lab_search") == ReportOutcome("pass", task="lab_search", k=2)
    assert outcome("steps_to:0.6:eval/avg@k") == ReportOutcome(
        "steps_to", "eval/avg@k", reached=0.6
    )
    assert outcome("steps_to:-1:train/loss").reached == -1.0
    assert outcome("collapsed") == ReportOutcome("collapsed")


@pytest.mark.parametrize(
    "text",
    [
        "scor", "score:", "loss", "auc:score", "probe:pi", "eval/avg@k@x", "",
        "pass@0", "pass@k", "pass@4:", "steps_to:eval/avg@k", "steps_to:x:eval/avg@k",
        "steps_to:0.5:score", "steps_to:.5:", "collapse",
    ],
)  # fmt: skip
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
    broken = [made.model_copy(update={"history": history | {"eval/avg@2": values}})
              for values in ([0.2, "nan", 0.4], ["nan", 0.2, 0.4])]  # fmt: skip
    assert all(math.isnan(read(each, "best:eval/avg@k") or 0.0) for each in broken)
    assert read(made, "auc:eval/avg@k") == pytest.approx((0.5 * 10 + 0.6 * 30) / 40)
    assert math.isnan(read(made, "train/loss") or 0.0)


def test_the_tail_is_what_the_topk_mass_leaves() -> None:
    history = {"step": [0, 10, 40], "train/student_topk_mass": [None, 0.9, 0.75]}
    made = one().model_copy(update={"history": history})
    assert read(made, "train/student_tail_mass@10") == pytest.approx(0.1)
    assert read(made, "train/student_tail_mass") == pytest.approx(0.25)
    assert read(made, "steps_to:0.2:train/student_tail_mass") == 40.0
    assert read(one().model_copy(update={"history": {}}), "train/student_tail_mass") is None
    evidence = measured({0: 0.01, 1: 0.8, 2: 0.8})
    mass = evidence.ends(ARM, "train/student_topk_mass")
    tail = evidence.ends(ARM, "train/student_tail_mass")
    assert mass
    for base, ends in mass.items():
        assert ends.last is not None
        assert tail[base].last == pytest.approx(1.0 - ends.last)
        assert (tail[base].first is None) == (ends.first is None)


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


def curve(values: list[float | str], **fields: object) -> Record:
    """A record with this curve at steps 0, 10, 20, ..."""
    steps = [10 * place for place in range(len(values))]
    history = {"step": steps, "eval/avg@2": values}
    return one().model_copy(update={"history": history, **fields})


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([0.2, 0.4, 0.6, 0.8], 20.0),  # at least: the value itself counts
        ([0.7, 0.1, 0.1], 0.0),
        ([0.2, 0.9, 0.1, 0.1], 10.0),  # reached and lost again is reached
        ([0.2, 0.3, 0.59], 20.0),  # never: its last step
        ([0.2, "nan", "inf", 0.7], 30.0),  # what is no number reaches nothing
    ],
)
def test_steps_to_a_value_is_the_first_measured_step_at_or_above_it(
    values: list[float | str], step: float
) -> None:
    assert read(curve(values), "steps_to:0.6:eval/avg@k") == step


def test_a_run_that_the_guard_stopped_early_is_no_fast_run() -> None:
    declared = RUN.cell.model.model_dump()["training"]["steps"]
    stopped = {"status": "collapsed", "collapsed_at": 10}
    assert read(curve([0.2, 0.1], **stopped), "steps_to:0.6:eval/avg@k") == declared > 10
    assert read(curve([0.2, 0.7], **stopped), "steps_to:0.6:eval/avg@k") == 10.0


def test_without_a_curve_there_is_no_step_and_no_collapse() -> None:
    bare = one().model_copy(update={"history": {}})
    assert read(bare, "steps_to:0.6:eval/avg@k") is None
    assert read(bare, "collapsed") is None


def test_collapsed_is_one_after_a_stop_of_the_guard_or_a_lasting_fall() -> None:
    assert read(one(0.3, 0.8), "collapsed") == 0.0
    assert read(one(0.3, 0.01), "collapsed") == 1.0
    stopped = one(0.3, 0.8).model_copy(update={"status": "collapsed", "collapsed_at": 7})
    assert read(stopped, "collapsed") == 1.0
    assert read(curve([0.8, 0.1, 0.8]), "collapsed") == 0.0


def test_pass_at_k_is_unbiased_and_needs_as_many_samples() -> None:
    made = one(num_problems=3, k=4, correct="014", truncated="000")
    assert read(made, "pass@1") == pytest.approx(5 / 12)
    assert read(made, "pass@2") == pytest.approx((0 + 3 / 6 + 1) / 3)  # 1 - C(3, 2) / C(4, 2)
    assert read(made, "pass@4") == pytest.approx(2 / 3)
    assert read(made, "pass@1:other") == pytest.approx(made.scores["other"].mean)
    assert read(made, "pass@1:absent") is None
    with pytest.raises(SpecError, match="pass@5 needs at least 5 samples"):
        read(made, "pass@5")


def test_study_check_refuses_pass_at_more_samples_than_the_cell_draws() -> None:
    grid = load_grid("smoke")
    cell = _one_cell(grid, grid.cells[0].labels, "here")
    k = cell.cell.evaluation.k
    refuse_unmeasured(f"pass@{k}", cell, "here")
    refuse_unmeasured("score", cell, "here")
    with pytest.raises(SpecError, match=f"here: pass@{k + 1} needs .* draws {k}") as refused:
        refuse_unmeasured(f"pass@{k + 1}", cell, "here")
    assert f"k: {k + 1}" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("score:absent", "has no evaluation 'absent'"),
        ("pass@1:absent", "has no evaluation 'absent'"),
        ("probe:absent.kl", "has no probe 'absent'"),
        ("eval/avg@k@7", "is not measured at step 7"),
        ("eval/avg@k@100000", "is not measured at step 100000"),
    ],
)
def test_study_check_refuses_what_an_arm_does_not_measure(text: str, said: str) -> None:
    grid = load_grid("math")
    cell = _one_cell(grid, grid.cells[0].labels, "here")
    refuse_unmeasured("eval/avg@k@40", cell, "here")
    refuse_unmeasured("score:lab_math", cell, "here")
    with pytest.raises(SpecError, match=said) as refused:
        refuse_unmeasured(text, cell, "here")
    assert refused.value.hint


def measured(finals: dict[int, float], objective: str = "biased_k1") -> Evidence:
    """The math grid with these final accuracies of one objective, .8 of the others; start .4."""

    def ends(labels: Mapping[str, str], seed: int) -> tuple[float, float]:
        return 0.4, finals[seed] if labels["objective"] == objective else 0.8

    grid = load_grid("math")
    return evidence_from(records(grid, ends, seeds=tuple(finals)), grid, scale="lab")


ARM = {"teacher": "rlvr", "objective": "biased_k1", "length": "standard"}
FULL = ARM | {"objective": "full"}


def test_the_rate_of_collapse_has_an_exact_interval() -> None:
    evidence = measured({0: 0.01, 1: 0.01, 2: 0.8, 3: 0.8, 4: 0.8})
    note = note_of(evidence, ARM, "collapsed")
    # Clopper-Pearson of 2 of 5: beta quantiles .0527 and .8534
    assert note == "2 of 5 collapsed, rate 0.400 [0.053, 0.853] (exact 95%)"
    assert note_of(evidence, FULL, "collapsed").startswith(
        "0 of 5 collapsed, rate 0.000 [0.000, 0.5"
    )
    interval = interval_of("collapsed", dict.fromkeys(range(5), 1.0))
    assert interval is not None
    assert (interval.mean, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(0.025 ** (1 / 5))
    student = interval_of("score", {0: 0.2, 1: 0.4})
    assert student is not None
    assert student.high is not None
    assert 0.4 < student.high < 1.0  # inside what an accuracy allows
    assert interval_of("signal_gap", {0: 0.2, 1: 0.4}) == t_interval([0.2, 0.4])
    assert interval_of("collapsed", {}) is None
    repeats = interval_of("collapsed", {0: 0.5, 1: 1.0, 2: 0.0})  # two training seeds per base
    assert repeats == span_interval([0.5, 1.0, 0.0], span=FRACTION)


def test_censored_runs_are_counted_beside_the_mean() -> None:
    evidence = measured({0: 0.01, 1: 0.8, 2: 0.8})
    assert note_of(evidence, ARM, "collapse_step").startswith("2 of 3 did not collapse")
    assert note_of(evidence, ARM, "steps_to:0.75:eval/avg@k").startswith(
        "1 of 3 never reached 0.75"
    )
    assert note_of(evidence, ARM, "score") == ""


def test_a_share_is_undefined_where_the_whole_moves_less_than_declared() -> None:
    evidence = measured({0: 0.6, 1: 0.3, 2: 0.9})
    untouched = FULL | {"objective": "stop_gradient_k1"}
    share = Share(arm=ARM, start=ARM, full=FULL, moves_at_least=0.05)
    assert contrast_by_base(share, "score", evidence) == {0: 0.0, 1: 0.0, 2: 0.0}
    whole = Share(arm=FULL, start=ARM, full=FULL, moves_at_least=0.15)
    found = contrast_by_base(whole, "score", evidence)
    assert found[0] == pytest.approx(1.0)
    assert found[1] == pytest.approx(1.0)
    assert math.isnan(found[2])  # .9 to .8 is a move of .1
    beside = Share(arm=untouched, start=ARM, full=FULL, moves_at_least=0.05)
    assert contrast_by_base(beside, "score", evidence)[2] == pytest.approx(1.0)  # also downwards


def test_a_log_ratio_is_of_two_positive_quantities() -> None:
    evidence = measured({0: 0.4, 1: 0.2, 2: 0.0})
    ratio = Difference(arm=ARM, versus=FULL, scale="log")
    found = contrast_by_base(ratio, "score", evidence)
    assert found[0] == pytest.approx(-math.log(2), abs=0.01)
    assert found[1] == pytest.approx(-math.log(4), abs=0.02)
    assert math.isnan(found[2])
    growth = contrast_by_base(Change(arm=FULL, scale="log"), "eval/avg@k", evidence)
    assert growth[0] == pytest.approx(math.log(2), abs=0.1)


@pytest.mark.parametrize("contrast", [Change(arm=ARM), Start(arm=ARM), Level(arm=ARM)])
def test_a_curve_is_read_whatever_the_samples_in_its_name(contrast: Contrast) -> None:
    evidence = measured({0: 0.4, 1: 0.2, 2: 0.3})
    read = [contrast_by_base(contrast, text, evidence) for text in ("eval/avg@k", "eval/avg@8")]
    assert read[0] == read[1]
    assert list(read[0]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "title", "bounds"),
    [
        ("pass@4", "pass@4", (0.0, 1.0)),
        ("pass@4:other", "pass@4, other", (0.0, 1.0)),
        ("collapsed", "Collapse rate", (0.0, 1.0)),
        ("steps_to:0.6:eval/avg@k", "Steps to sampled accuracy 0.6", (0.0, None)),
        ("signal_gap", "Signal on wrong minus on right", (None, None)),
        ("auc:eval/avg@k", "Sampled accuracy, mean over steps", (0.0, 1.0)),
        ("probe:pi.kl", "pi kl", (None, None)),
        ("mean_tokens", "Length", (0.0, None)),
    ],
)
def test_every_outcome_has_a_title_and_bounds(
    text: str, title: str, bounds: tuple[float | None, float | None]
) -> None:
    assert outcome_words(text)[0] == title
    assert outcome_bounds(text) == bounds
