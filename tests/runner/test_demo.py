"""The shipped stages of `make demo`: whole, of today's recipes, small, and refused when a byte has
changed; they are compared with the same stages made again.
"""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from study.cli import demo
from study.cli.main import build_app
from study.errors import IncompleteResults, RecordMismatch, RunFailed
from study.record.machine import this_machine
from study.record.provenance import packages
from study.record.store import Results
from study.runner.graph.stages import stage_graph
from study.runner.verbs.demo import compare_stage, copy_stages, shipped_stages
from study.runner.work.artifacts import seal_artifact, verify_artifact
from study.runner.work.execute import execute_stage
from study.spec.grid.grid import load_grid
from study.spec.grid.labelled import LabelledRun
from study.spec.identity import cell_id
from tests.support.fake_work import WORK, cell
from tests.support.paths import ROOT

SHIPPED = ROOT / "results" / "demo-stages"
VERIFY_DEMO = demo.verify_demo


def fake_run(k: int = 1) -> LabelledRun:
    made = cell(k)
    return LabelledRun(f"{cell_id(made)}-s0", made, {"objective": f"k{k}"}, 0, cell_id(made))


@pytest.fixture
def made(tmp_path: Path) -> Results:
    """Artifacts of the torch-free stages of one run."""
    results = Results(tmp_path / "made")
    for node in stage_graph(fake_run().cell.model, 0):
        execute_stage(node, results, WORK, lambda *_: None)
    return results


def test_the_shipped_stages_are_those_of_the_smoke_grid_and_small() -> None:
    nodes = shipped_stages(SHIPPED, load_grid("smoke").runs())
    assert sorted(node.kind for node in nodes) == ["grpo", "pretrain"]
    assert {node.id for node in nodes} == {path.name for path in SHIPPED.iterdir() if path.is_dir()}
    size = sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file())
    assert size < 2_500_000


def test_they_are_in_no_folder_that_a_plan_reads() -> None:
    assert not SHIPPED.is_relative_to(Results(ROOT / "results").artifacts)
    assert Path("results") != demo.RESULTS


def test_copies_are_whole_and_what_is_there_stays(made: Results, tmp_path: Path) -> None:
    nodes = shipped_stages(made.artifacts, [fake_run()])
    target = Results(tmp_path / "demo")
    copy_stages(nodes[:2], made.artifacts, target)
    for node in nodes[:2]:
        verify_artifact(target.artifact(node.id))
        (target.artifact(node.id) / "mine").touch()
    copy_stages(nodes[:2], made.artifacts, target)
    assert all((target.artifact(node.id) / "mine").exists() for node in nodes[:2])
    assert sorted(path.name for path in target.artifacts.iterdir()) == sorted(
        node.id for node in nodes[:2]
    )


def test_a_changed_byte_is_refused_with_the_command_that_restores_it(made: Results) -> None:
    (node, *_) = shipped_stages(made.artifacts, [fake_run()])
    changed = next(
        path for path in made.artifact(node.id).iterdir() if path.name not in ("stage.json",)
    )
    changed.write_bytes(changed.read_bytes() + b" ")
    with pytest.raises(RecordMismatch, match="has changed") as caught:
        shipped_stages(made.artifacts, [fake_run()])
    assert "git checkout" in caught.value.hint


def test_stages_of_another_recipe_are_not_used(made: Results) -> None:
    ids = {node.id for node in shipped_stages(made.artifacts, [fake_run(2)])}
    assert not any(stage.startswith("distill") for stage in ids)


def reseal(folder: Path, target: Path, change: bool, **manifest: object) -> Path:
    """A copy of an artifact, sealed again with other entries in its manifest."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.copytree(folder, partial)
    old = json.loads((partial / "stage.json").read_bytes())
    (partial / "stage.json").unlink()
    if change:
        (partial / "extra.json").write_text("1")
    seal_artifact(partial, target, {**old, **manifest})
    return target


@pytest.mark.parametrize(
    ("threads", "change", "expected", "passed"),
    [
        (1, False, True, True),
        (1, True, True, False),
        (2, True, False, True),
        (None, True, None, True),
    ],
)
def test_other_bytes_fail_only_where_equal_ones_were_expected(
    threads: int | None, change: bool, expected: bool | None, passed: bool,
    made: Results, tmp_path: Path,
) -> None:  # fmt: skip
    node = stage_graph(fake_run().cell.model, 0)[0]
    here = this_machine().model_copy(update={"torch": "2.0", "threads": 1}).model_dump()
    there = {} if threads is None else {**here, "threads": threads}
    original = made.artifact(node.id)
    for name in "ab":
        (tmp_path / name).mkdir()
    manifest = {"machine": there, "packages": packages()}
    shipped = reseal(original, tmp_path / "a" / node.id, change, **manifest)
    again = reseal(original, tmp_path / "b" / node.id, False, machine=here)
    found = compare_stage(shipped, again)
    assert (found.expected, found.passed) == (expected, passed)
    assert bool(found.differing) is change
    if passed:
        demo.show_remade([found])
    else:
        with pytest.raises(RunFailed, match="not what today's code makes"):
            demo.show_remade([found])


def test_the_manifests_name_the_machine_that_made_them() -> None:
    for manifest in SHIPPED.glob("*/stage.json"):
        machine = json.loads(manifest.read_bytes())["machine"]
        assert machine["processor"]
        assert machine["threads"] == 1


class OneRun:
    """A grid of one run whose stages need no torch."""

    def runs(self) -> list[LabelledRun]:
        return [fake_run()]


@pytest.fixture
def shipping(made: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """The artifacts that `study verify --demo` finds shipped, made by the torch-free stages."""
    monkeypatch.setattr(demo, "load_grid", lambda name: OneRun())
    monkeypatch.setattr(demo, "verify_demo", lambda f: VERIFY_DEMO(f, made.artifacts, WORK))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return made


def test_the_verb_makes_the_shipped_stages_again_and_removes_its_folder(
    shipping: Results, tmp_path: Path
) -> None:
    done = CliRunner().invoke(build_app(), ["verify", "--demo"])
    assert done.exit_code == 0, done.output
    stages = [path.name for path in shipping.artifacts.iterdir()]
    assert sorted(done.output.splitlines()) == sorted(f"bitwise equal  {name}" for name in stages)
    assert not list((tmp_path / "temporary").iterdir())


def test_the_verb_fails_for_a_stage_that_is_not_what_today_s_code_makes(
    shipping: Results, tmp_path: Path
) -> None:
    node = stage_graph(fake_run().cell.model, 0)[0]
    here = this_machine().model_copy(update={"torch": "2.0", "threads": 1}).model_dump()
    other = reseal(shipping.artifact(node.id), tmp_path / node.id, True, machine=here)
    shutil.rmtree(shipping.artifact(node.id))
    other.rename(shipping.artifact(node.id))
    done = CliRunner().invoke(build_app(), ["verify", "--demo", "--keep"])
    assert f"other bytes  {node.id}: extra.json (" in done.output
    (kept,) = (tmp_path / "temporary").iterdir()
    assert f"kept: {kept}" in done.output
    again, changed = kept / "artifacts" / node.id, shipping.artifact(node.id)
    assert set(verify_artifact(again)["files"]) < set(verify_artifact(changed)["files"])


def test_without_shipped_stages_the_verb_names_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IncompleteResults, match="no stage of today's recipes") as caught:
        VERIFY_DEMO(tmp_path / "made", work=WORK)
    assert "checkout of the repository" in caught.value.hint


def test_the_word_for_what_happened() -> None:
    assert demo._word(0.45, 0.0) == "collapsed"
    assert demo._word(0.45, 0.9) == "learned"
    assert demo._word(0.45, 0.4) == "did not learn"
