"""Preflight: the contracts hold on a sound grid, each one fails when it is broken once, and the
screen and exit code say so.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from study.cli import main
from study.data.load import load
from study.data.problems import Problem
from study.errors import PrerequisiteError, RecordMismatch
from study.grading import boxed as grading
from study.grading import golden, reading
from study.grading.boxed import Outcome
from study.grading.registry import VERSIONS
from study.grading.symbolic.inquiry import Finding, Inquiry
from study.grading.symbolic.pool import SymbolicPool
from study.models.lab import LAB_VOCABULARY, build_model, build_tokenizer
from study.models.loading import load_tokenizer, save
from study.objectives import divergences, sampled
from study.record.store import Results
from study.runner.verbs.preflight import MadeModels
from study.runner.work.artifacts import weights_digest
from study.spec.grid.cell import Cell
from study.spec.grid.grid import load_grid
from study.spec.grid.labelled import LabelledCell
from study.spec.identity import cell_id, stage_id
from study.spec.recipe.corpus import ArithmeticCorpus
from study.spec.recipe.data import JsonlData
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import (
    DistilledModel,
    GrpoModel,
    LabTokenizer,
    LocalModel,
    Model,
    PretrainedLab,
)
from study.spec.recipe.objective import PRESETS, TOPK_SUPPORTS, Objective
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.training import (
    Curve,
    DistillTraining,
    GrpoTraining,
    Optimisation,
    Sampling,
    SupervisedTraining,
)
from study.spec.yaml.load import Located
from study.train import build as stages
from study.train import distill as distill_module
from study.train.preflight import grading as contracts_grading
from study.train.preflight import order
from study.train.preflight import scores as contracts_scores
from study.train.preflight import seeds as contracts_seeds
from study.train.preflight import temperatures as contracts_temperatures
from study.train.preflight import views as contracts_views
from study.train.preflight.check import Check, refuse
from study.train.preflight.order import check_grid
from study.train.preflight.pairs import PROBLEMS, sources_of
from tests.support.tiny_stages import ARCHITECTURE, DATA, SAMPLING

OPTIMISATION = Optimisation(learning_rate=1e-2)
CURVE = Curve(every=1, problems=2, k=1)
EVALUATION = Evaluation(task="lab_math", data=DATA, k=1, sampling=SAMPLING)
STUDENT, TEACHER = LocalModel(path="student", digest="a"), LocalModel(path="teacher", digest="b")
BIASED = Objective(support="student_topk", k=5)
CONTROL = Objective(support="sampled", gradient="through")
PI = PrivilegedInformation(template="<answer> {answer}")
CONTRACTS = {
    "grader", "models", "tokens", "end of turn", "chat template", "views", "temperatures",
    "zero at the teacher", "teacher matters",
    "coverage", "seeds",
}  # fmt: skip


def cell(
    objective: Objective | None = None, *, privileged: PrivilegedInformation | None = None,
    student: Model = STUDENT,
    teacher: Model = TEACHER, sampling: Sampling = SAMPLING, evaluation: Evaluation = EVALUATION,
    steps: int = 1,
) -> LabelledCell:  # fmt: skip
    training = DistillTraining(
        steps=steps, prompts_per_step=4, optimisation=OPTIMISATION, sampling=sampling, curve=CURVE
    )
    recipe = DistilledModel(
        student=student,
        teacher=teacher,
        data=DATA,
        privileged=privileged,
        objective=objective or Objective(),
        training=training,
    )
    made = Cell(scale="lab", model=recipe, evaluation=evaluation)
    return LabelledCell(made, cell_id(made), {"teacher": "strong"}, Located({}, "here"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two random models of one tokenizer, `student` and `teacher`."""
    root = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("student", "teacher")):
        write(root / name, seed)
    return root


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models differ within few tokens."""
    for module in (contracts_scores, contracts_seeds):
        monkeypatch.setattr(module, "LENGTH", 6)


def write(
    folder: Path, seed: int, change: Callable[[Any, Any], None] | None = None, tokenizer: Any = None
) -> Path:
    """A model folder; `change` breaks the model or the tokenizer before they are saved."""
    tokenizer = tokenizer or build_tokenizer(LabTokenizer())
    model = build_model(ARCHITECTURE, len(tokenizer), seed)
    if change:
        change(model, tokenizer)
    save(model, tokenizer, folder)
    return folder


def checks_of(root: Path, *cells: LabelledCell, teacher: Path | None = None) -> list[Check]:
    def folder(model: Model) -> Path | None:
        assert isinstance(model, LocalModel)
        return teacher if teacher and model is TEACHER else root / model.path

    return check_grid(cells or (cell(),), folder, lambda *_: None)


def failures(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.message for check in checks if not check.passed}


def one(checks: list[Check], name: str) -> Check:
    (found,) = (check for check in checks if check.name == name)
    return found


def with_k(fields: dict[str, Any]) -> dict[str, int]:
    return {"k": 5} if fields.get("support") in TOPK_SUPPORTS else {}


def test_a_sound_grid_passes_every_contract(sound: Path) -> None:
    every = [Objective.model_validate(fields | with_k(fields)) for fields, _ in PRESETS.values()]
    checks = checks_of(sound, *(cell(objective) for objective in every), cell(privileged=PI))
    assert failures(checks) == {}
    assert {check.name for check in checks} == CONTRACTS


def test_what_cells_share_is_checked_once(sound: Path) -> None:
    alone = checks_of(sound, cell(BIASED), cell(Objective()))
    more = checks_of(
        sound, cell(BIASED), cell(BIASED, steps=7), cell(Objective()), cell(Objective(), steps=7)
    )
    assert alone == more
    keys = [(check.name, check.subject, check.measured.get("k")) for check in more]
    assert len(keys) == len(set(keys))


def test_forms_that_move_an_equal_student_are_told_and_do_not_block(sound: Path) -> None:
    checks = checks_of(
        sound,
        cell(BIASED),
        cell(CONTROL),
        cell(Objective(**PRESETS["constant_advantage"][0])),
        cell(Objective(support="student_topk", k=5, gradient="stop_gradient")),
    )
    notes = {
        (check.name, check.subject.rpartition(", ")[2]): check.message
        for check in checks
        if check.state == "note"
    }
    moved = {
        ("zero at the teacher", "topk_biased k=5"),
        ("zero at the teacher", "sampled_plain_loss"),
        ("zero at the teacher", "constant_advantage"),
        ("teacher matters", "sampled_plain_loss"),
        ("teacher matters", "constant_advantage"),
    }
    assert set(notes) >= moved
    assert notes["zero at the teacher", "topk_biased k=5"].endswith(
        "expected: an unnormalised TopK form moves its TopK mass"
    )
    assert notes["teacher matters", "sampled_plain_loss"].endswith("expected: negative control")
    assert not failures(checks)
    kept = next(
        c for c in checks if c.name == "zero at the teacher" and "stop_gradient" in c.subject
    )
    assert kept.measured["relative_gradient"] == kept.measured["largest_loss"] == 0


# ---- each contract, broken once


def test_two_swapped_tokens(sound: Path, tmp_path: Path) -> None:
    tokenizer = build_tokenizer(LabTokenizer())
    swapped = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = swapped["model"]["vocab"]
    vocabulary["so"], vocabulary["then"] = vocabulary["then"], vocabulary["so"]
    folder = write(tmp_path / "teacher", 1)
    (folder / "tokenizer.json").write_text(json.dumps(swapped))
    checks = checks_of(sound, teacher=folder)
    ids = f"id {vocabulary['then']} against {vocabulary['so']}"
    assert failures(checks) == {
        "tokens": f"student and teacher disagree on 2 tokens; the first is 'so': {ids}"
    }
    assert not {check.name for check in checks} & {
        "zero at the teacher",
        "coverage",
    }, "scores at the wrong tokens mean nothing"


def test_another_padding_token(sound: Path, tmp_path: Path) -> None:
    def change(_model: Any, tokenizer: Any) -> None:
        tokenizer.pad_token = "<eos>"

    message = failures(checks_of(sound, teacher=write(tmp_path / "teacher", 1, change)))["tokens"]
    assert message == "student and teacher disagree on the pad token: id 0 against 1"


def test_a_model_with_fewer_rows_than_tokens(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    save(
        build_model(ARCHITECTURE, len(LAB_VOCABULARY) - 4, 1),
        build_tokenizer(LabTokenizer()),
        folder,
    )
    assert (
        failures(checks_of(sound, teacher=folder))["tokens"]
        == "the tokenizer has 64 tokens, a model only 60 rows for them"
    )


def test_a_template_without_eos(sound: Path, tmp_path: Path) -> None:
    def change(_model: Any, tokenizer: Any) -> None:
        tokenizer.chat_template = tokenizer.chat_template.replace(" <eos>", "")

    checks = checks_of(sound, teacher=write(tmp_path / "teacher", 1, change))
    assert "without a token of its own" in failures(checks)["end of turn"]
    assert [check.subject for check in checks if not check.passed] == ["strong"]


def test_a_turn_that_ends_where_generation_does_not(tmp_path: Path) -> None:
    def change(_model: Any, tokenizer: Any) -> None:
        tokenizer.chat_template = tokenizer.chat_template.replace("<eos>", "<system>")

    for name in ("student", "teacher"):
        write(tmp_path / name, 0, change)
    assert (
        failures(checks_of(tmp_path))["end of turn"]
        == "the chat template ends a turn with '<system>' (id 2), generation stops at [1]"
    )


def test_a_turn_end_that_the_generation_config_lacks(sound: Path, tmp_path: Path) -> None:
    def change(model: Any, _tokenizer: Any) -> None:
        model.generation_config.eos_token_id = 3

    checks = checks_of(sound, teacher=write(tmp_path / "teacher", 1, change))
    found = next(
        check for check in checks if check.name == "end of turn" and check.subject == "strong"
    )
    assert found.state == "note"
    assert "not one of the generation config's [3]" in found.message


@pytest.mark.parametrize(
    ("special", "message"), [("eos_token", "no EOS token"), ("pad_token", "no padding token")]
)
def test_a_missing_special_token(special: str, message: str, sound: Path, tmp_path: Path) -> None:
    folder = write(
        tmp_path / "teacher", 1, lambda _model, tokenizer: setattr(tokenizer, special, None)
    )
    assert message in failures(checks_of(sound, teacher=folder))["end of turn"]


def test_no_chat_template_at_all(sound: Path, tmp_path: Path) -> None:
    folder = write(
        tmp_path / "teacher", 1, lambda _model, tokenizer: setattr(tokenizer, "chat_template", None)
    )
    assert "has no chat template" in failures(checks_of(sound, teacher=folder))["models"]


def test_a_template_without_a_generation_prompt(tmp_path: Path) -> None:
    def change(_model: Any, tokenizer: Any) -> None:
        tokenizer.chat_template = tokenizer.chat_template.partition(
            "{% if add_generation_prompt %}"
        )[0]

    for name in ("student", "teacher"):
        write(tmp_path / name, 0, change)
    assert "ignores add_generation_prompt" in failures(checks_of(tmp_path))["chat template"]


def test_a_teacher_with_a_template_of_its_own(sound: Path, tmp_path: Path) -> None:
    def change(_model: Any, tokenizer: Any) -> None:
        tokenizer.chat_template = tokenizer.chat_template.replace("<user>", "<system>")

    found = one(checks_of(sound, teacher=write(tmp_path / "teacher", 1, change)), "chat template")
    assert found.state == "note"
    assert "it is shown the student's" in found.message


def test_privileged_information_in_the_students_prompt(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = stages.teacher_view
    monkeypatch.setattr(
        stages, "teacher_view", lambda problem, _pi, other=None: original(problem, PI, other)
    )
    message = failures(checks_of(sound, cell(privileged=PI)))["views"]
    assert message.startswith(
        "the student's prompt holds the privileged information in 8 of 8 problems; the first:"
        " '<answer> "
    )


def test_privileged_information_that_the_teacher_never_sees(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = stages.teacher_view
    monkeypatch.setattr(
        stages, "teacher_view", lambda problem, _pi, other=None: original(problem, None, other)
    )
    assert "lacks what it should hold" in failures(checks_of(sound, cell(privileged=PI)))["views"]


def test_a_teacher_that_sees_more_without_privileged_information(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = stages.teacher_view
    calls = iter(range(1000))
    monkeypatch.setattr(
        stages,
        "teacher_view",
        lambda problem, _pi, other=None: original(problem, PI if next(calls) % 2 else None, other),
    )
    assert "holds what it should not" in failures(checks_of(sound))["views"]


def test_privileged_information_that_stands_in_the_problem_too_is_no_leak(sound: Path) -> None:
    """The answer is a digit, and so are most of the question's words."""
    assert not failures(
        checks_of(sound, cell(privileged=PrivilegedInformation(template="{answer}")))
    )


def test_a_system_message_that_the_template_drops(tmp_path: Path) -> None:
    def change(_model: Any, tokenizer: Any) -> None:
        tokenizer.chat_template = tokenizer.chat_template.replace(
            "<system> {{ m['content'] }} ", ""
        )

    for name in ("student", "teacher"):
        write(tmp_path / name, 0, change)
    pi = PrivilegedInformation(template="<answer> {answer}", placement="system")
    assert (
        "lacks what it should hold" in failures(checks_of(tmp_path, cell(privileged=pi)))["views"]
    )


def test_a_template_that_cannot_render_a_role(tmp_path: Path) -> None:
    def change(_model: Any, tokenizer: Any) -> None:
        tokenizer.chat_template = tokenizer.chat_template.replace(
            "<system> {{ m['content'] }} ", "{{ raise_exception('no system role') }}"
        )

    for name in ("student", "teacher"):
        write(tmp_path / name, 0, change)
    pi = PrivilegedInformation(template="<answer> {answer}", placement="system")
    assert (
        failures(checks_of(tmp_path, cell(privileged=pi)))["views"]
        == "the chat template cannot render it: no system role"
    )


def test_words_that_the_tokenizer_does_not_know(sound: Path) -> None:
    pi = PrivilegedInformation(template="the truth {answer}")
    assert failures(checks_of(sound, cell(privileged=pi)))["views"].startswith(
        "16 tokens of the prompts are unknown"
    )


def test_a_column_that_the_data_does_not_have(sound: Path) -> None:
    pi = PrivilegedInformation(template="{solutoin}")
    message = failures(checks_of(sound, cell(privileged=pi)))["views"]
    assert "uses column 'solutoin'; this data has answer, id, prompt, solution" in message


def test_a_placebo_shows_another_problems_text(sound: Path) -> None:
    placebo = PrivilegedInformation(template="<solution> {solution}", source="other")
    found = one(checks_of(sound, cell(privileged=placebo)), "views")
    assert (
        found.message
        == "placebo: the teacher sees another problem's, by chance the same text in 0 of 8"
    )
    blind = PrivilegedInformation(template="<solution>", source="other")
    assert failures(checks_of(sound, cell(privileged=blind)))["views"].endswith(
        "in 8 of 8: it is not a placebo"
    )


def test_temperatures_that_differ_are_told(sound: Path) -> None:
    cool = Evaluation(
        task="lab_math",
        data=DATA,
        k=1,
        sampling=Sampling(temperature=0.6, max_completion_length=10),
    )

    def found(other: LabelledCell) -> Check:
        recipe = other.cell.model
        assert isinstance(recipe, DistilledModel)
        return contracts_temperatures.temperatures(
            recipe, recipe.objective, other.cell.evaluation, "here"
        )

    same = found(cell(evaluation=cool))
    assert (same.state, same.message) == (
        "ok",
        "rollouts T=1, loss T=1, curve T=1, evaluation T=0.6",
    )
    assert same.measured["evaluation"] == 0.6
    warm, cut = (
        Sampling(temperature=1.5, max_completion_length=10),
        Sampling(top_p=0.9, max_completion_length=10),
    )
    unasked = found(cell(sampling=warm))
    assert (
        unasked.state,
        unasked.message.endswith(
            "rollouts and loss differ, and the objective declares no temperature"
        ),
    ) == (
        "FAIL",
        True,
    )
    assert "temperature: 1.5}" in unasked.hint
    for other in (
        cell(Objective(temperature=1.0), sampling=warm),
        cell(sampling=cut),
        cell(Objective(temperature=2.0)),
    ):
        assert found(other).state == "note"
        assert found(other).message.endswith("rollouts are not drawn from what the loss scores")
    assert one(checks_of(sound, cell(Objective(temperature=2.0))), "temperatures") == replace(
        found(other), subject="local-a from strong"
    )


def test_two_temperatures_are_refused_also_beside_a_cell_that_asked_for_them(sound: Path) -> None:
    warm = Sampling(temperature=1.5, max_completion_length=10)
    asked = cell(Objective(support="student_topk", k=3, temperature=1.0), sampling=warm)
    assert not one(checks_of(sound, cell(sampling=warm), asked), "temperatures").passed
    assert one(checks_of(sound, asked), "temperatures").state == "note"


def test_a_solution_in_the_students_own_prompt_is_a_leak(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a data set's prompt column already holds what only the teacher should see."""
    pi = PrivilegedInformation(template="<solution> {solution}")
    problems = load(DATA, "train")[:PROBLEMS]
    recipe = cell(privileged=pi).cell.model
    assert isinstance(recipe, DistilledModel)
    tokenizer = load_tokenizer(sound / "student")
    assert contracts_views.views(recipe, problems, tokenizer, "here").passed
    told = [replace(p, prompt=f"{p.solution} {p.prompt}") for p in problems]
    check = contracts_views.views(recipe, told, tokenizer, "here")
    assert not check.passed
    assert check.measured["leaks"] == PROBLEMS
    assert "does the prompt's column hold the solution?" in check.hint


def test_a_sampler_that_ignores_its_seed(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = contracts_seeds.generate
    monkeypatch.setattr(
        contracts_seeds, "generate", lambda *a, seed, **k: original(*a, seed=0, **k)
    )
    monkeypatch.setattr(distill_module, "stream", lambda *_: 0)
    broken = {check.subject: check.message for check in checks_of(sound) if not check.passed}
    assert {subject.rpartition(", ")[2]: text for subject, text in broken.items()} == {
        "evaluation": "two seeds give the same 16 completions",
        "rollouts": "two seeds give the same 8 completions",
    }  # fmt: skip


def test_a_student_that_is_certain_is_no_broken_sampler(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = contracts_seeds.generate

    def certain(
        student: Any,
        tokenizer: Any,
        prompts: Any,
        sampling: Sampling,
        *,
        seed: int,
        **settings: Any,
    ) -> Any:
        return original(
            student,
            tokenizer,
            prompts,
            sampling,
            seed=seed if sampling.temperature > 1 else 0,
            **settings,
        )

    monkeypatch.setattr(contracts_seeds, "generate", certain)
    check = next(
        check
        for check in checks_of(sound)
        if check.name == "seeds" and check.subject.endswith("evaluation")
    )
    assert check.state == "note"
    assert (
        "the student is certain: two seeds give the same 16 completions, at temperature 4 they"
        " differ" in check.message
    )


def test_a_sampler_that_draws_from_the_global_state(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = contracts_seeds.generate

    def careless(*arguments: Any, seed: int, **settings: Any) -> Any:
        return original(*arguments, seed=int(torch.randint(2**31, ())) + seed, **settings)

    monkeypatch.setattr(contracts_seeds, "generate", careless)
    monkeypatch.setattr(
        distill_module, "stream", lambda seed, *_: int(torch.randint(2**31, ())) + seed
    )
    broken = [check for check in checks_of(sound) if not check.passed]
    assert [check.name for check in broken] == ["seeds", "seeds"]
    assert all("one seed gives different completions" in check.message for check in broken)


def test_a_grader_that_accepts_everything(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "grade", lambda *_, **__: Outcome.correct)
    message = failures(checks_of(sound))["grader"]
    assert message.startswith("10 of 16 golden cases are graded wrongly; the first: ")
    assert message.endswith("is wrong and was graded correct")


def test_a_grader_that_counts_truncated_answers(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = grading.grade
    monkeypatch.setattr(
        grading, "grade", lambda text, answer, truncated=False: original(text, answer)
    )
    assert failures(checks_of(sound))["grader"].startswith(
        "1 of 16 golden cases are graded wrongly"
    )


@pytest.mark.parametrize("version", golden.FILES)
def test_the_golden_sets_hold_every_outcome_that_needs_no_clock(version: str) -> None:
    lines = golden.FILES[version].read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["outcome"] for line in lines} == {
        "correct",
        "wrong",
        "unparsed",
        "truncated",
    }


@pytest.mark.slow
def test_the_golden_set_of_formulas_finds_a_grader_without_its_symbolic_tier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert contracts_grading.grader([], "here", "math-1").passed
    monkeypatch.setattr(
        SymbolicPool,
        "submit",
        lambda _, pairs: Inquiry("equal", pairs, 0.0, [Finding(False, "", 0.0)] * len(pairs)),
    )
    assert contracts_grading.grader([], "here", "math-1").message.startswith(
        "2 of 34 golden cases are graded wrongly"
    )
    monkeypatch.setattr(reading, "stated", lambda _: [])
    assert contracts_grading.grader([], "here", "math-1").message.startswith(
        "6 of 34 golden cases are graded wrongly"
    )


def test_the_grader_of_a_cell_is_the_one_that_is_tried() -> None:
    plain = cell()
    evaluation = plain.cell.evaluation.model_copy(update={"grader": "math-1"})
    asked = sources_of(
        [replace(plain, cell=plain.cell.model_copy(update={"evaluation": evaluation}))]
    )
    assert [grader for _, grader in asked] == ["math-1", "boxed-1"]


def test_the_graders_of_rewards_and_curves_are_tried_too() -> None:
    curve = CURVE.model_copy(update={"grader": "polite-1"})
    training = GrpoTraining(
        steps=1,
        prompts_per_step=1,
        rollouts_per_prompt=2,
        optimisation=OPTIMISATION,
        sampling=SAMPLING,
        curve=curve,
        grader="math-1",
    )
    teacher = GrpoModel(base=STUDENT, data=DATA, training=training)
    assert [grader for _, grader in sources_of([cell(teacher=teacher)])] == [
        "boxed-1",
        "math-1",
        "polite-1",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_grader_has_a_golden_set_that_it_passes(version: str) -> None:
    problem = Problem("p", "which?", {"choice-1": "C", "refusal-1": "unsafe"}.get(version, "7"))
    assert contracts_grading.grader([problem], "here", version).passed
    assert (
        version == "choice-1" or not contracts_grading.grader([problem], "here", "choice-1").passed
    )


def test_an_objective_that_ignores_its_teacher(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled, "score_function", sampled.plain)
    found = failures(
        checks_of(sound, cell(Objective(support="sampled", gradient="score_function")))
    )
    assert (
        found["teacher matters"]
        == "a shuffled teacher leaves the gradient as it is: the loss does not learn from its"
        " teacher"
    )
    assert "but a gradient (1 of that at a shuffled one)" in found["zero at the teacher"]


def test_a_negative_control_that_learns_from_its_teacher(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled, "plain", sampled.score_function)
    assert failures(checks_of(sound, cell(CONTROL)))["teacher matters"].startswith(
        "declared a negative control"
    )


def test_a_loss_that_an_equal_teacher_does_not_bring_to_zero(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = divergences.reverse_kl
    monkeypatch.setattr(
        divergences,
        "reverse_kl",
        lambda student, teacher, **rest: original(student, 0.9 * teacher, **rest),
    )
    assert "has a loss of up to" in failures(checks_of(sound))["zero at the teacher"]


def test_dropout_in_the_student(sound: Path, tmp_path: Path) -> None:
    write(
        tmp_path / "student",
        0,
        lambda model, _tokenizer: setattr(model.config, "attention_dropout", 0.5),
    )
    write(tmp_path / "teacher", 1)
    assert "has a loss of up to" in failures(checks_of(tmp_path))["zero at the teacher"]


def test_a_support_larger_than_the_vocabulary(sound: Path) -> None:
    found = failures(checks_of(sound, cell(Objective(support="student_topk", k=100))))
    assert (
        found["zero at the teacher"]
        == found["coverage"]
        == "k = 100 is larger than the vocabulary of 64 tokens"
    )


def test_coverage_is_measured_and_a_low_one_is_told(sound: Path) -> None:
    low, high = (
        one(checks_of(sound, cell(Objective(support="student_topk", k=k))), "coverage")
        for k in (1, 64)
    )
    assert low.state == "note"
    assert 0 < low.measured["teacher_in_student_topk"] < low.measured["teacher_in_its_topk"] < 0.9
    assert high.state == "ok"
    assert high.measured["teacher_in_student_topk"] == pytest.approx(1.0)


# ---- models that are not made yet, and those that are


def pretrained(name: str) -> PretrainedLab:
    training = SupervisedTraining(
        steps=1, documents_per_step=4, optimisation=OPTIMISATION, max_length=48
    )
    return PretrainedLab(
        name=name,
        architecture=ARCHITECTURE,
        data=DATA,
        corpus=ArithmeticCorpus(style_mix={"A": 1.0}),
        training=training,
    )


def reinforced(base: Model) -> GrpoModel:
    training = GrpoTraining(
        steps=1,
        prompts_per_step=2,
        rollouts_per_prompt=2,
        optimisation=OPTIMISATION,
        sampling=SAMPLING,
        curve=CURVE,
    )
    return GrpoModel(base=base, data=DATA, training=training)


def test_stages_that_are_not_made_are_stood_in_for(sound: Path) -> None:
    student, teacher = pretrained("student"), reinforced(pretrained("student"))
    grid = [cell(BIASED, student=student, teacher=teacher)]
    checks = check_grid(grid, lambda _model: None, lambda *_: None)
    assert not failures(checks)
    assert one(checks, "models").message.endswith(
        "student-1steps: untrained weights; strong: untrained weights"
    )
    assert one(checks, "coverage").message == "measured on untrained weights: not representative"
    assert next(c for c in checks if c.name == "teacher matters").measured["relative_change"] > 0.01
    half = check_grid(
        grid,
        lambda model: sound / "student" if isinstance(model, PretrainedLab) else None,
        lambda *_: None,
    )
    assert one(half, "models").message.endswith("stand-ins: strong: weights of student-1steps")


def test_a_model_without_a_teacher_is_asked_where_its_turns_end(sound: Path) -> None:
    made = Cell(scale="lab", model=STUDENT, evaluation=EVALUATION)
    checks = checks_of(sound, LabelledCell(made, cell_id(made), {}, Located({}, "here")))
    assert {check.name for check in checks} == {"grader", "end of turn"}
    assert not failures(checks)


def test_made_models_are_found_whole_or_not_at_all(sound: Path, tmp_path: Path) -> None:
    models = MadeModels(Results(tmp_path), (0, 1))
    assert models(pretrained("student")) is None
    folder = sealed(tmp_path, pretrained("student"), seed=1)
    assert models(pretrained("student")) == folder
    with (folder / "model.safetensors").open("ab") as weights:
        weights.write(b"x")
    assert models(pretrained("student")) is None, "a damaged artifact is made again by the run"
    local = LocalModel(path=str(sound / "student"), digest=weights_digest(sound / "student"))
    assert models(local) == sound / "student"
    with pytest.raises(RecordMismatch, match="do not have the digest"):
        models(local.model_copy(update={"digest": "0" * 16}))


def sealed(results: Path, recipe: PretrainedLab, seed: int) -> Path:
    from study.runner.work.artifacts import MANIFEST, file_hash

    folder = write(Results(results).artifact(stage_id(recipe, seed)), seed)
    files = {path.name: file_hash(path) for path in folder.iterdir()}
    (folder / MANIFEST).write_text(json.dumps({"id": folder.name, "files": files}))
    return folder


def test_repeated_problems_of_a_file_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    for texts, state, message in (
        (["1", "2", "3", "4"], "ok", "every problem occurs once"),
        (["1", "2", "2 ", "4"], "note", "train: 1 of 3 problems repeat an earlier one"),
    ):
        rows = [json.dumps({"question": text, "answer": "1"}) for text in texts]
        (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
        (tmp_path / "b.jsonl").write_text(rows[0].replace('"1"', '"9"', 1), encoding="utf-8")
        data = JsonlData(train="a.jsonl", held_out="b.jsonl", selection_size=1)
        (check,) = order._problems(data)
        assert (check.name, check.state, check.message) == ("problems", state, message)


def test_a_model_that_cannot_be_had_is_a_contract_that_does_not_hold() -> None:
    def nowhere(model: Model) -> Path | None:
        raise PrerequisiteError("there is no model folder x", hint="correct `path`")

    checks = check_grid([cell()], nowhere, lambda *_: None)
    assert failures(checks) == {"models": "there is no model folder x"}
    with pytest.raises(
        PrerequisiteError,
        match=r"(?s)1 of 2 preflight contracts do not hold:.*there is no model folder x -> correct",
    ) as told:
        refuse(checks, "math")
    assert told.value.hint == "study preflight --grid math shows all of them"


# ---- the verb


def study(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["study", *arguments])
    with pytest.raises(SystemExit) as leaving:
        main.main()
    return int(leaving.value.code or 0)


def test_the_verb_shows_states_and_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        study("preflight", "--grid", "smoke", "--json", "checks.json", monkeypatch=monkeypatch) == 0
    )
    shown = capsys.readouterr().out
    assert "0 FAIL" in shown
    assert "in the student's TopK" in shown
    checks = json.loads((tmp_path / "checks.json").read_text())
    assert {check["name"] for check in checks} == CONTRACTS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checks.json"], (
        "nothing else is written"
    )


def test_the_verb_exits_with_1_when_a_contract_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(grading, "grade", lambda *_, **__: Outcome.correct)
    assert study("preflight", "--grid", "smoke", monkeypatch=monkeypatch) == 1
    shown = capsys.readouterr().out
    assert "FAIL   grader" in shown
    assert "1 FAIL" in shown
    assert "grader -> study/grading/boxed.py: no accuracy means anything until it is right" in shown


def test_every_combination_of_the_math_grid_is_a_cell_of_it() -> None:
    """A check of the grid's pages alone: two teachers, eleven objectives, one length of
    completions.
    """
    from study.train.preflight.pairs import pairs_of

    pairs = pairs_of(load_grid("math").cells)
    assert [(pair.teacher, len(pair.objectives)) for pair in pairs] == [
        ("rlvr", 11),
        ("strong_c", 11),
    ]


def test_reading_checks_needs_no_training_stack() -> None:
    code = (
        "import sys, study.train.preflight.check, study.runner.verbs.preflight;"
        " print(sorted({'torch', 'transformers', 'trl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
