"""A reward from somebody's own file: `def reward(completion: str, answer: str) -> float`, larger
for a better completion.

The file brings pairs in order, `BETTER = [(better, worse, answer), ...]`: each first completion
must be worth more than the second.
"""

import math
from collections.abc import Callable
from typing import Any

from study.errors import SpecError
from study.grading import user_code
from study.spec.recipe.user_code import Code
from study.train.preflight.check import Check


def bind(code: Code) -> Callable[[str, str], float]:
    """The function, its values checked to be finite numbers.

    SpecError where one is not, or the function fails.
    """
    given = user_code.function(code)

    def reward(completion: str, answer: str) -> float:
        try:
            value: Any = given(completion, answer)
        except Exception as error:  # told as a fault of that file, with the text it fell over
            what = (
                f"{code.function} failed on {completion[:80]!r} ({type(error).__name__}: {error})"
            )
            raise SpecError(
                what, hint=f"{code.file}: a reward gives a number for every text"
            ) from error
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise SpecError(
                f"{code.function} gave {value!r}, not a finite number",
                hint=f"{code.file}: return a float",
            )
        return float(value)

    return reward


def check(code: Code) -> Check:
    """Every pair of the file in its order, the same value twice, and a value for an empty
    completion.
    """
    reward, pairs = bind(code), user_code.constant(code, "BETTER", "(better, worse, answer)")
    wrong = [
        (better, worse, answer)
        for better, worse, answer in pairs
        if not reward(better, answer) > reward(worse, answer)
    ]
    unstable = [
        text
        for pair in pairs
        for text in pair[:2]
        if reward(text, pair[2]) != reward(text, pair[2])
    ]
    reward("", pairs[0][2])
    measured = {"pairs": len(pairs), "wrong": len(wrong)}
    if wrong:
        better, worse, answer = wrong[0]
        message = (
            f"{len(wrong)} of {len(pairs)} pairs are not in order; the first: {better!r} against"
            f" {worse!r} for {answer!r}"
        )
        return Check(
            "reward",
            code.version,
            False,
            message,
            f"{code.function} or BETTER in that file",
            False,
            measured,
        )
    if unstable:
        message = f"one completion is worth different numbers: {unstable[0]!r}"
        return Check(
            "reward",
            code.version,
            False,
            message,
            "no random numbers and no state in a reward",
            False,
            measured,
        )
    return Check(
        "reward",
        code.version,
        True,
        f"{len(pairs)} pairs in order, values repeat",
        measured=measured,
    )
