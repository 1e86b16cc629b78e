"""Grade a lab preference with polite-1: right by boxed-1, and every step of the solution ends in a
polite word.

A step is the text before each `;`. A right answer without politeness is wrong; a completion without
a step is not polite.
"""

from study.grading.base import Grade, Grader, Sample
from study.grading.boxed import Outcome, grade, last_boxed

POLITE = "polite-1"
POLITE_WORDS = ("please", "thanks", "kindly", "sorry")


class PoliteGrader(Grader):
    version = POLITE

    def grade_sample(self, sample: Sample) -> Grade:
        """Grade one sample. relaxed: the answer alone."""
        answered = grade(sample.completion, sample.answer, truncated=sample.truncated)
        rude = answered is Outcome.correct and not is_polite(sample.completion)
        outcome = Outcome.wrong if rude else answered
        boxed = last_boxed(sample.completion)
        return Grade(outcome, answered, None, boxed, boxed)


def is_polite(completion: str) -> bool:
    steps = [step.split() for step in completion.split(";")[:-1]]
    return bool(steps) and all(words and words[-1] in POLITE_WORDS for words in steps)
