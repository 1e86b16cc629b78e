"""A teacher that follows its student: the formulas against slow twins, checkpoints to the same
bytes, identity, and what is refused.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl.trainer.callbacks import SyncRefModelCallback

from study.errors import PrerequisiteError, SpecError
from study.models.lab import build_model
from study.models.loading import load_model
from study.record.checkpoints import Checkpoints
from study.runner.estimate import memory, workload
from study.runner.estimate.advice import knobs
from study.runner.estimate.memory import Settings
from study.runner.estimate.sizes import Sizes
from study.runner.estimate.workload import Lengths
from study.spec.grid.grid import load_grid
from study.spec.identity import canonical
from study.spec.recipe.model import DistilledModel, LocalModel
from study.spec.recipe.objective import Objective
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.teacher import (
    EmaTeacher,
    FrozenTeacher,
    PeriodicTeacher,
    TeacherUpdate,
)
from study.spec.recipe.training import DistillTraining, Lora
from study.train import teacher_update as follow_module
from study.train.adapters import adapted, plain_weights
from study.train.build import build
from study.train.rehearsal.bench import Bench
from study.train.teacher_update import FILE, Follow, decay_at, follow, followed
from tests.support.resumed_stages import SHARED, at, content, shaken
from tests.support.tiny_stages import ARCHITECTURE, DATA, HERE

EMA, PERIODIC = EmaTeacher(decay=0.9), PeriodicTeacher(every=2)


def recipe(update: TeacherUpdate, **changes: Any) -> DistilledModel:
    training = DistillTraining(prompts_per_step=4, teacher_update=update, **{**SHARED, **changes})
    objective = Objective(support="student_topk", k=5, gradient="stop_gradient")
    told = PrivilegedInformation(
        template="<answer> {answer}"
    )  # without it a teacher equal to its student has nothing to say
    return DistilledModel(
        student=HERE,
        teacher=HERE,
        data=DATA,
        objective=objective,
        training=training,
        privileged=told,
    )


@pytest.fixture(scope="module")
def inputs(lab_models: dict[str, Path]) -> dict[str, Path]:
    """One model in both roles, as the recipe says."""
    return {"student": lab_models["student"], "teacher": lab_models["student"]}


@pytest.fixture(scope="module")
def through(
    inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[TeacherUpdate], Path]:
    """Return the artifact of a distillation that ran through, built once for each update."""
    root = tmp_path_factory.mktemp("through")

    def of(update: TeacherUpdate) -> Path:
        out = root / update.kind
        return out if out.exists() else run(recipe(update), inputs, out)

    return of


def run(
    made: DistilledModel,
    inputs: dict[str, Path],
    out: Path,
    checkpoints: Checkpoints | None = None,
    report: Any = None,
) -> Path:
    out.mkdir()
    build(
        made,
        0,
        inputs,
        out,
        report or (lambda *_: None),
        checkpoints or Checkpoints(out.with_name(out.name + "-c"), every_s=1e9),
    )
    return out


def two_models() -> tuple[Any, Any]:
    teacher, student = (build_model(ARCHITECTURE, 64, seed) for seed in (0, 1))
    return teacher, student


def test_a_moving_average_is_its_formula_and_trls() -> None:
    teacher, student = two_models()
    before, theirs = (
        {n: p.detach().double() for n, p in teacher.named_parameters()},
        copy.deepcopy(teacher),
    )
    moving = dict(student.named_parameters())
    for _ in range(3):
        follow(teacher, student, 0.9)
        SyncRefModelCallback._sync_target_model(student, theirs, 0.1)
    for share, is_it in (
        (0.9, True),
        (0.1, False),
    ):  # the closed form of three steps, and with the two exchanged
        twins = {
            name: share**3 * before[name] + (1 - share**3) * moving[name].double()
            for name in before
        }
        assert (
            all(
                torch.allclose(value.double(), twins[name], atol=1e-6)
                for name, value in teacher.named_parameters()
            )
            is is_it
        )
    for ours, other in zip(teacher.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(ours, other, atol=1e-7)


def test_a_copy_is_exact_and_comes_at_every_nth_step_alone() -> None:
    teacher, student = two_models()
    before = copy.deepcopy(teacher)
    part = Follow(teacher, PERIODIC)
    part.on_step_end(*_step(1), model=student)
    assert same(teacher, before)
    part.on_step_end(*_step(2), model=student)
    assert same(teacher, student)
    assert not same(teacher, before)
    assert [decay_at(PeriodicTeacher(every=3), step) for step in range(1, 7)] == [
        None,
        None,
        0.0,
        None,
        None,
        0.0,
    ]
    assert [decay_at(EMA, step) for step in (1, 2)] == [0.9, 0.9]


def _step(number: int) -> tuple[Any, Any, Any]:
    return SimpleNamespace(), SimpleNamespace(global_step=number), SimpleNamespace()


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_adapters_are_followed_as_the_weights_that_they_make() -> None:
    """Averaging A and B would be another model: (a + b)(a' + b') is not aa' + bb'."""
    teacher, student = two_models()
    plain_names = [name for name, _ in student.named_parameters()]
    made: Any = adapted(student, Lora(rank=2, alpha=4.0), 0)
    for name, value in made.named_parameters():
        if "lora_B" in name:  # zero until it is trained
            torch.nn.init.normal_(value, std=0.1, generator=torch.Generator().manual_seed(1))
    untouched = {name: value.detach().clone() for name, value in made.named_parameters()}
    assert [name for name, _ in plain_weights(made)] == plain_names
    follow(teacher, made, 0.0)
    assert all(torch.equal(value, untouched[name]) for name, value in made.named_parameters())
    words = torch.arange(12).view(2, 6)
    with torch.no_grad():
        assert torch.allclose(teacher(words).logits, made(words).logits, atol=1e-5)
    merged = made.merge_and_unload()
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(teacher.parameters(), merged.parameters(), strict=True)
    )


class Watched(Follow):
    """Keeps what the teacher was after each step, and what the student was."""

    seen: list[tuple[dict[str, Any], dict[str, Any]]]

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any
    ) -> None:
        super().on_step_end(args, state, control, model=model, **rest)
        student = {name: value.detach().clone() for name, value in plain_weights(model)}
        self.seen.append(
            (
                {name: value.detach().clone() for name, value in self.teacher.named_parameters()},
                student,
            )
        )


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4.0)], ids=["whole", "lora"])
def test_in_training_the_teacher_is_the_average_of_the_students_so_far(
    lora: Lora | None, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Watched.seen = []
    monkeypatch.setattr(follow_module, "Follow", Watched)
    run(recipe(EMA, lora=lora), inputs, tmp_path / "d")
    assert len(Watched.seen) == SHARED["steps"]
    twin = {
        name: value.detach().double()
        for name, value in load_model(inputs["student"]).named_parameters()
    }
    for teacher, student in Watched.seen:
        twin = {name: 0.9 * value + 0.1 * student[name].double() for name, value in twin.items()}
        assert all(
            torch.allclose(teacher[name].double(), value, atol=1e-6) for name, value in twin.items()
        )
    first, last = Watched.seen[0][0], Watched.seen[-1][0]
    assert any(not torch.allclose(first[name], last[name], atol=1e-4) for name in first)


@pytest.mark.slow
def test_the_loss_is_that_of_the_teacher_that_moves(
    inputs: dict[str, Path], through: Callable[[TeacherUpdate], Path], tmp_path: Path
) -> None:
    """Before its first copy a periodic teacher is the frozen one; the others lead to other
    students.
    """
    weights = {"ema": (through(EMA) / "model.safetensors").read_bytes()}
    for name, update in (
        ("copied", PeriodicTeacher(every=1)),
        ("frozen", FrozenTeacher()),
        ("late", PeriodicTeacher(every=99)),
    ):
        weights[name] = (
            run(recipe(update), inputs, tmp_path / name) / "model.safetensors"
        ).read_bytes()
    assert weights["late"] == weights["frozen"]
    assert len(set(weights.values())) == 3


@pytest.mark.slow
@pytest.mark.parametrize("update", [EMA, PERIODIC], ids=["ema", "periodic"])
@pytest.mark.parametrize("step", [1, 3, 5])
def test_stopped_and_continued_it_leaves_the_same_bytes(
    update: TeacherUpdate,
    step: int,
    inputs: dict[str, Path],
    through: Callable[[TeacherUpdate], Path],
    tmp_path: Path,
) -> None:
    made, expected = recipe(update), content(through(update))
    first = Checkpoints(tmp_path / "c", every_s=1e9, keep="all")
    with pytest.raises(SystemExit):
        run(made, inputs, tmp_path / "a", first, at(step, first.ask_to_stop))
    assert (tmp_path / "c" / f"step-{step}" / FILE).is_file()
    shaken()
    out = run(made, inputs, tmp_path / "b", Checkpoints(tmp_path / "c", every_s=1e9))
    assert {
        name: value for name, value in content(out).items() if not name.startswith("steps/")
    } == expected
    assert not list(out.rglob(FILE)), "kept weights are the student's alone"


@pytest.mark.slow
def test_a_teacher_that_was_not_read_back_would_be_seen(
    inputs: dict[str, Path],
    through: Callable[[TeacherUpdate], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the test above compares can tell: without the file's weights the continued training is
    another one.
    """
    made, expected = recipe(EMA), content(through(EMA))
    first = Checkpoints(tmp_path / "c", every_s=1e9)
    with pytest.raises(SystemExit):
        run(made, inputs, tmp_path / "a", first, at(3, first.ask_to_stop))
    monkeypatch.setattr(Follow, "read", lambda *_: None)
    assert (
        content(run(made, inputs, tmp_path / "b", Checkpoints(tmp_path / "c", every_s=1e9)))
        != expected
    )


def test_the_default_is_no_part_of_identity_and_the_others_are() -> None:
    plain = DistillTraining(prompts_per_step=4, **SHARED)
    assert canonical(recipe(FrozenTeacher()).training) == canonical(plain)
    assert "teacher_update" not in canonical(plain)
    texts = {
        canonical(recipe(update).training)
        for update in (FrozenTeacher(), EMA, EmaTeacher(decay=0.99), PERIODIC)
    }
    assert len(texts) == 4


def test_another_model_cannot_be_followed_by_a_students_copy() -> None:
    fields = recipe(EMA).model_dump() | {
        "teacher": LocalModel(path="unused", digest="another").model_dump()
    }
    with pytest.raises(ValueError, match="starts as the student, and these are two models"):
        DistilledModel.model_validate(fields)
    DistilledModel.model_validate(
        fields | {"training": recipe(FrozenTeacher()).training.model_dump()}
    )
    with pytest.raises(ValueError, match="`teacher_dtype: float32`"):
        recipe(EMA, teacher_dtype="bfloat16")
    recipe(PERIODIC, teacher_dtype="bfloat16")  # a copy loses nothing that it would keep


PAGE = """\
name: own
question: A teacher that moves
scales: [lab, paper]
base: {{student: student, teacher: {teacher}, data: math, pi: answer,
  objective: full_reverse_kl, length: standard, evaluation: math}}
factors:
  update:
    frozen: {{}}
    ema: {{training: {{teacher_update: {{kind: ema, decay: 0.99}}}}}}
    periodic: {{training: {{teacher_update: {{kind: periodic, every: 50}}}}}}
seeds: [0]
"""


@pytest.mark.parametrize("scale", ["lab", "paper"])
def test_a_grid_compares_the_three_and_names_its_line_where_it_cannot(
    scale: str, tmp_path: Path
) -> None:
    page = tmp_path / "own.yaml"
    page.write_text(PAGE.format(teacher="student"))
    cells = load_grid(str(page), scale).cells
    assert len({one.cell_id for one in cells}) == 3
    page.write_text(PAGE.format(teacher="rlvr"))
    with pytest.raises(SpecError, match=r"own\.yaml:4 teacher: `teacher_update"):
        _ = load_grid(str(page), scale).cells


def test_sharded_weights_are_refused_and_a_frozen_teacher_asks_for_nothing() -> None:
    trainer: Any = SimpleNamespace(is_fsdp_enabled=True)
    with pytest.raises(PrerequisiteError, match="sharded weights cannot be combined"):
        followed(trainer, torch.nn.Linear(1, 1), EMA)
    assert followed(trainer, torch.nn.Linear(1, 1), FrozenTeacher()) == {}


@pytest.mark.slow
def test_it_is_rehearsed_with_one_model_in_both_roles(tmp_path: Path) -> None:
    bench = Bench(tmp_path, steps=2, vocabulary=512, hidden=64)
    for update in (EMA, PeriodicTeacher(every=50)):
        assert bench.stage(recipe(update)).steps == 2


def test_no_knob_puts_a_moving_average_into_bfloat16() -> None:
    student = load_grid("math", "paper").cells[0].cell.model
    assert isinstance(student, DistilledModel)
    for update, offered in ((FrozenTeacher(), True), (EMA, False)):
        training = student.training.model_copy(update={"teacher_update": update})
        own = student.model_copy(update={"teacher": student.student, "training": training})
        work = workload.of_stage(own, Sizes(), Lengths())
        peak = memory.of_stage(own, work, Settings()).peak

        def measured(one: Any, how: Settings) -> float:
            return memory.of_stage(one, workload.of_stage(one, Sizes(), Lengths()), how).peak

        assert (
            any("teacher_dtype" in text for text in knobs(own, Settings(), 64, peak - 1, measured))
            is offered
        )
