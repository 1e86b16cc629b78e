"""Load problems from local JSON Lines files: GSM8K, MATH-500 or any data with a question and a
verifiable answer.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from study.data.lines import parse_object, split_lines, text_content
from study.data.problems import Problem, Split
from study.data.texts import control_tokens, normal_form
from study.data.values import (
    MISSING,
    Gold,
    column_of,
    gold_of,
    id_of,
    prompt_of,
    solution_of,
    value_at,
)
from study.errors import PrerequisiteError, RecordMismatch
from study.spec.recipe.data import JsonlData, local_file

_NAME_COLUMNS = (
    "name the columns: --prompt-field, --answer-field, --solution-field, --id-field; in a scale"
    " file prompt_field: NAME and so on"
)
CONTROL_TOKENS = (
    "a chat template would end or open a turn there: take it out of the text, or keep it with"
    " --control-tokens (in a scale file control_tokens: true)"
)
SPLITS: tuple[Split, ...] = ("train", "selection", "held_out")
_NAME_MARKER = "--answer-after names a text that every answer holds"


def problems(data: JsonlData, split: Split) -> tuple[Problem, ...]:
    """Return the problems of one split, in the order of the file.

    held_out comes from its own file or is a share of the train file; the last `selection_size`
    rows of the rest are the selection.
    """
    if split == "held_out" and data.held_out is not None:
        return _read(data, data.held_out, data.held_out_sha256)[: data.held_out_size]
    rows = _read(data, data.train, data.train_sha256)
    if split == "held_out":
        return tuple(row for row in rows if is_held_out(data, row))[: data.held_out_size]
    rows = tuple(row for row in rows if not is_held_out(data, row))
    if data.selection_size >= len(rows):
        raise PrerequisiteError(
            f"{data.train}: {len(rows)} rows leave none for training after selection_size"
            f" {data.selection_size}"
        )
    cut = len(rows) - data.selection_size
    return rows[:cut][: data.train_size] if split == "train" else rows[cut:]


def is_held_out(data: JsonlData, problem: Problem) -> bool:
    """Whether a hash of the problem's normal form falls into the held-out share.

    Prompts that differ in white space alone are on the same side. The suffix is not part of the
    problem and stays as it is, so files without stray spaces keep the split that they had.
    """
    if data.held_out_share is None:
        return False
    own = problem.prompt.removesuffix(data.prompt_suffix)
    text = f"{data.split_seed}/{normal_form(own)}{data.prompt_suffix}"
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") < data.held_out_share * 2**64


def repeats(data: JsonlData) -> list[str]:
    """Say in words which problems occur more than once, by the normal form of their text: within a
    split, and in training as well as in the held-out file.
    """
    found: list[str] = []
    forms = {split: _forms(data, split) for split in SPLITS}
    for split, texts in forms.items():
        again = len(texts) - len(set(texts))
        if again:
            found.append(f"{split}: {again} of {len(texts)} problems repeat an earlier one")
    known = {*forms["train"], *forms["selection"]}
    both = sum(text in known for text in forms["held_out"])
    if both:
        found.append(f"{both} of {len(forms['held_out'])} held-out problems are also in training")
    return found


def _forms(data: JsonlData, split: Split) -> list[str]:
    return [normal_form(p.prompt.removesuffix(data.prompt_suffix)) for p in problems(data, split)]


def _read(data: JsonlData, name: str, digest: str | None) -> tuple[Problem, ...]:
    path = local_file(name)
    if not path.is_file():
        raise PrerequisiteError(
            f"data file {path} does not exist",
            hint="set STUDY_DATA to its folder, or edit `data` in the scale file",
        )
    content = path.read_bytes()
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise RecordMismatch(
            f"data file {path} changed after the grid was planned",
            hint="run the same command again",
        )
    found: dict[str, Problem] = {}
    for number, line in split_lines(text_content(content, path)):
        problem = problem_of(data, line, f"{name}:{number}", number)
        if problem.id in found:
            raise PrerequisiteError(f"{name}:{number}: id {problem.id!r} appears twice")
        found[problem.id] = problem
    return tuple(found.values())


def problem_of(data: JsonlData, line: bytes, where: str, number: int) -> Problem:
    """Make a problem of one line; columns are names or dotted paths.

    PrerequisiteError `where: what is wrong` for a line that is not a problem with an answer.
    """
    row = parse_object(line, where)
    wanted = [
        f for f in (data.prompt_field, data.answer_field, data.solution_field, data.id_field) if f
    ]
    for field in wanted:
        if value_at(row, field) is MISSING:
            raise PrerequisiteError(
                f"{where}: no column {field!r}; the columns are {', '.join(row)}",
                hint=_NAME_COLUMNS,
            )
    prompt = prompt_of(value_at(row, data.prompt_field), where, data.prompt_field)
    gold = gold_of(value_at(row, data.answer_field), where, data.answer_field)
    solution = ""
    if data.solution_field:
        solution = solution_of(value_at(row, data.solution_field), where, data.solution_field)
    if data.answer_after:
        gold, before = _after_marker(gold, data.answer_after, where)
        solution = solution or before
    if not data.control_tokens:
        _require_plain(where, (prompt, solution))
    key = str(number)
    if data.id_field:
        key = id_of(value_at(row, data.id_field), where, data.id_field)
    return Problem(
        key, prompt + data.prompt_suffix, gold.text, solution, _extra(row, wanted), gold.is_float
    )


def _require_plain(where: str, texts: Iterable[str]) -> None:
    found = [token for text in texts for token in control_tokens(text)]
    if found:
        raise PrerequisiteError(
            f"{where}: control token {found[0]} in the text", hint=CONTROL_TOKENS
        )


def _after_marker(gold: Gold, marker: str, where: str) -> tuple[Gold, str]:
    """Return (the answer after the last marker, the text before it)."""
    before, mark, after = gold.text.rpartition(marker)
    if not mark:
        raise PrerequisiteError(
            f"{where}: the answer holds no {marker!r} (`answer_after`)", hint=_NAME_MARKER
        )
    return Gold(after.strip()), before.strip()


def _extra(row: dict[str, Any], wanted: list[str]) -> dict[str, str]:
    """Return the columns left for templates: texts and numbers, null as an empty text."""
    found = {name: column_of(value) for name, value in row.items() if name not in wanted}
    return {name: text for name, text in found.items() if text is not None}
