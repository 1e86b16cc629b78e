"""Checkpoints that another state of the code wrote: `study plan` and `study run` say what starts at
step 0 again and how much training that is, before it does.
"""

import json
import shutil
from pathlib import Path

import pytest

from study.cli.plan import show_plan
from study.record import checkpoints as module
from study.record.checkpoints import Checkpoints
from study.record.provenance import code_hash, packages
from study.record.store import Results
from study.runner.graph.plan import make_plan
from study.runner.graph.restarts import restart_lines, restarts
from study.runner.graph.stages import StageNode, stage_graph
from study.runner.work.code_copy import copy_code
from study.spec.grid.grid import load_grid
from tests.support.harness import finish, plan_of, start

NODE = stage_graph(plan_of(1).cell.model, 0)[-1]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


def checkpoint(
    results: Results, node: StageNode, step: int, wall_s: float, **wrote: object
) -> None:
    """A checkpoint as another state wrote it. wrote: what was different then."""
    made = results.root / "made"
    made.mkdir(parents=True)
    (made / "model.safetensors").write_text("w")
    one = Checkpoints(results.checkpoints(node.id), clock=lambda: {"wall_s": wall_s, "core_s": 0.0})
    path = one.seal(made, step) / module.MANIFEST
    manifest = json.loads(path.read_bytes())
    manifest["written_by"] |= wrote
    path.write_text(json.dumps(manifest))


def test_a_checkpoint_of_this_state_is_not_mentioned(results: Results) -> None:
    checkpoint(results, NODE, 3, 60.0)
    assert restarts([NODE], results) == ()
    assert restart_lines(()) == []


@pytest.mark.parametrize(
    ("wrote", "why"),
    [
        ({"code": "0123456789abcdef"}, f"the code 01234567 -> {code_hash()[:8]}"),
        ({"python": "2.7.18"}, "Python 2.7.18 -> "),
        ({"packages": packages() | {"numpy": "0.1"}}, f"numpy 0.1 -> {packages()['numpy']}"),
    ],
)
def test_what_changed_and_what_it_costs_is_said(
    results: Results, wrote: dict[str, object], why: str
) -> None:
    checkpoint(results, NODE, 3, 1200.0, **wrote)
    (one,) = restarts([NODE], results)
    assert (one.step, one.seconds) == (3, 1200.0)
    line, way_back = restart_lines([one])
    assert line.startswith(f"{NODE.id} starts at step 0: its checkpoint at step 3 of 4 (20 min of")
    assert why in line
    assert "put back the state that wrote it" in way_back
    assert Checkpoints(results.checkpoints(NODE.id)).latest() is None, "the prediction is right"


def test_the_copy_of_the_code_that_wrote_it_is_named(results: Results) -> None:
    copy = copy_code(results)
    shutil.move(copy, copy.with_name("0123456789abcdef"))
    checkpoint(results, NODE, 3, 60.0, code="0123456789abcdef")
    assert str(results.code / "0123456789abcdef") in restart_lines(restarts([NODE], results))[-1]


@pytest.mark.parametrize("text", ["{", "[]", '{"files": {}}', '{"files": {}, "step": "x"}'])
def test_a_damaged_manifest_is_not_a_change_of_the_code(results: Results, text: str) -> None:
    checkpoint(results, NODE, 3, 60.0)
    next(results.root.glob("checkpoints/*/step-3/checkpoint.json")).write_text(text)
    assert restarts([NODE], results) == ()


def test_many_are_summed(results: Results) -> None:
    nodes = {node.id: node for k in range(1, 5) for node in stage_graph(plan_of(k).cell.model, 0)}
    for node in nodes.values():
        checkpoint(results, node, 2, 3600.0, python="2.7.18")
    lines = restart_lines(restarts(nodes.values(), results))
    assert len(nodes) == 7
    assert len(lines) == 7
    assert lines[5] == "... and 2 more stages (2.0 h of training)"


def test_the_plan_shows_it(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    grid = load_grid("smoke")
    runs = grid.runs()[:1]
    node = stage_graph(runs[0].cell.model, runs[0].seed)[-1]
    checkpoint(results, node, 10, 300.0, code="0123456789abcdef")
    plan = make_plan(runs, results, {})
    show_plan(grid, plan, 1)
    said = capsys.readouterr().out
    assert f"{node.id} starts at step 0: its checkpoint at step 10 of {node.steps}" in said
    assert "5 min of training" in said


def test_a_run_says_it_before_it_trains(tmp_path: Path) -> None:
    results = tmp_path / "results"
    first = start(results, fault="step:kill", profile={"checkpoint_s": 0, "retries": 0})
    assert finish(first)[0] == 1
    (path,) = results.glob("checkpoints/*/step-*/checkpoint.json")
    manifest = json.loads(path.read_bytes())
    manifest["written_by"]["code"] = "0123456789abcdef"
    path.write_text(json.dumps(manifest))
    code, output = finish(start(results))
    assert code == 0, output
    said = output.index("starts at step 0: its checkpoint at step 2 of")
    assert said < output.index("made  ")
    assert "the code 01234567 -> " in output
