"""`study logs` finds a run by what a person types and shows why it failed first; `study diff` shows
what differs and nothing else.
"""

import json
from pathlib import Path

import pytest

from study.cli import diff as diff_verb
from study.cli import logs as verb
from study.errors import SpecError
from study.record.owner import owner
from study.record.schema import sealed
from study.record.store import Results, write_json, write_record
from study.runner.graph.lookup import find_run, tasks_of
from study.runner.graph.stages import stages_by_role
from study.runner.work.sessions import present
from study.spec.grid.grid import load_grid
from study.spec.grid.labelled import LabelledRun
from tests.support import synthetic


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture(scope="module")
def runs() -> tuple[LabelledRun, ...]:
    return load_grid("smoke").runs()


def log(folder: Path, *lines: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder / "log.txt"


def fail(folder: Path, stage: str, error: str) -> None:
    write_json(
        folder / "failure.json",
        {"stage": stage, "error": error, "hint": "do this", "traceback": "...", "at": "2026-01-01"},
    )


def stages(run: LabelledRun) -> dict[str, str]:
    return stages_by_role(run.cell.model, run.seed)


def shown(
    capsys: pytest.CaptureFixture[str], results: Results, name: str, **options: object
) -> list[str]:
    settings: dict[str, object] = {"grid": None, "scale": "lab", **options}
    verb.logs(name, results=results.root, **settings)  # type: ignore[arg-type]
    return capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_a_run_is_found_by_id_unique_end_or_levels_also_before_it_left_anything(
    results: Results, runs: tuple[LabelledRun, ...]
) -> None:
    first = runs[0].run_id
    tail = "-".join(first.split("-")[-2:])
    for name in (first, tail):
        assert find_run(name, results, None, "lab") == first
        assert find_run(name, results, "smoke", "lab") == first
    assert find_run("biased_k1", results, "smoke", "lab") == first
    with pytest.raises(SpecError, match="fits 2 runs"):
        find_run("*", results, "smoke", "lab")
    with pytest.raises(SpecError, match="fits no run"):
        find_run("nothing-of-this-kind", results, None, "lab")
    log(results.stage("grpo-99999999"))
    assert find_run("99999999", results, None, "lab") == "grpo-99999999"
    assert [task.id for task in tasks_of("grpo-99999999", results, None, "lab")] == [
        "grpo-99999999"
    ]


def test_the_reason_of_a_failure_comes_first_and_once(
    results: Results, runs: tuple[LabelledRun, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run, stage = runs[0], stages(runs[0])["distill"]
    log(results.stage(stages(run)["student"]), *(f"line {i}" for i in range(50)))
    log(results.stage(stage), "step 1\rstep 2", "Traceback: boom")
    fail(results.stage(stage), stage, "ValueError: boom")
    fail(results.run(run.run_id), stage, f"stage {stage} failed: ValueError: boom")
    said = shown(capsys, results, run.run_id, lines=3)
    assert said[:3] == [
        run.run_id,
        f"FAILED at 2026-01-01: {stage}: ValueError: boom",
        "  -> do this",
    ]
    assert sum("FAILED" in line for line in said) == 1
    assert [line for line in said if line.startswith("line")] == ["line 47", "line 48", "line 49"]
    assert "step 2" in said
    assert "Traceback: boom" in said
    order = [line.split("  ")[0] for line in said if "  " in line and not line.startswith(" ")]
    assert order.index("student") < order.index("distill") < order.index("run")
    assert f"run  {run.run_id}: no log yet" in said


def test_a_run_without_any_log_names_the_verb_that_reads_its_record(
    results: Results, runs: tuple[LabelledRun, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    name = runs[0].run_id
    said = shown(capsys, results, name)
    assert f"{results.root} has no log of it: study run writes them as it works" in said
    assert said[-1] == f"  -> where it has a published record: study explain {name}"
    log(results.run(name), "step 1")
    assert not any("study explain" in line for line in shown(capsys, results, name))


@pytest.mark.slow
def test_one_stage_can_be_asked_for(
    results: Results, runs: tuple[LabelledRun, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for role, stage in stages(runs[0]).items():
        log(results.stage(stage), f"here is {role}")
    said = shown(capsys, results, runs[0].run_id, stage="distill")
    assert said[-1] == "here is distill"
    assert not any("here is teacher" in line for line in said)
    with pytest.raises(SpecError, match="no stage 'nonsense'") as caught:
        shown(capsys, results, runs[0].run_id, stage="nonsense")
    assert "distill" in caught.value.hint


def test_the_stages_of_a_sealed_run_come_from_its_record(
    results: Results, runs: tuple[LabelledRun, ...]
) -> None:
    record = synthetic.record(runs[0], 0.3, 0.8).model_copy(
        update={"stages": {"distill": "distill-77777777"}}
    )
    write_record(results.record(record.run), sealed(record))
    assert [(task.role, task.id) for task in tasks_of(record.run, results, None, "lab")] == [
        ("distill", "distill-77777777"),
        ("run", record.run),
    ]


def test_following_shows_what_is_new_until_nothing_is_at_work(
    results: Results,
    runs: tuple[LabelledRun, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, stage = runs[0], stages(runs[0])["distill"]
    path = log(results.stage(stage), "old")
    running = {
        "task": stage,
        "owner": owner(),
        "phase": "t",
        "done": 1,
        "total": 2,
        "eta_s": None,
        "updated": 0.0,
        "latest": {},
    }
    status = results.stage(stage) / "status.json"
    write_json(status, running)
    looks: list[int] = []

    def pass_time(seconds: float) -> None:
        looks.append(1)
        with path.open("a") as handle:
            handle.write(f"new {len(looks)}\n")
        if len(looks) == 3:
            status.unlink()
            fail(results.run(run.run_id), stage, "boom")

    monkeypatch.setattr(verb.time, "sleep", pass_time)
    with present(results, "smoke", "lab", [run.run_id], [stage]):
        said = shown(capsys, results, run.run_id, follow=True)
    assert [line for line in said if "new" in line] == [
        "distill: new 1",
        "distill: new 2",
        "distill: new 3",
    ]
    assert said.count("old") == 1
    assert said[-2].startswith("FAILED")


@pytest.mark.slow
def test_following_waits_for_a_living_study_run_to_come_to_the_run(
    results: Results, runs: tuple[LabelledRun, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def pass_time(seconds: float) -> None:
        looks.append(1)
        if len(looks) == 2:
            raise KeyboardInterrupt  # left by Ctrl-C: no error

    monkeypatch.setattr(verb.time, "sleep", pass_time)
    with present(results, "smoke", "lab", [runs[0].run_id], []):
        verb.logs(runs[0].run_id, follow=True, results=results.root, grid=None, scale="lab")
    assert len(looks) == 2
    verb.logs(runs[0].run_id, follow=True, results=results.root, grid=None, scale="lab")
    assert len(looks) == 2


def diff(capsys: pytest.CaptureFixture[str], results: Results, a: str, b: str) -> list[str]:
    diff_verb.diff(a, b, grid="smoke", results=results.root)
    return capsys.readouterr().out.splitlines()


def test_only_what_differs_between_two_cells_is_shown(
    results: Results, runs: tuple[LabelledRun, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    said = diff(capsys, results, "biased_k1", runs[1].cell_id.rpartition("-")[2])
    assert said[:2] == [f"A  {runs[0].cell_id}", f"B  {runs[1].cell_id}"]
    assert said[3].split() == ["value", "of", "A", "B", "identity"]
    assert [line.split() for line in said[4:]] == [
        ["model.objective.gradient", "through", "stop_gradient", "yes"]
    ]
    assert diff(capsys, results, "biased_k1", "biased_k1")[-1] == "the same settings"


def test_what_one_side_lacks_is_a_dash_and_paths_that_are_no_identity_say_so(
    runs: tuple[LabelledRun, ...],
) -> None:
    from study.spec.recipe.model import LocalModel

    cell = runs[0].cell
    locals_ = [
        cell.model_copy(update={"model": LocalModel(path=place, digest="0" * 16)})
        for place in ("here", "there")
    ]
    assert diff_verb.differences(*locals_) == [("model.path", "here", "there", "no")]
    rows = {path: row for path, *row in diff_verb.differences(cell, locals_[0])}
    assert rows["model.path"] == ["-", "here", "no"]
    assert rows["model.kind"] == ["distill", "local", "yes"]
    assert rows["model.objective.k"] == ["1", "-", "yes"]


def test_scores_stand_beside_and_two_recorded_runs_also_show_how_they_were_made(
    results: Results, runs: tuple[LabelledRun, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (
        synthetic.record(run, 0.3, final) for run, final in zip(runs, (0.5, 0.75), strict=True)
    )
    second = second.model_copy(
        update={"provenance": second.provenance.model_copy(update={"platform": "Other"})}
    )
    write_record(results.record(first.run), first)
    write_record(results.records / f"{second.run}.json", sealed(second))
    said = diff(capsys, results, "biased_k1", "stop_gradient_k1")
    assert said[-1].split("  ")[0] == "lab_math"
    assert "avg@4 0.5000, mean of 1 seed" in said[-1]
    assert "avg@4 0.7500, mean of 1 seed" in said[-1]
    said = diff(capsys, results, first.run, "-".join(second.run.split("-")[-2:]))
    assert said[0] == f"A  {first.run}"
    assert said[-2:] == ["made under, A -> B:", "  platform none -> Other"]
    assert json.loads(results.record(first.run).read_text())["seal"] == first.seal
