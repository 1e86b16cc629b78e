"""The origin of every value of a resolved configuration, and whether the value is part of
identity.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from study.spec.base import Spec
from study.spec.identity import NOT_IDENTITY
from study.spec.yaml.load import Located


@dataclass(frozen=True)
class OriginedValue:
    """path: dotted; origin: grids/math.yaml:14, scales/lab.yaml:8 or default; note: the end-of-line
    comment (paper or ours).
    """

    path: str
    value: Any
    origin: str
    note: str
    identity: bool


def origined_values(spec: Spec, node: Located | None, path: str = "") -> tuple[OriginedValue, ...]:
    return tuple(_walk(spec, node, path, {}))


def _walk(
    spec: Spec, node: Located | None, path: str, seen: dict[int, str]
) -> Iterator[OriginedValue]:
    """Yield the values of a part.

    `seen`: a recipe that occurs twice in a cell (the student inside its own teacher) is written
    once and then referred to.
    """
    for name in type(spec).model_fields:
        child = node.get(name) if node else None
        value = plain = getattr(spec, name)
        dotted = f"{path}.{name}" if path else name
        if isinstance(value, Spec) and id(value) not in seen:
            if child is not None and "kind" in type(value).model_fields:
                seen[id(value)] = dotted
            yield from _walk(value, child, dotted, seen)
            continue
        parts = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else ()
        if any(isinstance(item, Spec) for item in parts):
            places = child.items if child else []
            for i, item in enumerate(parts):
                place = places[i] if i < len(places) else None
                yield from _walk(item, place, f"{dotted}[{i}]", seen)
            continue
        shown: Any = f"= {seen[id(value)]}" if isinstance(value, Spec) else plain
        identity = name not in NOT_IDENTITY.get(type(spec), frozenset())
        yield OriginedValue(
            dotted,
            shown,
            child.origin if child else "default",
            child.comment if child else "",
            identity,
        )
