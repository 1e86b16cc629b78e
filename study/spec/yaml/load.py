"""Read strict YAML 1.2 with the file and line of every value, and find the config files of
`experiments/`.

A file becomes a tree of `Located` values; parts of trees can be inserted into others and keep their
origin, so that an error or `study show` can always name the line: `grids/math.yaml:14 objective.kk:
unknown field 'kk'; did you mean 'k'?`.

Plain scalars follow only the core schema of YAML 1.2: `no`, `on` and `yes` are text, `1e-3` is a
number. Refused, because readers of older YAML would read something else: numbers with a leading
zero, duplicate keys, anchors, tags, merge keys, infinities.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from study.errors import SpecError
from study.spec.yaml.syntax import ALIASES, compose

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_HALF_CHARACTER = re.compile(r"[\ud800-\udfff]")
MAX_DIGITS = 19  # of an integer with its sign
MAX_NAME = 100  # characters of a key or of the name of a file
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Located:
    """A value of a file with its place. comment: the end-of-line comment."""

    value: "dict[str, Located] | list[Located] | str | int | float | bool | None"
    origin: str
    comment: str = ""

    @property
    def entries(self) -> "dict[str, Located]":
        """Return the fields of a mapping; none for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> "list[Located]":
        """Return the members of a list; none for anything else."""
        return self.value if isinstance(self.value, list) else []

    def get(self, key: str) -> "Located | None":
        return self.entries.get(key)


def plain(node: Located) -> Any:
    """Return the plain Python value of a tree."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def merged(base: Located, patch: Located) -> Located:
    """Return `base` with the leaves of `patch` merged over it; mappings merge, anything else is
    replaced.
    """
    if not (isinstance(base.value, dict) and isinstance(patch.value, dict)):
        return patch
    laid = {
        key: merged(base.value[key], child) if key in base.value else child
        for key, child in patch.value.items()
    }
    return Located(base.value | laid, base.origin, base.comment)


def extended(base: Located, page: Located) -> Located:
    """Return a file merged over the one that it extends: mappings merge, but a mapping that names
    its own `kind` replaces the other, whatever its key.
    """
    if not (isinstance(base.value, dict) and isinstance(page.value, dict)) or "kind" in page.value:
        return page
    laid = {
        key: extended(base.value[key], child) if key in base.value else child
        for key, child in page.value.items()
    }
    return Located(base.value | laid, page.origin, page.comment or base.comment)


def suggestion(name: str, known: "Mapping[str, Any] | list[str] | tuple[str, ...]") -> str:
    """Return `; did you mean 'k'?`, or nothing if no known name is similar."""
    if len(name) > MAX_NAME:  # the comparison takes quadratic time
        return ""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def load(path: Path) -> Located:
    """Read one file. Errors: `SpecError` with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read {path}: {error}") from error
    return parse(text, label(path))


def label(path: Path) -> str:
    """Return a file's name in messages: grids/math.yaml inside an experiments folder, else the path
    as given.
    """
    outside, inside, page = path.as_posix().rpartition("experiments/")
    return page if inside and (not outside or outside.endswith("/")) else str(path)


@lru_cache(maxsize=256)
def parse(text: str, name: str) -> Located:
    """Return the tree of a text. name: its name in messages. Errors: `SpecError` with the line.

    The same text is read once per process: every grid reads the same scales again, and reading
    takes a hundred times as long as looking the text up. Trees are never changed in place.
    """
    root = compose(text, name)
    if root is None:
        raise SpecError(f"{name}: the page is empty")
    return _Reader(name, text.splitlines(), root).located(root)


class _Reader:
    """Turn ruamel's node graph (untyped: `Any`) into `Located` values by the core schema."""

    def __init__(self, name: str, lines: list[str], root: Any) -> None:
        self.name = name
        self.lines = lines
        # Line -> column after the last scalar on it: what follows can only be a comment.
        self.ends: dict[int, int] = {}
        self._measure(root)

    def _measure(self, node: Any) -> None:
        if _is(node, ScalarNode):
            line, column = node.end_mark.line, node.end_mark.column
            self.ends[line] = max(self.ends.get(line, 0), column)
            return
        for child in node.value:
            for part in child if _is(child, tuple) else (child,):
                self._measure(part)

    def located(self, node: Any, at: Any = None, around: str = "") -> Located:
        """Turn one node into a value with its place.

        at: the key of this value; a mapping's line is the line of its key, not of its first entry.
        around: the comment of the flow collection ({...} or [...]) around it. It holds for every
        line of the collection that has none of its own.
        """
        self._refuse_cleverness(node)
        line = (at or node).start_mark.line
        comment = self._comment(line) or around
        inside = comment if getattr(node, "flow_style", False) else ""
        return Located(self._value(node, inside), f"{self.name}:{line + 1}", comment)

    def _value(self, node: Any, around: str) -> Any:
        if _is(node, MappingNode):
            return self._mapping(node, around)
        if _is(node, SequenceNode):
            return [self.located(child, around=around) for child in node.value]
        if _HALF_CHARACTER.search(node.value):
            raise self._error(node, "half of a surrogate pair is no character")
        return node.value if node.style else self._plain_scalar(node)

    def _mapping(self, node: Any, around: str) -> dict[str, Located]:
        entries: dict[str, Located] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not _is(key_node, ScalarNode) or key == "<<":
                raise self._error(
                    key_node, "a key must be plain text; merge keys are not supported"
                )
            if len(key) > MAX_NAME:
                what = f"a name of {len(key)} characters; at most {MAX_NAME} are allowed"
                raise self._error(key_node, what)
            if key in entries:
                raise self._error(
                    key_node, f"duplicate key {key!r}; it is already set at {entries[key].origin}"
                )
            entries[key] = self.located(value_node, key_node, around)
        return entries

    def _plain_scalar(self, node: Any) -> Any:
        text: str = node.value
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            if len(text) > MAX_DIGITS:
                raise self._error(node, f"a number of {len(text)} digits; write it in quotes")
            return int(text)
        if _LEADING_ZERO.fullmatch(text):
            raise self._error(
                node,
                f"{text!r} starts with a zero, which older YAML reads as octal; write it without,"
                " or quote it",
            )
        if _FLOAT.fullmatch(text) and isfinite(number := float(text)):
            return number
        if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
            raise self._error(node, f"{text[:40]!r} is not a finite number")
        return text

    def _refuse_cleverness(self, node: Any) -> None:
        if node.anchor:
            raise self._error(node, ALIASES)
        line: str = self.lines[int(node.start_mark.line)] if self.lines else ""
        start = line[int(node.start_mark.column) :]
        if start.startswith("!"):
            raise self._error(node, "tags are not supported")

    def _comment(self, line: int) -> str:
        rest = self.lines[line][self.ends.get(line, 0) :] if line < len(self.lines) else ""
        _, mark, comment = rest.partition("#")
        return comment.strip() if mark else ""

    def _error(self, node: Any, problem: str) -> SpecError:
        return SpecError(f"{self.name}:{node.start_mark.line + 1}: {problem}")


def _is(node: Any, kind: type) -> bool:
    return isinstance(node, kind)


def experiment_folders(root: Path | None = None) -> list[Path]:
    """Return the folders of config files: the working folder's `experiments/`, then the shipped one
    (of a wheel, or of a clone).
    """
    package = Path(__file__).resolve().parents[2]
    shipped = (
        package / "_experiments"
        if (package / "_experiments").is_dir()
        else package.parent / "experiments"
    )
    return [
        folder
        for folder in dict.fromkeys([(root or Path.cwd()) / "experiments", shipped])
        if folder.is_dir()
    ]


def names(kind: str, root: Path | None = None) -> list[str]:
    """Return the known files of a kind (`grids`, `scales`, `tables`, `figures`, ...)."""
    return sorted(
        {
            page.stem
            for folder in experiment_folders(root)
            for page in (folder / kind).glob("*.yaml")
        }
    )


def find(kind: str, name: str, root: Path | None = None) -> Path:
    """Find a file by path, by path inside an experiments folder (`grids/math.yaml`) or by bare name
    (`math`).
    """
    if len(Path(name).name) > MAX_NAME:
        shown = f"{Path(name).name[:20]}..."
        raise SpecError(f"the name {shown!r} is too long; at most {MAX_NAME} characters")
    file = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    here = (root or Path.cwd()) / name
    inside = [folder / part / file for folder in experiment_folders(root) for part in ("", kind)]
    as_given = [here] if here.suffix in (".yaml", ".yml") else []
    for candidate in [*as_given, *inside]:
        if candidate.is_file():
            return candidate
    known = names(kind, root)
    hint = f"known {kind}: {', '.join(known) or 'none'}"
    raise SpecError(
        f"no {kind.removesuffix('s')} named {name!r}{suggestion(Path(name).stem, known)}", hint=hint
    )
