"""The graders as rewards and evaluations use them: tiers, outcomes, the band; hostile text ends in
an outcome within its limits.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.errors import SpecError
from study.grading.boxed import GRADER, Outcome
from study.grading.math.equivalence import Tier
from study.grading.registry import MATH, Grade, Grader, Sample, open_grader

pytest.importorskip("math_verify")

TOWERS = [
    r"9^{9^{9^{9}}}",
    r"\binom{10^9}{5\cdot 10^8}",
]  # seconds to centuries of integer arithmetic inside C code


@pytest.fixture(scope="module")
def grader():
    with open_grader(workers=1, deadline_s=5) as opened:
        yield opened


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("-q + p", "p - q"), (r"(b+2)(a+5)", "ab + 2b*0 + 2a + 5b + 10"), ("-5i + 6", "6-5i"),
        (r"(3, x/2)", r"\left( 3, \frac{x}{2} \right)"), ("x+x", "y = 2x"),
        (r"\{\sqrt{4}x, 1\}", r"\{1, 2x\}"), ("x + 0", "x"), ("x", r"\frac{2x}{2}"),
        (
            r"\begin{pmatrix} 1 & 2 \end{pmatrix} + \begin{pmatrix} 3 & 4 \end{pmatrix}",
            r"\begin{pmatrix} 4 & 6 \end{pmatrix}",
        ),
        (
            r"\begin{pmatrix} 1 & 2 \\ 0 & 1 \end{pmatrix} \begin{pmatrix} 3 \\ 4 \end{pmatrix}",
            r"\begin{pmatrix} 11 \\ 4 \end{pmatrix}",
        ),
    ],
)  # fmt: skip
def test_equal_formulas(grader: Grader, answer: str, gold: str) -> None:
    result = grader.grade(rf"so $\boxed{{{answer}}}$", gold)
    assert (result.outcome, result.relaxed, result.tier) == (
        Outcome.correct,
        Outcome.correct,
        Tier.symbolic,
    )


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("10^2", "100"), ("5!", "120"), (r"\sqrt{117}", r"3\sqrt{13}"),
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
        (r"(3, \pi/2)", r"\left( 3, \frac{\pi}{2} \right)"), (r"\{\sqrt{4}, 1\}", r"\{1, 2\}"),
        (r"\begin{pmatrix} 1+1 \\ 3 \end{pmatrix}", r"\begin{bmatrix} 2 \\ 3 \end{bmatrix}"),
        ("1.414214", r"\sqrt{2}"),
        (r"\frac{\sqrt{5}+1}{2}", r"\frac{2}{\sqrt{5}-1}"), (r"\frac{300!}{299!}", r"\sqrt{90000}"),
    ],
)  # fmt: skip
def test_equal_numbers_however_they_are_written(grader: Grader, answer: str, gold: str) -> None:
    result = grader.grade(rf"so $\boxed{{{answer}}}$", gold)
    assert (result.outcome, result.relaxed, result.tier) == (
        Outcome.correct,
        Outcome.correct,
        Tier.numeric,
    )


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("p + q", "p - q"),
        ("10^3", "100"),
        ("2t", "2h"),
        ("2n", "2k"),
        (r"(3, \pi/3)", r"(3, \frac{\pi}{2})"),
        ("y = 5", "x = 5"),
        ("1.41", r"\sqrt{2}"),
        ("nan", "7"),
        (r"\frac{1}{0}", "7"),
        (r"\frac{1}{2} ((", r"\frac{1}{2}"),  # no formula, so no fraction is taken out of it
        ("import os", "x+1"),
        (r"\frac{3}{4}\foo(", r"\frac{3}{4}"),
        (r"\frac{1}{301!}", r"\frac{1}{300!}"),
        ("3^{-91}", "3^{-90}"),
        (r"\sqrt{2} + \frac{1}{7^{40}}", r"\sqrt{2}"),
        (r"\{5^{-50}, 1\}", r"\{5^{-51}, 1\}"),
        ("x_1", "x_2"),
    ],
)
def test_formulas_that_differ(grader: Grader, answer: str, gold: str) -> None:
    assert grader.grade(rf"\boxed{{{answer}}}", gold).outcome is Outcome.wrong


@pytest.mark.parametrize(
    ("completion", "truncated", "strict", "relaxed"),
    [
        (r"\boxed{7}", False, "correct", "correct"),
        (r"\boxed{8}", False, "wrong", "wrong"),
        (r"\boxed{700\%}", False, "correct", "correct"),
        (r"\boxed{7\%}", False, "wrong", "correct"),
        (r"\boxed{8} no, the answer is 7", False, "wrong", "wrong"),  # a box that was given counts
        ("The answer is 7.", False, "unparsed", "correct"),
        ("The answer is 8.", False, "unparsed", "wrong"),
        ("I cannot say.", False, "unparsed", "unparsed"),
        ("", False, "unparsed", "unparsed"),
        (r"\boxed{7} and on", True, "truncated", "correct"),
        (r"\boxed{8} and on", True, "truncated", "truncated"),
        ("The answer is 7", True, "truncated", "truncated"),  # it might have gone on: 7.5
    ],
)
def test_outcomes_and_the_band(
    grader: Grader, completion: str, truncated: bool, strict: str, relaxed: str
) -> None:
    result = grader.grade(completion, "7", truncated=truncated)
    assert (result.outcome, result.relaxed) == (strict, relaxed)


def test_boxes_that_are_listed_are_one_answer(grader: Grader) -> None:
    listed = r"\boxed{3}, \boxed{5} and \boxed{7}"
    result = grader.grade(listed, "3, 5, 7")
    assert (result.outcome, result.relaxed) == (Outcome.correct, Outcome.correct)
    result = grader.grade(listed, "7")  # three guesses are no answer
    assert (result.outcome, result.relaxed) == (Outcome.wrong, Outcome.wrong)
    apart = r"\boxed{3} is the first root. The others are \boxed{5} and \boxed{7}"
    result = grader.grade(apart, "3, 5, 7")
    assert (result.outcome, result.relaxed) == (Outcome.wrong, Outcome.correct)


def test_results_keep_the_order_and_say_what_was_found(grader: Grader) -> None:
    samples = [Sample(rf"\boxed{{{n} + x}}", f"x + {n % 3}") for n in range(7)]
    results = grader.grade_many(samples)
    assert [result.outcome is Outcome.correct for result in results] == [n < 3 for n in range(7)]
    assert [result.extracted for result in results] == [f"{n} + x" for n in range(7)]
    assert [result.outcome for result in results].count(Outcome.correct) == 3


def test_an_empty_gold_is_a_fault_of_the_data(grader: Grader) -> None:
    with pytest.raises(ValueError, match="reference answer is empty"):
        grader.grade(r"\boxed{7}", " ")


HOSTILE = {
    "a million characters": "x" * 10**6,
    "a million characters in a box": rf"\boxed{{{'x' * 10**6}}}",
    "opening braces": r"\boxed{" + "{" * 10**5,
    "nested braces": r"\boxed{" + "{" * 10**5 + "7" + "}" * 10**5 + "}",
    "nested fractions": r"\boxed{" + r"\frac{1}{" * 200 + "7" + "}" * 200 + "}",
    "nested brackets": r"\boxed{" + "(" * 900 + "x" + ")" * 900 + "}",
    "open boxes": r"\boxed{" * 150_000,
    "backslashes": r"\boxed{" + "\\" * 10**6 + "}",
    "control characters": "\\boxed{" + "\x00\x1b\x07" * 500 + "}",
    "right to left": "\\boxed{\u202e8\u202c}",
    "half a character": "\\boxed{\ud800}",
    "a number too long for int()": rf"\boxed{{{'9' * 1900}}}",
    "a number of a million digits": rf"\boxed{{{'9' * 10**6}}}",
    "commas": r"\boxed{" + "1," * 900 + "1}",
    "markers": "answer: " * 10**5,
    "dollars": "$" * 10**6,
    "numbers": "1,234.5 " * 10**5,
    "code": r"\boxed{__import__('os').system('touch FILE')}",
    "code in text": r"\boxed{\text{__import__('os').system('touch FILE')}}",
    "more code": r"\boxed{eval(compile('open(\"FILE\", \"w\")', '', 'exec')) + 1}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_has_an_outcome_and_runs_nothing(
    grader: Grader, name: str, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    started = time.process_time()
    result = grader.grade(HOSTILE[name].replace("FILE", str(trap)), "7")
    assert result.outcome in (
        Outcome.wrong,
        Outcome.unparsed,
        Outcome.correct if name == "nested braces" else Outcome.timed_out,
    )
    assert time.process_time() - started < 5.0  # of this process, whatever the workers do
    assert not trap.exists()


def test_a_hostile_gold_has_an_outcome_too(grader: Grader) -> None:
    for gold in ("{" * 10**5, "\x00", "\ud800", r"\frac" * 300, "1," * 1000):
        assert grader.grade(r"\boxed{7}", gold).outcome in (Outcome.wrong, Outcome.timed_out)


@pytest.mark.slow
def test_towers_of_exponents_time_out_and_the_others_are_graded() -> None:
    samples = [Sample(rf"\boxed{{{tower}}}", "7") for tower in TOWERS] + [
        Sample(r"\boxed{1 + x}", "x + 1"),
        Sample(r"\boxed{x}", "2x"),
    ]
    with open_grader(workers=2, deadline_s=1) as grader:
        results = grader.grade_many(samples)
        assert [result.outcome for result in results] == [
            Outcome.timed_out,
            Outcome.timed_out,
            Outcome.correct,
            Outcome.wrong,
        ]
        assert results[0].relaxed is Outcome.timed_out
        assert (
            grader.grade_many(samples[:2])[0].outcome is Outcome.timed_out
        )  # remembered, not waited for again
        assert grader.grade(r"\boxed{a+b}", "b+a").outcome is Outcome.correct  # by a new worker


@pytest.mark.slow
def test_an_audit_notes_where_the_tiers_differ() -> None:
    with open_grader(audit=True) as grader:
        results = grader.grade_many(
            [
                Sample(r"\boxed{0.5}", r"\frac{1}{2}"),
                Sample(r"\boxed{.0000671}", ".0000672"),
                Sample(r"\boxed{a+b}", "b+a"),
            ]
        )
    assert [result.disagreement for result in results] == [
        "",
        "numeric: different, symbolic: equal",
        "",
    ]
    assert [result.outcome for result in results] == [
        Outcome.correct,
        Outcome.wrong,
        Outcome.correct,
    ]


def test_the_lab_grader_behind_the_same_interface() -> None:
    with open_grader(GRADER) as lab:
        assert lab.version == "boxed-1"
        for completion, outcome, relaxed in [
            (r"\boxed{ 7 }", "correct", "correct"),
            (r"\boxed{7 apples}", "wrong", "correct"),
            ("7", "unparsed", "correct"),
        ]:
            result = lab.grade(completion, "7")
            assert (result.outcome, result.relaxed) == (outcome, relaxed)


def test_versions() -> None:
    assert MATH == "math-1"
    with pytest.raises(SpecError, match="unknown grader 'math-9'"):
        open_grader("math-9")


def test_numbers_start_no_process_and_graders_share_their_workers() -> None:
    code = """
from study.grading.symbolic import pool, server
from study.grading.registry import open_grader

with open_grader() as grader:
    assert grader.grade(r"\\boxed{7}", "7").outcome == "correct"
    assert not server._servers and pool.shared_pool().worker_pids == []
    assert grader.grade(r"\\boxed{x+1}", "1+x").outcome == "correct"
    first = pool.shared_pool().worker_pids
with open_grader() as grader:
    assert grader.grade(r"\\boxed{x+2}", "2+x").outcome == "correct"
assert pool.shared_pool().worker_pids == first and len(first) == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_stream_gives_each_grade_when_it_and_all_before_it_are_known() -> None:
    taken: list[int] = []

    def samples() -> Iterator[Sample]:
        for number in range(6):
            taken.append(number)
            yield Sample(rf"\boxed{{{number + 2} + x}}" if number == 3 else r"\boxed{7}", "7")

    with open_grader() as grader:
        grades = grader.grade_stream(samples())
        assert [next(grades).outcome for _ in range(3)] == ["correct"] * 3
        assert taken == [0, 1, 2]
        assert [grade.outcome for grade in grades] == ["wrong", "correct", "correct"]
        assert list(grader.grade_stream([])) == []


def test_the_formulas_of_one_sample_share_its_deadline() -> None:
    towers = ", ".join(f"9^{{9^{{9^{{{n}}}}}}}" for n in range(5, 11))
    names = ", ".join(f"x_{n}" for n in range(5, 11))
    with open_grader(deadline_s=1) as grader:
        grader.grade(r"\boxed{x+3}", "3+x")
        started = time.monotonic()
        outcome = grader.grade(rf"\boxed{{({towers})}}", f"({names})").outcome
        assert outcome in (Outcome.timed_out, Outcome.wrong)
        assert time.monotonic() - started < 1 + 3 * 1 + 1  # six deadlines and their patience: 21


@pytest.mark.slow
def test_a_result_is_json() -> None:
    result = Grade(Outcome.correct, Outcome.correct, Tier.exact, "7", "7")
    assert json.loads(json.dumps({**vars(result)}))["outcome"] == "correct"
