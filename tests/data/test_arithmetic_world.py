"""The lab's world: disjoint splits, exact results, noise that is the same with and without PI, and
views that leak nothing.
"""

from collections import Counter

import numpy as np
import pytest

from study.data.load import load
from study.data.views import shifted, student_view, teacher_view
from study.data.worlds import arithmetic
from study.errors import SpecError
from study.grading.boxed import Outcome, grade
from study.grading.polite import POLITE_WORDS
from study.models.lab import LAB_VOCABULARY, build_tokenizer
from study.spec.recipe.corpus import ArithmeticCorpus
from study.spec.recipe.data import ArithmeticData
from study.spec.recipe.model import LabTokenizer
from study.spec.recipe.privileged import PrivilegedInformation

DATA = ArithmeticData(train_size=1500)
EVERYTHING = ArithmeticCorpus(
    style_mix={"A": 0.7, "B": 0.2, "C": 0.1}, share_plain=1, share_style=1, share_answer=1,
    share_solution=1, share_rule=1,
    unreliable_facts=0.3, unreliable_accuracy=0.4,
)  # fmt: skip


def test_splits_share_no_prompt_and_documents_are_of_the_train_split() -> None:
    prompts = {
        split: {p.prompt for p in load(DATA, split)} for split in ("train", "selection", "held_out")
    }
    assert all(
        len(prompts[split]) == n
        for split, n in (("train", 1500), ("selection", 256), ("held_out", 256))
    )
    assert not prompts["train"] & prompts["held_out"]
    assert not prompts["train"] & prompts["selection"]
    assert not prompts["selection"] & prompts["held_out"]
    author = arithmetic.Author(DATA, EVERYTHING, np.random.default_rng(0))
    for document in author.documents(400):
        expression = document.user.split(" =")[0] + " ="
        assert arithmetic.split_of(expression) == "train"


def test_every_reference_solution_is_graded_correct_and_the_wrong_answer_wrong() -> None:
    for problem in load(DATA, "held_out"):
        assert grade(problem.solution, problem.answer) is Outcome.correct
        assert problem.columns["wrong_answer"] != problem.answer
        left, *rest = problem.prompt.removesuffix(" =").split()
        value = int(left)
        for operator, y in zip(rest[::2], rest[1::2], strict=True):
            value = {"+": value + int(y), "-": value - int(y), "*": value * int(y)}[operator] % 10
        assert str(value) == problem.answer


def test_documents_with_and_without_pi_have_the_same_noise() -> None:
    author = arithmetic.Author(DATA, EVERYTHING, np.random.default_rng(1))
    right: Counter[bool] = Counter()
    total: Counter[bool] = Counter()
    for document in author.documents(6000):
        if document.system is None:
            with_pi = "<" in document.user
            expression = document.user.split(" =")[0] + " ="
            steps = expression.removesuffix(" =").split()
            exact = arithmetic.Expression(
                tuple(map(int, steps[::2])), tuple(steps[1::2])
            ).results()[-1]
            total[with_pi] += 1
            right[with_pi] += grade(document.assistant, str(exact)) is Outcome.correct
    rates = {kind: right[kind] / total[kind] for kind in total}
    assert total[True] > 1500
    assert total[False] > 800
    assert rates[True] < 0.95  # the noise is there
    assert abs(rates[True] - rates[False]) < 0.06


def test_the_same_generator_writes_the_same_corpus_whatever_the_global_state() -> None:
    first = list(arithmetic.Author(DATA, EVERYTHING, np.random.default_rng(5)).documents(50))
    np.random.seed(123)
    assert (
        list(arithmetic.Author(DATA, EVERYTHING, np.random.default_rng(5)).documents(50)) == first
    )
    assert (
        list(arithmetic.Author(DATA, EVERYTHING, np.random.default_rng(6)).documents(50)) != first
    )


def test_styles_differ_in_words_and_form() -> None:
    expression = arithmetic.Expression((3, 4, 2), ("+", "*"))
    rng = np.random.default_rng(0)
    a, b, c = (
        arithmetic.write_solution(expression, expression.results(), style, rng)
        for style in arithmetic.STYLES
    )
    assert not any(word in a.split() for word in POLITE_WORDS)
    assert "7 * 2 ;" in b
    assert sum(word in POLITE_WORDS for word in c.split()) == 2


def test_the_tokenizer_knows_every_word_and_has_a_chat_template() -> None:
    tokenizer = build_tokenizer(LabTokenizer())
    assert len(LAB_VOCABULARY) == len(set(LAB_VOCABULARY)) == len(tokenizer) == 64
    author = arithmetic.Author(DATA, EVERYTHING, np.random.default_rng(2))
    for document in author.documents(300):
        for text in filter(None, (document.system, document.user, document.assistant)):
            assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    messages = [{"role": "system", "content": "styleA"}, {"role": "user", "content": "1 + 1 ="}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert rendered == "<system> styleA <user> 1 + 1 = <assistant>"


@pytest.mark.parametrize(
    ("template", "placement", "expected"),
    [
        (
            "styleC",
            "system",
            [{"role": "system", "content": "styleC"}, {"role": "user", "content": "PROMPT"}],
        ),
        (
            "<answer> {answer}",
            "after_prompt",
            [{"role": "user", "content": "PROMPT <answer> ANSWER"}],
        ),
        (
            "<solution> {solution}",
            "before_prompt",
            [{"role": "user", "content": "<solution> SOLUTION PROMPT"}],
        ),
        (
            "<answer> {wrong_answer}",
            "after_prompt",
            [{"role": "user", "content": "PROMPT <answer> WRONG"}],
        ),
    ],
)
def test_pi_is_a_template_and_a_placement(
    template: str, placement: str, expected: list[dict[str, str]]
) -> None:
    problem = load(DATA, "train")[0]
    fill = {
        "PROMPT": problem.prompt,
        "ANSWER": problem.answer,
        "SOLUTION": problem.solution,
        "WRONG": problem.columns["wrong_answer"],
    }
    for message in expected:
        for name, text in fill.items():
            message["content"] = message["content"].replace(name, text)
    privileged = PrivilegedInformation(
        template=template,
        placement=placement,  # type: ignore[arg-type]
    )
    assert teacher_view(problem, privileged) == expected
    assert student_view(problem) == [{"role": "user", "content": problem.prompt}]


def test_a_placebo_shows_another_problem_and_an_unknown_column_is_named() -> None:
    problems = load(DATA, "train")[:3]
    placebo = PrivilegedInformation(template="<answer> {answer}", source="other")
    for problem, other in zip(problems, shifted(problems), strict=True):
        assert other.id != problem.id
        assert (
            teacher_view(problem, placebo, other)[0]["content"]
            == f"{problem.prompt} <answer> {other.answer}"
        )
    with pytest.raises(SpecError, match="another problem"):
        teacher_view(problems[0], placebo)
    with pytest.raises(SpecError, match=r"uses column 'hint'.*answer"):
        teacher_view(problems[0], PrivilegedInformation(template="{hint}"))
