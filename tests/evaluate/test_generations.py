"""Stored generations: same content, same bytes; bounded; what is not a file of ours is named as
that.
"""

import gzip
import json
import random
import string
from dataclasses import replace
from pathlib import Path

import pytest

from study.errors import PrerequisiteError, RecordMismatch
from study.evaluate import generations
from study.evaluate.generations import NAME, TAIL, Header, Problem, prompt_sha, read, write

HEADER = Header("math500", "math-1", 2, 0.6, 0.95, 64, "some-model 0123", 7)


def problem(number: int, text: str = "so \\boxed{1}") -> Problem:
    texts = (text, f"{text} again")
    return Problem(
        f"p{number}",
        "1",
        prompt_sha(f"q{number}"),
        texts,
        (False, True),
        (5, 64),
        ("correct", "truncated"),
    )


def noise(characters: int, seed: int) -> str:
    """Text that hardly compresses."""
    return "".join(random.Random(seed).choices(string.printable, k=characters))


def test_what_was_written_is_read_back_and_the_header_is_first(tmp_path: Path) -> None:
    problems = [problem(i) for i in range(3)]
    assert write(tmp_path / NAME, HEADER, problems) == HEADER
    found = read(tmp_path / NAME)
    assert found.header == HEADER
    assert found.problems == tuple(problems)
    with gzip.open(tmp_path / NAME, "rt") as file:
        first, second = json.loads(file.readline()), json.loads(file.readline())
    assert first == {
        "format": "generations-1", "task": "math500", "grader": "math-1", "k": 2,
        "temperature": 0.6, "top_p": 0.95,
        "max_completion_length": 64, "model": "some-model 0123", "seed": 7,
        "bound_bytes": 32 * 2**20, "cut": False,
    }  # fmt: skip
    assert list(second) == [
        "id",
        "answer",
        "prompt_sha",
        "completions",
        "truncated",
        "tokens",
        "outcomes",
    ]


def test_the_same_content_is_the_same_bytes_whatever_the_clock_and_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / NAME, HEADER, [problem(0)])
    monkeypatch.setattr("time.time", lambda: 1e9)
    write(tmp_path / "other.gz", HEADER, [problem(0)])
    assert (tmp_path / NAME).read_bytes() == (tmp_path / "other.gz").read_bytes()
    write(tmp_path / "other.gz", HEADER, [problem(1)])
    assert (tmp_path / NAME).read_bytes() != (tmp_path / "other.gz").read_bytes()


def test_hostile_texts_come_back_as_they_were(tmp_path: Path) -> None:
    texts = (
        "",
        "a\nb\r\n\u2028\x00\x1b[31m",
        "\ud800 lone surrogate",
        "x" * 100_000,
        '{"id": 1}\n',
        "\\boxed{∑}",
    )
    stored = [replace(problem(i), completions=(text, text)) for i, text in enumerate(texts)]
    write(tmp_path / NAME, HEADER, stored)
    assert read(tmp_path / NAME).problems == tuple(stored)
    assert len(prompt_sha("\ud800")) == 16


def test_beyond_the_bound_the_last_completions_keep_their_ends(tmp_path: Path) -> None:
    bound = 60_000
    problems = [problem(i, noise(10_000, i) + "\\boxed{1}") for i in range(10)]
    header = write(tmp_path / NAME, replace(HEADER, bound_bytes=bound), problems)
    assert header.cut
    assert (tmp_path / NAME).stat().st_size <= bound
    found = read(tmp_path / NAME)
    assert found.header.cut
    whole = [number for number, row in enumerate(found.problems) if row == problems[number]]
    assert whole == list(range(len(whole))), "whole ones come first"
    assert 0 < len(whole) < 10
    for row, full in zip(found.problems[len(whole) :], problems[len(whole) :], strict=True):
        assert [len(text) for text in row.completions] == [TAIL, TAIL]
        assert all(
            text.endswith(end) for text, end in zip(full.completions, row.completions, strict=True)
        )
        assert (row.id, row.tokens, row.outcomes, row.truncated) == (
            full.id,
            full.tokens,
            full.outcomes,
            full.truncated,
        )


def test_a_bound_that_even_the_ends_exceed_shortens_them_further(tmp_path: Path) -> None:
    problems = [problem(i, noise(4000, i) + "\\boxed{1}") for i in range(20)]
    header = write(tmp_path / NAME, replace(HEADER, bound_bytes=30_000), problems)
    assert header.cut
    assert (tmp_path / NAME).stat().st_size <= 30_000
    last = read(tmp_path / NAME).problems[-1]
    assert all(
        0 < len(text) < TAIL and full.endswith(text)
        for text, full in zip(last.completions, problems[-1].completions, strict=True)
    )


def test_text_that_compresses_well_is_not_cut_although_it_is_long(tmp_path: Path) -> None:
    header = write(
        tmp_path / NAME,
        replace(HEADER, bound_bytes=50_000),
        [problem(i, "maybe " * 20_000) for i in range(5)],
    )
    assert not header.cut


def test_a_problem_without_k_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="problem p0 does not have k = 2"):
        write(tmp_path / NAME, HEADER, [replace(problem(0), tokens=(1,))])
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        gzip.compress(b""),
        gzip.compress(b"[1]\n"),
        gzip.compress(b'{"format": "generations-9"}\n'),
        gzip.compress(b'{"format": "generations-1"}\n'),
        gzip.compress(b"\xff\n"),
        gzip.compress(b'{"format": "generations-1", "task": 1}\n')[:-9],
    ],
    ids=[
        "empty",
        "not gzip",
        "no line",
        "a list",
        "a later format",
        "no fields",
        "not text",
        "cut off",
    ],
)
def test_what_is_no_such_file_is_named_as_that(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(RecordMismatch, match="not stored generations"):
        read(tmp_path / NAME)


def test_a_missing_file_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="study evaluate"):
        read(tmp_path / NAME)
    assert generations.BOUND_BYTES == 32 * 2**20
