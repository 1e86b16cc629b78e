"""Two training seeds on one base through the real runner, with torch-free stages: everything but
the own stage is shared, and the first repeat is the run that a grid without repeats has.
"""

from pathlib import Path

import pytest

from study.record.store import Results, read_records
from study.runner.graph.plan import State, make_plan
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import cell_id, repeated, run_name
from tests.support.fake_work import cell
from tests.support.harness import built, contents, finish, make_undisturbed, start

pytestmark = pytest.mark.slow


def planned(k: int, repeat: int) -> LabelledRun:
    name = cell_id(cell(k))
    return LabelledRun(run_name(name, 0, repeat), repeated(cell(k), repeat), {}, 0, name)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells, each trained with two seeds on one base; only to be read."""
    results = tmp_path_factory.mktemp("repeats") / "results"
    code, output = finish(start(results, ks=(1, 2), STUDY_TEST_REPEATS="2"))
    assert code == 0, output
    return results


def test_repeats_share_what_is_behind_them_and_differ_in_their_own_stage(results: Path) -> None:
    assert sorted(built(results)) == sorted(
        ["pretrain"] * 2 + ["sft"] + ["distill"] * 4 + ["evaluate"] * 4
    )
    records = {record.run: record for record in read_records(results / "runs")}
    name = cell_id(cell(1))
    first, second = records[f"{name}-s0"], records[f"{name}-s0r1"]
    assert (first.repeat, second.repeat) == (0, 1)
    assert (first.cell, first.seed) == (second.cell, second.seed) == (name, 0)
    shared = {role: stage for role, stage in first.stages.items() if role != "distill"}
    assert shared.items() <= second.stages.items()
    assert first.stages["distill"] != second.stages["distill"]
    assert first.scores != second.scores
    assert second.spec["model"]["repeat"] == 1
    assert "repeat" not in first.spec["model"]

    runs = [planned(k, repeat) for k in (1, 2) for repeat in (0, 1)]
    assert make_plan(runs, Results(results), {}).counts == {State.DONE: 4}
    more = [*runs, planned(1, 2)]
    missing = make_plan(more, Results(results), {})
    assert [stage.node.kind for stage in missing.stages] == ["distill"]


def test_the_first_repeat_is_the_run_without_repeats(tmp_path: Path, results: Path) -> None:
    alone = make_undisturbed(Results(tmp_path))
    for k in (1, 2):
        first = f"{cell_id(cell(k))}-s0"
        assert contents(results)[first] == alone[first]
    _, output = finish(start(results, ks=(1, 2), STUDY_TEST_REPEATS="2"))
    assert "nothing to do" in output
