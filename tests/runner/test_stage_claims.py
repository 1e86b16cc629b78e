"""A stage keeps the state of the claims under which it was first started."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.record.checkpoints import Checkpoints
from study.record.schema import MAX_RECORD_BYTES, Provenance, record_bytes
from study.record.store import Results, write_json
from study.runner.graph.stages import RunPlan, StageNode, stage_graph
from study.runner.work.artifacts import MANIFEST, drop_weights, read_manifest
from study.runner.work.assignment import Assignment, read_assignment, write_assignment
from study.runner.work.execute import execute_run, execute_stage
from study.spec.machine.profile import Profile
from tests.support.fake_work import WORK, cell
from tests.support.harness import plan_of, silent

BEFORE, NOW = "a" * 64, "b" * 64


def nodes(claims: str | None) -> list[StageNode]:
    return [replace(node, claims=claims) for node in stage_graph(cell(1).model, 0)]


def make(results: Results, claims: str | None) -> None:
    for node in nodes(claims):
        execute_stage(node, results, WORK, silent)


def provenance(results: Results, claims: str | None) -> Provenance:
    plan: RunPlan = replace(plan_of(1), claims=claims, preregistration="c" * 64)
    return execute_run(plan, results, WORK, silent).provenance


def own(results: Results) -> Path:
    return results.artifact(nodes(None)[-1].id)


def test_only_stages_of_another_state_are_listed(tmp_path: Path) -> None:
    results = Results(tmp_path)
    make(results, BEFORE)
    found = provenance(results, BEFORE)
    assert (found.claims, found.stage_claims, found.preregistration) == (BEFORE, {}, "c" * 64)
    results.record(plan_of(1).run_id).unlink()
    listed = {node.id: BEFORE for node in nodes(None)}
    assert provenance(results, NOW).stage_claims == listed


@pytest.mark.parametrize(("claims", "said"), [(None, ""), (BEFORE, BEFORE)])
def test_nothing_declared_is_another_thing_than_not_recorded(
    tmp_path: Path, claims: str | None, said: str
) -> None:
    results = Results(tmp_path)
    make(results, claims)
    old = own(results) / MANIFEST
    manifest = json.loads(old.read_bytes())
    del manifest["claims"]  # as manifests were before they named the state
    write_json(old, manifest)
    found = provenance(results, NOW).stage_claims
    assert found is not None
    assert found.pop(own(results).name) is None
    assert set(found.values()) == {said}


def test_a_stage_whose_weights_were_dropped_is_as_old_as_its_curve(tmp_path: Path) -> None:
    results = Results(tmp_path)
    make(results, BEFORE)
    drop_weights(own(results))
    make(results, NOW)
    assert read_manifest(own(results))["claims"] == BEFORE


@pytest.mark.parametrize("same_code", [True, False])
def test_a_stage_that_was_interrupted_is_as_old_as_its_first_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_code: bool
) -> None:
    """Also where the checkpoint itself cannot be continued, since its curve could be seen."""
    results = Results(tmp_path)
    *inputs, last = nodes(BEFORE)
    for node in inputs:
        execute_stage(node, results, WORK, silent)
    monkeypatch.setenv("STUDY_TEST_FAULT", "step:raise")
    with pytest.raises(ValueError, match="was told to fail"):
        execute_stage(last, results, WORK, silent, Checkpoints(results.checkpoints(last.id), 0.0))
    monkeypatch.delenv("STUDY_TEST_FAULT")
    if not same_code:
        other: dict[str, Any] = {"code": "another", "packages": {}, "python": "3"}
        monkeypatch.setattr("study.record.checkpoints.writer", lambda: other)
    execute_stage(nodes(NOW)[-1], results, WORK, silent)
    assert read_manifest(own(results))["claims"] == BEFORE


def test_a_stage_that_never_got_to_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    results = Results(tmp_path)
    make(results, NOW)
    assert read_manifest(own(results))["claims"] == NOW


def test_a_task_of_another_process_keeps_state_and_preregistration(tmp_path: Path) -> None:
    path = tmp_path / "payload.json"
    plan = replace(plan_of(1), claims=NOW, preregistration="c" * 64)
    for payload in (nodes(BEFORE)[-1], nodes(None)[0], plan):
        write_assignment(path, Assignment(payload, WORK, Profile()))
        assert read_assignment(path).payload == payload


def test_the_states_of_many_stages_fit_into_a_record(tmp_path: Path) -> None:
    results = Results(tmp_path)
    make(results, BEFORE)
    plan = replace(plan_of(1), claims=NOW)
    record = execute_run(plan, results, WORK, silent)
    assert len(record.provenance.stage_claims or {}) == 4
    assert len(record_bytes(record)) <= MAX_RECORD_BYTES
