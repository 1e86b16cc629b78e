r"""Answers that name their value, or end an equation with it: names, operations, congruences,
chains, matrices. Each with what it equals and what it must not.
"""

import pytest

from study.grading.boxed import Outcome
from study.grading.registry import open_grader

M = r"\begin{pmatrix}2&1\\0&5\end{pmatrix}"
SUM = r"\begin{pmatrix}2&1\\0&5\end{pmatrix}+\begin{pmatrix}1&1\\1&1\end{pmatrix}"
IS_SUM = r"\begin{pmatrix}3&2\\1&6\end{pmatrix}"

SAME = [
    (SUM, IS_SUM), ("2" + M, r"\begin{pmatrix}4&2\\0&10\end{pmatrix}"),
    (M + r"\begin{pmatrix}1\\3\end{pmatrix}", r"\begin{pmatrix}5\\15\end{pmatrix}"),
    (f"A={M}", M), (f"A^{{-1}}={M}", M), (M, f"A^T={M}"),
    (r"\begin{vmatrix}2&1\\1&4\end{vmatrix}=7", "7"),
    (r"\begin{vmatrix}2&1\\1&4\end{vmatrix}", "7"),
    # names
    (r"v_{\max}=12", "12"), ("12", r"v_{\max}=12"), (r"m_{\oplus}=6", "6"),
    (r"m_{\oplus}^2+1", r"1+m_{\oplus}^2"), (r"n_{\gamma}(\nu)=4\nu", r"4\nu"),
    ("f(4)=11", "11"), ("f(-2)=3", "3"), ("3+4=7=y", "7"), ("7", "3+4=7=y"), ("y=3+4=7", "7"),
    # operations
    (r"\gcd(20,30)=10", "10"), (r"\operatorname{lcm}(6,8)=24", "24"), (r"\binom62=15", "15"),
    (r"\int_0^2 x\,dx=2", "2"), (r"\lim_{x\to0}\frac{\sin 3x}{x}=3", "3"),
    (r"\sum_{k=1}^{7}k=28", "28"), (r"e^{i\pi}=-1", "-1"), (r"\max(3,8)=8", "8"),
    (r"41 \bmod 6=5", "5"), (r"41 \mod 6 = 5", "5"), (r"41\equiv5\pmod6", "5"),
    (r"\sqrt{3}=1.732", "1.732"), (r"25\%=\frac14", r"\frac14"), ("3!=6", "6"),
    # chains and solutions
    ("(-2,6]", r"-2<h(t)\le6"), (r"0\le\sin\theta\le1", "[0,1]"),
    ("(3,1),(5,2)", "a=3,b=1;a=5,b=2"), ("(a,b)=(3,1),(5,2)", "(5,2),(3,1)"),
]  # fmt: skip

DIFFERENT = [
    (SUM, r"\begin{pmatrix}3&2\\1&7\end{pmatrix}"), ("2" + M, M), (f"Ax={M}", M),
    (r"\begin{vmatrix}2&1\\1&4\end{vmatrix}=7", "4"),
    (r"v_{\max}=12", "v_{\\min}=12"), (r"m_{\oplus}^2+1", r"2+m_{\oplus}^2"),
    ("f(4)=11", "4"), ("f(4)=11", "f(3)=11"), ("3+4=7=y", "4"),
    ("7=5", "5"), ("7=5", "7"), ("2+2=5", "5"), ("x=7=5", "5"), ("4!=25", "25"),
    (r"41 \bmod 6=4", "4"), (r"41 \bmod 6=5", "6"), (r"41\equiv4\pmod6", "4"),
    (r"41\equiv5\pmod6", "6"), (r"41\equiv5\pmod6", "41"),
    (r"\gcd(20,30)=10", "30"), (r"\int_0^2 x\,dx=2", "0"), (r"\sum_{k=1}^{7}k=28", "7"),
    (r"e^{i\pi}=-1", "1"), ("x^2=9", "9"), ("|x|=3", "3"), ("2x=10", "10"), (r"\sqrt3=1.9", "1.9"),
    ("(-2,6)", r"-2<h(t)\le6"), ("(1,3)", "1<|z|<3"), ("(1,3),(2,5)", "a=3,b=1;a=5,b=2"),
]  # fmt: skip


@pytest.fixture(scope="module")
def math1():
    with open_grader("math-1") as grader:
        yield grader


@pytest.mark.parametrize(("answer", "gold"), SAME)
def test_the_value_is_the_answer(math1, answer: str, gold: str) -> None:
    assert math1.grade(rf"\boxed{{{answer}}}", gold).outcome is Outcome.correct


@pytest.mark.parametrize(("answer", "gold"), DIFFERENT)
def test_what_is_not_the_value(math1, answer: str, gold: str) -> None:
    grade = math1.grade(rf"\boxed{{{answer}}}", gold)
    assert grade.outcome is Outcome.wrong


@pytest.mark.parametrize(
    ("completion", "gold", "strict", "relaxed"),
    [
        ("so $\\boxed{38\\}$", "38", "correct", "correct"),
        (r"\boxed{38\}. Hence \frac{1}{2}", "38", "correct", "correct"),
        (r"\boxed{3\}, \boxed{8\}", "3,8", "correct", "correct"),
        (r"\boxed{\{3,8\}", "3,8", "unparsed", "correct"),
        (r"\boxed{3} or \boxed{8}", "3,8", "correct", "correct"),
        (r"\boxed{3} or \boxed{8}", "8", "wrong", "wrong"),
        (r"First \boxed{90}. The final answer is $1,310$. I hope so.", "1310", "wrong", "correct"),
        (r"First \boxed{90}. The final answer is $1,310$. I hope so.", "90", "correct", "correct"),
        (r"\boxed{90}. The final answer is not 7.", "7", "wrong", "wrong"),
        (r"\boxed{90}. This final answer took 3 tries.", "3", "wrong", "wrong"),
        ("even $m$", "even $m$", "unparsed", "correct"),
    ],
)
def test_boxes_and_what_is_said_after_them(
    math1, completion: str, gold: str, strict: str, relaxed: str
) -> None:
    grade = math1.grade(completion, gold)
    assert (grade.outcome, grade.relaxed) == (strict, relaxed)


def test_a_gold_that_is_a_solution_gives_its_final_answer(math1) -> None:
    gold = "First we take a tenth of it and then a fifth of what is left of the price, so that "
    gold += "seventy-two of a hundred remain for him. Final Answer: The final answer is $28 \\%$."
    assert math1.grade(r"\boxed{28\%}", gold).outcome is Outcome.correct
    assert math1.grade(r"\boxed{72\%}", gold).outcome is Outcome.wrong
