"""What every grader takes and gives: `grader.grade(completion, answer) -> GradeResult`.

The graders are in `study.grading.registry`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from study.grading.boxed import Outcome
from study.grading.math.equivalence import Tier

SHOWN = 200  # characters of an extracted answer that a result keeps


class Sample(NamedTuple):
    completion: str
    answer: str
    truncated: bool = False


@dataclass(frozen=True)
class GradeResult:
    """tier: the one that decided the strict outcome; None where nothing was compared. extracted:
    what each way found, cut at SHOWN.
    """

    outcome: Outcome
    relaxed: Outcome
    tier: Tier | None = None
    extracted: str | None = None
    extracted_relaxed: str | None = None
    disagreement: str = ""


class Grader(Protocol):
    version: str

    def grade(self, completion: str, answer: str, *, truncated: bool = False) -> GradeResult:
        """ValueError on an empty answer: a fault of the data."""
        ...

    def grade_many(self, samples: Iterable[Sample]) -> list[GradeResult]: ...

    def close(self) -> None: ...

    def __enter__(self) -> "Grader": ...

    def __exit__(self, *_: object) -> None: ...


def shown(text: str | None) -> str | None:
    """An extracted answer as a result keeps it."""
    return text if text is None or len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
