"""Read completions and gold answers from any JSON Lines file, gzipped (.gz) or not: one `Row` per
line, from any framework.

A field is a name or a dotted path (`doc.answer`, `choices.message.content`); a step into a list
goes into each of its elements.
    completion   a text, a list of texts (samples of one problem), a chat (its last message), or
                 objects with a text inside; null or empty if the completion was cut
    answer       a text or a number; the grader takes what follows `####`, or the last box, out of
                 a worked solution
    id           optional; rows with the same id are samples of the same problem
    truncated    optional; true, or a finish reason such as "length", for the row or for each of its
                 samples (`study.data.cut`)
    question     optional; the text of the problem, which says for example "percent"
Fields that are not named are guessed from the first row by the names below, in their order; a
finish reason is also looked for next to the completion. Errors name the file, the line and what to
do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from study.data.cut import HINT as CUT_HINT
from study.data.lines import parse_object, stream_lines
from study.data.samples import flags_of, texts_of
from study.data.texts import lost_backslash
from study.data.values import (
    MISSING,
    Gold,
    chat_turns,
    gold_of,
    id_of,
    message_text,
    value_at,
)
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
TRUNCATED = (
    "truncated",
    "is_truncated",
    "finish_reason",
    "finish_reasons",
    "finishReason",
    "stop_reason",
    "stop_reasons",
    "done_reason",
    "meta_info.finish_reason",
)
QUESTION = ("question", "problem", "prompt", "query", "doc.question", "doc.problem")
_WANTED = "one object per line, with a completion and a gold answer"
_SKIP = "or leave such lines out: --skip-malformed"


@dataclass(frozen=True)
class Fields:
    """Paths of the columns; None for one that the file does not have.

    guessed: those that the user did not name.
    """

    completion: str
    answer: str
    id: str | None = None
    truncated: str | None = None
    question: str | None = None
    guessed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line.

    id              the number of the line if the file has no ids
    gold_is_float   the gold answer came as a JSON float, and `answer` is its shortest decimal
    question        the text of the problem if the row has one, else ""
    suspect         what looks like the remains of a lost backslash in a completion, in words
    """

    line: int
    id: str
    completions: tuple[str, ...]
    answer: str
    truncated: tuple[bool, ...]
    gold_is_float: bool = False
    question: str = ""
    suspect: str = ""


def fields(
    path: Path,
    *,
    completion: str | None = None,
    answer: str | None = None,
    key: str | None = None,
    truncated: str | None = None,
) -> Fields:
    """Return the named columns (key: of the id), and guesses for the others from the first row.

    Errors: SpecError for the name of a missing column.
    """
    row = _first_row(path)
    if row.get("format") == "generations-1":
        raise SpecError(
            f"{path} holds stored generations of this project",
            hint=f"study regrade {path} --grader math-1",
        )
    named = {"completion": completion, "answer": answer, "id": key, "truncated": truncated}
    found = {
        "completion": completion or _guess(row, COMPLETION),
        "answer": answer or _guess(row, ANSWER, taken=completion),
        "id": key or _guess(row, ID),
    }
    found["truncated"] = truncated or _guess(row, _reasons(found["completion"]))
    for name, column in found.items():
        _require_column(path, row, name, column)
    guessed = tuple(name for name in found if named[name] is None and found[name] is not None)
    return Fields(
        str(found["completion"]), str(found["answer"]), found["id"], found["truncated"],
        _guess(row, QUESTION), guessed,
    )  # fmt: skip


def _require_column(path: Path, row: dict[str, Any], name: str, column: str | None) -> None:
    if column is None and name in ("completion", "answer"):
        raise SpecError(
            f"{path}: no column looks like the {name}; there are: {_columns(row)}",
            hint=f"name it: --{name}-field NAME, or OUTER.NAME for one inside another",
        )
    if column is not None and value_at(row, column) is MISSING:
        raise SpecError(
            f"{path}: the first row has no {name} at {column!r}",
            hint=f"--{name}-field takes a name or a dotted path; there are: {_columns(row)}",
        )


def _reasons(completion: str | None) -> list[str]:
    """Return where a finish reason may be: in the row, or next to the completion at any level.

    For `choices.message.content` these are also `choices.message.X` and `choices.X`.
    """
    steps = (completion or "").split(".")
    outer = [".".join(steps[:n]) for n in range(len(steps), 0, -1)] if completion else []
    return [*TRUNCATED, *(f"{place}.{name}" for place in outer for name in TRUNCATED)]


def rows(path: Path, columns: Fields) -> Iterator[tuple[Row | PrerequisiteError, int]]:
    """Yield (a row, or what is wrong with its line; bytes of the file read so far).

    Blank lines are skipped.
    """
    for number, line, read in stream_lines(path):
        where = f"{path}:{number}"
        try:
            yield _row(parse_object(line, where), columns, where, number), read
        except PrerequisiteError as error:
            hint = f"{error.hint}; {_SKIP}" if error.hint else _SKIP
            yield PrerequisiteError(error.message, hint=hint), read


def _first_row(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise PrerequisiteError(f"{path} is not a file", hint=f"give a JSON Lines file: {_WANTED}")
    for number, line, _ in stream_lines(path):
        return parse_object(line, f"{path}:{number}")
    raise PrerequisiteError(f"{path} is empty", hint=f"give a JSON Lines file: {_WANTED}")


def _row(row: dict[str, Any], columns: Fields, where: str, number: int) -> Row:
    texts = texts_of(value_at(row, columns.completion))
    if not texts:
        raise PrerequisiteError(
            f"{where}: no completion at {columns.completion!r}",
            hint="a completion is a text or a list of texts",
        )
    cut = _flags(row, columns, len(texts), where)
    for text, was in zip(texts, cut, strict=True):
        if text is None and not was:
            raise PrerequisiteError(
                f"{where}: no completion at {columns.completion!r}:"
                " it is null, and nothing says that it was cut",
                hint='write "" for an empty reply, or a finish reason: "finish_reason": "length"',
            )
    gold = _gold(row, columns, where)
    key = str(number) if columns.id is None else _id(row, columns.id, where)
    completions = tuple(text or "" for text in texts)
    suspect = next(filter(None, map(lost_backslash, completions)), "")
    return Row(
        number, key, completions, gold.text, cut, gold.is_float, _question(row, columns), suspect
    )


def _id(row: dict[str, Any], column: str, where: str) -> str:
    return id_of(value_at(row, column), where, column)


def _gold(row: dict[str, Any], columns: Fields, where: str) -> Gold:
    value = value_at(row, columns.answer)
    if value is MISSING or value is None:
        raise PrerequisiteError(
            f"{where}: no gold answer at {columns.answer!r}",
            hint=f"fill {columns.answer!r} in with a text or a number",
        )
    if isinstance(value, str) and not value.strip():
        raise PrerequisiteError(
            f"{where}: the reference answer is empty", hint=f"fill {columns.answer!r} in"
        )
    gold = gold_of(value, f"{where}: no gold answer", columns.answer, unwrap=True)
    try:
        reference(gold.text)
    except ValueError as error:
        raise PrerequisiteError(f"{where}: {error}", hint=f"fill {columns.answer!r} in") from error
    return gold


def _question(row: dict[str, Any], columns: Fields) -> str:
    """Return the text of the problem; "" for a value that is not a text or chat, because it only
    helps the grader.
    """
    value = value_at(row, columns.question) if columns.question else None
    turns = chat_turns(value)
    if turns is not None:
        asked = [message_text(content) for role, content in turns if role == "user"]
        value = asked[-1] if asked else None
    return value if isinstance(value, str) else ""


def _flags(row: dict[str, Any], columns: Fields, samples: int, where: str) -> tuple[bool, ...]:
    if columns.truncated is not None:
        return flags_of(value_at(row, columns.truncated), samples, where, columns.truncated)
    late = _guess(row, _reasons(columns.completion))
    if late is None or value_at(row, late) is None:
        return (False,) * samples
    raise PrerequisiteError(
        f"{where}: the column {late!r} is not in the first row, and is in this one",
        hint=f"--truncated-field {late}, and a value in every row; {CUT_HINT}",
    )


def _guess(row: dict[str, Any], names: Sequence[str], taken: str | None = None) -> str | None:
    """Return the first name that holds a value, else the first that holds null."""
    there = [name for name in names if name != taken and value_at(row, name) is not MISSING]
    return next(
        (name for name in there if value_at(row, name) is not None), next(iter(there), None)
    )


def _columns(row: dict[str, Any]) -> str:
    names: list[str] = []
    for name, value in row.items():
        inner = ", ".join(cast("dict[str, Any]", value)) if isinstance(value, dict) else ""
        names.append(f"{name}.{{{inner}}}" if inner else name)
    return ", ".join(names) or "none"
