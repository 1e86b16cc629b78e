"""Extraction and comparison without a symbolic tier: what is found, what is equal, what is left
open, and that any text has an answer.
"""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.grading.math.equivalence import Equality, Tier, compare, vote
from study.grading.math.extraction import boxed, boxes, reference
from study.grading.math.latex import MAX_LENGTH, closing, plain, split
from study.grading.math.quantities import quantity
from study.grading.math.statements import stated

SAME = [
    (r"\dfrac{14}{3}", r"\frac{14}{3}"), ("14/3", r"\frac{14}{3}"), (r"\frac 59", "5/9"),
    (r"\frac9{19}", "9/19"),
    (r"\frac{28}{6}", "14/3"),
    ("1,234", "1234"), (r"11,\! 111,\! 100", "11111100"), (r"10\,080", "10080"), ("142", "142.0"),
    ("5.", "5"), ("007", "7"), ("-0", "0"),
    (r"\$18.90", "18.90"), (r"18.9\text{ dollars}", r"\$18.90"), (r"50\%", "0.5"), (r"50\%", "1/2"),
    ("50 percent", r"50\%"),
    (r"137\frac{1}{2}", "137.5"), ("2 1/2", "5/2"), (r"1.5\times 10^{3}", "1500"), ("3e-2", "0.03"),
    ("3 million", "3000000"),
    ("0.333333", "1/3"),
    (r"90^{\circ}", "90"), (r"\frac{270}{7}\text{ degrees}", r"\frac{270}7"),
    (r"15\text{ square cm}", r"15\mbox{ cm}^2"),
    ("7 apples", "7"),
    (r"864\text{ in}^2", r"864 \mbox{ inches}^2"), (r"5.4", r"5.4 \text{ cents}"),
    ("5 m", r"5\text{ meters}"),
    (r"4210_{5}", "4210_5"), (r"\textbf{Evelyn}", r"\text{Evelyn}"), ("evelyn", r"\text{Evelyn}"),
    ("C", r"\text{(C)}"),
    ("(c)", r"\text{(C)}"),
    (r"\left( 3, \frac{4}{8} \right)", "(3,1/2)"), ("-2,1", "1,-2"), ("3 and 5", "5, 3"),
    (r"3 \text{ or } 5", "3,5"), ("(1,-2)", "1,-2"),
    (r"\{3, 1, 2\}", r"\{1,2,3\}"), (r"\{5\}", "5"),
    (r"1 - \sqrt{19}, 1 + \sqrt{19}", r"1 \pm \sqrt{19}"), (r"\pm 3", "3, -3"),
    (r"(9,36) \cup (0,9)", r"(0,9) \cup (9,36)"), (r"x \in [-2,7]", "[-2, 7]"),
    (r"-2 \le x \leq 7", r"x \in [-2,7]"),
    (r"x > 5", r"(5,\infty)"),
    (r"\begin{bmatrix} 0.2 \\ -3.6 \end{bmatrix}", r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}"),
    ("x = 5", "5"), ("5", "x=5"), ("y = 2x + 3", "2x+3"), (r"f(x) = x^2", "x^2"),
    (r"\sqrt3", r"\sqrt{3}"), ("−3", "-3"), ("3π", r"3\pi"),
    ("\u200e7\u200f", "7"), (r"\mathrm{even}", r"\text{even}"), ("{7}", "7"), (r"\(7\)", "$7$"),
    ("100, 200", "100,200"),
    ("(x,y)=(1,2)", "(1,2)"), (r"\approx 3.14", "3.14"), (r"\mathbf{C}", "C"), (r"\text{12}", "12"),
    ("12", r"\text{12}"),
    (r"\mathbb{R}", r"(-\infty,\infty)"), ("2 < x", r"(2,\infty)"), (r"0.1\overline{6}", "1/6"),
    (r"\langle 2,-1\rangle", "(2,-1)"),
]  # fmt: skip

DIFFERENT = [
    ("1 2", "12"), ("12,34", "1234"), (r"50\%", "50"), ("0.33", "1/3"), ("114200.33", "114200"),
    (r"114200\frac{1}{3}", "114200"),
    (".0000671", ".0000672"), ("3.0000001", "3"), ("52_9", "52_8"), ("42", "52_8"), ("5 m", "5 cm"),
    (r"5\text{ cm}^2", r"5\text{ cm}"),
    ("-5", "5"),
    (r"6 \text{ pm}", r"6 \text{ am}"), (r"\frac{3}{14}", r"\frac{14}{3}"), ("seat", "east"),
    (r"\text{odd}", r"\text{even}"),
    ("D", r"\text{(C)}"),
    (r"\text{two}", "3"), ("(-2,1)", "(1,-2)"), ("(3,4)", "(3,4]"), ("[3,4]", "(3,4]"),
    ("1,-2,3", "1,-2"), ("1", "1,-2"),
    (r"\{1,2\}", r"\{1,3\}"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    (r"(0,9) \cup (9,36)", r"(0,9) \cup (9,35)"),
    ("7\x00", "7"), ("\u0667", "7"), ("", "7"), ("5", "x+1, 5"),
    (r"\begin{vmatrix}1\end{vmatrix}", r"\begin{pmatrix}1\end{pmatrix}"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "gold"), SAME)
def test_the_same_answer_in_another_spelling(answer: str, gold: str) -> None:
    assert compare(answer, gold).equal is True
    assert compare(answer, gold, relaxed=True).equal is True
    assert compare(gold, gold).tier is Tier.exact


@pytest.mark.parametrize(("answer", "gold"), DIFFERENT)
def test_another_answer(answer: str, gold: str) -> None:
    assert compare(answer, gold).equal is False


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"50\%", "50"),
        ("52", "52_8"),
        ("5 oranges", r"5\text{ apples}"),
        (r"\text{(C) } 12", r"\text{(C)}"),
        (r"(C) 12", "12"),
    ],
)
def test_what_only_the_relaxed_rules_accept(answer: str, gold: str) -> None:
    assert not compare(answer, gold).equal
    assert compare(answer, gold, relaxed=True).equal is True


@pytest.mark.parametrize(
    "pair",
    [
        ("5 m", "5 cm"),
        ("52_9", "52_8"),
        (r"\{1,2\}", "(1,3)"),
        ("5", "6"),
        ("42", "52_8"),
        (r"49\%", "50"),
    ],
)
def test_what_the_relaxed_rules_refuse_too(pair: tuple[str, str]) -> None:
    assert compare(*pair, relaxed=True).equal is False


def test_a_formula_is_left_open_and_only_the_part_that_is_one() -> None:
    assert compare("-q + p", "p - q").pending == (("-q+p", "p-q"),)
    assert compare(r"(3, x/2)", r"(3, \frac{x}{2})").pending == ((r"x/2", r"\frac{x}{2}"),)
    assert compare(r"(4, x/2)", r"(3, \frac{x}{2})").equal is False  # one part decides
    assert compare(r"y = x+x", "y = 2x").pending == (("x+x", "2x"),)
    assert compare(r"2\sqrt{3}x\text{ cm}", r"\sqrt{12}x").pending == (
        (r"2\sqrt{3}x", r"\sqrt{12}x"),
    )  # no unit reaches the symbolic tier


def test_formulas_without_variables_are_compared_by_value() -> None:
    for answer, gold in (
        (r"(3, \pi/2)", r"(3, \frac{\pi}{2})"),
        (r"2\sqrt{3}\text{ cm}", r"\sqrt{12}"),
    ):
        assert compare(answer, gold) == Equality(True, Tier.numeric)
    assert compare(r"(4, \pi/2)", r"(3, \frac{\pi}{2})").equal is False


def test_votes_are_names_that_spellings_share() -> None:
    assert vote("14/3") == vote(r"\dfrac{28}{6}") != vote("4.67")
    assert vote(r"\text{Even}") == vote(r"\text{even}")
    assert vote("52_8") != vote("42")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{3} no: \boxed{ \frac{1}{2} }", r"\frac{1}{2}"), ("\\boxed {\n7}", "7"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{7", None),
        (r"\boxed{}", None), (r"\boxed{7} then \boxed{7", None), ("7", None), (r"\boxed 7", None),
        (r"\fbox{7}", None),
    ],
)  # fmt: skip
def test_the_last_box(text: str, found: str | None) -> None:
    assert boxed(text) == found


def test_several_boxes_in_order() -> None:
    assert boxes(r"\boxed{1}, \boxed{2} and \boxed{3}", 2) == ["2", "3"]
    assert boxes(r"\boxed{1} \boxed{", 2) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The final answer is 5.", "5"),
        ("**Answer:** 3,000", "3,000"),
        ("x\nA: 12\n", "12"),
        ("#### -1,000", "-1,000"),
        ("final answer: **42**", "42"),
        ("we get 3 and then 4.5 apples", "4.5"),
        ("so it costs $1,234.50.", "$1,234.50"),
        ("The answer is 5 because 3+2=5", "5"),
        ("3-5=2", "2"),
        ("a rise of 50%", "50%"),
        ("we find $x+1$", "x+1"),
        ("from $x$ we get 12", "12"),
        ("the answer is -3/4", "-3/4"),
        ("Answer: 7\nAnswer: 8", "8"),
    ],
)
def test_a_stated_answer(text: str, found: str) -> None:
    assert stated(text)[0] == found


def test_nothing_is_stated_in_words_without_numbers() -> None:
    assert stated("no idea") == stated("") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2+2=4\n#### 1,000", "1,000"),
        (r"so \boxed{x}", "x"),
        ("first 3\nA: 18", "18"),
        (" 5 ", "5"),
        ("A: 7", "A: 7"),
    ],
)
def test_the_reference_in_a_gold_column(text: str, found: str) -> None:
    assert reference(text) == found


@pytest.mark.parametrize("text", ["", " \n", "3 + 4\n####"])
def test_an_empty_reference_is_a_fault_of_the_data(text: str) -> None:
    with pytest.raises(ValueError, match="reference answer is empty"):
        reference(text)


def test_brackets() -> None:
    assert closing("(3,4]", 0) == 4
    assert closing("((", 0) is None
    assert split("(1,2),3;4", ",;") == ["(1,2)", "3", "4"]


def test_what_is_no_number() -> None:
    for text in (
        "",
        "x",
        "1/0",
        r"\frac{1}{0}",
        "2k",
        "6xyz",
        "1,2",
        "1.2.3",
        "5_1",
        "8_8",
        "9" * 300,
        "1e9999",
    ):
        assert quantity(text) is None, text


NASTY = [
    "{",
    "}",
    "\\",
    "\\text{",
    "\\frac",
    "(",
    ")",
    "[",
    "\\{",
    "\\}",
    ",",
    "=",
    "<",
    "\\le",
    "\\pm",
    "\\cup",
    "\\begin{pmatrix}",
    "&",
    "\\\\",
    "_",
    "^",
    "\x00",
    "\ud800",
    "\u202e",
    "$",
    "9",
    "-",
    ".",
    "/",
    "%",
    "and",
    "x",
    " ",
    "\\boxed{",
    "__import__('os')",
]


@given(
    st.lists(st.sampled_from(NASTY), max_size=40).map("".join),
    st.lists(st.sampled_from(NASTY), max_size=40).map("".join),
)
def test_any_two_texts_can_be_compared(left: str, right: str) -> None:
    verdict = compare(left, right)
    assert (verdict.equal is None) == bool(verdict.pending)
    if verdict.equal:
        assert compare(left, right, relaxed=True).equal


@given(st.text(max_size=200))
def test_any_text_is_equal_to_itself_and_has_a_plain_form_that_stays(text: str) -> None:
    assert compare(text, text).equal
    assert isinstance(stated(text), list)
    assert plain(text) is not None


@given(st.fractions(max_denominator=999).filter(lambda f: abs(f) < 10**6))
def test_a_number_is_the_same_in_every_spelling_and_not_its_neighbour(value) -> None:
    spellings = [
        str(value),
        rf"\dfrac{{{value.numerator}}}{{{value.denominator}}}",
        rf"{value.numerator} / {value.denominator}\text{{ cm}}",
    ]
    for spelling in spellings:
        assert compare(spelling, str(value)).equal
        assert compare(spelling, str(value + 1)).equal is False


def test_a_long_answer_is_compared_as_text() -> None:
    long = "1+" * MAX_LENGTH + "1"
    assert compare(long, long).equal
    assert compare(long, "1").equal is False


@pytest.mark.slow
def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, study.grading.math.equivalence, study.grading.math.extraction,"
        " study.data.completions, study.grading.registry; "
    )
    code += (
        "print(sorted({'torch', 'sympy', 'math_verify', 'datasets', 'lm_eval', 'transformers',"
        " 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
