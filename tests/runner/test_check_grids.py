"""`study check` on grids of losses: the note about a missing placebo, and a grid that has it."""

from itertools import takewhile
from pathlib import Path

import pytest

from study.runner.verbs.check import check_experiments
from study.spec.grid.grid import load_grid
from study.spec.recipe.model import DistilledModel
from tests.support.paths import ROOT

GRID = """
name: mine
question: Which loss is stable?
base: {{student: student, teacher: rlvr, pi: {pi}, length: standard, data: math, evaluation: math}}
factors:
  teacher: {teachers}
  objective:
    full: {{preset: full_reverse_kl}}
{losses}
seeds: [0, 1, 2, 3, 4]
"""
LOSSES = (
    "biased_k1: {preset: topk_biased, k: 1}",
    "biased_k5: {preset: topk_biased, k: 5}",
    "sampled: {preset: sampled_policy_gradient}",
)
NOTE = "a grid of losses has no teacher = student placebo"


def written(root: Path, teachers: str, losses: tuple[str, ...] = LOSSES, pi: str = "none") -> None:
    page = root / "experiments" / "grids" / "mine.yaml"
    page.parent.mkdir(parents=True)
    lines = "\n".join(f"    {loss}" for loss in losses)
    page.write_text(GRID.format(teachers=teachers, losses=lines, pi=pi))


def checked(root: Path) -> str:
    found = dict(check_experiments(root))["grids/mine.yaml at lab"]
    assert isinstance(found, str), found
    return found


@pytest.mark.parametrize(
    ("teachers", "losses", "pi", "noted"),
    [
        ("{rlvr: rlvr}", LOSSES, "none", True),
        ("{rlvr: rlvr, self: student}", LOSSES, "none", False),
        ("{rlvr: rlvr}", LOSSES[:2], "none", False),  # two losses are no grid of losses
        ("{rlvr: rlvr, self: student}", LOSSES, "answer", True),  # it sees more than its student
    ],
)
def test_a_grid_of_losses_without_its_placebo_is_noted(
    tmp_path: Path, teachers: str, losses: tuple[str, ...], pi: str, noted: bool
) -> None:
    written(tmp_path, teachers, losses, pi)
    assert (NOTE in checked(tmp_path)) == noted


def test_the_grid_of_the_docs_has_its_placebo(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    lines = text.partition("    name: losses\n")[2].splitlines()
    block = list(takewhile(lambda line: line.startswith("    "), lines))
    page = tmp_path / "experiments" / "grids" / "losses.yaml"
    page.parent.mkdir(parents=True)
    page.write_text("\n".join(["name: losses", *(line[4:] for line in block)]) + "\n")
    assert NOTE not in str(dict(check_experiments(tmp_path))["grids/losses.yaml at lab"])
    cells = load_grid("losses", root=tmp_path).cells
    models = [cell.cell.model for cell in cells if cell.labels["teacher"] == "self"]
    assert len(models) == 4
    for model in models:
        assert isinstance(model, DistilledModel)
        assert model.teacher == model.student
        assert model.privileged is None
