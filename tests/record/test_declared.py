"""States of the claims: what they hold, how they are read back, and what their world remembers."""

from pathlib import Path

import pytest

from study.errors import RecordMismatch
from study.record.declared.states import DIGITS, WORLD, in_force, keep, state_hash, stored
from study.record.declared.world import read_world, with_world
from study.record.store import Results
from study.spec.grid.grid import load_grid
from study.spec.grid.scale import load_scale
from tests.support.tiny import Tiny


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    return Tiny(tmp_path, monkeypatch)


def test_a_state_holds_claims_findings_and_the_world_of_every_grid_with_claims(tiny: Tiny) -> None:
    state = tiny.walk().declared
    assert {"tiny.yaml", "math.yaml", "findings/tiny.yaml", WORLD} <= set(state)
    world = read_world(state[WORLD], "here")
    grid = load_grid("tiny")
    assert world.grids["tiny"].seeds == (0, 1, 2)
    assert world.grids["tiny"].cells == {cell.cell_id: (cell.labels,) for cell in grid.cells}
    assert {"math", "teacher"} <= set(world.grids)
    assert "smoke" not in world.grids  # no claims


def test_a_state_is_read_back_by_its_hash_and_refused_when_any_file_differs(tiny: Tiny) -> None:
    state = tiny.walk().declared
    folder = tiny.results.declared
    name = keep(folder, state)
    assert name is not None
    assert name == state_hash(state)
    assert stored(folder, name) == dict(state)
    for file in ("findings/tiny.yaml", WORLD, "tiny.yaml"):
        path = folder / name[:DIGITS] / file
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        with pytest.raises(RecordMismatch, match="are not those of the state"):
            stored(folder, name)
        path.write_bytes(before)


def test_nothing_declared_has_no_state(tmp_path: Path) -> None:
    assert with_world({}, load_scale("lab"), Results(tmp_path)) == {}
    assert state_hash({}) is None


def test_the_same_declarations_give_the_same_state_before_and_after_runs(tiny: Tiny) -> None:
    before = state_hash(tiny.walk().declared)
    tiny.run(seeds=[0])
    assert state_hash(tiny.walk().declared) == before
    tiny.run()
    assert state_hash(tiny.walk().declared) == before


def test_a_scale_that_binds_no_grid_with_claims_has_an_empty_world(tiny: Tiny) -> None:
    """Neither missing data nor another scale's grids stop a run."""
    state = with_world(in_force(), load_scale("gsm8k"), tiny.results)
    assert "math" not in read_world(state[WORLD], "here").grids


def test_a_damaged_state_of_the_past_stops_no_run(tiny: Tiny) -> None:
    tiny.run(seeds=[0])
    (state,) = tiny.results.declared.iterdir()
    (state / WORLD).write_text("{", encoding="utf-8")
    assert tiny.walk().declared
    with pytest.raises(RecordMismatch, match="not the world of a state"):
        read_world(b"{}", "here")
