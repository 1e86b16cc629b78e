"""`repeat: 2` in a grid: a second training seed on each base, on the same parents, under an id of
its own; nothing else changes.
"""

import pytest

from study.errors import SpecError
from study.record.seeds import stream, training_seed
from study.runner.graph.stages import run_graph
from study.spec.grid.grid import Grid, load_grid
from study.spec.grid.scale import load_scale
from study.spec.identity import (
    RunName,
    cell_id,
    parts_of_run,
    repeat_of,
    repeated,
    run_id,
    stage_id,
)
from study.spec.yaml.load import find, parse


def grid_with(text: str, name: str = "smoke") -> Grid:
    page = find("grids", name).read_text(encoding="utf-8") + text
    return Grid(parse(page, "grids/mine.yaml"), load_scale("lab"))


def test_the_first_repeat_is_the_run_that_a_grid_without_repeats_has() -> None:
    plain, twice = load_grid("smoke").runs(), grid_with("repeat: 2\n").runs()
    assert [run.run_id for run in twice if not run.repeat] == [run.run_id for run in plain]
    assert [run.cell for run in twice if not run.repeat] == [run.cell for run in plain]
    assert [run.run_id for run in twice if run.repeat] == [f"{run.run_id}r1" for run in plain]


def test_a_repeat_shares_every_stage_but_its_own() -> None:
    first, second = grid_with("repeat: 2\n").runs()[:2]
    graphs = [[node.id for node in run_graph(run.cell, run.seed)] for run in (first, second)]
    assert graphs[0][:-1] == graphs[1][:-1]
    assert graphs[0][-1] != graphs[1][-1]
    assert first.cell_id == second.cell_id == cell_id(second.cell)
    assert run_id(second.run) == second.run_id
    assert (repeat_of(first.cell), repeat_of(second.cell)) == (0, 1)


def test_seeds_and_repeats_are_listed_base_by_base() -> None:
    runs = grid_with("repeat: 3\n").runs(seeds=(4, 7))
    cell = runs[0].cell_id
    names = [run.run_id.removeprefix(f"{cell}-") for run in runs if run.cell_id == cell]
    assert names == ["s4", "s4r1", "s4r2", "s7", "s7r1", "s7r2"]


def test_what_other_cells_start_from_is_not_repeated() -> None:
    """A warmed-up student, an SFT model that others are distilled from, teachers, bases."""
    runs = grid_with("repeat: 2\n", "warmup").runs(seeds=(0,))
    twice = {run.cell_id for run in runs if run.repeat}
    behind = {node.id for run in runs for node in run_graph(run.cell, 0)[:-1]}
    once = [run for run in runs if run.cell_id not in twice]
    assert twice
    for run in once:
        model = run.cell.model
        assert model.kind in ("pretrain", "local", "hub") or stage_id(model, 0) in behind
    assert not any(stage_id(run.cell.model, 0) in behind for run in runs if run.repeat)


def test_the_core_has_no_repeats() -> None:
    name = "math"
    runs = grid_with("repeat: 2\n", name).runs(core=True)
    assert [run.run_id for run in runs] == [run.run_id for run in load_grid(name).runs(core=True)]


@pytest.mark.parametrize("number", ["0", "21", "two"])
def test_a_number_of_repeats_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(SpecError, match="repeat"):
        grid_with(f"repeat: {number}\n")


def test_a_model_that_is_not_trained_here_has_no_repeats() -> None:
    base = next(
        cell.cell for cell in load_grid("opsd-instance").cells if cell.cell.model.kind == "pretrain"
    )
    with pytest.raises(SpecError, match="no repeats"):
        repeated(base, 1)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("distill-x-0a1b2c3d-s0", RunName("distill-x-0a1b2c3d", 0, 0)),
        ("distill-x-0a1b2c3d-s12r3", RunName("distill-x-0a1b2c3d", 12, 3)),
        ("distill-x-0a1b2c3d-s0r0", None),
        ("distill-x-0a1b2c3d", None),
        ("evaluation.partial", None),
    ],
)
def test_the_parts_of_a_runs_id(name: str, parts: RunName | None) -> None:
    assert parts_of_run(name) == parts


def test_the_first_training_seed_is_the_runs_and_others_are_their_own() -> None:
    assert training_seed(5, 0) == 5
    found = {training_seed(seed, repeat) for seed in range(50) for repeat in range(1, 5)}
    assert len(found) == 200
    assert all(0 <= seed < 2**31 for seed in found)
    assert training_seed(5, 1) == stream(5, "repeat", 1) % 2**31
