"""The grader: what it accepts, what it refuses, and that hostile text neither breaks nor
stalls it.
"""

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.grading.boxed import Outcome, grade, last_boxed, number


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"w 3 + 4 = 7 ; \boxed{ 7 }", "7"),
        ("\\boxed {\n 7 }", "7"),
        (r"\boxed{3} no: \boxed{7}", "7"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{1,234}", "1234"),
        (r"\boxed{1234.50}", "1234.5"),
        (r"\boxed{7.}", "7"),
        (r"\boxed{.5}", r"\frac{1}{2}"),
        (r"\boxed{\dfrac{2}{4}}", "1/2"),
        (r"\boxed{-\frac{1}{2}}", "-0.5"),
        (r"\boxed{50\%}", "0.5"),
        (r"\boxed{\$18}", "18"),
        ("\\boxed{\u22123}", "-3"),
        (r"\boxed{1.5e2}", "150"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{ x   + 1}", "x + 1"),
        (r"\boxed{007}", "7"),
    ],
)
def test_correct(completion: str, answer: str) -> None:
    assert grade(completion, answer) is Outcome.correct


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"\boxed{7} no: \boxed{3}", "7"),
        (r"\boxed{1 2}", "12"),
        (r"\boxed{50%}", "50"),
        (r"\boxed{12,34}", "1234"),
        (r"\boxed{1/0}", "1"),
        (r"\boxed{1/2/3}", "1"),
        (r"\boxed{7 apples}", "7"),
        ("\\boxed{7\x00}", "7"),
        ("\\boxed{\u0667}", "7"),  # ARABIC-INDIC DIGIT SEVEN: a digit to \d, not to us
        (r"\boxed{nan}", "7"),
        (r"\boxed{1e999}", "7"),
    ],
)
def test_wrong(completion: str, answer: str) -> None:
    assert grade(completion, answer) is Outcome.wrong


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "7",
        "BOX 7",
        r"\boxed",
        r"\boxed{}",
        r"\boxed{  }",
        r"\boxed{7",
        r"\boxed{{7}",
        r"\boxed{7\}",
        "\x00",
    ],
)
def test_unparsed(completion: str) -> None:
    assert grade(completion, "7") is Outcome.unparsed


def test_the_last_box_decides_even_when_it_never_closes() -> None:
    assert grade(r"\boxed{7} and then \boxed{7", "7") is Outcome.unparsed


def test_a_truncated_completion_gave_no_answer() -> None:
    assert grade(r"\boxed{7} and on and on", "7", truncated=True) is Outcome.truncated


def test_an_empty_reference_is_a_fault_of_the_data() -> None:
    with pytest.raises(ValueError, match="reference answer is empty"):
        grade(r"\boxed{7}", " \n")


HOSTILE = {
    "a million characters": "x" * 10**6,
    "opening braces": r"\boxed{" + "{" * 10**6,
    "closing braces": r"\boxed{7" + "}" * 10**6,
    "open boxes": r"\boxed{" * 150_000,
    "boxes without braces": r"\boxed" * 150_000 + " ",
    "boxes and whitespace": (r"\boxed" + " " * 1000) * 1000,
    "backslashes": r"\boxed{" + "\\" * 10**6 + "}",
    "control characters": "\\boxed{" + "\x00\x1b\x07\u202e" * 250_000 + "}",
    "spaces in the box": r"\boxed{" + " " * 10**6 + "}",
    "digits": r"\boxed{" + "9" * 10**6 + "}",
    "fractions": r"\boxed{" + "1/" * 500_000 + "1}",
    "commas": r"\boxed{" + "1," * 500_000 + "1}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_graded_in_linear_time(name: str) -> None:
    started = time.process_time()
    outcome = grade(HOSTILE[name], "8")
    assert outcome in {Outcome.wrong, Outcome.unparsed}
    assert time.process_time() - started < 2.0  # processor time: a busy machine does not fail it


@given(st.text(), st.text(min_size=1))
def test_any_text_has_an_outcome(completion: str, answer: str) -> None:
    if answer.strip(" \t\n\r\f\v\u00a0"):
        assert grade(completion, answer) in Outcome


@given(st.fractions(max_denominator=999).filter(lambda f: abs(f) < 10**6))
def test_a_number_equals_itself_in_every_spelling(value) -> None:
    spellings = [
        str(value),
        rf"\frac{{{value.numerator}}}{{{value.denominator}}}",
        f"{value.numerator} / {value.denominator}",
    ]
    assert {number(spelling) for spelling in spellings} == {value}


@given(st.integers(-(10**9), 10**9))
def test_thousands_separators_change_nothing(value: int) -> None:
    assert grade(rf"\boxed{{{value:,}}}", str(value)) is Outcome.correct
    assert grade(rf"\boxed{{{value:,}}}", str(value + 1)) is Outcome.wrong


def test_the_content_is_brace_matched() -> None:
    assert last_boxed(r"a \boxed{\frac{1}{2}} b}") == r"\frac{1}{2}"


def test_the_grader_imports_nothing_heavy() -> None:
    code = (
        "import sys, study.grading.boxed; print(sorted({'torch', 'sympy', 'numpy', 'pydantic',"
        " 'datasets'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
