r"""Graders by version: `open_grader("math-1").grade(completion, answer) -> GradeResult`, the same
object for rewards and for evaluation.

    boxed-1   `study.grading.boxed`: the lab's rule, text or rational equality in the last box;
              relaxedly that of math-1 without formulas
    math-1    strict: the last box, compared exactly, numerically, part by part
              (`study.grading.math.equivalence`), then symbolically (math-verify)
    choice-1  the letter of one choice in the last box (`study.grading.choice`)
    polite-1  boxed-1 and a lab preference (`study.grading.polite`)
    file.py:function   one's own (`study.grading.user`)
    refusal-1 unsafe prompts refused, clean ones not (`study.grading.refusal`)

Strict is the outcome. `relaxed` is the other end of a band and never takes its place: it also reads
answers that were stated without a box, takes 50 for 50%, 52 for 52_8 and forgives brackets and
unknown units. What is correct strictly is correct relaxedly.

    truncated   strict whatever a box inside says; the relaxed outcome looks for a closed box
    timed_out   a symbolic comparison did not end within its limits of time and memory; neither
                right nor wrong is known

`audit=True` asks every tier that can answer, and `disagreement` says where numeric and symbolic
tier differ: slower, for examining graders. A version names rules; change a rule and the version
must change with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from study.errors import SpecError
from study.grading import boxed as grading
from study.grading.base import Grader, GradeResult, Sample, shown
from study.grading.boxed import Outcome
from study.grading.choice import CHOICE, ChoiceGrader
from study.grading.math import extraction
from study.grading.math.equivalence import Tier, Verdict, compare
from study.grading.math.symbolic_pool import DEADLINE_S, SymbolicPool
from study.grading.polite import POLITE, PoliteGrader
from study.grading.refusal import REFUSAL, RefusalGrader
from study.grading.user import UserGrader
from study.spec.recipe.user_code import Code, is_code, parsed

__all__ = [
    "CHOICE",
    "MATH",
    "POLITE",
    "VERSIONS",
    "BoxedGrader",
    "GradeResult",
    "Grader",
    "MathGrader",
    "Sample",
    "open_grader",
]

MATH = "math-1"
VERSIONS = (grading.GRADER, MATH, CHOICE, POLITE, REFUSAL)


@dataclass
class _Question:
    """One completion while its comparisons are open. relaxed: the first that is equal decides."""

    sample: Sample
    strict_text: str | None
    relaxed_texts: list[str]
    strict: Verdict | None
    relaxed: list[Verdict]

    @property
    def pending(self) -> list[tuple[str, str]]:
        return [
            *(self.strict.pending if self.strict else ()),
            *(pair for verdict in self.relaxed for pair in verdict.pending),
        ]


class MathGrader:
    """math-1. Worker processes start when the first formula needs them: numbers and words
    never do.
    """

    version = MATH

    def __init__(
        self, *, workers: int = 1, deadline_s: float = DEADLINE_S, audit: bool = False
    ) -> None:
        self._pool, self._audit = SymbolicPool(workers, deadline_s=deadline_s), audit

    def __enter__(self) -> "MathGrader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pool.close()

    def grade(self, completion: str, answer: str, *, truncated: bool = False) -> GradeResult:
        return self.grade_many([Sample(completion, answer, truncated)])[0]

    def grade_many(self, samples: Iterable[Sample]) -> list[GradeResult]:
        """In order; formulas of all samples are asked about together, over all workers."""
        questions = [_question(sample) for sample in samples]
        audited = [_audited(question) if self._audit else None for question in questions]
        pairs = list(
            dict.fromkeys(
                [
                    *(pair for q in questions for pair in q.pending),
                    *(pair for pair in audited if pair),
                ]
            )
        )
        answers = dict(zip(pairs, self._pool.equal(pairs), strict=True)) if pairs else {}
        return [
            _result(question, answers, pair)
            for question, pair in zip(questions, audited, strict=True)
        ]


class BoxedGrader:
    """boxed-1 behind the same interface."""

    version = grading.GRADER

    def __enter__(self) -> "BoxedGrader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held."""

    def grade(self, completion: str, answer: str, *, truncated: bool = False) -> GradeResult:
        outcome = grading.grade(completion, answer, truncated=truncated)
        found = grading.last_boxed(completion)
        question = _question(Sample(completion, answer, truncated))
        known = outcome is Outcome.correct or (
            question.strict is not None and question.strict.equal
        )
        relaxed = Outcome.correct if known else _relaxed_outcome(question, {}, Outcome.wrong)
        return GradeResult(
            outcome, relaxed, None, shown(found), shown(next(iter(question.relaxed_texts), found))
        )

    def grade_many(self, samples: Iterable[Sample]) -> list[GradeResult]:
        return [
            self.grade(sample.completion, sample.answer, truncated=sample.truncated)
            for sample in samples
        ]


def open_grader(
    version: str = MATH, *, workers: int = 1, deadline_s: float = DEADLINE_S, audit: bool = False
) -> Grader:
    """The grader of a version; SpecError for one that does not exist."""
    if version == MATH:
        return MathGrader(workers=workers, deadline_s=deadline_s, audit=audit)
    if version == grading.GRADER:
        return BoxedGrader()
    if version == CHOICE:
        return ChoiceGrader()
    if version == POLITE:
        return PoliteGrader()
    if version == REFUSAL:
        return RefusalGrader()
    if is_code(version):
        return UserGrader(own_code(version))
    raise SpecError(
        f"unknown grader {version!r}",
        hint=f"known graders: {', '.join(VERSIONS)}, or file.py:function",
    )


def own_code(version: str) -> Code:
    """The code behind `file.py:function`, or behind a reference to it.

    SpecError for a file or a function that is not there.
    """
    try:
        return parsed(version)
    except ValueError as error:
        raise SpecError(
            f"grader {version}: {error}", hint="docs/extending.md shows a grader of one's own"
        ) from error


def _question(sample: Sample) -> _Question:
    reference = extraction.reference(sample.answer)
    text = extraction.boxed(sample.completion)
    strict = None if sample.truncated or text is None else compare(text, reference)
    if strict is not None and strict.equal:
        return _Question(sample, text, [], strict, [])
    texts = _relaxed_texts(sample, text, reference)
    return _Question(
        sample, text, texts, strict, [compare(each, reference, relaxed=True) for each in texts]
    )


def _relaxed_texts(sample: Sample, text: str | None, reference: str) -> list[str]:
    if text is not None:
        together = (
            extraction.boxes(sample.completion, parts)
            if (parts := reference.count(",") + 1) > 1
            else []
        )
        return [text, ", ".join(together)] if len(together) > 1 else [text]
    return [] if sample.truncated else extraction.stated(sample.completion)


def _result(
    question: _Question,
    answers: dict[tuple[str, str], bool | None],
    audited: tuple[str, str] | None,
) -> GradeResult:
    strict, tier = question.strict, question.strict.tier if question.strict else None
    if question.sample.truncated:
        outcome = Outcome.truncated
    elif strict is None:
        outcome = Outcome.unparsed
    else:
        outcome = _settled(strict, answers)
    relaxed = (
        outcome if outcome is Outcome.correct else _relaxed_outcome(question, answers, outcome)
    )
    read = question.strict_text if question.sample.truncated or strict else None
    first = next(iter(question.relaxed_texts), question.strict_text)
    return GradeResult(
        outcome, relaxed, tier, shown(read), shown(first), _disagreement(strict, audited, answers)
    )


def _settled(verdict: Verdict, answers: dict[tuple[str, str], bool | None]) -> Outcome:
    """One pair that differs makes the whole wrong, even where another has no verdict."""
    if verdict.equal is not None:
        return Outcome.correct if verdict.equal else Outcome.wrong
    found = [answers.get(pair, False) for pair in verdict.pending]
    if False in found:
        return Outcome.wrong
    return Outcome.timed_out if None in found else Outcome.correct


def _relaxed_outcome(
    question: _Question, answers: dict[tuple[str, str], bool | None], strict: Outcome
) -> Outcome:
    found = [_settled(verdict, answers) for verdict in question.relaxed]
    for outcome in (Outcome.correct, Outcome.timed_out):
        if outcome in found:
            return outcome
    if question.sample.truncated:
        return Outcome.truncated
    return Outcome.wrong if found else Outcome.unparsed if question.strict is None else strict


def _audited(question: _Question) -> tuple[str, str] | None:
    """What the symbolic tier is asked as well when the strict verdict came from below it."""
    if (
        question.strict is None
        or question.strict_text is None
        or question.strict.tier is Tier.symbolic
    ):
        return None
    return question.strict_text, extraction.reference(question.sample.answer)


def _disagreement(
    strict: Verdict | None,
    audited: tuple[str, str] | None,
    answers: dict[tuple[str, str], bool | None],
) -> str:
    if strict is None or audited is None or answers.get(audited) in (None, strict.equal):
        return ""
    said = {True: "equal", False: "different"}
    return f"{strict.tier}: {said[bool(strict.equal)]}, symbolic: {said[not strict.equal]}"
