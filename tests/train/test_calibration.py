"""The calibration's statistics on made-up traces: what counts as a fall, how thresholds are chosen,
how alarms are counted.
"""

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import guard_calibration
from study.record.store import read_record
from study.stats.distributions import binomial_limits
from study.train.guard.calibration import (
    ANY,
    LADDERS,
    Watched,
    choose,
    fell_from_best,
    last_entered,
)
from study.train.guard.detectors import DETECTORS, Thresholds
from study.train.guard.trace import replay
from study.train.guard.worth import Share, stopped, worth
from tests.support.paths import ROOT

STEPS = 60
LEVELS = {
    "train/reverse_kl": 0.1, "train/student_entropy": 0.3, "train/student_topk_mass": 0.975,
    "train/topk_overlap": 0.8,
    "rollout/mean_tokens": 20.0, "rollout/truncated_fraction": 0.005,
    "rollout/repetition_3gram": 0.035,
}  # fmt: skip
# detector -> (its signal, a value that every level of its ladder hears)
LOUD = {
    "topk_drain": ("train/student_topk_mass", 0.5), "entropy": ("train/student_entropy", 2.0),
    "length": ("rollout/mean_tokens", 60.0),
    "truncation": ("rollout/truncated_fraction", 0.9),
    "repetition": ("rollout/repetition_3gram", 0.5),
    "overlap": ("train/topk_overlap", 0.3), "divergence": ("train/reverse_kl", 3.0),
}  # fmt: skip


def made(
    accuracy: list[float],
    score: float | None = None,
    cell: str = "cell",
    base: int = 0,
    **moved: Any,
) -> Watched:
    """A run with constant signals; moved: signal -> (first step, value from there on)."""
    steps = len(accuracy)
    trace = {name: [level] * steps for name, level in LEVELS.items()} | {
        "rollout/accuracy": accuracy,
        "step": list(range(1, steps + 1)),
    }
    for name, (at, value) in moved.items():
        trace[name] = [LEVELS[name]] * (at - 1) + [value] * (steps - at + 1)
    return Watched(cell, base, trace, accuracy[-1] if score is None else score)


def falling(at: int, low: float = 0.1, **moved: Any) -> Watched:
    return made([0.6] * (at - 1) + [low] * (STEPS - at + 1), **moved)


STEADY = [0.6] * STEPS
DIP = [0.6] * 20 + [0.2] * 15 + [0.7] * 25


@pytest.mark.parametrize(
    ("accuracy", "score", "outcome", "from_start", "from_best"),
    [
        (STEADY, 0.6, "healthy", None, None),
        ([0.3] * 10 + [0.9] * 50, 0.88, "healthy", None, None),
        (
            DIP,
            0.7,
            "dipped",
            22,
            22,
        ),  # (3 * .6 + 2 * .2) / 5 = .44 < .45 and < .5, while (4 * .6 + .2) / 5 = .52 is not
        ([0.6] * 20 + [0.1] * 40, 0.1, "collapsed", 22, 22),
        (
            [0.3] * 10 + [0.9] * 20 + [0.5] * 30,
            0.5,
            "collapsed",
            None,
            32,
        ),  # far below its best, above its start
        (
            [0.3] * 10 + [0.9] * 20 + [0.5] * 30,
            0.8,
            "dipped",
            None,
            32,
        ),  # the final evaluation says that it is well
        (
            [0.3] * 10 + [0.9] * 10 + [0.5] * 20 + [0.85] * 20,
            0.2,
            "dipped",
            None,
            22,
        ),  # and here its own rollouts do
        (
            [0.9] * 57 + [0.1] * 3,
            0.1,
            "collapsed",
            None,
            None,
        ),  # so late that no fall can be confirmed
    ],
)
def test_what_became_of_a_run(
    accuracy: list[float], score: float, outcome: str, from_start: int | None, from_best: int | None
) -> None:
    run = made(accuracy, score)
    assert (run.outcome, run.fell_from_start, run.fell_from_best) == (
        outcome,
        from_start,
        from_best,
    )
    if outcome != "collapsed":
        assert run.fell == (from_start or from_best)


def test_a_collapse_fell_where_it_did_not_come_back_from() -> None:
    assert falling(21).fell == 22
    assert (
        made([0.6] * 20 + [0.2] * 15 + [0.7] * 15 + [0.1] * 10).fell == 52
    )  # after a dip at 22; (3 * .7 + 2 * .1) / 5 = .46 < .55
    assert made([0.9] * 57 + [0.1] * 3).fell == 58  # (4 * .9 + .1) / 5 = .74 < .75


def test_the_last_fall_is_entered_and_left_by_as_many_steps() -> None:
    well, low = [False] * 6, [True] * 6
    assert last_entered(well + low) == 6
    assert (
        last_entered([*well, True, *well, *low, False, True]) == 13
    )  # one step above the line is not to have come back
    assert last_entered(well + low + well + low) == 18
    assert (
        last_entered(well + low + well + [True] * 2) == 18
    )  # not confirmed, and there is no other
    assert last_entered([*well, True, False, *low]) == 8  # one step below it is not a fall


def test_a_fall_from_the_best_must_last_and_is_measured_from_the_best_so_far() -> None:
    steps = list(range(1, 41))
    assert fell_from_best(steps, [0.9] * 20 + [0.7] * 6 + [0.9] * 14) is None
    assert fell_from_best(steps, [0.9] * 20 + [0.76] * 20) is None
    assert fell_from_best(steps, [0.5] * 20 + [0.36] * 20) is None
    assert (
        fell_from_best(steps, [0.7] * 20 + [0.9] * 20) is None
    )  # a later best does not make the start a fall
    assert fell_from_best(steps, [0.9] * 20 + [0.7] * 20) == 24  # (.9 + 4 * .7) / 5 = .74 < .75
    assert fell_from_best(steps[:4], [0.9, 0.1, 0.1, 0.1]) is None


def counted(detector: str, *runs: Watched) -> Any:
    return worth(detector, [(run, replay(run.trace)) for run in runs])


def test_lead_is_the_fall_minus_the_alarm() -> None:
    """The lengths double at steps 10 and 40; the trailing mean passes every threshold two steps
    later at the latest.
    """
    runs = [falling(30, **{"rollout/mean_tokens": (at, 60.0)}) for at in (10, 40)]
    alarms = [replay(run.trace)["length"] for run in runs]
    found = counted("length", *runs)
    assert [run.fell for run in runs] == [31, 31]
    assert found.leads == tuple(sorted(31 - alarm for alarm in alarms))
    assert found.leads[0] < 0 < found.leads[1]
    assert (found.before, found.seen) == (Share(1, 2), Share(2, 2))


def test_any_is_the_first_of_all_and_an_alarm_at_the_fall_is_not_before_it() -> None:
    run = falling(30, **{"rollout/mean_tokens": (10, 60.0), "train/reverse_kl": (20, 3.0)})
    assert counted(ANY, run).leads == counted("length", run).leads
    assert counted("divergence", run).leads[0] < counted(ANY, run).leads[0]
    assert worth("entropy", [(run, {"entropy": 31})]).before == Share(0, 1)
    assert worth("entropy", [(run, {"entropy": 30})]).before == Share(1, 1)


def test_false_alarms_are_counted_on_healthy_runs_alone() -> None:
    noisy = {"rollout/mean_tokens": (10, 60.0)}
    cut_short = replace(made(STEADY, **noisy), longer_ends_low=True)
    found = counted(
        "length",
        made(STEADY),
        made(STEADY, **noisy),
        made(DIP, 0.7, **noisy),
        falling(30),
        cut_short,
    )
    assert (found.false_alarms, found.on_cut_short, found.on_dips) == (
        Share(1, 2),
        Share(1, 1),
        Share(1, 1),
    )
    assert (found.seen, found.before, found.leads) == (Share(0, 1), Share(0, 1), ())


def test_a_collapse_that_no_alarm_announced_counts_against_the_detector() -> None:
    found = counted("length", falling(30), falling(30, **{"rollout/mean_tokens": (10, 60.0)}))
    assert (found.seen, found.before, len(found.leads)) == (Share(1, 2), Share(1, 2), 1)


def test_the_level_chosen_is_one_deafer_than_the_most_sensitive_silent_one() -> None:
    """Lengths 12 % above the start: 1.05 and 1.1 hear it, 1.15 is silent, so 1.2. In a dip 22 %;
    collapses have no say.
    """
    steady, dip = (
        made(STEADY, **{"rollout/mean_tokens": (10, 22.4)}),
        made(DIP, 0.7, **{"rollout/mean_tokens": (10, 24.4)}),
    )
    broken = falling(30, **{"rollout/mean_tokens": (10, 60.0)})
    cut_short = replace(made(STEADY, **{"rollout/mean_tokens": (10, 60.0)}), longer_ends_low=True)
    assert choose([steady, broken, cut_short]).length_ratio == 1.2
    assert choose([steady, dip, broken]).length_ratio == 1.4
    assert choose([steady, dip, broken], ("healthy",)).length_ratio == 1.2
    assert choose([steady, broken], margin=0).length_ratio == 1.15
    assert choose([made(STEADY)]).length_ratio == 1.1
    assert (
        choose([made(STEADY)]).divergence_ratio,
        choose([made(STEADY)]).divergence_floor,
    ) == LADDERS["divergence"][1][1]


@pytest.mark.parametrize("detector", LADDERS)
def test_the_deafest_level_where_none_is_silent(detector: str) -> None:
    signal, value = LOUD[detector]
    names, levels = LADDERS[detector]
    chosen = choose([made(STEADY, **{signal: (10, value)})])
    assert tuple(getattr(chosen, name) for name in names) == levels[-1]


def test_every_detector_with_a_level_has_a_ladder() -> None:
    assert {*LADDERS} == {*DETECTORS} - {"not_finite", "zero_signal"}


@settings(max_examples=40, deadline=None)
@given(detector=st.sampled_from(sorted(LADDERS)), at=st.integers(7, 40), share=st.floats(0, 1))
def test_a_deafer_level_never_fires_earlier(detector: str, at: int, share: float) -> None:
    signal, value = LOUD[detector]
    run = made(STEADY, **{signal: (at, LEVELS[signal] + share * (value - LEVELS[signal]))})
    names, levels = LADDERS[detector]
    limits = [Thresholds(**dict(zip(names, level, strict=True))) for level in levels]
    fired = [replay(run.trace, limit, [detector]).get(detector, 10**6) for limit in limits]
    assert fired == sorted(fired)


def test_exact_limits() -> None:
    assert binomial_limits(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert binomial_limits(10, 10) == pytest.approx((0.025**0.1, 1.0))
    assert binomial_limits(5, 10) == pytest.approx((0.1871, 0.8129), abs=1e-4)
    assert Share(0, 0).limits is None
    assert str(Share(0, 0)) == "0/0"
    assert str(Share(5, 10)) == "5/10 (0.19 to 0.81)"


def test_what_stop_would_have_done() -> None:
    """Stopped at the alarm: a dip keeps the accuracy of that step instead of the one that it comes
    back to.
    """
    dip, quiet = made(DIP, 0.7, **{"rollout/mean_tokens": (22, 60.0)}), made(STEADY)
    (found,) = stopped(
        [(run, replay(run.trace, Thresholds(length_ratio=1.3))) for run in (dip, quiet)]
    )
    assert found.at == 22
    assert found.steps == STEPS - 22
    assert found.gained == pytest.approx((3 * 0.6 + 2 * 0.2) / 5 - 0.7)


def test_the_command_writes_table_figure_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made-up traces for two committed records: one run that stays, one that falls as its score
    says.
    """
    stages, traces = (
        guard_calibration.planned("math", "lab"),
        {
            0: STEADY,
            1: [0.6] * 20 + [0.0] * 40,
        },
    )
    for place in ("records", "docs"):
        (tmp_path / place).mkdir()
    for path in (ROOT / "results" / "records").glob("*topk_biased-k1-from_grpo*-s[01].json"):
        record = read_record(path)
        plan = stages[record.stages["distill"]]
        assert (plan.cell, plan.base) == ("rlvr biased_k1 standard", record.seed)
        shutil.copy(path, tmp_path / "records")
        artifact = tmp_path / "artifacts" / record.stages["distill"]
        artifact.mkdir(parents=True)
        run = made(traces[record.seed], **{"rollout/mean_tokens": (10, 60.0)})
        (artifact / "guard.json").write_text(
            json.dumps({"policy": "observe", "trace": run.trace}), encoding="utf-8"
        )
    page = tmp_path / "docs" / "guard.md"
    page.write_text(
        f"above\n{guard_calibration.BEGIN}\nlast time\n{guard_calibration.END}\nbelow\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(
        sys, "argv", ["guard_calibration", str(tmp_path), "--docs", str(tmp_path / "docs")]
    )
    guard_calibration.main()
    text = page.read_text(encoding="utf-8")
    assert text.startswith("above\n")
    assert text.endswith("\nbelow\n")
    assert "last time" not in text
    assert "2 of the 120 runs" in capsys.readouterr().out
    rows = list(
        csv.DictReader((tmp_path / "docs" / "guard_calibration.csv").open(encoding="utf-8"))
    )
    assert [(row["base"], row["outcome"]) for row in rows] == [("0", "healthy"), ("1", "collapsed")]
    assert (
        (tmp_path / "docs" / "figures" / "guard_calibration.png")
        .read_bytes()
        .startswith(b"\x89PNG")
    )
