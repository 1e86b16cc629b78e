"""Validate located YAML into a frozen spec: every pydantic error gets its line, its dotted path and
the nearest known word.
"""

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from study.errors import SpecError
from study.spec.base import Spec
from study.spec.yaml.load import Located, plain, suggestion

S = TypeVar("S", bound=Spec)
_MOST_SHOWN = 80  # characters of a value that a message repeats
_OLD_BOOLEANS = ("yes", "no", "on", "off", "y", "n")


def validate(
    spec: type[S], node: Located, path: str, built: Mapping[str, Spec | None] | None = None
) -> S:
    """Build `spec` from a mapping. `built`: fields that are specs already (resolved references)."""
    if not isinstance(node.value, dict):
        raise located_error(node, path, f"expected a mapping of fields, found {_shown(node)}")
    try:
        return spec.model_validate(plain(node) | dict(built or {}))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise SpecError(
            "\n".join(_message(spec, node, path, detail) for detail in details)
        ) from error


def located_error(node: Located, path: str, problem: str) -> SpecError:
    return SpecError(f"{node.origin} {path}: {problem}".replace(" : ", ": "))


def _message(spec: type[Spec], root: Located, path: str, detail: ErrorDetails) -> str:
    node, names = _walk(root, detail["loc"])
    dotted = ".".join(([path] if path else []) + names)
    problem = _problem(spec, node, detail, names)
    return f"{node.origin} {dotted}: {problem}" if dotted else f"{node.origin}: {problem}"


def _walk(root: Located, loc: tuple[int | str, ...]) -> tuple[Located, list[str]]:
    """Return the deepest node on a pydantic location, and the keys to it; union tags in the
    location are not keys of the file.
    """
    node = root
    names: list[str] = []
    for step in loc:
        child = node.items[step] if isinstance(step, int) and node.items else node.get(str(step))
        if child is not None:
            node, names = child, [*names, str(step)]
        elif step == loc[-1] and not _is_tag(node, step):
            names = [*names, str(step)]
    return node, names


def _is_tag(node: Located, step: int | str) -> bool:
    """Whether a step is the name of a union's member: a `kind`, or words with a space
    (study/spec/recipe/training.py).
    """
    kind = node.get("kind")
    return " " in str(step) or (kind is not None and kind.value == step)


def _problem(spec: type[Spec], node: Located, detail: ErrorDetails, names: list[str]) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    match detail["type"]:
        case "extra_forbidden":
            return (
                "unknown field"
                f" {names[-1]!r}{suggestion(names[-1], _fields_at(spec, detail['loc'][:-1]))}"
            )
        case "missing":
            return f"field {names[-1]!r} is required"
        case "literal_error" | "union_tag_invalid":
            known = re.findall(
                r"'([^']*)'",
                str(
                    detail.get("ctx", {}).get(
                        "expected", detail.get("ctx", {}).get("expected_tags", "")
                    )
                ),
            )
            return (
                f"{_shown(node)} is not one of"
                f" {', '.join(known)}{suggestion(str(node.value), known)}"
            )
        case "bool_type" if str(node.value).lower() in _OLD_BOOLEANS:
            return f"{node.value!r} is text in YAML 1.2; write true or false"
        case _:
            return f"{message[:1].lower()}{message[1:]}" + (
                f", found {_shown(node)}" if detail["type"] != "value_error" else ""
            )


def _shown(node: Located) -> str:
    kind = node.get("kind")
    shown = repr(kind.value if kind else plain(node))
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."


def _fields_at(spec: type[Spec], loc: tuple[int | str, ...]) -> list[str]:
    """Return the known field names at the place of an unknown one."""
    models: list[type[Spec]] = [spec]
    for step in loc:
        tagged = [
            m for m in models if "kind" in m.model_fields and m.model_fields["kind"].default == step
        ]
        inner = [
            m
            for model in models
            if step in model.model_fields
            for m in _specs_in(model.model_fields[str(step)].annotation)
        ]
        models = tagged or inner or models
    return [name for model in models for name in model.model_fields]


def _specs_in(annotation: Any) -> list[type[Spec]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Spec) else []
    return [
        found for part in get_args(annotation) if part is not NoneType for found in _specs_in(part)
    ]
