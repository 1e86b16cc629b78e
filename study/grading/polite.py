"""polite-1, the grader of a lab preference: right by boxed-1, and every step of the solution ends
in a polite word.

A step is what stands before each `;`. A right answer without politeness is wrong; a completion
without a step is not polite.
"""

from collections.abc import Iterable

from study.grading.base import GradeResult, Sample
from study.grading.boxed import Outcome, grade, last_boxed

POLITE = "polite-1"
POLITE_WORDS = ("please", "thanks", "kindly", "sorry")


class PoliteGrader:
    version = POLITE

    def __enter__(self) -> "PoliteGrader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held."""

    def grade(self, completion: str, answer: str, *, truncated: bool = False) -> GradeResult:
        """relaxed: the answer alone."""
        answered = grade(completion, answer, truncated=truncated)
        outcome = (
            Outcome.wrong if answered is Outcome.correct and not is_polite(completion) else answered
        )
        boxed = last_boxed(completion)
        return GradeResult(outcome, answered, None, boxed, boxed)

    def grade_many(self, samples: Iterable[Sample]) -> list[GradeResult]:
        return [
            self.grade(sample.completion, sample.answer, truncated=sample.truncated)
            for sample in samples
        ]


def is_polite(completion: str) -> bool:
    steps = [step.split() for step in completion.split(";")[:-1]]
    return bool(steps) and all(words and words[-1] in POLITE_WORDS for words in steps)
