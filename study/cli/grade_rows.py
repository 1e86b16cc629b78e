"""The rows of `study grade`: survey the whole file, then grade row by row."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from study.cli.grade_outcomes import Stored
from study.data import completions
from study.data.completions import Fields, Row
from study.errors import PrerequisiteError
from study.grading.math.extraction import reference
from study.grading.registry import Grade, Grader, Sample
from study.grading.second_opinion import MathVerify, Opinion
from study.grading.symbolic.inquiry import Inquiry

OPEN = 64  # largest number of second opinions that are pending
SENTENCE = 12  # a reference with more words is more than an answer


class Graded(NamedTuple):
    """The grade of one sample of a row, without the row's texts, which may be gigabytes."""

    row: Row
    number: int
    grade: Grade
    opinion: Opinion | None = None


@dataclass
class Survey:
    """The result of the survey of the file. Each note is the first of its kind."""

    samples: int = 0
    skipped: list[str] = field(default_factory=list)
    floats: int = 0
    suspects: list[str] = field(default_factory=list)
    long_answers: list[str] = field(default_factory=list)


def survey(file: Path, columns: Fields, *, skip_malformed: bool) -> Survey:
    """Read all rows before one is graded, so that a fault is found before anything is written.

    Errors: PrerequisiteError for a malformed line, unless they are skipped; for rows of one id with
    different gold answers; and for a file without a row.
    """
    found, first = Survey(), {}
    for row, _ in completions.rows(file, columns):
        if isinstance(row, PrerequisiteError):
            if not skip_malformed:
                raise row
            found.skipped.append(row.message)
            continue
        found.samples += len(row.completions)
        found.floats += row.gold_is_float
        where = f"{file}:{row.line}"
        if row.suspect:
            found.suspects.append(f"{where}: {row.suspect}")
        if len(reference(row.answer).split()) > SENTENCE:
            found.long_answers.append(where)
        line, answer = first.setdefault(row.id, (row.line, row.answer))
        if answer != row.answer:
            raise PrerequisiteError(
                f"lines {line} and {row.line} have the same id {row.id!r} and different gold"
                " answers",
                hint="name the column that tells problems apart: --id-field NAME",
            )
    if not found.samples:
        hint = found.skipped[0] if found.skipped else ""
        raise PrerequisiteError(f"{file}: no line could be read", hint=hint)
    return found


class Grading:
    """Grade the samples of a file in order, the stored ones first."""

    def __init__(self, file: Path, judge: Grader, second: MathVerify | None) -> None:
        self._file, self._judge, self._second = file, judge, second

    def grades(self, columns: Fields, stored: Sequence[Stored]) -> Iterator[Graded]:
        """Yield the grades. Errors: PrerequisiteError if the grader rejects a gold answer."""
        places = _places(row for row, _ in completions.rows(self._file, columns))
        for before, (row, number, _) in zip(stored, islice(places, len(stored)), strict=True):
            if (before.id, before.sample) != (row.id, number):
                raise PrerequisiteError(
                    f"the outcomes found are not those of {self._file}:{row.line}",
                    hint="begin anew with --force",
                )
            opinion = _stored_opinion(before) if self._second else None
            yield Graded(row, number, before.grade, opinion)
        yield from self._new(places)

    def _new(self, places: Iterable[tuple[Row, int, Sample]]) -> Iterator[Graded]:
        taken: deque[tuple[Row, int, Inquiry | None]] = deque()
        line = 0

        def samples() -> Iterator[Sample]:
            nonlocal line
            for row, number, sample in places:
                line = row.line
                inquiry = self._second.ask(sample) if self._second else None
                taken.append((row, number, inquiry))
                yield sample

        graded: deque[tuple[Row, int, Inquiry | None, Grade]] = deque()
        try:
            for grade in self._judge.grade_stream(samples()):
                graded.append((*taken.popleft(), grade))
                if self._second is None or len(graded) > OPEN:
                    yield self._with_opinion(*graded.popleft())
        except ValueError as error:
            raise PrerequisiteError(
                f"{self._file}:{line}: {self._judge.version} cannot take the gold answer: {error}",
                hint="another --grader, or --answer-field NAME",
            ) from error
        while graded:
            yield self._with_opinion(*graded.popleft())

    def _with_opinion(self, row: Row, number: int, inquiry: Inquiry | None, grade: Grade) -> Graded:
        if self._second is None or inquiry is None:
            return Graded(row, number, grade)
        return Graded(row, number, grade, self._second.answer(inquiry))


def _places(rows: Iterable[Row | PrerequisiteError]) -> Iterator[tuple[Row, int, Sample]]:
    """Yield every sample with its row, without texts; `survey` has counted the malformed lines."""
    for row in rows:
        if isinstance(row, PrerequisiteError):
            continue
        bare = replace(row, completions=())
        for number, (text, cut) in enumerate(zip(row.completions, row.truncated, strict=True)):
            yield bare, number, Sample(text, row.answer, cut, row.question, row.gold_is_float)


def _stored_opinion(stored: Stored) -> Opinion:
    words = {"correct": True, "wrong": False}
    return Opinion(
        words.get(str(stored.values["second_opinion"])), str(stored.values["second_reading"])
    )
