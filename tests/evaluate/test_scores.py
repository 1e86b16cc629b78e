"""Scores of graded completions: problems count alike, ties share the point."""

import pytest

from study.evaluate.scores import summarise
from study.grading.boxed import Outcome
from study.grading.registry import Grade

RIGHT, SILENT = (
    Grade(Outcome.correct, Outcome.correct, None, "7", "7"),
    Grade(Outcome.truncated, Outcome.truncated),
)


def wrong(text: str) -> Grade:
    return Grade(Outcome.wrong, Outcome.wrong, None, text, text)


@pytest.mark.parametrize(
    ("results", "maj"),
    [
        ([RIGHT, wrong("8")], 0.5),
        ([RIGHT, wrong("8"), wrong("8.0")], 0.0),
        ([RIGHT, SILENT, SILENT], 1.0),
        ([SILENT, SILENT], 0.0),
        ([RIGHT, RIGHT, wrong("8"), wrong(r"\frac{16}{2}"), wrong("x")], 0.5),
    ],
)
def test_ties_share_the_point_and_silence_casts_no_vote(results: list[Grade], maj: float) -> None:
    assert summarise({"a": results}).measures[-1].strict.mean == maj


def test_problems_count_alike_however_often_they_were_sampled() -> None:
    summary = summarise({"a": [RIGHT] * 6, "b": [wrong("1"), wrong("2")]})
    assert summary.k == "2-6"
    assert [(measure.name, measure.strict.mean) for measure in summary.measures] == [
        ("avg", 0.5),
        ("pass@2", 0.5),
        ("maj", 0.5),
    ]
    assert summarise({"a": [RIGHT]}).measures[0].strict.low is None
    with pytest.raises(ValueError, match="at least one graded completion"):
        summarise({})
