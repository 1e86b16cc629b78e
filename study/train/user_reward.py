"""Load a user-supplied reward: `def reward(completion: str, answer: str) -> float`, larger for a
better completion.

The file also lists ordered pairs, `BETTER = [(better, worse, answer), ...]`, by which preflight
checks it (`study.train.preflight.own_code`).
"""

import math
from collections.abc import Callable
from typing import Any

from study.errors import SpecError
from study.spec.recipe.user_code import Code, load_function


def bind(code: Code) -> Callable[[str, str], float]:
    """Return the function of the file, with every value checked to be a finite number.

    Errors: SpecError from the returned function where a value
    is not finite or the file's own code fails.
    """
    given = load_function(code)

    def reward(completion: str, answer: str) -> float:
        try:
            value: Any = given(completion, answer)
        except Exception as error:  # user code may raise anything
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
