"""Turn a record into the fields of MLflow: names from its alphabet, values within its limits, no
two alike.
"""

import json
import posixpath
import re
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, cast

from pydantic import ValidationError

from study.record.schema import Record
from study.spec.grid.cell import Cell

# Characters; MLflow's own limits or less.
MAX_NAME, MAX_PARAMETER, MAX_TAG, MAX_EXPERIMENT = 250, 6000, 5000, 400
_CUT = "…"


def metric_name(name: str) -> str:
    """Spell a name in MLflow's alphabet: letters, digits, _ - . space : /; "@" becomes "_at_".

    No part is empty or all dots, which would be a path.
    """
    spelled = re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))
    parts = [part if part.strip(".") else "_" * max(1, len(part)) for part in spelled.split("/")]
    return posixpath.join(*parts)[:MAX_NAME]


def text(value: object, limit: int = MAX_TAG) -> str:
    """Return text that every database stores: no NUL, no half
    of a surrogate pair, at most `limit` characters.
    """
    clean = str(value).replace("\x00", "�").encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= limit else clean[: limit - 1] + _CUT


def spelled(names: Iterable[str]) -> dict[str, str]:
    """Return name -> its spelling; a number separates two names of one spelling: MLflow would
    refuse the second value.
    """
    taken: dict[str, str] = {}
    for name in names:
        first = metric_name(name)
        numbered = (f"{first[: MAX_NAME - 4]}_{number}" for number in range(2, 1000))
        candidates = chain([first], numbered)
        taken[next(candidate for candidate in candidates if candidate not in taken)] = name
    return {name: spelling for spelling, name in taken.items()}


def dotted(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted path; a list is one leaf."""
    leaves: dict[str, Any] = {}
    for key, item in tree.items():
        leaves |= (
            dotted(cast(dict[str, Any], item), f"{path}{key}.")
            if isinstance(item, dict)
            else {f"{path}{key}": item}
        )
    return leaves


def parameters(record: Record) -> dict[str, Any]:
    """Return the resolved configuration, defaults written out; the model's own settings without the
    prefix `model.`, as in a grid.
    """
    try:
        spec = Cell.model_validate_json(json.dumps(record.spec)).model_dump(mode="json")
    except ValidationError:  # a record of another version of the spec is shown as it was written
        spec = record.spec
    return _parameters_of(spec, record.seed)


def cell_parameters(cell: Cell, seed: int) -> dict[str, Any]:
    """Return the same of a run that has no record yet."""
    return _parameters_of(cell.model_dump(mode="json"), seed)


def _parameters_of(spec: Mapping[str, Any], seed: int) -> dict[str, Any]:
    leaves = {path.removeprefix("model."): value for path, value in dotted(spec).items()}
    return {path: value for path, value in leaves.items() if value is not None} | {"seed": seed}


def final_metrics(record: Record) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for task, score in record.scores.items():
        fields = {
            f"avg@{score.k}": score.mean,
            "greedy": score.greedy,
            "mean_tokens": score.mean_tokens,
        }
        fields |= {
            "truncated_fraction": score.truncated_fraction,
            "unparsed_fraction": score.unparsed_fraction,
        }
        metrics |= {
            f"eval/{task}/{name}": value for name, value in fields.items() if value is not None
        }
    for kind, cost in record.cost.items():
        metrics |= {
            f"cost/{kind}/{name}": float(value) for name, value in cost.model_dump().items()
        }
    return metrics


def points(record: Record) -> list[tuple[str, float, int]]:
    """Return every number of a record as (metric in MLflow's spelling, value, step): the scores and
    costs, then the curves.
    """
    finals = final_metrics(record)
    curves = sorted(record.history.keys() - {"step"})
    names = spelled([*finals, *(name for name in curves if name not in finals)])
    found = [(names[name], value, 0) for name, value in finals.items()]
    return found + [
        (names[name], value, step)
        for name in curves
        for step, value in zip(*record.series(name), strict=True)
    ]


def tags(record: Record) -> dict[str, str]:
    """Return the tags by which a run is found; its seal, which is written last, is not
    among them.
    """
    found = {
        "study.cell": record.cell,
        "study.code": record.provenance.code,
        "study.status": record.status,
    }
    return {key: text(value) for key, value in found.items()}


def label_tags(labels: Mapping[str, str]) -> dict[str, str]:
    names = spelled(f"label.{factor}" for factor in labels)
    return {names[f"label.{factor}"]: text(level) for factor, level in labels.items()}


def run_name(run_id: str, labels: Mapping[str, str], seed: int) -> str:
    return text(" ".join([*labels.values(), f"s{seed}"]) if labels else run_id)
