"""Check which names of a grid's file a scale lacks.

A grid may declare `scales: [lab]`: its world exists only there for now. Elsewhere, unless a scale
binds every name anyway, one sentence says what is missing and where to bind it.
"""

from collections.abc import Iterator

from study.errors import SpecError
from study.spec.grid.scale import Scale
from study.spec.yaml.load import Located

# key of a grid's base -> the section of a scale in which its names are looked up
_SECTIONS = {
    "model": "models", "student": "models", "teacher": "models", "pi": "pi", "length": "lengths",
    "data": "data",
    "evaluation": "evaluations", "also": "evaluations", "probes": "probes",
}  # fmt: skip
_SHOWN = 6  # names that a message lists


class NotBound(SpecError):
    """The grid is not meant for this scale (yet)."""


def require_bound(page: Located, scale: Scale) -> None:
    """Raise NotBound if the grid declares other scales than this one, and this one lacks a name.

    A scale that extends a declared one counts as declared.
    """
    declared = page.get("scales")
    if (
        declared is None
        or not declared.items
        or {str(item.value) for item in declared.items} & {scale.name, *scale.above}
    ):
        return
    missing = missing_names(page, scale)
    if not missing:
        return
    only = ", ".join(str(item.value) for item in declared.items)
    shown = ", ".join(missing[:_SHOWN]) + (
        f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    )
    hint = f"bind these names in {scale.file}, or choose --scale {declared.items[0].value}"
    what = (
        f"not bound at this scale ({only} only): the grid {page.entries['name'].value} needs"
        f" {shown}"
    )
    raise NotBound(what, hint=hint)


def missing_names(page: Located, scale: Scale) -> list[str]:
    """Return `models.seeker`, ...: each name that the grid uses and the scale lacks, once, in the
    order of the file.
    """
    named = (
        f"{section}.{name}" for section, name in _names(page) if not _known(scale, section, name)
    )
    return list(dict.fromkeys(named))


def _known(scale: Scale, section: str, name: str) -> bool:
    entries = scale.page.get(section)
    return name in (entries.entries if entries else {}) or (section, name) == ("pi", "none")


def _names(page: Located) -> Iterator[tuple[str, str]]:
    """Yield (section, name) for every name in the base and in the levels of the factors."""
    base, factors = page.get("base"), page.get("factors")
    yield from _of_settings(base.entries if base else {})
    for factor, levels in (factors.entries if factors else {}).items():
        for level in levels.items or levels.entries.values():
            yield from _of_settings({factor: level} if factor in _SECTIONS else level.entries)


def _of_settings(settings: dict[str, Located]) -> Iterator[tuple[str, str]]:
    for key, node in settings.items():
        for one in (node.items or [node]) if key in _SECTIONS else []:
            if isinstance(one.value, str):
                yield _SECTIONS[key], one.value
