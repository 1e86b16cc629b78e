"""Problems from local JSON Lines files: GSM8K, MATH-500 or anything with a question and a
verifiable answer.
"""

import hashlib
import json

from study.data.problems import Problem, Split
from study.errors import PrerequisiteError, RecordMismatch
from study.spec.recipe.data import JsonlData, local_file


def problems(data: JsonlData, split: Split) -> tuple[Problem, ...]:
    """held_out comes from its own file or is a share of the train file; the last `selection_size`
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
    """By the text alone: a prompt that stands twice never falls on both sides."""
    if data.held_out_share is None:
        return False
    digest = hashlib.sha256(f"{data.split_seed}/{problem.prompt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < data.held_out_share * 2**64


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
    for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
        if line.strip():
            problem = problem_of(data, line, f"{name}:{number}", number)
            if problem.id in found:
                raise PrerequisiteError(f"{name}:{number}: id {problem.id!r} appears twice")
            found[problem.id] = problem
    return tuple(found.values())


def problem_of(data: JsonlData, line: str, where: str, number: int) -> Problem:
    """One line. PrerequisiteError `where: what is wrong` for a line that is no problem with an
    answer.
    """
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise PrerequisiteError(f"{where}: not a JSON object ({error.msg})") from error
    if not isinstance(row, dict):
        raise PrerequisiteError(f"{where}: not a JSON object")
    wanted = [
        f for f in (data.prompt_field, data.answer_field, data.solution_field, data.id_field) if f
    ]
    absent = [f for f in wanted if f not in row]
    if absent:
        problem = f"{where}: no column {absent[0]!r}; the columns are {', '.join(row)}"
        raise PrerequisiteError(problem, hint="map the columns in the scale file")
    empty = [
        f
        for f in (data.prompt_field, data.answer_field)
        if row[f] is None or not str(row[f]).strip()
    ]
    if empty:
        raise PrerequisiteError(f"{where}: column {empty[0]!r} is empty")
    answer, solution = (
        str(row[data.answer_field]),
        (str(row[data.solution_field]) if data.solution_field else ""),
    )
    if data.answer_after:
        before, mark, after = answer.rpartition(data.answer_after)
        if not mark:
            raise PrerequisiteError(
                f"{where}: the answer holds no {data.answer_after!r} (`answer_after`)"
            )
        answer, solution = after.strip(), solution or before.strip()
    extra = {k: str(v) for k, v in row.items() if k not in wanted}
    key = str(row[data.id_field]) if data.id_field else str(number)
    return Problem(key, str(row[data.prompt_field]) + data.prompt_suffix, answer, solution, extra)
