"""Store a model's completions in `generations.jsonl.gz`, so that they can be graded again without
generating.

    line 1    {"format", "task", "grader", "k", "temperature", "top_p", "max_completion_length",
              "model", "seed", "bound_bytes", "cut"}
    then      one problem per line: {"id", "answer", "prompt_sha", "completions", "truncated",
              "tokens", "outcomes"}, and "gold_is_float": true where the answer was a JSON float

The same content gives the same bytes (gzip without a time and without a name). The file stays
within `bound_bytes`, compressed: where the whole would be larger, the last problems keep only the
end of their completions, where the answer is: 2,000 characters, or fewer where that is still too
much; `cut` is then true. prompt_sha: first 16 hex digits of the sha256 of the prompt as the model
read it.
"""

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from study.errors import PrerequisiteError, RecordMismatch
from study.record.store import atomic_write

FORMAT = "generations-1"
NAME = "generations.jsonl.gz"
BOUND_BYTES = 32 * 2**20
TAIL = 2000  # characters from the end that a cut completion keeps
_MARGIN = 4096  # header, gzip's own bytes, and the error of compressing line by line


@dataclass(frozen=True)
class Header:
    task: str
    grader: str
    k: int
    temperature: float
    top_p: float
    max_completion_length: int
    model: str
    seed: int
    bound_bytes: int = BOUND_BYTES
    cut: bool = False


@dataclass(frozen=True)
class Problem:
    """One problem and its k completions; tokens: generated ones, the end token included; outcomes:
    the strict ones.
    """

    id: str
    answer: str
    prompt_sha: str
    completions: tuple[str, ...]
    truncated: tuple[bool, ...]
    tokens: tuple[int, ...]
    outcomes: tuple[str, ...]
    gold_is_float: bool = False

    def tail(self, characters: int) -> "Problem":
        return replace(
            self,
            completions=tuple(
                text[len(text) - min(len(text), characters) :] for text in self.completions
            ),
        )


@dataclass(frozen=True)
class Generations:
    header: Header
    problems: tuple[Problem, ...]


def prompt_sha(prompt: str) -> str:
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def write(path: Path, header: Header, problems: Sequence[Problem]) -> Header:
    """Write the whole file within header.bound_bytes; return the header as written.

    ValueError for a problem without k of everything.
    """
    for problem in problems:
        if {
            len(part)
            for part in (problem.completions, problem.truncated, problem.tokens, problem.outcomes)
        } != {header.k}:
            raise ValueError(
                f"problem {problem.id} does not have k = {header.k} completions with their flags,"
                " tokens and outcomes"
            )
    kept = _within(problems, header.bound_bytes)
    header = replace(header, cut=kept is not problems)
    lines = [
        _line({"format": FORMAT, **asdict(header)}),
        *(_problem_line(problem) for problem in kept),
    ]
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.writelines(lines)
    atomic_write(path, buffer.getvalue())
    return header


def read(path: Path) -> Generations:
    """Return the file's content.

    PrerequisiteError when the file is missing, RecordMismatch when `write` did not write it.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            first, *rest = [json.loads(line) for line in file]
        if first.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        return Generations(Header(**first), tuple(_problem(row) for row in rest))
    except FileNotFoundError as error:
        hint = (
            "it is written by `study run` and `study evaluate`; older runs have none and would have"
            " to be evaluated again"
        )
        raise PrerequisiteError(f"there are no stored generations {path}", hint=hint) from error
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        zlib.error,
    ) as error:
        raise RecordMismatch(
            f"{path}: not stored generations ({error})",
            hint=f"evaluate again; remove it first: rm {path}",
        ) from error


def _within(problems: Sequence[Problem], bound: int) -> Sequence[Problem]:
    """Keep whole as many problems, from the first on, as leave room for the ends of all others."""
    whole = [_problem_line(problem) for problem in problems]
    room = bound - _MARGIN
    if (
        sum(map(len, whole)) <= room
        or sum(sizes := [len(zlib.compress(line)) for line in whole]) <= room
    ):
        return problems
    tail = TAIL
    while True:
        short = [problem.tail(tail) for problem in problems]
        costs = [
            min(len(zlib.compress(_problem_line(problem))), size)
            for problem, size in zip(short, sizes, strict=True)
        ]
        spare = room - sum(costs)
        if spare >= 0 or tail == 0:
            break
        tail //= 2
    number = 0
    while number < len(problems) and (spare := spare - (sizes[number] - costs[number])) >= 0:
        number += 1
    return [*problems[:number], *short[number:]]


def _problem_line(problem: Problem) -> bytes:
    """Return one line; what is not set is left out, so that older files keep their bytes."""
    values = asdict(problem)
    if not problem.gold_is_float:
        del values["gold_is_float"]
    return _line(values)


def _line(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _problem(row: dict[str, Any]) -> Problem:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    return Problem(**values)
