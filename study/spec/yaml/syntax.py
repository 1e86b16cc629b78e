"""Parse YAML text into a graph of nodes, within limits: for any bad file, one error names its line.

At most MAX_CHARACTERS of text, MAX_DEPTH levels, MAX_ITEMS members of a list of plain values, no
anchors and aliases (an alias bomb or a value that contains itself is refused at its first line,
before anything is expanded).
"""

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.reader import ReaderError

from study.errors import SpecError

MAX_CHARACTERS = 2**20
MAX_DEPTH = 64
MAX_ITEMS = 12_000  # more than any list of a config file may have; to parse them takes seconds
_PLAIN_LIST = re.compile(r"\[[^\[\]{}#\"']*\]")
_MEMBER = re.compile(r"^ *- ", re.MULTILINE)
ALIASES = "anchors and aliases are not supported; a value is written where it is used"


def compose(text: str, name: str) -> Any:
    """Return the root node of a text; None for an empty one. Errors: SpecError with the line."""
    if len(text) > MAX_CHARACTERS:
        raise SpecError(f"{name}: {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    _refuse_long_lists(text, name)
    if _needs_a_look(text):
        _refuse_deep_or_shared(text, name)
    try:
        return _reader().compose(text)
    except YAMLError as error:
        raise _located_error(error, text, name) from error
    except (ValueError, OverflowError, RecursionError) as error:  # of an escape such as \U99999999
        raise SpecError(f"{name}:{_last_line(text)}: not valid YAML ({error})") from error


def _refuse_long_lists(text: str, name: str) -> None:
    for match in _PLAIN_LIST.finditer(text):
        items = match[0].count(",") + 1
        if items > MAX_ITEMS:
            line = text.count("\n", 0, match.start()) + 1
            raise SpecError(
                f"{name}:{line}: a list of {items:,} members; at most {MAX_ITEMS:,} are read"
            )
    members = _MEMBER.finditer(text) if text.count("- ") > MAX_ITEMS else ()
    for number, match in enumerate(members, start=1):
        if number > MAX_ITEMS:
            line = text.count("\n", 0, match.start()) + 1
            raise SpecError(f"{name}:{line}: more than {MAX_ITEMS:,} members of lists")


def _reader() -> Any:
    return YAML(typ="safe", pure=True)


def _needs_a_look(text: str) -> bool:
    """Whether anchors or deep nesting are possible; most files need no second pass."""
    if "&" in text or "*" in text:
        return True
    openers = text.count("[") + text.count("{")
    indented = max((_indicators(line) for line in text.split("\n")), default=0)
    return openers > MAX_DEPTH or indented > MAX_DEPTH


def _indicators(line: str) -> int:
    """Return an upper limit on the levels that one line opens in block style."""
    leading = len(line) - len(line.lstrip())
    return leading + line.count("- ") + line.count("? ") + line.count(": ")


def _refuse_deep_or_shared(text: str, name: str) -> None:
    """Refuse deep nesting and anchors in one pass over the events: nothing is expanded."""
    depth = 0
    try:
        for event in _reader().parse(text):
            line = event.start_mark.line + 1
            if getattr(event, "anchor", None) is not None:  # also of an alias
                raise SpecError(f"{name}:{line}: {ALIASES}")
            depth += isinstance(event, CollectionStartEvent)
            depth -= isinstance(event, CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise SpecError(f"{name}:{line}: nested deeper than {MAX_DEPTH} levels")
    except (YAMLError, ValueError, OverflowError, RecursionError):
        return  # composing finds the same error and reports it


def _located_error(error: YAMLError, text: str, name: str) -> SpecError:
    if isinstance(error, MarkedYAMLError):
        marked: Any = error
        mark = marked.problem_mark or marked.context_mark
        line = f":{mark.line + 1}" if mark else ""
        return SpecError(f"{name}{line}: {marked.problem or marked.context or 'not valid YAML'}")
    if isinstance(error, ReaderError):
        unreadable: Any = error
        position = int(unreadable.position)
        line = text.count("\n", 0, position) + 1
        character = text[position : position + 1]
        return SpecError(f"{name}:{line}: the character {character!a} is not allowed in YAML")
    return SpecError(f"{name}: {error}")


def _last_line(text: str) -> int:
    """Return the last line up to which a text can be read."""
    line = 0
    try:
        for event in _reader().parse(text):
            line = event.end_mark.line
    except (YAMLError, ValueError, OverflowError, RecursionError):
        pass
    return line + 1
