r"""Kinds of answers that people and models write: notation, units, names, lists, percentages, golds
of several boxes or of floats. Each with what it equals and what it must not.
"""

import pytest

from study.grading.boxed import Outcome
from study.grading.math.equivalence import compare
from study.grading.math.extraction import answer, is_long, percent_follows, reference
from study.grading.math.latex import plain
from study.grading.math.notation import latex_notation
from study.grading.math.units import split_unit
from study.grading.registry import Sample, open_grader

NOTATION = [
    ("3**4", "3^4"), ("y**3-1", "y^3-1"), ("5**(2/3)", "5^{2/3}"), ("2**-3", "2^{-3}"),
    ("2**3**2", "2^{3^2}"), ("**17**", "17"), ("**17** cm", "17 cm"), ("y^12", "y^{12}"),
    ("√7", r"\sqrt{7}"), ("∛(y+2)", r"\sqrt[3]{y+2}"), ("3⁷", "3^{7}"), ("y⁻¹²", "y^{-12}"),
    ("４５", "45"), ("４％", "4%"), ("⅜", r"\frac{3}{8}"), ("（3，4）", "(3,4)"), ("a₁₂", "a_{12}"),
    ("𝑦", "y"), ("sqrt(7)/3", r"\sqrt{7}/3"), (r"\text{pi}", r"\text{pi}"), ("pint", "pint"),
]  # fmt: skip

SAME = [
    ("y^3-1", "y**3-1"), (r"\sqrt{\sqrt{3}}", "3**(1/4)"), ("4⁵", "1024"), ("７", "7"),
    ("（2，5）", "(2,5)"), ("2⅓", r"\frac73"), ("pi/6", r"\frac{\pi}{6}"), ("x ≤ 4", r"x\le4"),
    (r"\\left(\\frac{1}{3}, 2\\right)", r"(\frac13,2)"), ("31\\", "31"), ("17,", "17"),
    ("³√27", "3"), ("sin(pi/2)", "1"), ("exp(3)", "e^3"), ("2Pi", r"2\pi"), ("-0,25", "-1/4"),
    ("2.345.678", "2345678"), ("2_000_000", "2000000"), (r"S_{\triangle PQR}=8", "8"),
    ("[-2,2]", r"-2\le\sin x\le2"),
    # units and currencies, of either side alone or of both
    ("70 kWh", "70"), ("33 Ω", "33"), ("8 m s^{-2}", "8"),
    ("88 km/h", "88"), ("3 m/s", "3"), ("9 m²", "9"), ("64公斤", "64"), ("7元", "7"), ("7€", "7"),
    ("€7", "7 euros"), (r"\text{£}7", "7"), ("12 кг", "12"), (r"4\text{ m}/\text{s}", "4 m/s"),
    (r"60\text{ miles per hour}", "60 mph"), ("3 million dollars", "3000000"), ("2万", "20000"),
    ("Rs. 250", "250"), (r"4\frac{\text{km}}{\text{h}}", "4 km/h"), ("2 млн", "2000000"),
    ("R$ 70", "70"), ("70", r"R\$ 70"), ("NZ$ 70", "70 NZD"), ("US$ 70", r"\$70"), ("$R$", "R"),
    ("8 N·m", "8"), (r"8\,\mathrm{N\cdot m}", "8"), ("8 kN·m", "8 kN*m"), ("30 μm", "30"),
    (r"30 \mu s", "30"), (r"30\,\mu\text{g}", "30 µg"), ("4 kΩ", "4"), (r"9\text{ J}", "9 joules"),
    (r"[60\text{ degrees}]", "60"), ("23,45,678", "2345678"), ("2345678", "₹23,45,678"),
    ("23,45,678", "2,345,678"), ("23,45,678", "678,45,23"), ("20,30,400", "30,20,400"),
    # percent
    ("14 pct", r"14\%"), ("14 per cent", "14%"), ("14.5 pct", "0.145"), (r"14\%", "14 percentage"),
    # names
    (r"\frac{r}{3}", r"V_{\max}=\frac{r}{3}"), (r"\phi_{\min}=12", "12"),
    ("V_{max}", r"V_{\text{max}}"),
    (r"R_{\text{s}}^3", "R_s^3"), ("(2,7)", "2<g(t)<7"), ("[2,7)", r"2\le y_2<7"),
    ("(1,4)", "4>x>1"),
    ("9", "9=y"), ("9=y", "9"), (r"23 \bmod 7=2", "2"), ("3!=6", "6"), ("4+5=9", "9"),
    ("AB=6,BC=7", "6,7"), ("面积=12", "12"), ("|AB|=3", "3"),
    # lists and solutions
    ("(4,1),(6,1)", "a=4,b=1;a=6,b=1"), ("a=6,b=1;a=4,b=1", "a=4,b=1;a=6,b=1"), ("2,2,3", "2,3"),
    ("2,3", "2,3,3"), ("(1,2)", "x=1,y=2"), ("y=2,x=1", "x=1,y=2"), ("x_1=3,x_2=4", "4,3"),
    ("0,125", "0.125"), ("-0,25", "-0.25"), ("1,2;3,4", "(1,2),(3,4)"),
    # floats and roundings
    ("0.6666666666666666", r"\frac23"), ("1.4142135623730951", r"\sqrt2"), ("3.141593", r"\pi"),
]  # fmt: skip

DIFFERENT = [
    ("7 , 321", "7321"), ("7,050", "7, 50"), ("7,000", "7, 0"), ("2⁴√16", r"2\sqrt[4]{16}"),
    ("33 Ω", "33 volts"), ("8 m s^{-2}", r"8\text{ m}/\text{s}"), ("2.345", "2345"),
    ("[-2,2]", r"-2<\sin x<2"), ("sin(2)", "2"),
    ("34", "3**4"), ("3y-1", "y**3-1"), ("12, 500", "12500"), ("12500", "12, 500"),
    ("4, 120", "4120"), ("45", "4⁵"), ("12", "a₁₂"), (r"\sqrt{3}", "3**(1/4)"),
    ("88 km/h", "88 m/s"), ("7€", "7 dollars"), ("3 million dollars", "3"), ("2万", "2"),
    ("2 млн", "2"), ("5 squared", "5"),
    ("R$ 70", "€70"), ("A$ 70", "US$ 70"), ("70 AUD", "70 CAD"), ("8 kN·m", "8 N·m"),
    ("8 N·m", "8 N"), ("30 μm", "30 mm"), ("30 μm", "30 m"), (r"30\mu x", "30"), (r"30\mu", "30"),
    ("30", r"30\mu m"), ("4 kΩ", "4 Ω"), ("23,45,678", "2345679"), ("23,45", "2345"),
    ("23, 45, 678", "2345678"), ("2345678", r"\{23,45,678\}"), ("2345678", "(23,45,678)"),
    ("3,700", "(3,700)"), ("(3,700)", "3,700"), ("3700", "(3,700)"), ("3,700", "[3,700]"),
    ("5 and a half", "5"), (r"5\text{ or more}", "5"),
    ("5abc", "5"), (r"5\frac{a}{b}", "5"), ("5a/b", "5"), ("9m^2", "9x"), ("9", "9m^2x"),
    (r"14\%", "14"), ("14", "14 pct"), (r"0.14\%", r"14\%"),
    ("V_{max}=3", "V_{min}=3"), ("x=3", "y=3"), ("x>3", "y>3"), ("[2,7]", "2<g(t)<7"),
    ("(4,1)", "4>x>1"), ("2x=6", "6"), ("a+b=7", "b+c=7"), ("11a+c", "7=11a+c"), ("x^2=9", "9"),
    ("7", "4+5=9"), ("7", "x^2+y^2=7"), (r"23 \bmod 7=2", "23"),
    ("7,6", "AB=6,BC=7"), ("2,1", "x=1,y=2"), ("(2,1)", "y=2,x=1"), ("x=2,y=1", "x=1,y=2"),
    ("(4,1),(1,6)", "a=4,b=1;a=6,b=1"), ("1,2;3,4", "1,3;2,4"), ("0,125", "125"), ("2,5", "25"),
    (r"\{\{1\},2\}", r"\{1,2\}"), ("ABC", "BCA"), ("A", "a"), ("1", "1,2"), ("1,2", "1"),
    (r"\begin{pmatrix}1&2\end{pmatrix}+\begin{pmatrix}3&4\end{pmatrix}", "(4,6)"),
    ("3.14159", r"\frac{22}{7}"), ("3.14", r"\pi"), ("1.4142", r"\sqrt2"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "latex"), NOTATION)
def test_unicode_and_ascii_mathematics_as_latex(text: str, latex: str) -> None:
    assert latex_notation(text).replace(" ", "") == latex.replace(" ", "")


@pytest.mark.parametrize(("candidate", "gold"), SAME)
def test_right_answers(candidate: str, gold: str) -> None:
    assert compare(candidate, gold).equal is True
    assert compare(candidate, gold, relaxed=True).equal is True


@pytest.mark.parametrize(("candidate", "gold"), DIFFERENT)
def test_wrong_answers(candidate: str, gold: str) -> None:
    assert not compare(candidate, gold).equal
    assert compare(candidate, gold).equal is False or compare(candidate, gold).pending


@pytest.mark.parametrize("price", ["$5", "5$", r"\$5", "$ 5", "US$5"])
def test_a_dollar_sign_of_a_number_alone_is_a_currency(price: str) -> None:
    assert compare("5", price).equal is True
    assert compare("£5", price).equal is False
    assert compare("5€", price).equal is False
    assert compare("5€", "$5$").equal is True  # two of them are delimiters


def test_a_comma_and_a_space_make_a_list() -> None:
    assert plain("12, 500") == "12, 500"
    assert plain("12,500") == plain(r"12,\!500") == plain("12{,}500") == "12,500"
    assert compare("12,500", "12, 500").equal is False
    assert compare("12,500", "12, 500", relaxed=True).equal is True


def test_a_decimal_comma_that_may_be_a_list_is_one_relaxedly_alone() -> None:
    assert compare("3,5", "3.5").equal is False
    assert compare("3,5", "3.5", relaxed=True).equal is True
    assert compare("3,5", "3.6", relaxed=True).equal is False


def test_units_are_split_off() -> None:
    assert split_unit("5km/h") == ("5", "km/hour")
    assert split_unit("5m^2") == ("5m^2", None)
    assert split_unit("5m^2", letters=True) == ("5", "m2")
    assert split_unit("-€5") == ("-5", "euro")
    assert split_unit("5x/y") == ("5x/y", None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{1} and \boxed{-4}", "1, -4"),
        (r"The roots are \boxed{1} in the first case. Otherwise \boxed{-4}.", "1, -4"),
        (r"\boxed{5}. So the answer is \boxed{5.0}.", "5"),
        (r"the larger one is $\boxed 4$.", "4"),
        (r"it is $\boxed\frac{2}{9}$.", r"\frac{2}{9}"),
        (r"it is $\boxed\text{seven}$.", r"\text{seven}"),
        (r"put it in \boxed{...}: \boxed{4}", "4"),
        (r"\boxed{4 and then no end", "4 and then no end"),
    ],
)
def test_the_reference_is_all_boxes_of_a_gold(text: str, found: str) -> None:
    assert reference(text) in (found, found.replace("5", "5.0"))


def test_a_reference_that_is_a_solution_is_long() -> None:
    assert is_long("First we add them and then we see that " * 4)
    assert not is_long(r"\frac{1}{2} \text{ or } 3")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{1}, \boxed{2} and \boxed{3}", "1, 2, 3"),
        (r"$x=\boxed{1}$ and $y=\boxed{2}$", "1, 2"),
        (r"\boxed{3} apples and \boxed{4} pears", "3, 4"),
        (r"\boxed{3}, no wait, \boxed{4}", "4"),
        ("\\boxed{3}\n\n\\boxed{4}", "4"),
        (r"\boxed{3}. Then \boxed{4}", "4"),
        (r"\boxed{4} \quad \boxed{4.0}", "4"),
        (r"\boxed{4}, put it into \boxed{}", None),
        (r"\boxed{4} in the form \boxed{\ldots}", None),
        (r"\boxed{4} and \boxed{4", None),
    ],
)
def test_boxes_that_are_listed_are_one_answer(text: str, found: str | None) -> None:
    assert answer(text) == found


def test_a_percent_sign_behind_the_box() -> None:
    assert percent_follows(r"$\boxed{28}\%$")
    assert percent_follows(r"$\boxed{28}$ percent")
    assert not percent_follows(r"\boxed{28} apples, 5\%")


@pytest.fixture(scope="module")
def math1():
    with open_grader("math-1") as grader:
        yield grader


@pytest.mark.parametrize(
    ("completion", "gold", "question", "strict", "percent_only"),
    [
        (r"\boxed{14}", r"14\%", "", "wrong", True),
        (r"\boxed{14}", r"14\%", "How many marbles are red?", "wrong", True),
        (r"\boxed{14}", r"14\%", "What percent of the marbles are red?", "correct", False),
        (r"\boxed{14}", r"14\%", "Give the answer as a percentage.", "correct", False),
        (r"\boxed{14\%}", "14", "What per cent of the marbles are red?", "correct", False),
        (r"\boxed{15}", r"14\%", "What percent of the marbles are red?", "wrong", False),
        (r"\boxed{15}", r"14\%", "", "wrong", False),
        (r"\boxed{14}\%", r"14\%", "", "correct", False),
        (r"\boxed{14}", r"so it is \boxed{14}\%", "", "correct", False),
        (r"\boxed{0.14}", r"14\%", "", "correct", False),
        (r"\boxed{14\%}", "14", "", "wrong", False),
    ],
)
def test_a_missing_percent_sign_is_decided_by_the_question(
    math1, completion: str, gold: str, question: str, strict: str, percent_only: bool
) -> None:
    grade = math1.grade(completion, gold, question=question)
    assert (grade.outcome, grade.percent_only) == (strict, percent_only)
    if percent_only:
        assert grade.relaxed is Outcome.correct


def test_a_gold_that_was_a_float_equals_what_rounds_to_it(math1) -> None:
    pairs = [
        ("5/7", 5 / 7),
        ("0.3", 0.1 + 0.2),
        (r"\sqrt{5}", 5**0.5),
        ("7", 7 - 1e-15),
        (r"\frac{\pi}{3}", 3.141592653589793 / 3),
    ]
    for text, gold in pairs:
        grade = math1.grade(rf"\boxed{{{text}}}", repr(gold), gold_is_float=True)
        assert grade.outcome is Outcome.correct
    for text, gold in [("0.714", 5 / 7), ("7.00001", 7.0), (r"\sqrt{5.0001}", 5**0.5), ("0", 1e-9)]:
        grade = math1.grade(rf"\boxed{{{text}}}", repr(gold), gold_is_float=True)
        assert grade.outcome is Outcome.wrong
    assert math1.grade(r"\boxed{0.3}", "0.30000000000000004").outcome is Outcome.wrong


def test_the_relaxed_way_skips_an_instruction(math1) -> None:
    for completion in (r"So it is \boxed{8}. (Put it into \boxed{}.)", r"It is 8, in \boxed{...}"):
        grade = math1.grade(completion, "8")
        assert (grade.outcome, grade.relaxed) == (Outcome.unparsed, Outcome.correct)


def test_fields_of_a_sample_are_arguments_of_grade(math1) -> None:
    sample = Sample(r"\boxed{14}", r"14\%", question="What percent?")
    assert math1.grade_many([sample])[0].outcome is Outcome.correct
