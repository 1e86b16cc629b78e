"""What the evidence cost: shared stages once, sums that tell single stages apart, tokens that old
records did not count.
"""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.evidence.ledger import Ledger, Sums, costs, per_stage
from analysis.evidence.loading import evidence_from, load
from analysis.pages.render import to_csv
from analysis.pages.report import build
from study.record.schema import Cost, sealed
from study.record.store import read_records
from study.spec.grid.grid import load_grid
from tests.support import synthetic
from tests.support.paths import ROOT

RESULTS = ROOT / "results"


def seconds(sets: dict[str, float]) -> dict[str, float]:
    """Stage -> core seconds, from sums by "a b c"."""
    return {
        stage: sums.core_s
        for stage, sums in per_stage(
            {frozenset(names.split()): Sums(s) for names, s in sets.items()}
        ).items()
    }


def test_one_stage_is_told_from_sums() -> None:
    assert seconds({"a": 10.0, "a b": 14.0, "a c": 11.0, "b c d": 100.0}) == {
        "a": 10.0,
        "b": 4.0,
        "c": 1.0,
        "d": 95.0,
    }


def test_what_sums_do_not_tell_is_shared_out_evenly() -> None:
    assert seconds({"a b": 14.0}) == {"a": 7.0, "b": 7.0}
    assert seconds({"a b": 14.0, "a c": 10.0}) == {"a": 7.0, "b": 7.0, "c": 3.0}


def test_two_executions_of_one_stage_never_give_a_negative_cost() -> None:
    assert seconds({"a": 10.0, "a b": 9.0}) == {"a": 10.0, "b": 0.0}


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1000), min_size=1), st.data())
def test_where_every_stage_was_also_recorded_alone_sums_are_exact(
    costs: dict[str, int], data: st.DataObject
) -> None:
    names = sorted(costs)
    together = (
        data.draw(st.lists(st.sets(st.sampled_from(names), min_size=2), max_size=4))
        if len(names) > 1
        else []
    )
    sets = {name: float(cost) for name, cost in costs.items()}
    sets |= {" ".join(sorted(some)): float(sum(costs[name] for name in some)) for some in together}
    assert seconds(sets) == costs


def test_a_stage_that_runs_share_is_counted_once() -> None:
    runs = load_grid("smoke").runs()
    ledger = Ledger()
    for number, run in enumerate(runs):
        own = Cost(wall_s=1.0, core_s=3600.0 * (number + 1), tokens_sampled=10, tokens_scored=5)
        shared = Cost(wall_s=1.0, core_s=7200.0)
        evaluated = Cost(wall_s=1.0, core_s=36.0, tokens_sampled=1000)
        stages = {
            "distill": f"distill-{number}",
            "student": "pretrain-1",
            "teacher.base": "pretrain-1",
        }
        cost = {"distill": own, "pretrain": shared, "evaluate": evaluated}
        ledger.add(
            sealed(
                synthetic.record(run, 0.3, 0.8).model_copy(update={"stages": stages, "cost": cost})
            )
        )
    assert {
        kind: (made, used, sums.core_s) for kind, (made, used, sums) in ledger.kinds().items()
    } == {
        "distill": (2, 2, 3 * 3600.0),
        "pretrain": (1, 2, 7200.0),
        "evaluate": (2, 2, 72.0),
    }
    lines = to_csv(costs(ledger, "smoke", "lab")).splitlines()
    assert lines[1:] == [
        "distill,2,2,-,3.00,20,10",
        "pretrain,1,2,-,2.00,0,0",
        "evaluate,2,2,-,0.02,2000,0",
        "total,,,-,5.02,2020,10",
    ]


def test_tokens_that_old_records_did_not_count_are_said_to_be_missing_and_not_zero() -> None:
    ledger = Ledger()
    for run in load_grid("smoke").runs():
        cost = {"evaluate": Cost(wall_s=1.0, core_s=36.0)}
        ledger.add(sealed(synthetic.record(run, 0.3, 0.8).model_copy(update={"cost": cost})))
    page = costs(ledger, "smoke", "lab")
    assert [row[5] for row in page.rows if row[0] == "evaluate"] == ["not counted"]
    assert any("2 records do not hold the tokens" in note for note in page.notes)


def test_the_total_is_below_the_sum_over_records_by_what_they_share() -> None:
    evidence = load(RESULTS / "records")
    records_by_id = {record.run: record for record in read_records(RESULTS / "records")}
    kinds = evidence.ledger.kinds()
    records = {
        run.run_id: records_by_id[run.run_id]
        for run in load_grid(evidence.grid).runs()
        if run.run_id in records_by_id
    }
    stages = {stage for record in records.values() for stage in record.stages.values()}
    made = Counter(stage.rpartition("-")[0] for stage in stages)
    assert {kind: made for kind, (made, _, _) in kinds.items()} == {
        **made,
        "evaluate": len(records),
    }
    own = sum(row["own_minutes"] for row in evidence.run_rows)
    once = sum(sums.core_s for _, _, sums in kinds.values()) / 60
    assert own < once < own + sum(row["shared_minutes"] for row in evidence.run_rows)
    assert kinds["distill"][2].core_s + kinds["evaluate"][2].core_s == pytest.approx(60 * own)


def test_every_report_has_the_page() -> None:
    grid = load_grid("smoke")
    report = build(
        evidence_from(synthetic.records(grid, lambda labels, seed: (0.3, 0.8)), grid, scale="lab")
    )
    assert report.texts["costs/smoke.md"].startswith("## What the evidence of grid smoke cost")
    assert (
        report.texts["costs/smoke.csv"].splitlines()[0]
        == "kind,made,used,estimated_hours,core_hours,tokens_sampled,tokens_scored"
    )
