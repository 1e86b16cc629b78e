"""Grids and scales: what expands, what is refused and how, and where each value comes from."""

import re
from pathlib import Path
from typing import Any

import pytest

from study.errors import SpecError
from study.spec.grid.binding import objective, vocabulary_size
from study.spec.grid.grid import Grid, load_grid, named
from study.spec.grid.scale import Scale, load_scale
from study.spec.identity import canonical
from study.spec.recipe.model import BpeTokenizer, DistilledModel, GrpoModel, PretrainedLab
from study.spec.recipe.objective import Objective
from study.spec.yaml.load import find, parse

BASE = """name: trial
question: A question?
base:
  student: student
  teacher: rlvr
  objective: {preset: topk_biased, k: 5}
  length: standard
  data: math
  evaluation: math
"""

OBJECTIVE = "factors:\n  objective:\n    a: "


def grid_of(text: str, scale: Scale | str = "lab") -> Grid:
    return Grid(
        parse(BASE + text, "grids/trial.yaml"),
        scale if isinstance(scale, Scale) else load_scale(scale),
    )


def lab_with(old: str, new: str) -> Scale:
    """The lab with one place of its page changed. old: a regular expression, so that the lab's
    values may be tuned.
    """
    text, changes = re.subn(old, new, find("scales", "lab").read_text(encoding="utf-8"), count=1)
    assert changes == 1
    return Scale(parse(text, "scales/lab.yaml"))


def test_the_math_grid_is_24_cells_and_five_seeds() -> None:
    grid = load_grid("grids/math.yaml")
    assert len(grid.cells) == 24
    assert grid.seeds == (0, 1, 2, 3, 4)
    assert len({run.run_id for run in grid.runs()}) == 120
    assert sorted(
        cell.labels["objective"] for cell in grid.cells if cell.labels["length"] == "long"
    ) == ["biased_k5", "stop_gradient_k5"]
    core = grid.runs(core=True)
    assert len(core) == 10
    assert {run.seed for run in core} == {0}
    assert {run.labels["teacher"] for run in core} == {"rlvr", "strong_c"}


def test_the_smoke_grid_reuses_the_runs_of_the_math_grid() -> None:
    smoke = load_grid("smoke").runs()
    assert len(smoke) == 2
    assert {run.run_id for run in smoke} <= {run.run_id for run in load_grid("math").runs()}


def test_shared_recipes_are_one_object() -> None:
    """Planning thousands of runs is fast because a model is built and hashed once."""
    models = [cell.cell.model for cell in load_grid("math").cells]
    assert all(isinstance(model, DistilledModel) for model in models)
    assert len({id(model.student) for model in models if isinstance(model, DistilledModel)}) == 1
    rlvr = next(
        model.teacher
        for model in models
        if isinstance(model, DistilledModel) and isinstance(model.teacher, GrpoModel)
    )
    assert rlvr.base is models[0].student  # type: ignore[union-attr]


def test_two_labels_for_one_cell_are_one_cell() -> None:
    grid = grid_of(
        "factors:\n  objective: {a: {preset: topk_biased, k: 5}, b: {support: student_topk, k: 5},"
        " c: full_reverse_kl}\n"
    )
    assert [cell.labels for cell in grid.cells] == [{"objective": "a"}, {"objective": "c"}]
    assert grid.cells[0].also == ({"objective": "b"},)
    assert grid.runs(only="b")[0].run_id == grid.runs(only="a")[0].run_id


def test_exclusion_and_inclusion() -> None:
    text = "factors:\n  teacher: [rlvr, strong_c]\n  length: [standard, long]\n"
    assert len(grid_of(text).cells) == 4
    text += "exclude:\n  - {length: long}\n"
    assert [c.text for c in grid_of(text).cells] == [
        "teacher=rlvr,length=standard",
        "teacher=strong_c,length=standard",
    ]
    text += "include:\n  - {teacher: [strong_c], length: long}\n"
    assert [c.text for c in grid_of(text).cells][2:] == ["teacher=strong_c,length=long"]


def test_runs_are_selected_by_seed_and_glob() -> None:
    grid = load_grid("math")
    assert {
        run.labels["objective"] for run in grid.runs(only="teacher=rlvr,biased_*,standard")
    } == {"biased_k1", "biased_k5", "biased_k20"}
    assert [run.seed for run in grid.runs(seeds=[7], only="sampled_pg,rlvr")] == [7]
    run = grid.runs()[5]
    assert grid.runs(only=run.run_id) == (run,)
    assert {r.cell_id for r in grid.runs(only=run.cell_id)} == {run.cell_id}
    with pytest.raises(
        SpecError,
        match=(
            r"selects no run of this grid; did you mean 'biased_k5'\?\n.*levels of math:"
            r" .*biased_k1"
        ),
    ):
        grid.runs(only="objective=biased_k50")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "factor: {}",
            r"grids/trial\.yaml:10 factor: unknown field 'factor'; did you mean 'factors'\?",
        ),
        (
            "factors:\n  objectiv: {a: full_jsd}",
            (
                r"grids/trial\.yaml:11 factors\.objectiv: not a key of base; did you mean"
                r" 'objective'\?"
            ),
        ),
        (
            OBJECTIVE + "{support: full, kk: 20}",
            r"^grids/trial\.yaml:12 objective\.kk: unknown field 'kk'; did you mean 'k'\?",
        ),
        (
            OBJECTIVE + "{preset: topk_biassed, k: 1}",
            r":12 objective\.preset: unknown preset 'topk_biassed'; did you mean 'topk_biased'\?",
        ),
        (
            OBJECTIVE + "{preset: topk_renormalised, k: 1}",
            r":12 objective: renormalised on one token is identically zero",
        ),
        (OBJECTIVE + "{preset: topk_biased}", r":12 objective: support 'student_topk' needs k"),
        (
            OBJECTIVE + "{preset: topk_biased, k: 65}",
            r":12 objective\.k: 65 is larger than the vocabulary of the student \(64 tokens\)",
        ),
        (
            "factors:\n  teacher:\n    a: rlrv",
            r":12 teacher: no entry 'rlrv' .*lab\.yaml \(known: .*\); did you mean 'rlvr'\?",
        ),
        (
            "factors: {length: [standart]}",
            r":10 length: no entry 'standart' under lengths .*did you mean 'standard'\?",
        ),
        (
            "factors: {length: [standard]}\nexclude:\n  - {length: lang}",
            r"exclude\[0\]\.length: unknown level 'lang' \(levels: standard\)",
        ),
        (
            "factors: {length: [standard]}\nexclude:\n  - {lenght: standard}",
            r"no such factor; did you mean 'length'\?",
        ),
        (
            "factors: {length: [long], teacher: [rlvr]}\ninclude:\n  - {length: long}",
            r"every factor; teacher is missing",
        ),
        ("factors: {length: []}", r"factors\.length: expected named levels"),
        ("seeds: [0, 1.5]", r"grids/trial\.yaml:10 seeds\.1: .*integer, found 1\.5"),
        ("seeds: []", r"seeds: .*at least 1 item"),
        ("seeds: [0, 1, 0]", r":10 seeds: seed 0 is named twice"),
        ("seeds: [0, -1]", r":10 seeds\.1: .*greater than or equal to 0, found -1"),
        ("seeds: [2147483648]", r":10 seeds\.0: .*less than 2147483648"),
        (f"seeds: {list(range(10_001))}", r":10 seeds: .*at most 10000 items"),
        (f"seeds: {list(range(20_000))}", r"trial\.yaml:10: a list of 20,000 members"),
    ],
)
def test_bad_grids_answer_with_line_path_and_a_suggestion(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        _ = grid_of(text).cells


def test_k_up_to_the_vocabulary_is_accepted() -> None:
    assert len(grid_of("factors: {objective: {all: {preset: topk_biased, k: 64}}}").cells) == 1


def test_a_student_and_a_teacher_with_other_tokenizers_are_refused() -> None:
    bpe = "  strong_c:\n    tokenizer: {kind: bpe, vocab_size: 300}"
    scale = lab_with("  strong_c:", bpe + "\n")
    assert vocabulary_size(scale.model(parse("strong_c", "x"), "x").spec) == 300
    assert BpeTokenizer(vocab_size=300) != BpeTokenizer(vocab_size=301)
    with pytest.raises(SpecError, match="do not share a map from tokens to ids"):
        _ = grid_of("factors: {teacher: [strong_c]}", scale).cells


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "kind: grpo",
            "kind: gppo",
            (
                r"scales/lab\.yaml:\d+ models\.rlvr\.kind: 'gppo' is not one of .*; did you mean"
                r" 'grpo'\?"
            ),
        ),
        (
            "base: student",
            "base: studnt",
            r"models\.rlvr\.base: no entry 'studnt' under models .*did you mean 'student'\?",
        ),
        ("base: student", "base: rlvr", r"the model 'rlvr' is made from itself: rlvr -> rlvr"),
        (
            r"(?<=lengths:\n  )standard: \d+",
            "standard: no",
            r"scales/lab\.yaml:\d+ .*integer, found 'no'",
        ),
        (
            "share_plain:",
            "share_plane:",
            r"lab\.yaml:\d+ models\.student\.corpus\.share_plane: unknown field .*'share_plain'\?",
        ),
        (
            r"(?<=distill:\n  )prompts_per_step: \d+",
            "prompts_per_step: 0",
            r"scales/lab\.yaml:\d+ training\.prompts_per_step: .*found 0",
        ),
    ],
)
def test_bad_scales_answer_with_line_path_and_a_suggestion(
    old: str, new: str, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        _ = grid_of("", lab_with(old, new)).cells


def test_an_unknown_grid_or_scale_lists_the_known_ones() -> None:
    with pytest.raises(
        SpecError, match=r"no grid named 'nothing'[\s\S]*known grids: [\s\S]*math, [\s\S]*smoke"
    ):
        load_grid("nothing")
    with pytest.raises(SpecError, match=r"no scale named 'labb'; did you mean 'lab'\?"):
        load_grid("math", "labb")


def test_every_value_of_a_cell_has_its_origin() -> None:
    cell = load_grid("math").find_cell("rlvr,biased_k1,standard")
    where = cell.origin
    lines = find("grids", "math").read_text(encoding="utf-8").splitlines()
    line = next(i for i, text in enumerate(lines, 1) if text.strip().startswith("biased_k1:"))
    assert where["model.objective.k"] == f"grids/math.yaml:{line}"
    assert where["model.objective.support"] == f"grids/math.yaml:{line} (preset topk_biased)"
    assert where["model.objective.temperature"] == "default"
    assert where["model.training.steps"].startswith("scales/lab.yaml:")
    assert where["model.student.architecture.hidden_size"].startswith("scales/lab.yaml:")
    notes = {value.path: value.note for value in cell.values}
    assert "2e-6 [W Table 1]" in notes["model.training.optimisation.learning_rate"]
    assert {value.path: value.value for value in cell.values}[
        "model.teacher.base"
    ] == "= model.student"


def test_a_grid_may_lay_training_settings_over_those_of_the_scale() -> None:
    grid = grid_of(
        "factors:\n  training:\n    small: {prompts_per_step: 8}\n    hot: {sampling: {temperature:"
        " 2}}\n"
    )
    trained: list[Any] = [cell.cell.model for cell in grid.cells]
    assert [m.training.prompts_per_step for m in trained] == [8, 64]
    assert [m.training.sampling.temperature for m in trained] == [1.0, 2.0]
    assert grid.cells[0].origin["model.training.prompts_per_step"] == "grids/trial.yaml:12"
    assert len({cell.cell_id for cell in grid.cells}) == 2


def test_privileged_information_may_be_written_out_in_a_grid() -> None:
    told = grid_of(
        'factors:\n  pi:\n    none: none\n    answer: {template: "The answer is {answer}."}\n'
    ).cells
    assert [
        cell.cell.model.privileged is None
        for cell in told
        if isinstance(cell.cell.model, DistilledModel)
    ] == [True, False]
    assert "-pi-" in told[1].cell_id


def test_an_objective_can_be_a_preset_a_mixture_or_a_tuple() -> None:
    assert objective(parse("topk_tail_bucket_k", "x").__class__("full_jsd", "x:1")).spec.beta == 0.5
    mixed = objective(parse("{preset: topk_biased, k: 3, temperature: 2}", "x")).spec
    assert (mixed.k, mixed.temperature, mixed.support) == (3, 2.0, "student_topk")
    with pytest.raises(SpecError, match="expected a preset or the fields"):
        objective(parse("[1]", "x"))


def test_a_grid_in_the_working_folder_wins(tmp_path: Path) -> None:
    page = tmp_path / "experiments" / "grids" / "math.yaml"
    page.parent.mkdir(parents=True)
    page.write_text(BASE, encoding="utf-8")
    assert load_grid("math", root=tmp_path).name == "trial"
    assert load_grid("smoke", root=tmp_path).name == "smoke"


def test_a_composed_grid_holds_every_cell_once_under_the_name_of_its_grid() -> None:
    full, core = load_grid("full"), load_grid("core")
    members = {
        cell.cell_id
        for name in ("loss", "teacher", "warmup", "opsd-instance")
        for cell in load_grid(name).cells
    }
    ids = [cell.cell_id for cell in full.cells]
    assert members <= set(ids)
    assert len(ids) == len(set(ids))
    assert {cell.cell_id for cell in core.cells} < set(ids)
    assert all(set(cell.labels) == {"grid", "cell"} for cell in full.cells)
    assert full.runs(only="grid=teacher", seeds=[0])


def test_the_size_of_the_study_is_bounded() -> None:
    assert len(load_grid("core").cells) <= 36
    assert len(load_grid("full").cells) <= 120


def test_every_cell_of_the_entry_grid_about_rlvr_stands_in_the_loss_grid() -> None:
    loss = {cell.cell_id for cell in load_grid("loss").cells}
    assert {
        cell.cell_id for cell in load_grid("math").cells if cell.labels["teacher"] == "rlvr"
    } <= loss


BUNDLES = """
name: bundles
question: Do levels set several keys?
base: {student: student, teacher: rlvr, objective: full_reverse_kl,
  length: standard, data: math, evaluation: math}
factors:
  arm: {as_it_is: {}, other: {teacher: strong_c, length: long},
    untouched: {model: student, also: off_target}}
seeds: [0]
"""


def bundles(text: str) -> Grid:
    return Grid(parse(text, "grids/bundles.yaml"), load_scale("lab"))


def test_a_level_of_a_bundle_sets_the_keys_it_names_and_a_model_is_evaluated_as_it_is() -> None:
    plain, other, untouched = bundles(BUNDLES).cells
    math = {cell.text: cell.cell_id for cell in load_grid("math").cells}
    assert plain.cell_id == math["teacher=rlvr,objective=full,length=standard"]
    assert isinstance(other.cell.model, DistilledModel)
    assert other.cell.model.training.steps == 400
    assert isinstance(untouched.cell.model, PretrainedLab)
    assert [one.score_name for one in untouched.cell.evaluations] == ["lab_math", "off_target"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "teacher: strong_c",
            "teachr: strong_c",
            r"factors\.arm\.other: 'teachr' is not a key of base; did you mean 'teacher'",
        ),
        ("as_it_is: {}", "as_it_is: rlvr", r"bundles\.yaml:\d+ factors\.arm: not a key of base"),
        (
            "also: off_target",
            "also: math",
            r"bundles\.yaml:\d+ also: two evaluations of this cell are called 'lab_math'",
        ),
        ("length: standard, ", "", r"base\.length: a distilled cell needs `length`"),
    ],
)
def test_bad_bundles_are_refused_where_they_stand(old: str, new: str, message: str) -> None:
    assert old in BUNDLES
    with pytest.raises(SpecError, match=message):
        _ = bundles(BUNDLES.replace(old, new)).cells


def test_commands_name_the_scale_unless_it_is_the_one_they_take_by_default() -> None:
    assert named("math", "lab") == "--grid math"
    assert named("will-it-help", "mine") == "--grid will-it-help --scale mine"


def test_a_grid_has_a_name_that_a_file_can_have() -> None:
    with pytest.raises(SpecError, match=r"trial\.yaml:1 name: .*at most 100 characters"):
        Grid(parse(BASE.replace("trial", "g" * 300), "trial.yaml"), load_scale("lab"))


@pytest.mark.parametrize("scale", ["lab", "paper"])
def test_the_grid_of_reductions_crosses_both_forms_and_has_placebos(scale: str) -> None:
    """Same student, teacher and steps in every cell: the objective is all that differs."""
    cells = [labelled.cell for labelled in load_grid("reduction", scale).cells]
    models = [cell.model for cell in cells if isinstance(cell.model, DistilledModel)]
    assert len(models) == len(cells) == 8
    forms = {
        (model.objective.support, model.objective.advantage, model.objective.reduction)
        for model in models
    }
    every = ("response_mean", "token_mean", "constant")
    crossed = {(support, None, reduction) for support in ("full", "sampled") for reduction in every}
    assert forms == crossed | {("sampled", 1.0, "response_mean"), ("sampled", 1.0, "constant")}
    rest = {canonical(model.model_copy(update={"objective": Objective()})) for model in models}
    assert len(rest) == 1
