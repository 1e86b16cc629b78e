"""Build a spec from a part of a config file; the result keeps the part that it came from."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from study.errors import PrerequisiteError
from study.spec.recipe.data import (
    ArithmeticData,
    BenchmarkData,
    Data,
    HiddenFactData,
    HubData,
    JsonlData,
    SearchData,
    SharedData,
)  # fmt: skip
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.yaml.load import Located, suggestion
from study.spec.yaml.validation import located_error, validate

T = TypeVar("T")
_SOURCES: dict[str, type[Any]] = {
    "arithmetic": ArithmeticData, "search": SearchData, "hidden_fact": HiddenFactData,
    "shared": SharedData, "jsonl": JsonlData,
    "hub": HubData, "benchmark": BenchmarkData,
}  # fmt: skip


@dataclass(frozen=True)
class Built(Generic[T]):
    """A spec and the located tree that it was built from, with every reference replaced by its
    value.
    """

    spec: T
    node: Located


def build_source(node: Located, path: str) -> Built[Data]:
    built = assembled(member_of(_SOURCES, node, path), node, path, {})
    if not isinstance(built.spec, JsonlData | HubData):
        return built
    try:
        return Built(built.spec.fingerprinted(), built.node)
    except FileNotFoundError as error:
        problem = f"{node.origin} {path}: the data file {error.filename} does not exist"
        raise PrerequisiteError(
            problem, hint="set STUDY_DATA to the folder that holds it"
        ) from error


def build_privileged(node: Located, path: str) -> Built[PrivilegedInformation | None]:
    return (
        Built(None, node)
        if node.value is None
        else assembled(PrivilegedInformation, node, path, {})
    )


def member_of(union: dict[str, type[Any]], node: Located, path: str) -> type[Any]:
    """Return the member of the union that `kind` names."""
    kind = node.get("kind")
    if kind is None:
        raise located_error(node, path, f"field 'kind' is required: one of {', '.join(union)}")
    if kind.value not in union:
        raise located_error(
            kind,
            f"{path}.kind",
            f"{kind.value!r} is not one of {', '.join(union)}{suggestion(str(kind.value), union)}",
        )
    return union[str(kind.value)]


def assembled(
    spec: type[Any], node: Located, path: str, parts: dict[str, Built[Any]]
) -> Built[Any]:
    whole = Located(
        node.entries | {key: part.node for key, part in parts.items()}, node.origin, node.comment
    )
    return Built(
        validate(spec, whole, path, {key: part.spec for key, part in parts.items()}), whole
    )
