"""docs/extending.md does what it says: every block becomes the file that it names; each extension
binds, passes its checks and works.
"""

import re
from pathlib import Path

import pytest

from study.data.load import load
from study.data.views import privileged_text
from study.grading.registry import open_grader
from study.spec.grid.grid import load_grid
from study.spec.grid.scale import load_scale
from study.spec.recipe.model import DistilledModel, GrpoModel, HubModel
from study.spec.recipe.user_code import UserCode
from study.spec.yaml.load import Located
from study.train.preflight import grading as contracts_grading
from study.train.preflight.own_code import check_loss, check_reward
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIMIT = 30  # lines of a block


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files in a working folder, in the order of the page."""
    for name, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_is_a_short_file() -> None:
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) == PAGE.read_text(encoding="utf-8").count("```") / 2 == 9
    assert {
        name: len(text.splitlines()) for name, text in blocks if len(text.splitlines()) > LIMIT
    } == {}


def test_files_that_the_page_names_exist() -> None:
    named = re.findall(
        r"`((?:study|experiments)/[\w/]+\.(?:py|yaml))`", PAGE.read_text(encoding="utf-8")
    )
    assert len(named) >= 8
    assert [name for name in named if not (PAGE.parents[1] / name).is_file()] == []


def test_privileged_information() -> None:
    grid = load_grid("hints", "mine")
    models = {cell.labels["pi"]: cell.cell.model for cell in grid.cells}
    hint = models["hint"]
    assert isinstance(hint, DistilledModel)
    assert hint.privileged is not None
    problem = load(hint.data, "train")[0]
    assert privileged_text(problem, hint.privileged) == f"<answer> {problem.answer}"
    assert len({cell.cell_id for cell in grid.cells}) == 3
    assert grid.cells[0].cell.evaluation.k == 2


def test_the_loss() -> None:
    model = next(
        cell.cell.model
        for cell in load_grid("skewed", "mine").cells
        if cell.labels["objective"] == "skewed"
    )
    assert isinstance(model, DistilledModel)
    assert [check.state for check in check_loss(model.objective)] == ["ok"] * 5


def test_the_grader_and_the_reward() -> None:
    scale = load_scale("graded")
    grader = scale.evaluation(Located("math", "here"), "evaluation").spec.grader
    assert isinstance(grader, UserCode)
    capitals = load(load_scale("capitals").data(Located("math", "here"), "data").spec, "train")
    assert contracts_grading.grader(capitals, "jsonl", grader.reference).passed
    with open_grader("rules.py:grade") as judge:
        assert str(judge.grade("Well,\nparis.", "Paris").outcome) == "correct"
    rlvr = scale.model(Located("rlvr", "here"), "model").spec
    assert isinstance(rlvr, GrpoModel)
    assert isinstance(rlvr.training.reward, UserCode)
    assert check_reward(rlvr.training.reward.python).passed


def test_the_data_source(folder: Path) -> None:
    scale = load_scale("capitals")
    data = scale.data(Located("math", "here"), "data").spec
    splits = [load(data, "train"), load(data, "selection"), load(data, "held_out")]
    assert sum(map(len, splits)) == len((folder / "capitals.jsonl").read_text().splitlines()) == 6
    assert all(splits)
    hint = scale.privileged(Located("hint", "here"), "pi").spec
    assert hint is not None
    assert privileged_text(splits[0][0], hint).startswith("Think of this: ")


def test_the_model() -> None:
    scale = load_scale("other-student")
    student, rlvr = (
        scale.model(Located(name, "here"), "model").spec for name in ("student", "rlvr")
    )
    assert isinstance(student, HubModel)
    assert isinstance(rlvr, GrpoModel)
    assert rlvr.base == student
