"""Make a problem of one row of a hub data set, as its spec says
(`study.spec.recipe.hub_data.HubData`): problem_of(data, row, where) -> Problem.
"""

import hashlib
from typing import Any

from study.data.problems import Problem
from study.data.texts import normal_form
from study.data.values import Gold, cell_of, value_at
from study.errors import PrerequisiteError
from study.grading.math.extraction import boxes, reference
from study.spec.recipe.hub_data import HubData

THINKING_ENDS = "</think>"


def wanted(data: HubData, row: Any, where: str) -> bool:
    return all(
        cell_of(value_at(row, name), where, name) == wanted for name, wanted in data.where.items()
    )


def problem_of(data: HubData, row: Any, where: str) -> Problem | None:
    """Return the problem; None for a row without one, or without an answer of the declared kind.

    Ids are hashes of the text: they outlive a new order.
    """
    before, after = data.unwrap
    text = _first(row, data.prompt, where).removeprefix(before).removesuffix(after).strip()
    solution = (
        _first(row, data.solution, where).rpartition(THINKING_ENDS)[2].strip()
        if data.solution
        else ""
    )
    gold = _answer(data, row, solution, where)
    if not text or gold is None:
        return None
    extra = {name: cell_of(value_at(row, path), where, path) for name, path in data.columns.items()}
    key = hashlib.sha256(normal_form(text).encode()).hexdigest()[:12]
    return Problem(
        key,
        text + data.prompt_suffix,
        gold.text,
        solution,
        {"problem": text, "format": data.prompt_suffix.strip(), **extra},
        gold.is_float,
    )


def _answer(data: HubData, row: Any, solution: str, where: str) -> Gold | None:
    if data.answer_rule == "only_box":
        found = boxes(solution, 2)
        return Gold(found[0]) if len(found) == 1 and found[0] else None
    said, value = _first_cell(row, data.answer, where)
    if data.answer_rule == "label":
        label = data.labels.get(said) if said else data.missing_label
        return None if label is None else Gold(label)
    return Gold(reference(said), isinstance(value, float)) if said.strip() else None


def _first(row: Any, columns: list[str], where: str) -> str:
    return _first_cell(row, columns, where)[0]


def _first_cell(row: Any, columns: list[str], where: str) -> tuple[str, Any]:
    """Return the first column that is not empty, as text and as it is; "" if all are.

    Errors: PrerequisiteError if the row has none of them.
    """
    if isinstance(row, dict) and not any(column.partition(".")[0] in row for column in columns):
        hint = (
            "map the columns in the scale file; docs/paper-data.md has the schema that is expected"
        )
        raise PrerequisiteError(
            f"{where}: no column {' or '.join(columns)}; there is {', '.join(map(str, row))}",
            hint=hint,
        )
    values = (value_at(row, column) for column in columns)
    found = (
        (cell_of(value, where, column), value)
        for column, value in zip(columns, values, strict=True)
    )
    return next((cell for cell in found if cell[0]), ("", None))
