"""`study clean`: lists what nothing references and removes that alone; evidence, plans, locks and
living processes are left in peace.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.cli import clean as verb
from study.errors import PrerequisiteError
from study.record.owner import host, owner
from study.record.schema import sealed
from study.record.store import Results, write_record
from study.runner.graph.stages import stage_graph
from study.runner.verbs.clean import references, remove, size, waste
from study.runner.work.sessions import present
from study.spec.grid.grid import Grid, load_grid
from tests.support import synthetic

DEAD = f"{host()}-999999999-1"
ELSEWHERE = "0123abcd-17-5"
STRANGE = "distill-topk-from_grpo-9steps-00000000-s0"


@pytest.fixture
def smoke() -> Grid:
    return load_grid("smoke")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


def make(path: Path, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def artifact(results: Results, stage: str, seed: int = 0) -> Path:
    make(results.artifact(stage) / "stage.json", json.dumps({"id": stage, "seed": seed}))
    return make(results.artifact(stage) / "model.safetensors", "w" * 100)


def seal(results: Results, run: str, stages: dict[str, str], *, committed: bool = False) -> Path:
    record = synthetic.record(load_grid("smoke").runs()[0], 0.3, 0.8).model_copy(
        update={"run": run, "stages": stages}
    )
    path = results.records / f"{run}.json" if committed else results.record(run)
    write_record(path, sealed(record))
    return path


def found(results: Results, grids: list[Grid], *, runs: bool = False) -> dict[str, str]:
    """Path below results -> what it is."""
    listed = waste(results, references(results, grids, sealed=not runs), runs=runs)
    return {str(item.path.relative_to(results.root)): item.what for item in listed}


def everything(results: Results) -> set[Path]:
    return {path for path in results.root.rglob("*") if path.is_file()}


def test_what_a_grid_plans_stays_and_what_nobody_knows_is_listed(
    results: Results, smoke: Grid
) -> None:
    node = stage_graph(smoke.runs()[0].cell.model, 0)[0]
    artifact(results, node.id)
    make(results.stage(node.id) / "log.txt")
    make(results.run(smoke.runs()[0].run_id) / "failure.json")
    artifact(results, "distill-00000000")
    make(results.checkpoints("distill-00000000") / "step-3" / "state", "c" * 50)
    make(results.stage("distill-00000000") / "log.txt")
    make(results.run(STRANGE) / "failure.json")
    assert found(results, [smoke]) == {
        "artifacts/distill-00000000": "artifact",
        "checkpoints/distill-00000000": "checkpoints",
        "stages/distill-00000000": "logs",
        f"runs/{STRANGE}": "run",
    }
    assert set(found(results, [])) > {f"artifacts/{node.id}", f"stages/{node.id}"}


def test_a_seed_beyond_the_grids_own_is_known_where_it_was_run(
    results: Results, smoke: Grid
) -> None:
    graph = stage_graph(smoke.runs(seeds=[17])[0].cell.model, 17)
    artifact(results, graph[0].id, seed=17)
    make(results.checkpoints(graph[-1].id) / "step-1" / "state")
    assert found(results, [smoke]) == {}


def test_sealed_runs_and_what_they_name_stay_until_asked_for(results: Results, smoke: Grid) -> None:
    artifact(results, "distill-00000000")
    artifact(results, "distill-11111111")
    seal(results, STRANGE, {"distill": "distill-00000000"})
    seal(results, "other-00000000-s0", {"distill": "distill-11111111"}, committed=True)
    assert found(results, [smoke]) == {}
    assert found(results, [smoke], runs=True) == {
        f"runs/{STRANGE}": "sealed run",
        "artifacts/distill-00000000": "artifact",
    }


def test_a_record_of_a_newer_schema_still_holds_its_stages(results: Results, smoke: Grid) -> None:
    artifact(results, "distill-00000000")
    path = seal(results, STRANGE, {"distill": "distill-00000000"})
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))
    assert found(results, [smoke]) == {}


@pytest.mark.parametrize("by", [owner(), ELSEWHERE], ids=["here", "elsewhere"])
def test_what_is_locked_by_the_living_is_never_listed(
    results: Results, smoke: Grid, by: str
) -> None:
    artifact(results, "distill-00000000")
    make(results.artifacts / f"distill-11111111.partial-{ELSEWHERE}" / "x")
    make(results.run(STRANGE) / "status.json")
    for task in ("distill-00000000", "distill-11111111", STRANGE):
        make(results.locks / f"{task}~1", by)
    assert found(results, [smoke]) == {}


def test_leftovers_of_the_dead_are_listed_and_of_the_living_not(
    results: Results, smoke: Grid
) -> None:
    for name in (DEAD, owner(), ELSEWHERE):
        make(results.artifacts / f"sft-22222222.partial-{name}" / "x")
        make(results.run(smoke.runs()[0].run_id) / f".status.json.{name}.tmp")
    make(results.locks / "sft-22222222~1", DEAD)
    make(results.quarantine / "sft-22222222~1" / "model.safetensors")
    assert found(results, [smoke]) == {
        f"artifacts/sft-22222222.partial-{DEAD}": "unfinished",
        f"artifacts/sft-22222222.partial-{ELSEWHERE}": "unfinished",  # nobody holds its lock
        f"runs/{smoke.runs()[0].run_id}/.status.json.{DEAD}.tmp": "unfinished",
        "quarantine/sft-22222222~1": "quarantine",
    }


def test_what_a_living_study_run_works_on_stays_also_of_a_grid_that_is_not_known(
    results: Results, smoke: Grid
) -> None:
    artifact(results, "distill-00000000")
    make(results.run(STRANGE) / "failure.json")
    with present(results, "my-grid", "lab", [STRANGE], ["distill-00000000"]):
        assert found(results, [smoke]) == {}
    assert len(found(results, [smoke])) == 2


def test_checkpoints_of_a_stage_that_is_made_can_go(results: Results, smoke: Grid) -> None:
    stage = stage_graph(smoke.runs()[0].cell.model, 0)[0].id
    make(results.checkpoints(stage) / "step-3" / "state")
    assert found(results, [smoke]) == {}
    artifact(results, stage)
    assert found(results, [smoke]) == {f"checkpoints/{stage}": "checkpoints"}


def test_links_are_removed_and_never_followed(
    results: Results, smoke: Grid, tmp_path: Path
) -> None:
    precious = make(tmp_path / "elsewhere" / "precious.txt", "p" * 1000)
    results.quarantine.mkdir(parents=True)
    (results.quarantine / "link~1").symlink_to(precious.parent)
    artifact(results, "distill-00000000")
    (results.artifact("distill-00000000") / "link").symlink_to(precious)
    items = waste(results, references(results, [smoke]))
    assert all(item.size < 500 for item in items)
    remove(results, items)
    assert precious.read_text() == "p" * 1000
    assert everything(results) == set()


def test_what_is_locked_between_listing_and_removing_stays(results: Results, smoke: Grid) -> None:
    weights = artifact(results, "distill-00000000")
    items = waste(results, references(results, [smoke]))
    make(results.locks / "distill-00000000~1", owner())
    assert remove(results, items) == 0
    assert weights.is_file()


@pytest.fixture
def only_lab(monkeypatch: pytest.MonkeyPatch, smoke: Grid) -> None:
    def known(scales: list[str], left_out: list[PrerequisiteError] | None = None) -> Iterator[Grid]:
        if "gsm8k" in scales and left_out is not None:
            left_out.append(PrerequisiteError("math at gsm8k: no data file", hint="set STUDY_DATA"))
        yield smoke

    monkeypatch.setattr("study.cli.clean.known_grids", known)


@pytest.mark.usefixtures("only_lab")
def test_the_verb_shows_first_and_removes_when_told(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    committed = seal(results, "other-00000000-s0", {}, committed=True)
    kept = seal(results, STRANGE, {})
    artifact(results, "distill-00000000")
    before = everything(results)
    verb.clean(results=results.root, scale=["lab"])
    said = capsys.readouterr().out
    assert everything(results) == before
    assert "study clean --apply" in said
    assert f"{size(results.artifact('distill-00000000'))} B" in said
    verb.clean(results=results.root, scale=["lab"], apply=True)
    assert "B freed" in capsys.readouterr().out
    assert everything(results) == {committed, kept}
    verb.clean(results=results.root, scale=["lab"], apply=True)
    assert "nothing to clean" in capsys.readouterr().out


@pytest.mark.usefixtures("only_lab")
def test_nothing_unsure_is_removed_while_a_grid_cannot_be_planned(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = artifact(results, "distill-00000000")
    with pytest.raises(PrerequisiteError, match="1 of these may belong") as caught:
        verb.clean(results=results.root, apply=True, scale=["lab", "gsm8k"])
    assert "--scale lab" in caught.value.hint
    assert weights.is_file()
    assert "math at gsm8k: no data file" in capsys.readouterr().err
