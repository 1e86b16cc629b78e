"""`study plan`: what is done, what will run, why, and how long it takes - from records and
artifacts alone.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from study.record.schema import seal_of
from study.record.store import Results
from study.runner.graph.plan import Plan, State, make_plan
from study.runner.graph.stages import StageNode, stage_graph
from study.spec import identity
from study.spec.grid.grid import Grid, load_grid
from study.spec.grid.labelled import LabelledRun
from study.spec.grid.scale import Scale, load_scale
from study.spec.identity import canonical
from study.spec.yaml.load import find, parse

GUESS = {"pretrain": 0.1, "grpo": 1.0, "distill": 0.5, "evaluate": 6.0}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture
def smoke() -> tuple[LabelledRun, ...]:
    return load_grid("smoke").runs()


def seal(run: LabelledRun, results: Results, wall_s: float = 4.0) -> Path:
    """As much of a record as a plan reads."""
    spec, revisions = json.loads(canonical(run.cell)), identity.cell_revisions(run.cell)
    record: dict[str, Any] = {
        "run": run.run_id,
        "spec": spec,
        "revisions": revisions,
        "cost": {"evaluate": {"wall_s": wall_s}},
    }
    path = results.record(run.run_id)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record | {"seal": seal_of(record)}), encoding="utf-8")
    return path


def make_stage(node: StageNode, results: Results, wall_s: float = 10.0) -> None:
    folder = results.artifact(node.id)
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(
        json.dumps({"id": node.id, "wall_s": wall_s}), encoding="utf-8"
    )


def fail(folder: Path, error: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failure.json").write_text(json.dumps({"error": error}), encoding="utf-8")


def kinds(plan: Plan) -> list[str]:
    return [stage.node.kind for stage in plan.stages]


def test_from_nothing_every_stage_is_to_be_made_once(
    smoke: tuple[LabelledRun, ...], results: Results
) -> None:
    plan = make_plan(smoke, results, GUESS)
    assert kinds(plan) == ["pretrain", "grpo", "distill", "distill"]
    assert [stage.used_by for stage in plan.stages] == [2, 2, 1, 1]
    assert plan.counts == {State.PENDING: 2}
    assert plan.runs[0].why == "no record yet; 3 stage artifacts missing"
    steps = {stage.node.kind: stage.node.steps for stage in plan.stages}
    pretrain, grpo, distill = 0.1 * steps["pretrain"], 1.0 * steps["grpo"], 0.5 * steps["distill"]
    assert plan.core_seconds == pytest.approx(pretrain + grpo + 2 * distill + 2 * 6)
    assert plan.seconds(jobs=100) == pytest.approx(
        pretrain + grpo + distill + 6
    )  # no number of processes beats the longest chain
    assert plan.seconds(jobs=1) == pytest.approx(plan.core_seconds)
    assert not results.root.exists()  # a plan writes nothing


def test_a_sealed_record_is_done_and_needs_no_stage(
    smoke: tuple[LabelledRun, ...], results: Results
) -> None:
    for run in smoke:
        seal(run, results)
    plan = make_plan(smoke, results, GUESS)
    assert plan.counts == {State.DONE: 2}
    assert not plan.stages
    assert plan.core_seconds == 0


def test_inputs_of_a_made_stage_are_not_needed(
    smoke: tuple[LabelledRun, ...], results: Results
) -> None:
    graph = stage_graph(smoke[0].cell.model, 0)
    make_stage(graph[-1], results)
    plan = make_plan(smoke[:1], results, GUESS)
    assert not plan.stages
    assert plan.runs[0].why == "no record yet; its model is made"
    assert plan.core_seconds == 6.0


def test_a_folder_without_manifest_is_not_a_stage(
    smoke: tuple[LabelledRun, ...], results: Results
) -> None:
    results.artifact(stage_graph(smoke[0].cell.model, 0)[0].id).mkdir(parents=True)
    plan = make_plan(smoke, results, GUESS)
    assert "has no stage.json: remove" in plan.stages[0].why


def test_failures_are_shown_with_their_reason_and_what_they_take_with_them(
    smoke: tuple[LabelledRun, ...], results: Results
) -> None:
    fail(results.run(smoke[0].run_id), "OutOfMemory: no room\nTraceback ...")
    plan = make_plan(smoke, results, GUESS)
    assert (plan.runs[0].state, plan.runs[0].why) == (State.FAILED, "failed: OutOfMemory: no room")
    assert plan.runs[1].state is State.PENDING
    teacher = stage_graph(smoke[0].cell.model, 0)[1]
    fail(results.stage(teacher.id), "loss is not finite")
    plan = make_plan(smoke, results, GUESS)
    assert plan.runs[1].why == f"stage {teacher.id} failed: loss is not finite"
    assert plan.counts == {State.FAILED: 2}
    make_stage(teacher, results)  # tried again and made: the old failure says nothing any more
    assert make_plan(smoke, results, GUESS).runs[1].state is State.PENDING


def test_a_corrupt_record_is_named_and_never_done(
    smoke: tuple[LabelledRun, ...], results: Results
) -> None:
    path = seal(smoke[0], results)
    path.write_text(
        path.read_text(encoding="utf-8").replace('"wall_s": 4.0', '"wall_s": 5.0'), encoding="utf-8"
    )
    planned = make_plan(smoke, results, GUESS).runs[0]
    assert planned.state is State.FAILED
    assert planned.why == f"corrupt record: remove {path}"


def test_committed_evidence_never_satisfies_a_plan(
    smoke: tuple[LabelledRun, ...], results: Results
) -> None:
    results.records.mkdir(parents=True)
    seal(smoke[0], results).rename(results.records / f"{smoke[0].run_id}.json")
    plan = make_plan(smoke, results, GUESS)
    assert plan.published == 1
    assert plan.counts == {State.PENDING: 2}


def test_a_bumped_revision_says_so(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    old = load_grid("smoke").runs()[0]
    seal(old, results)
    monkeypatch.setitem(identity.REVISIONS, "distill", identity.REVISIONS["distill"] + 1)
    planned = make_plan(load_grid("smoke").runs()[:1], results, GUESS).runs[0]
    assert planned.state is State.PENDING
    assert planned.why == f"recorded under distill revision 1 (now 2): {old.run_id}"


def test_a_record_of_schema_1_was_made_under_revision_1(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = load_grid("smoke").runs()[0]
    path = seal(old, results)
    value = {
        name: item
        for name, item in json.loads(path.read_text()).items()
        if name not in ("revisions", "seal")
    }
    value |= {
        "schema": 1,
        "cost": {kind: {"wall_s": 1.0} for kind in ("pretrain", "grpo", "distill", "evaluate")},
    }
    path.write_text(json.dumps(value | {"seal": seal_of(value)}), encoding="utf-8")
    monkeypatch.setitem(identity.REVISIONS, "grpo", 3)
    planned = make_plan(load_grid("smoke").runs()[:1], results, GUESS).runs[0]
    assert planned.why == f"recorded under grpo revision 1 (now 3): {old.run_id}"


def test_a_changed_setting_is_named(smoke: tuple[LabelledRun, ...], results: Results) -> None:
    seal(smoke[0], results)
    text = re.sub(
        r"(?<=distill:\n  )prompts_per_step: \d+",
        "prompts_per_step: 33",
        find("scales", "lab").read_text(encoding="utf-8"),
    )
    grid = Grid(
        parse(find("grids", "smoke").read_text(encoding="utf-8"), "grids/smoke.yaml"),
        Scale(parse(text, "scales/lab.yaml")),
    )
    why = make_plan(grid.runs(), results, GUESS).runs[0].why
    before = smoke[0].cell.model.training.prompts_per_step  # type: ignore[union-attr]
    assert (
        why
        == f"its settings changed since {smoke[0].run_id}: model.training.prompts_per_step {before}"
        " -> 33"
    )


def test_estimates_come_from_finished_stages(results: Results) -> None:
    runs = load_grid("math").runs(seeds=[0, 1], only="biased_k1,standard")
    graphs = {run.run_id: stage_graph(run.cell.model, run.seed) for run in runs}
    nodes = {node.id: node for graph in graphs.values() for node in graph}
    done = [n for n in nodes.values() if n.seed == 0 and n.kind == "pretrain"]
    for node, wall in zip(done, (100.0, 17.0), strict=True):
        make_stage(node, results, wall)
    seal(runs[0], results, wall_s=3.0)
    plan = make_plan(runs, results, GUESS)
    expected = {
        canonical(node.recipe): wall for node, wall in zip(done, (100.0, 17.0), strict=True)
    }
    for stage in (
        plan.stages
    ):  # the same recipe at another seed takes what it took at seed 0; other kinds keep the guess
        assert stage.seconds == expected.get(
            canonical(stage.node.recipe), GUESS[stage.node.kind] * stage.node.steps
        )
    assert {planned.seconds for planned in plan.runs if planned.state is State.PENDING} == {3.0}


def test_two_thousand_runs_are_planned(results: Results) -> None:
    levels = "\n".join(
        f"    t{i}: {{preset: topk_biased, k: 5, temperature: {1 + i / 1000}}}" for i in range(400)
    )
    page = f"""name: big
question: Is planning fast?
base: {{student: student, teacher: rlvr, objective: full_reverse_kl,
  length: standard, data: math, evaluation: math}}
factors:
  objective:
{levels}
seeds: [0, 1, 2, 3, 4]
"""
    located, scale = parse(page, "grids/big.yaml"), load_scale("lab")
    for run in Grid(located, scale).runs(seeds=[0]):
        seal(run, results)
    plan = make_plan(Grid(located, scale).runs(), results, GUESS)
    assert len(plan.runs) == 2000
    assert plan.counts[State.DONE] == 400
