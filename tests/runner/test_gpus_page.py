"""docs/gpus.md kept true: the hours of its table are those that `study rehearse` prints, and its
way of leaving arms out selects runs.
"""

import pytest

from study.runner.estimate.grid import Rehearsal, rehearse
from study.runner.estimate.sizes import Sizes
from study.runner.estimate.workload import Lengths
from study.spec.grid.grid import load_grid
from study.spec.machine.profile import load_profile
from tests.support.harness import ROOT

PAGE = (ROOT / "docs" / "gpus.md").read_text(encoding="utf-8")
USUAL, LONGEST = (
    Lengths(filled=0.35),
    Lengths(),
)  # what the verb assumes, and with every completion at its limit
GRIDS = (
    "core", "loss", "math", "teacher", "teacher-pi", "opsd-instance", "opsd-shared", "warmup",
    "prefix", "signal", "hidden-fact",
    "will-it-help",
)  # fmt: skip


def row(grid: str) -> list[str]:
    """The cells of a grid's row after its name; `a / b` are two of them."""
    line = next(
        line
        for line in PAGE.splitlines()
        if line.startswith(f"| `{grid}`") and line.count("|") == 9
    )
    return [part.strip() for cell in line.strip("|").split("|")[1:] for part in cell.split("/")]


def test_every_grid_has_a_row() -> None:
    for grid in GRIDS:
        assert len(row(grid)) == 12
        assert int(row(grid)[0]) == len(load_grid(grid, "paper").runs())


@pytest.mark.parametrize(
    ("grid", "scale"), [("math", "paper"), ("signal", "paper"), ("opsd-shared", "paper-8b-lora")]
)
def test_the_hours_are_those_of_the_rehearsal(grid: str, scale: str) -> None:
    runs = load_grid(grid, scale).runs()

    def estimated(profile: str, lengths: Lengths) -> Rehearsal:
        return rehearse(runs, load_profile(profile), Sizes(), lengths)

    both = {
        name: [estimated(name, each) for each in (USUAL, LONGEST)]
        for name in ("h200", "a100x8", "rtx-pro-6000x10")
    }
    expected: list[float] = [len(runs)]
    for name, (usual, longest) in both.items():
        expected += (
            [usual.device_hours]
            + ([] if name == "h200" else [usual.wall_hours])
            + [longest.wall_hours]
        )
    expected += [usual.disk_gb for usual, _ in both.values()]
    assert row(grid) == [f"{value:,.0f}" for value in expected]
    assert not any(usual.too_large for usual, _ in both.values())


def test_arms_are_left_out_as_the_page_says() -> None:
    assert "--only 'arm=[!c]*'" in PAGE
    grid = load_grid("opsd-shared", "paper")
    kept = {one.labels["arm"] for one in grid.runs(only="arm=[!c]*")}
    assert kept == {label for label in grid.factors["arm"] if not label.startswith("concise")}
