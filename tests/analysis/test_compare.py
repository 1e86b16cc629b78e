"""Comparing: pairs by id and by base, refusals, cells and grids, the sentence that is read."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from analysis.compare.arms import Scores, of_records, problems_hash
from analysis.compare.compare import compared, over_problems
from analysis.compare.curve_files import compare_curves, read_curves
from analysis.compare.pairing import matched
from analysis.compare.selectors import Place, arms_of
from analysis.compare.sentences import gathered, sentence
from study.errors import IncompleteResults, SpecError
from study.record.schema import Record, sealed
from study.record.store import write_record
from study.spec.grid.grid import load_grid
from tests.support.arms import KNOWN, arm, run, scores
from tests.support.synthetic import record

ARMS = {
    "biased_k1": "rlvr,biased_k1,standard",
    "stop_gradient_k1": "rlvr,stop_gradient_k1,standard",
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Records of two cells, three bases each, of the smoke grid's cells in the grid `math`."""
    grid = load_grid("math", "lab")
    for objective, finals in {
        "biased_k1": (0.10, 0.22, 0.15),
        "stop_gradient_k1": (0.70, 0.81, 0.77),
    }.items():
        for one in grid.runs(seeds=[0, 1, 2], only=ARMS[objective]):
            write_record(
                tmp_path / "records" / f"{one.run_id}.json", record(one, 0.3, finals[one.seed])
            )
    return tmp_path


def test_problems_are_paired_by_id_whatever_their_order() -> None:
    a = arm(scores([4, 0, 2], ids=["x", "y", "z"]))
    b = arm(scores([2, 3, 0], ids=["z", "x", "y"]), key="b")
    row = compared(a, b)
    assert row.by_base["0"] == pytest.approx((1 / 4 + 0 + 0) / 3)
    assert row.bases is None
    assert row.headline.over == "problems"


def test_over_bases_the_interval_is_the_paired_t_of_the_seeds() -> None:
    from scipy import stats

    a, b = [[4, 4, 3, 2], [4, 3, 3, 3], [4, 4, 4, 3]], [[2, 2, 2, 2], [3, 1, 2, 2], [1, 2, 2, 1]]
    row = compared(
        arm(*(scores(c, seed=s) for s, c in enumerate(a))),
        arm(*(scores(b[s], seed=s) for s in (2, 0, 1)), key="b"),
    )
    expected = stats.ttest_rel(np.mean(a, axis=1) / 4, np.mean(b, axis=1) / 4)
    low, high = expected.confidence_interval()
    assert row.bases is not None
    assert (row.bases.interval.low, row.bases.interval.high) == pytest.approx((low, high))
    assert row.bases.p_value == pytest.approx(expected.pvalue)
    assert row.headline is row.bases


def test_another_grader_or_decoding_is_refused_and_can_be_allowed() -> None:
    a, b = arm(scores([4, 1])), arm(scores([1, 1], grader="boxed-1", temperature="0.6"), key="b")
    with pytest.raises(SpecError, match=r"grader math-1 / boxed-1; temperature 1 / 0.6") as refusal:
        compared(a, b)
    assert "regrade" in refusal.value.hint
    row = compared(a, b, allow=True)
    assert row.allowed == (("grader", "math-1", "boxed-1"), ("temperature", "1", "0.6"))


def test_other_problems_are_refused_and_allowed_ones_are_counted() -> None:
    a, b = arm(scores([4, 1, 0], ids=["x", "y", "z"])), arm(scores([1, 1], ids=["y", "w"]), key="b")
    with pytest.raises(SpecError, match="1 problems are on both sides, 2 in A only, 1 in B only"):
        compared(a, b)
    row = compared(a, b, allow=True)
    assert row.problems == 1
    assert "compared on those of both sides" in row.notes[0]
    with pytest.raises(SpecError, match="no problem id in common"):
        compared(a, arm(scores([1], ids=["other"])), allow=True)


def test_a_record_and_a_file_are_aligned_only_by_the_same_hash() -> None:
    ids = ["p0", "p1", "p2"]
    recorded = Scores("r", 0, (4.0, 0.0, 2.0), (4,) * 3, problems_hash(ids), None, KNOWN)
    assert compared(arm(recorded), arm(scores([4, 0, 1]), key="b")).problems == 3
    with pytest.raises(SpecError, match="not known to be the same"):
        compared(arm(recorded), arm(scores([4, 0, 1], ids=["p1", "p0", "p2"]), key="b"), allow=True)


def test_an_unpaired_seed_is_never_dropped() -> None:
    a = arm(*(scores([4, 1], seed=s) for s in (0, 1, 2)))
    with pytest.raises(SpecError, match=r"seeds \[2\] are on one side only") as refusal:
        compared(a, arm(*(scores([2, 1], seed=s) for s in (0, 1)), key="b"))
    assert "--seeds 0,1" in refusal.value.hint
    with pytest.raises(SpecError, match="seed 0 / 1"):
        compared(arm(scores([4, 1], seed=0)), arm(scores([4, 1], seed=1), key="b"))


def test_cells_runs_and_grids_are_found_by_name(results: Path) -> None:
    place = Place(results=results)
    (cell,) = arms_of(ARMS["biased_k1"], place)
    assert [s.seed for s in cell.bases] == [0, 1, 2]
    (run_arm,) = arms_of(
        cell.bases[1].source.rpartition("topk_biased-")[2].split("-", 3)[-1], place
    )
    assert [s.seed for s in run_arm.bases] == [1]
    smoke, math = arms_of("smoke", place), arms_of("math", place)
    pairs, alone = matched(smoke, math)
    assert len(pairs) == 2
    assert alone == []
    with pytest.raises(IncompleteResults, match="no record in"):
        arms_of("rlvr,full,standard", place)
    with pytest.raises(SpecError, match="did you mean"):
        arms_of("rlvr,fulll,standard", place)
    with pytest.raises(IncompleteResults, match="--seeds 0,1,2"):
        arms_of(str(results / "records"), Place(seeds=(9,)))


def test_the_command_says_it_in_a_sentence_and_lists_settings(
    results: Path, tmp_path: Path
) -> None:
    shown = run(*ARMS.values(), "--results", results, "--json", tmp_path / "c.json")
    assert "points below B" in shown
    assert "t over 3 bases, 64 problems" in shown
    assert "model.objective.gradient through stop_gradient" in shown
    page = json.loads((tmp_path / "c.json").read_text())["rows"][0]
    assert page["over_bases"]["interval"]["mean"] == pytest.approx(page["mean_a"] - page["mean_b"])
    assert page["costs"]["core minutes, own stages"]["a"] == pytest.approx((60 + 6) / 60)


def test_what_holds_for_these_bases_alone_is_told_apart() -> None:
    a = arm(
        *(scores(counts, seed=s) for s, counts in enumerate(([4] * 40, [1, 2] * 20, [1, 1] * 20)))
    )
    b = arm(*(scores([1, 1] * 20, seed=s) for s in range(3)), key="b")
    row = compared(a, b)
    assert "no difference is shown" in sentence(row)
    assert "of these 3 bases alone it is shown" in sentence(row)
    two = compared(arm(*a.bases[:2]), arm(*b.bases[:2]))
    assert "2 bases with this spread could miss any difference" in sentence(two)


def test_a_branch_that_one_side_lacks_is_one_line() -> None:
    a = {
        "model.kind": "x",
        "model.net.width": "1",
        "model.net.depth": "2",
        "model.base.k": "1",
        "steps": "3",
    }
    assert gathered(a, {"model.kind": "y", "steps": "3"}) == [
        ("model.kind", "x", "y"), ("model.net.*", "2 values", "-"), ("model.base.k", "1", "-"),
    ]  # fmt: skip


def test_many_rows_are_adjusted_together(results: Path) -> None:
    shown = run(results, results)
    assert "2 comparisons: 0 intervals leave out 0, 0 after Holm's adjustment" in shown
    assert "2 have the same counts on every problem" in shown
    assert "the same settings" in shown


def test_metrics_of_another_framework_stand_beside_ours(results: Path, tmp_path: Path) -> None:
    csv = tmp_path / "wandb.csv"
    csv.write_text("global_step,val/acc,note\n0,0.30,start\n20,0.5,\n20,,x\n40,0.6,\n999,,\n")
    curves = read_curves(csv)
    assert curves.metrics == {"val/acc": {0: 0.3, 20: 0.5, 40: 0.6}}
    shown = run(
        csv,
        ARMS["stop_gradient_k1"],
        "--results",
        results,
        "--seeds",
        "0",
        "--metric",
        "val/acc=eval/avg@2",
        "--label-a",
        "verl",
    )
    assert "A verl" in shown
    assert "val/acc = eval/avg@2 40" in shown
    assert "cannot be checked" in shown
    with pytest.raises(SpecError, match="no metric has the same name"):
        run(csv, ARMS["stop_gradient_k1"], "--results", results, "--seeds", "0")
    (row,) = compare_curves([curves, curves], [curves, curves])
    assert (row.step, row.steps, row.last.mean, row.last.low) == (40, 3, 0.0, 0.0)


def test_a_collapsed_base_is_named() -> None:
    grid = load_grid("math", "lab")
    runs = grid.runs(only=ARMS["biased_k1"])
    made: list[Record] = [record(one, 0.3, 0.2) for one in runs]
    fallen = sealed(made[0].model_copy(update={"status": "collapsed", "collapsed_at": 40}))
    (a,), (b,) = of_records([fallen, *made[1:]], name="a"), of_records(made, name="b")
    assert compared(a, b).notes == ("collapsed: base 0 of A at step 40",)


@pytest.mark.slow
def test_importing_it_loads_no_pandas() -> None:
    import subprocess
    import sys

    heavy = ("pandas", "torch", "matplotlib")
    code = (
        "import sys, analysis.compare.sentences, analysis.compare.selectors, study.cli.compare;"
        f" print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_are_compared_as_text_of_one_spelling() -> None:
    from analysis.compare.arms import flat, shown

    nested: Mapping[str, object] = {"a": {"b": 1.0, "c": None}, "d": [1, 2]}
    assert flat(nested) == {"a.b": "1", "a.c": "none", "d": "[1, 2]"}
    assert shown(0.6) == "0.6"


def test_differences_without_spread_have_no_interval_and_hide_no_limit() -> None:
    seen = over_problems([0.0, 0.0, 0.0])
    assert (seen.interval.low, seen.interval.high, seen.detectable, seen.p_value) == (
        None,
        None,
        None,
        None,
    )
    assert over_problems([0.0, 0.0, 1.0]).detectable is not None
