"""Load a grader from a user's file: `def grade(completion: str, answer: str) -> bool`, or the name
of an outcome instead of a bool.

The file brings its golden set, `GOLDEN = [(completion, answer, "correct" | "wrong" | "unparsed"),
...]`, and, where a box would not be right, `def reference(answer) -> str`: the shortest right
completion. A truncated completion is graded as such without calling the file.
"""

from typing import Any

from study.errors import SpecError
from study.grading.base import Grade, Grader, Sample
from study.grading.boxed import Outcome
from study.grading.math.equivalence import Tier
from study.spec.recipe.user_code import Code, load_cases, load_function, load_name

OUTCOMES = (Outcome.correct, Outcome.wrong, Outcome.unparsed)


class UserGrader(Grader):
    """A user's grader. Strict and relaxed outcome are the same."""

    def __init__(self, code: Code) -> None:
        self.version, self._code, self._function = code.version, code, load_function(code)

    def grade_sample(self, sample: Sample) -> Grade:
        if not sample.answer.strip():
            raise ValueError("the reference answer is empty")
        try:
            said = self._function(sample.completion, sample.answer)
        except Exception as error:  # reported as a fault of that file, with the text that failed
            text = sample.completion[:80]
            what = f"{self._code.function} failed on {text!r} ({type(error).__name__}: {error})"
            raise SpecError(
                what, hint=f"{self._code.file}: a grader gives an outcome for every text"
            ) from error
        outcome = self._outcome(said)
        return Grade(
            Outcome.truncated if sample.truncated else outcome,
            outcome,
            Tier.exact if outcome is not Outcome.unparsed else None,
        )

    def _outcome(self, said: Any) -> Outcome:
        if isinstance(said, bool):
            return Outcome.correct if said else Outcome.wrong
        if said in tuple(map(str, OUTCOMES)):
            return Outcome(said)
        raise SpecError(
            f"{self._code.function} gave {said!r}",
            hint=f"a bool, or one of {', '.join(map(str, OUTCOMES))}",
        )


def golden(code: Code) -> list[dict[str, str]]:
    """Return the file's golden set.

    SpecError where it could not detect a grader that calls everything right, or everything wrong.
    """
    shape = '(completion, answer, "correct")'
    given = load_cases(code, "GOLDEN", shape)
    cases: list[dict[str, str]] = [
        dict(zip(("completion", "answer", "outcome"), case, strict=True)) for case in given
    ]
    right = sum(case["outcome"] == Outcome.correct for case in cases)
    if right in (0, len(cases)):
        raise SpecError(
            f"GOLDEN of {code.function} has {right} correct cases of {len(cases)}",
            hint="it needs some that are and some that are not",
        )
    return cases


def reference(code: Code, answer: str) -> str:
    """Return the shortest right completion for an answer."""
    own = load_name(code, "reference")
    return f"\\boxed{{{answer}}}" if own is None else str(own(answer))
