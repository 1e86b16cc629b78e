r"""Values of formulas: exact where rational, to hundreds of digits elsewhere, and none where a text
has two readings or no end.
"""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.grading.math.equivalence import compare
from study.grading.math.formulas import letters, same_value, value
from study.grading.math.latex import plain

EQUAL = [
    (r"\frac{3^{70}}{3^{71}}", r"\frac13"), ("2^{-90}", r"\frac{1}{2^{90}}"),
    (r"\frac{30!}{29!}", "30"), (r"\sqrt{50}", r"5\sqrt2"), (r"\sqrt[3]{-27}", "-3"),
    (r"\sqrt{3+2\sqrt2}", r"1+\sqrt2"), (r"\cos\frac{\pi}{3}", "0.5"), (r"\sin^2 1+\cos^2 1", "1"),
    (r"\tan\frac{\pi}{4}", "1"), (r"\log_2 32", "5"), (r"\ln 8", r"3\ln 2"), (r"e^{\ln 7}", "7"),
    (r"\binom{6}{2}", "15"), (r"\lfloor 3.7 \rfloor", "3"), ("|-4|", "4"), ("-(-3)", "3"),
    ("2(3)", "6"), (r"29 \bmod 6", "5"), ("8^{1/3}", "2"), ("16**(1/4)", "2"), ("√12", "2√3"),
    ("π/2", r"\frac{\pi}{2}"), ("2pi", r"2\pi"), (r"\frac{1}{\sqrt3}", r"\frac{\sqrt3}{3}"),
]  # fmt: skip

DIFFERENT = [
    (r"\frac{1}{30!}", r"\frac{1}{29!}"), (r"\frac{1}{3^{70}}", r"\frac{1}{3^{71}}"),
    (r"\frac{3^{70}+1}{3^{71}}", r"\frac13"), ("10^{-30}", "10^{-31}"), ("10^{-30}", "0"),
    (r"1-\frac{1}{2^{200}}", r"1-\frac{1}{2^{201}}"), (r"\sqrt2\cdot10^{-40}", "0"),
    (r"\left(\frac{3}{5}\right)^{80}", r"\left(\frac{3}{5}\right)^{81}"),
    (r"\frac{\pi}{10^{15}}", r"\frac{2\pi}{10^{15}}"), ("e^{-90}", "e^{-91}"),
    ("10^{18}+1", "10^{18}"), ("p-q", "q-p"), (r"\frac{a}{b}", r"\frac{b}{a}"), ("A", "a"),
    (r"\frac{y}{3^{70}}", r"\frac{y}{3^{71}}"), ("(x-3)^2", "x^2-9"), ("x_1", "x_2"),
    (r"\sin 2x", r"2\sin x"), (r"\sqrt{x+1}", r"\sqrt{x}+1"), ("2^{x}", "x^{2}"), ("-2^2", "4"),
    ("23", "2**3"), ("2y", "y**2"), (r"\frac{355}{113}", r"\pi"),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_numbers_that_are_equal(left: str, right: str) -> None:
    assert same_value(plain(left), plain(right)) is True
    assert compare(left, right).equal is True


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_formulas_that_differ_however_close(left: str, right: str) -> None:
    assert same_value(plain(left), plain(right)) is False
    assert compare(left, right).equal is False
    assert compare(right, left).equal is False


@pytest.mark.parametrize(("left", "right"), [("x(x+1)", "x^2+x"), ("ab", "ba"), ("f(x)", "f(x)")])
def test_formulas_with_letters_are_never_called_equal_here(left: str, right: str) -> None:
    assert same_value(left, right) is None


@pytest.mark.parametrize(
    "text",
    [
        "1/2x", r"2\frac{1}{2}x", r"\sin x/2", r"\ln 2x", r"\log 10", "i", "3+4i", r"\frac{1}{0}",
        r"\sqrt{-1}", "0/0", "x!", "5!!", "9^{9^{9^{9}}}", r"\binom{10^9}{5}", "10^{10^6}",
        "x_{n+1}",
        r"\sum_{k=1}^{5}k", "1=1", "1,2", "5%", r"\text{five}", "(", "2^", "", r"\tan\frac{\pi}{2}",
        r"\sin^{-1}1", "(" * 200 + "1" + ")" * 200, "2 3", r"\cdots",
    ],
)  # fmt: skip
def test_what_has_two_readings_or_no_value(text: str) -> None:
    assert value(text) is None


def test_the_letters_of_a_formula() -> None:
    assert letters(r"2\pi r_1 + \theta e") == {"r_1", "\\theta"}
    assert letters("2+2") == frozenset()
    assert letters("x=5") is None


def test_time_is_bounded() -> None:
    texts = ["9^{9^{9}}", "2^{" * 50 + "2" + "}" * 50, "5000!^{5000!}", "1+" * 290 + "1"]
    texts += [r"\sqrt{" * 30 + "2" + "}" * 30, r"\sin" * 100 + "1", "(1+10^{-300})^{10^{9}}"]
    started = time.process_time()
    for text in texts:
        value(text)
    assert time.process_time() - started < 2.0


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_arithmetic_is_exact(left, right) -> None:
    sides = [rf"(\frac{{{x.numerator}}}{{{x.denominator}}})" for x in (left, right)]
    for sign, result in (("+", left + right), ("-", left - right), ("*", left * right)):
        text = sign.join(sides)
        found = value(text)
        assert found is not None
        assert found.exact == result
        assert same_value(text, f"{result.numerator}/{result.denominator}") is True
        assert same_value(text, f"{result.numerator + 1}/{result.denominator}") is False


@given(st.integers(2, 10**9), st.integers(2, 10**9))
def test_roots_multiply(left: int, right: int) -> None:
    product = rf"\sqrt{{{left}}}\sqrt{{{right}}}"
    assert same_value(product, rf"\sqrt{{{left * right}}}") is True
    assert same_value(product, rf"\sqrt{{{left * right + 1}}}") is False
