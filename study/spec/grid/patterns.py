"""Label combinations: those in a grid's file (exclude, include, core), and the words by which a
command selects runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from study.spec.yaml.load import Located, suggestion
from study.spec.yaml.validation import located_error

Pattern = dict[str, list[str]]  # factor -> accepted levels
Levels = Mapping[str, Mapping[str, Located]]  # factor -> level -> its value


def read_patterns(node: Located | None, path: str, factors: Levels) -> list[Pattern]:
    """Read a list of label combinations. `path` names it in errors, e.g. `core.select`.

    Errors: SpecError with file and line for an unknown factor or level.
    """
    items = node.items if node else []
    return [_read_pattern(item, f"{path}[{i}]", factors) for i, item in enumerate(items)]


def require_complete(node: Located | None, path: str, factors: Levels) -> None:
    """Raise SpecError with file and line unless every combination names every factor."""
    for i, item in enumerate(node.items if node else []):
        missing = [factor for factor in factors if factor not in item.entries]
        if missing:
            problem = f"an inclusion names every factor; {', '.join(missing)} is missing"
            raise located_error(item, f"{path}[{i}]", problem)


def matches(labels: Mapping[str, str], pattern: Pattern) -> bool:
    return all(labels.get(factor) in levels for factor, levels in pattern.items())


def label_words(labels: Mapping[str, str]) -> Iterator[str]:
    """Yield the words by which `--only` knows a cell: each level, and `factor=level`."""
    for factor, level in labels.items():
        yield level
        yield f"{factor}={level}"


def selects(terms: Sequence[str], words: Sequence[str]) -> bool:
    """Whether every glob matches at least one of the words."""
    return all(any(fnmatchcase(word, term) for word in words) for term in terms)


def _read_pattern(node: Located, path: str, factors: Levels) -> Pattern:
    pattern: Pattern = {}
    for factor, wanted in node.entries.items():
        where = f"{path}.{factor}"
        if factor not in factors:
            known = ", ".join(factors)
            problem = f"no such factor{suggestion(factor, factors)} (factors: {known})"
            raise located_error(wanted, where, problem)
        pattern[factor] = [str(level.value) for level in wanted.items] or [str(wanted.value)]
        for level in pattern[factor]:
            if level not in factors[factor]:
                known = (
                    f"{suggestion(level, factors[factor])} (levels: {', '.join(factors[factor])})"
                )
                raise located_error(wanted, where, f"unknown level {level!r}{known}")
    return pattern
