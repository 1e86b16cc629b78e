"""Somebody's own loss, grader and reward: identity, what is refused, and what preflight asks of
them.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from study.data.problems import Problem
from study.errors import RecordMismatch, SpecError
from study.grading.registry import open_grader
from study.grading.user import golden
from study.models.loss import bind
from study.spec.grid import binding
from study.spec.identity import canonical, objective_name
from study.spec.recipe.objective import PRESETS, TOPK_SUPPORTS, Objective
from study.spec.recipe.training import GrpoTraining
from study.spec.recipe.user_code import Code, UserCode, read, reference, version
from study.spec.yaml.load import parse
from study.spec.yaml.validation import validate
from study.train.preflight import grading as contracts_grading
from study.train.preflight import order, own_code
from study.train.preflight.own_code import check_loss, check_reward

REVERSE_KL = (
    "def loss(student, teacher, tokens, ids):\n    return (student.exp() * (student -"
    " teacher)).sum(-1)\n"
)
RULES = """
def grade(completion, answer):
    return completion.strip() == answer

def reference(answer):
    return answer

GOLDEN = [("7", "7", "correct"), ("8", "7", "wrong")]

def reward(completion, answer):
    return 1.0 if completion.strip() == answer else -0.1 * len(completion)

BETTER = [("7", "8", "7"), ("x", "xx", "7")]
"""


def objective(folder: Path, code: str, **more: Any) -> Objective:
    (folder / "own.py").write_text(code, encoding="utf-8")
    return Objective.model_validate({"python": f"{folder}/own.py:loss", **more})


def rules(folder: Path, text: str = RULES, function: str = "grade") -> Code:
    (folder / "rules.py").write_text(text, encoding="utf-8")
    return read(f"{folder}/rules.py:{function}")


# ---- identity


def test_the_hash_is_identity_and_the_place_is_not(tmp_path: Path) -> None:
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
    here, there = (objective(place, REVERSE_KL) for place in places)
    assert canonical(here) == canonical(there)
    assert str(tmp_path) not in canonical(here)
    edited = objective(places[1], REVERSE_KL + "# another experiment\n")
    assert canonical(edited) != canonical(here)
    assert objective_name(edited) == "loss"


def test_the_function_is_identity_too(tmp_path: Path) -> None:
    assert canonical(rules(tmp_path)) != canonical(rules(tmp_path, function="reference"))


def test_nothing_changes_for_those_who_name_a_grader_or_a_loss() -> None:
    assert canonical(Objective()) == "{}"
    assert (reference("math-1"), version("math-1")) == ("math-1", "math-1")


def test_a_spec_survives_json_and_runs_the_file_of_the_plan(tmp_path: Path) -> None:
    made = objective(tmp_path, REVERSE_KL)
    again = Objective.model_validate_json(json.dumps(made.model_dump(mode="json")))
    assert again == made
    objective(tmp_path, REVERSE_KL + "# edited since\n")
    with pytest.raises(RecordMismatch, match="changed after the grid was planned"):
        bind(again)


# ---- pages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{python: nowhere.py:loss}", "there is no file nowhere.py"),
        (
            "{python: own.py:los}",
            "own.py has no function 'los'; did you mean 'loss'? (it has: loss)",
        ),
        ("{python: own.py}", "expected file.py:function, found 'own.py'"),
        ("{python: beside.py:loss}", "beside.py imports 'own', which is next to it"),
        ("{python: broken.py:loss}", "broken.py:1: "),
        (
            "{python: own.py:loss, normalisation: renormalised}",
            "normalisation is what the function of `python` decides",
        ),
        ("{python: own.py:loss, support: union, k: 5}", "support 'union' has gaps"),
    ],
)
def test_pages_that_name_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"own": REVERSE_KL, "beside": f"import own\n{REVERSE_KL}", "broken": "def loss(:\n"}
    for name, code in files.items():
        (tmp_path / f"{name}.py").write_text(code)
    with pytest.raises(SpecError) as told:
        binding.objective(parse(f"objective: {text}", "grids/x.yaml").entries["objective"])
    assert message in told.value.message
    assert told.value.message.startswith("grids/x.yaml:1 objective")


def test_a_typing_error_in_a_graders_name_is_still_told_by_its_name() -> None:
    page = parse(
        "steps: 1\nprompts_per_step: 2\nrollouts_per_prompt: 2\ngrader: math-2\n", "scales/x.yaml"
    )
    with pytest.raises(
        SpecError, match=r"scales/x.yaml:4 training.grader: 'math-2' is not one of boxed-1, math-1"
    ):
        validate(GrpoTraining, page, "training")


# ---- losses


@pytest.mark.parametrize(
    "support",
    [
        {},
        {"support": "student_topk", "k": 3},
        {"support": "teacher_topk", "k": 3},
        {"support": "sampled"},
    ],
)
def test_what_a_loss_is_handed(tmp_path: Path, support: dict[str, Any]) -> None:
    body = "student.sum(-1) + 0 * teacher.sum(-1) + (0 if ids is None else ids.sum(-1))"
    code = f"def loss(student, teacher, tokens, ids):\n    return {body}\n"
    student, teacher = torch.randn(
        2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    tokens = torch.tensor([0, 1, 2, 3])
    values = bind(objective(tmp_path, code, **support))(student, teacher, tokens)
    logprobs = student.log_softmax(-1)
    chooser = {"student_topk": student, "teacher_topk": teacher}.get(support.get("support", ""))
    ids = None if not support else tokens[:, None] if chooser is None else chooser.topk(3).indices
    expected = logprobs.sum(-1) if ids is None else logprobs.gather(-1, ids).sum(-1) + ids.sum(-1)
    torch.testing.assert_close(values.loss_N, expected)
    assert values.support_size_N.tolist() == [6 if ids is None else ids.shape[1]] * 4


def test_ones_own_reverse_kl_is_the_studys(tmp_path: Path) -> None:
    student, teacher = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(2))
    student.requires_grad_()
    own, ours = (
        bind(o)(student, teacher, torch.arange(5)).loss_N
        for o in (objective(tmp_path, REVERSE_KL), Objective())
    )
    torch.testing.assert_close(own, ours)
    grads = [torch.autograd.grad(value.sum(), student)[0] for value in (own, ours)]
    torch.testing.assert_close(*grads)


def test_a_sound_loss_passes_every_property(tmp_path: Path) -> None:
    checks = check_loss(objective(tmp_path, REVERSE_KL))
    assert [check.state for check in checks] == ["ok"] * 5


@pytest.mark.parametrize(
    ("body", "broken"),
    [
        ("(student.exp() * (student - teacher)).sum(-1) + 1", "loss: zero at the teacher"),
        ("(student.exp() * (student.exp() / teacher.exp()).log()).sum(-1)", "loss: finite"),
        ("(student.exp() * (student - teacher)).sum(-1).detach()", "loss: gradient flows"),
        ("(student.exp().detach() * (student - teacher)).sum(-1)", "loss: gradient of its value"),
        ("-(student.exp() * (student - teacher)).sum(-1)", "loss: towards the teacher"),
    ],
)
def test_a_broken_loss_fails_its_property(tmp_path: Path, body: str, broken: str) -> None:
    checks = check_loss(
        objective(tmp_path, f"def loss(student, teacher, tokens, ids):\n    return {body}\n")
    )
    assert broken in {check.name for check in checks if not check.passed}


def test_a_stopped_gradient_is_declared_and_noted(tmp_path: Path) -> None:
    body = "(student.exp() * (student - teacher).detach()).sum(-1)"
    code = f"STOPS_GRADIENT = True\ndef loss(student, teacher, tokens, ids):\n    return {body}\n"
    states = {check.name: check.state for check in check_loss(objective(tmp_path, code))}
    assert states["loss: gradient of its value"] == "note"
    assert "FAIL" not in states.values()


# Their gradient has no teacher in it.
NEGATIVE_CONTROLS = {"sampled_plain_loss", "constant_advantage"}


@pytest.mark.parametrize("name", sorted(set(PRESETS) - NEGATIVE_CONTROLS))
@pytest.mark.parametrize("k", [2, 5])
def test_every_loss_of_the_study_leads_towards_the_teacher(name: str, k: int) -> None:
    fields = PRESETS[name][0]
    made = Objective(**fields, **({"k": k} if fields.get("support") in TOPK_SUPPORTS else {}))
    check = own_code._towards(made, torch.Generator().manual_seed(3), name, away=False)
    assert check.passed
    assert check.measured["cosine"] > 0.02


def test_a_loss_that_leads_away_on_purpose_says_so(tmp_path: Path) -> None:
    body = (
        "def loss(student, teacher, tokens, ids):\n    return -(student.exp() * (student -"
        " teacher)).sum(-1)\n"
    )
    refused, declared = (
        next(
            check
            for check in check_loss(objective(tmp_path, text))
            if check.name == "loss: towards the teacher"
        )
        for text in (body, f"TOWARDS_TEACHER = False\n{body}")
    )
    assert (refused.state, declared.state) == ("FAIL", "note")
    assert refused.measured["cosine"] == pytest.approx(-1.0)


def test_a_loss_gives_one_number_a_token(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"not one torch\.float64 per token"):
        check_loss(
            objective(
                tmp_path,
                "def loss(student, teacher, tokens, ids):\n    return (student - teacher).mean()\n",
            )
        )


# ---- graders and rewards

PROBLEMS = [Problem("1", "six and one?", "7")]


def test_a_sound_grader_passes_its_golden_set_and_grades(tmp_path: Path) -> None:
    code = rules(tmp_path)
    check = contracts_grading.grader(PROBLEMS, "jsonl", code.reference)
    assert check.passed
    assert check.measured["cases"] == len(golden(code)) == 2
    with open_grader(f"{tmp_path}/rules.py:grade") as judge:
        said = [
            str(judge.grade(text, "7", truncated=cut).outcome)
            for text, cut in (("7", False), ("8", False), ("7", True))
        ]
    assert said == ["correct", "wrong", "truncated"]
    assert judge.version == UserCode(python=code).version


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "== answer\n\ndef reference",
            "in answer\n\ndef reference",
            "golden cases are graded wrongly",
        ),
        ("return answer", "return 'the ' + answer", "reference answers are not accepted"),
        (
            "== answer\n\ndef reference",
            "== answer and len(CALLS.append(1) or CALLS) < 4\n\nCALLS = []\n\ndef reference",
            "graded differently",
        ),
    ],
)
def test_a_broken_grader_fails(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = RULES.replace('("8", "7", "wrong")', '("", "7", "wrong")')
    assert old in text
    check = contracts_grading.grader(
        PROBLEMS, "jsonl", rules(tmp_path, text.replace(old, new, 1)).reference
    )
    assert not check.passed
    assert message in check.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def grade(c, a):\n    return True\n", "no cases to be checked on"),
        (
            'def grade(c, a):\n    return True\nGOLDEN = [("7", "7", "correct")]\n',
            "has 1 correct cases of 1",
        ),
        (
            (
                'def grade(c, a):\n    return 1\nGOLDEN = [("7", "7", "correct"), ("8", "7",'
                ' "wrong")]\n'
            ),
            "grade gave 1",
        ),
        (
            (
                'def grade(c, a):\n    return c[9]\nGOLDEN = [("7", "7", "correct"), ("8", "7",'
                ' "wrong")]\n'
            ),
            "grade failed on '7' (IndexError",
        ),
        (
            "raise ValueError('at import')\ndef grade(c, a):\n    return True\n",
            "cannot be imported (ValueError: at import)",
        ),
    ],
)
def test_graders_that_cannot_be_checked(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError) as told:
        contracts_grading.grader(PROBLEMS, "jsonl", rules(tmp_path, text).reference)
    assert message in told.value.message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.0 if", "-9.0 if", "pairs are not in order"),
        ("1.0 if", "float('nan') if", "not a finite number"),
        ('BETTER = [("7", "8", "7"), ("x", "xx", "7")]', "", "no cases to be checked on"),
    ],
)
def test_a_broken_reward_fails(tmp_path: Path, old: str, new: str, message: str) -> None:
    (check,) = order._guarded(
        "reward",
        "own",
        lambda: [check_reward(rules(tmp_path, RULES.replace(old, new), "reward"))],
    )
    assert not check.passed
    assert message in check.message


def test_a_sound_reward_passes(tmp_path: Path) -> None:
    assert check_reward(rules(tmp_path, function="reward")).passed
