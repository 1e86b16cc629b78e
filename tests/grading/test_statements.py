r"""Answers that are stated without a box: a formula is read as a whole, a marker and a verb lead to
the value, and no number comes out of the middle of anything.
"""

import time

import pytest

from study.grading.math.equivalence import compare
from study.grading.math.statements import stated

READ = [
    ("So the volume is $12{,}750.", "12750"), (r"We get 25\,000 in all", "25000"),
    ("so 2.5e3 grains", "2500"), ("about 2,74 in all", "2.74"),
    (r"<answer>\dfrac{3}{7}</answer>", "3/7"), ("<answer>31</answer>\n<score>9</score>", "31"),
    ("<answer>30</answer> no, <answer>31</answer>", "31"), ("<answer>31</answer> <answer>", "31"),
    (r"\frac{6}{21}", "2/7"), (r"\frac{1+\sqrt{7}}{3}", r"\frac{1+\sqrt{7}}{3}"), ("x+5", "x+5"),
    ("Final Answer: The area of $ABCD$ is 72.", "72"), ("Answer: the smallest $n$ is 41", "41"),
    ("Final Answer: The number of zeros of $f(x)$ is 6.", "6"), ("the answer is 8, not 9", "8"),
    ("Answer: the sum $a+b$ equals $11$", "11"), ("所以一共有21只鸟。", "21"),
    ("因此是**6页**。", "6"),
    ("所以共有3 + 8 = 11只", "11"), ("答案：每份是 (\\frac{2}{7}) 吨。", "2/7"),
    ("the answer 79 * 2 - 66 هو **92**.", "92"), ("how many $? just about 4$", "4"),
    ("a rise of 15 percent", r"15\%"), ("it takes 2 1/2 hours", "2.5"), ("(5 apples)", "5"),
    ('<answer lang="en">\\frac{2}{9}</answer>', "2/9"), ("<final_answer>6</final_answer>", "6"),
    ("答えは４です。", "4"), ("Answer: $PQ$ has length 14.", "14"),
    ("Answer: It rang 6 times.", "6"),
    ("Answer: There are 3 zeros of $g(x)=0$.", "3"), ("Answer: the ratio is 5:8", "5:8"),
    ("She needs to score at least 11 points.", "11"),
    ("Answer: 7 pi", r"7\pi"), (r"it is $\boxed 9$", "9"), (r"it is $\fbox{9}$", "9"),
    ("so the area is 1,200.75m²", "1200.75"), ("Answer $ \\frac{1}{2} \\$ = \\frac{9}{7} $", "9/7"),
    # all members of a list
    ("The zeros are $5$ and $8$.", "5,8"), ("x = 5, 8", "5,8"), ("So y = 5 or y = 8.", "5,8"),
    ("The values are 5, 6 and 8.", "5,6,8"), ("It may be $5$, $6$, or $8$.", "5,6,8"),
    ("Thus $a=5$ and $b=8$.", "(5,8)"), ("We have 5 and 8, so the sum is 13.", "13"),
    ("The area is 15, and the perimeter is 16", "16"), ("There are 6! ways", "720"),
    ("It is 8, not 9.", "8"), ("5 is not possible, so the answer is 6", "6"),
    ("so 4! = 24", "24"), ("$a+b=8$", "8"), (r"$A=\pi r^2=9\pi$", r"9\pi"), ("f(x) = 8", "8"),
    (r"$\sin\theta=\frac35$", "0.6"), ("|z| = 8", "8"), ("x == 8", "8"), ("x_1 = 8", "8"),
    (r"so the area is $\pi r^2 = 9\pi$", r"9\pi"), ("y = x + 3 = 8", "8"), ("Answer: y = 8", "8"),
]  # fmt: skip

NOT_READ = [
    (r"\frac{1+\sqrt{7}}{3}", "3"), (r"\frac{1+\sqrt{7}}{3}", "7"), (r"2\sqrt{5}", "5"),
    ("x^2+5", "5"), ("3x", "3"), ("f(4)", "4"), ("2^{10}", "10"), (r"\sqrt{x+9}", "9"),
    ("a_7", "7"),
    ("(3, 4)", "4"), ("[3, 4)", "3"), ("5/8", "8"), ("2 1/2", "1/2"), ("12,750", "750"),
    (r"12{,}750", "750"), ("so 2.5e3", "3"), ("1,5", "5"), ("AZYUK2A", "2"),
    (r"<answer>1/2</answer>", "2"),
    ("Answer: 9 pi", "9"), ("It is 9 π", "9"), ("log_4 16", "16"), ("8 choose 3", "3"),
    ("8 choose 3", "8"), ("The ratio is 5:8.", "8"), ("The ratio is 5 to 8.", "8"), ("5 : 8", "8"),
    ("Answer: For $n=6$ it is 15.", "6"), ("Answer: For n = 6 we get 15", "6"), ("∛11", "11"),
    ("It is the square root of 11", "11"), ("is 4 x", "4"),
    ("The roots are 5 and 8.", "8"), ("Answer: 5 or 8", "5"), ("Answer: $x=5, y=8$", "8"),
    ("Answer: x=5 or x=8", "5"), (r"\log_3 8", "8"), ("log₃8", "8"), ("|−8|", "-8"), ("8∕5", "5"),
    ("8–5", "5"), ("x ≠ 8", "8"), ("8‰", "8"),
    ("It is 11 squared", "11"), ("It is 2 and a half", "2"), ("It is 3 times 4", "4"),
    ("so $3x=12$", "12"), ("so y^2 = 49", "49"), ("Answer: $3x=12$", "12"),
    (r"\binom{5}{2}", "2"), ("100!", "100"), ("the answer is $x+3$", "3"), ("7:30", "7:30:00"),
    ("The zeros are $5$ and $8$.", "8"), ("x = 5, 8", "8"), ("So y = 5 or y = 8.", "8"),
    ("Either 5 or 8.", "8"), ("It may be $5$, $6$, or $8$.", "8"), ("Thus $a=5$ and $b=8$.", "8"),
    ("It is between $5$ and $8$.", "8"), ("from $5$ to $8$", "8"), ("pages 5 through 8", "8"),
    ("5 and/or 8", "8"), ("There are 6! ways", "6"), ("There are $6!$ ways", "6"),
    ("It is not 8.", "8"), ("It cannot be 8", "8"), ("The answer is not $8$.", "8"),
    ("So 8 is not the answer.", "8"), ("y=8 is not a solution", "8"), ("It is 8, not 9.", "9"),
    ("It is less than 8.", "8"), ("It is greater than or equal to 8", "8"),
    # no equation, or one that is still to be solved
    ("x != 8", "8"), ("so $x != 8$", "8"), ("so $x!=8$", "8"), ("x =/= 8", "8"), ("x <= 8", "8"),
    ("so $x >= 8$", "8"), ("Answer: y != 8", "8"), ("Answer: y <= 8", "8"), ("x - 2 = 8", "8"),
    ("so $x+1=8$", "8"), ("so $10-x=8$", "8"), (r"so $\frac{x}{2}=8$", "8"), ("3*x = 8", "8"),
    (r"$\sqrt{x}=8$", "8"), ("$-x=8$", "8"), ("|x| = 8", "8"), (r"$\ln x=8$", "8"),
    ("Answer: y - 2 = 8", "8"), ("1/x = 8", "8"), ("n! = 120", "120"),
]  # fmt: skip


def read_as(text: str, gold: str) -> bool:
    return any(compare(each, gold, relaxed=True).equal for each in stated(text))


@pytest.mark.parametrize(("text", "gold"), READ)
def test_what_a_reader_would_take_for_the_answer(text: str, gold: str) -> None:
    assert read_as(text, gold)


@pytest.mark.parametrize(("text", "gold"), NOT_READ)
def test_no_number_out_of_the_middle(text: str, gold: str) -> None:
    assert not read_as(text, gold)


@pytest.mark.parametrize(
    "text",
    ["<answer>" * 5000, "1 " * 20_000, "$1$" * 8000, "((" * 10_000, "=1" * 10_000, "a1 " * 9000],
)
def test_long_texts_are_read_in_linear_time(text: str) -> None:
    started = time.process_time()
    stated(text)
    assert time.process_time() - started < 2.0
