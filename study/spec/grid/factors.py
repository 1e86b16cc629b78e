"""The parts of a grid's file: the settings of its base, its factors and their named levels."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from study.spec.base import Spec
from study.spec.yaml.load import MAX_NAME, Located, suggestion
from study.spec.yaml.validation import located_error

Labels = dict[str, str]  # factor -> level
MAX_SEEDS = 10_000  # of one grid
MAX_REPEATS = 20  # training seeds on one base
SEED_LIMIT = 2**31  # limit of every random generator that takes a seed


def _distinct(seeds: list[int]) -> list[int]:
    seen: set[int] = set()
    for seed in seeds:
        if seed in seen:
            raise ValueError(f"seed {seed} is named twice")
        seen.add(seed)
    return seeds


Seeds = Annotated[
    list[Annotated[int, Field(ge=0, lt=SEED_LIMIT)]],
    Field(min_length=1, max_length=MAX_SEEDS),
    AfterValidator(_distinct),
]


class BasePage(Spec):
    """The base settings. A level of a factor must set what is missing here; a cell without it is
    refused.
    """

    model: str | None = None
    student: str | None = None
    teacher: str | None = None
    pi: Any = "none"
    objective: Any = None
    length: str | None = None
    data: str | None = None
    evaluation: str | None = None
    also: Any = None
    probes: Any = None
    training: dict[str, Any] = Field(default={})


class CorePage(Spec):
    select: list[dict[str, Any]]
    seeds: Seeds = Field(default=[0])


class Member(Spec):
    """A grid of a composed grid. core: only the core subset of that grid."""

    grid: str
    core: bool = False


class GridPage(Spec):
    name: str = Field(min_length=1, max_length=MAX_NAME)
    question: str
    base: BasePage = BasePage()
    compose: list[Member] = Field(default=[])
    factors: dict[str, Any] = Field(default={})
    exclude: list[dict[str, Any]] = Field(default=[])
    include: list[dict[str, Any]] = Field(default=[])
    scales: list[str] = Field(default=[])
    seeds: Seeds = Field(default=[0, 1, 2])
    repeat: int = Field(default=1, ge=1, le=MAX_REPEATS)
    core: CorePage | None = None


def levels(factor: str, node: Located) -> dict[str, Located]:
    """Return the named levels of a factor: label -> value, or label -> several keys of base if the
    factor is none of them itself.
    """
    found = {str(item.value): item for item in node.items} or node.entries
    if not found:
        raise located_error(node, f"factors.{factor}", "expected named levels, {label: value}")
    if factor not in BasePage.model_fields:
        for label, level in found.items():
            _check_bundle(factor, label, level)
    return found


def _check_bundle(factor: str, label: str, level: Located) -> None:
    keys = list(BasePage.model_fields)
    if not isinstance(level.value, dict):
        known = f"{suggestion(factor, keys)} (keys: {', '.join(keys)})"
        problem = (
            f"not a key of base{known}; a factor of another name needs levels that set such keys"
        )
        raise located_error(level, f"factors.{factor}", problem)
    for key, child in level.entries.items():
        if key not in keys:
            problem = (
                f"{key!r} is not a key of base{suggestion(key, keys)} (keys: {', '.join(keys)})"
            )
            raise located_error(child, f"factors.{factor}.{label}", problem)
