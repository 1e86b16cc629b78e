"""Run `study grade` as the command does, on files of rows made for a test."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from study.cli import grade as command


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows),
        encoding="utf-8",
    )
    return path


def grade(file: Path, **options: Any) -> None:
    defaults = dict.fromkeys(
        (
            "completion_field",
            "answer_field",
            "id_field",
            "truncated_field",
            "output",
            "summary",
            "workers",
            "second_opinion",
        )
    )
    defaults |= {
        "force": False,
        "deadline": 5.0,
        "grader": "math-1",
        "audit": False,
        "skip_malformed": False,
    }
    command.grade(file, **{**defaults, **options})


def samples(tmp_path: Path) -> Path:
    rows = [
        {
            "id": "a",
            "completions": [r"\boxed{7}", r"\boxed{7.0}", r"\boxed{8}", "it is 7"],
            "answer": "7",
        },
        {
            "id": "b",
            "completions": [r"\boxed{1}", r"\boxed{1/1}", r"\boxed{2}", r"\boxed{2"],
            "answer": "2",
        },
    ]
    return write_rows(tmp_path / "samples.jsonl", rows)
