"""Define what every grader takes and gives: `grader.grade(completion, answer) -> Grade`.

The graders are in `study.grading.registry`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from study.grading.boxed import Outcome
from study.grading.math.equivalence import Tier

SHOWN = 200  # characters of an extracted answer that a grade keeps


class Sample(NamedTuple):
    """One completion and its gold answer.

    truncated       the completion was cut at the length limit
    question        the text of the problem, or of a field of the row that holds the question;
                    "" where it is not known. Only `math-1` reads it: for the word "percent"
    gold_is_float   `answer` was a JSON float and is its shortest decimal (`repr`), so it also
                    equals every value within 1e-12 of it, relatively. Only `math-1` reads it
    """

    completion: str
    answer: str
    truncated: bool = False
    question: str = ""
    gold_is_float: bool = False


@dataclass(frozen=True)
class Grade:
    """The outcome of one sample, strict and relaxed.

    tier            the tier that decided the strict outcome; None where nothing was compared
    extracted       what each way of reading found, cut at SHOWN
    percent_only    the gold has a percent sign, the box does not, the number is the same, and the
                    question does not say "percent" (or is not known): strictly wrong for this
                    alone, and correct relaxedly. A summary counts them on a line of their own
    """

    outcome: Outcome
    relaxed: Outcome
    tier: Tier | None = None
    extracted: str | None = None
    extracted_relaxed: str | None = None
    disagreement: str = ""
    percent_only: bool = False


class Grader(ABC):
    """One version of the rules. A subclass defines `version` and `grade_sample`; one that compares
    many samples together overrides `grade_stream`, one that holds resources `close`.
    """

    version: str

    @abstractmethod
    def grade_sample(self, sample: Sample) -> Grade:
        """Grade one sample; ValueError on an empty answer: a fault of the data."""

    def grade(
        self,
        completion: str,
        answer: str,
        *,
        truncated: bool = False,
        question: str = "",
        gold_is_float: bool = False,
    ) -> Grade:
        """Grade one completion; the arguments are the fields of `Sample`."""
        return self.grade_sample(Sample(completion, answer, truncated, question, gold_is_float))

    def grade_many(self, samples: Iterable[Sample]) -> list[Grade]:
        """Grade samples, in order."""
        return list(self.grade_stream(samples))

    def grade_stream(self, samples: Iterable[Sample]) -> Iterator[Grade]:
        """Grade samples, in order, and give each grade as soon as it and all before it are known.
        More samples may be taken than grades were given.
        """
        for sample in samples:
            yield self.grade_sample(sample)

    def close(self) -> None:  # noqa: B027 - most graders hold nothing
        """Release the grader's resources. It can be used again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def shown(text: str | None) -> str | None:
    """Return an extracted answer as a grade stores it."""
    return text if text is None or len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
