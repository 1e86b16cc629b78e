"""Completions and gold answers out of any JSON Lines file, gzipped (.gz) or not: one `Row` a line,
whatever framework wrote it.

A field is a name or a dotted path (`doc.answer`, `choices.message.content`); a step into a list
goes into each of its elements.
    completion   a text, a list of texts (samples of one problem), a chat (its last message), or
                 objects with a text inside
    answer       a text or a number; what follows `####`, or the last box, is taken out of a worked
                 solution by the grader
    id           optional; rows with the same id are samples of the same problem
    truncated    optional; true, or a finish reason such as "length", for the row or for each of its
                 samples
Fields that are not named are guessed from the first row by the names below, in their order. Errors
name the file, the line and what to do.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from study.errors import PrerequisiteError, SpecError
from study.grading.math.extraction import reference

COMPLETION = (
    "completion",
    "completions",
    "response",
    "responses",
    "output",
    "outputs",
    "generation",
    "generations",
    "generated_text",
    "model_output",
    "model_outputs",
    "prediction",
    "predictions",
    "pred",
    "samples",
    "resps",
    "text",
    "choices",
    "messages",
)
ANSWER = (
    "answer",
    "gold",
    "gold_answer",
    "ground_truth",
    "target",
    "reference",
    "reference_answer",
    "expected",
    "expected_answer",
    "final_answer",
    "label",
    "reward_model.ground_truth",
    "doc.answer",
    "solution",
)
ID = ("id", "problem_id", "question_id", "unique_id", "doc_id", "task_id", "uid")
TRUNCATED = ("truncated", "finish_reason", "finish_reasons", "choices.finish_reason", "stop_reason")
_INSIDE = ("text", "content", "completion", "generated_text", "message", "output", "solution")
_WANTED = "one object with a completion and a gold answer a line"
_LINES = "one object a line; a JSON array is turned into lines by: jq -c '.[]' FILE"
_CUT = {"length", "max_tokens", "max_length", "truncated", "true"}


@dataclass(frozen=True)
class Fields:
    """Paths of the four columns; None for one that the file does not have. guessed: which of them
    nobody named.
    """

    completion: str
    answer: str
    id: str | None = None
    truncated: str | None = None
    guessed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line. id: the line's number where the file has no ids."""

    line: int
    id: str
    completions: tuple[str, ...]
    answer: str
    truncated: tuple[bool, ...]


def fields(
    path: Path,
    *,
    completion: str | None = None,
    answer: str | None = None,
    key: str | None = None,
    truncated: str | None = None,
) -> Fields:
    """The named columns (key: of the id), and guesses for the others from the first row.

    SpecError for a name that is not there.
    """
    row = _first_row(path)
    if row.get("format") == "generations-1":
        raise SpecError(
            f"{path} holds stored generations of this project",
            hint=f"study regrade {path} --grader math-1",
        )
    found = {
        "completion": completion or _guess(row, COMPLETION),
        "answer": answer or _guess(row, ANSWER, taken=completion),
        "id": key or _guess(row, ID),
        "truncated": truncated or _guess(row, TRUNCATED),
    }
    for name, needed in (
        ("completion", True),
        ("answer", True),
        ("id", False),
        ("truncated", False),
    ):
        if found[name] is None and needed:
            raise SpecError(
                f"{path}: no column looks like the {name}; there are: {_columns(row)}",
                hint=f"name it: --{name}-field NAME, or OUTER.NAME for one inside another",
            )
        if found[name] is not None and _at(row, str(found[name])) is None:
            hint = f"--{name}-field takes a name or a dotted path; there are: {_columns(row)}"
            raise SpecError(f"{path}: the first row has no {name} at {found[name]!r}", hint=hint)
    named = {"completion": completion, "answer": answer, "id": key, "truncated": truncated}
    guessed = tuple(name for name in found if named[name] is None and found[name] is not None)
    return Fields(
        str(found["completion"]), str(found["answer"]), found["id"], found["truncated"], guessed
    )


def rows(path: Path, columns: Fields) -> Iterator[tuple[Row | PrerequisiteError, int]]:
    """(a row, or what is wrong with its line; bytes of the file read so far).

    Blank lines are nothing.
    """
    with _opened(path) as (file, read):
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield (
                        _row(
                            _parsed(line, f"{path}:{number}"), columns, f"{path}:{number}", number
                        ),
                        read(),
                    )
                except PrerequisiteError as error:
                    yield error, read()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """The file's lines as bytes, and how much of what is on the disk has been read."""
    try:
        with path.open("rb") as raw:
            yield (
                (cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw),
                raw.tell,
            )
    except (OSError, EOFError, zlib.error) as error:
        raise PrerequisiteError(
            f"{path}: cannot be read ({error})", hint=f"give a JSON Lines file: {_WANTED}"
        ) from error


def _first_row(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise PrerequisiteError(f"{path} is not a file", hint=f"give a JSON Lines file: {_WANTED}")
    with _opened(path) as (file, _):
        for number, line in enumerate(file, start=1):
            if line.strip():
                return _parsed(line, f"{path}:{number}")
    raise PrerequisiteError(f"{path} is empty", hint=f"give a JSON Lines file: {_WANTED}")


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _malformed(where, f"not JSON ({error})", _LINES) from error
    if not isinstance(row, dict):
        raise _malformed(where, "not a JSON object", _LINES)
    return row


def _malformed(where: str, what: str, hint: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"{where}: {what}", hint=f"{hint}; or leave such lines out: --skip-malformed"
    )


def _row(row: dict[str, Any], columns: Fields, where: str, number: int) -> Row:
    found = _at(row, columns.completion)
    if (texts := _texts(found)) is None or not texts:
        raise _malformed(
            where,
            f"no completion at {columns.completion!r}",
            "it must be a text or a list of texts",
        )
    answer = _at(row, columns.answer)
    while isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise _malformed(
            where, f"no gold answer at {columns.answer!r}", "it must be a text or a number"
        )
    try:
        reference(str(answer))
    except ValueError as error:
        raise _malformed(where, str(error), f"fill {columns.answer!r} in") from error
    key = _at(row, columns.id) if columns.id else number
    if key is None or isinstance(key, dict | list):
        raise _malformed(where, f"no id at {columns.id!r}", "every row needs one")
    return Row(number, str(key), tuple(texts), str(answer), _flags(row, columns, len(texts), where))


def _flags(row: dict[str, Any], columns: Fields, samples: int, where: str) -> tuple[bool, ...]:
    found = _at(row, columns.truncated) if columns.truncated else None
    flags = found if isinstance(found, list) else [found] * samples
    if len(flags) != samples:
        raise _malformed(
            where,
            f"{len(flags)} values at {columns.truncated!r} for {samples} completions",
            "one for each, or one for the row",
        )
    return tuple(str(flag).casefold() in _CUT for flag in flags)


def _texts(found: Any) -> list[str] | None:
    """Every text in what stands at the completion's path; None if there is something else."""
    if isinstance(found, str):
        return [found]
    if isinstance(found, dict):
        inside = next(
            (found[name] for name in _INSIDE if isinstance(found.get(name), str | dict)), None
        )
        return _texts(inside)
    if not isinstance(found, list):
        return None
    if found and all(isinstance(turn, dict) and "role" in turn for turn in found):
        return _texts(found[-1])
    parts = [_texts(each) for each in found]
    return (
        None
        if any(part is None for part in parts)
        else [text for part in parts if part for text in part]
    )


def _at(value: Any, path: str) -> Any:
    """The value at a dotted path, None where it leads nowhere.

    A name that itself holds dots is tried first.
    """
    if isinstance(value, list) and path:
        found = [_at(each, path) for each in value]
        return None if all(each is None for each in found) else found
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    head, _, rest = path.partition(".")
    return _at(value[head], rest) if rest and head in value else None


def _guess(row: dict[str, Any], names: Sequence[str], taken: str | None = None) -> str | None:
    return next((name for name in names if name != taken and _at(row, name) is not None), None)


def _columns(row: dict[str, Any]) -> str:
    return (
        ", ".join(
            f"{name}.{{{', '.join(value)}}}" if isinstance(value, dict) else name
            for name, value in row.items()
        )
        or "none"
    )
