"""The samples in one row: the texts of its completions, and which of them were cut."""

from typing import Any, cast

from study.data.cut import HINT, was_cut
from study.data.values import MISSING, chat_turns, message_text
from study.errors import PrerequisiteError

_INSIDE = ("text", "content", "completion", "generated_text", "message", "output", "solution")


def flags_of(found: Any, samples: int, where: str, column: str) -> tuple[bool, ...]:
    """Return whether each sample was cut, from one value for the row or one for each sample.

    Errors: PrerequisiteError for a value that does not say it, or a different number of values.
    """
    flags = _flat(cast("list[Any]", found)) if isinstance(found, list) else [found] * samples
    if len(flags) != samples:
        raise PrerequisiteError(
            f"{where}: {len(flags)} values at {column!r} for {samples} completions",
            hint="one for each, or one for the row",
        )
    try:
        return tuple(was_cut(None if flag is MISSING else flag) for flag in flags)
    except ValueError as error:
        raise PrerequisiteError(f"{where}: column {column!r}: {error}", hint=HINT) from error


def _flat(values: list[Any]) -> list[Any]:
    """[["stop"], ["length"]] -> ["stop", "length"]"""
    found: list[Any] = []
    for value in values:
        found += _flat(cast("list[Any]", value)) if isinstance(value, list) else [value]
    return found


def texts_of(found: Any) -> list[str | None] | None:
    """Return every text of a completion's value, with None for a null; None if there is no text.

    A chat gives the text of its last turn, which must not be the user's.
    """
    if found is None or isinstance(found, str):
        return [found]
    if isinstance(found, dict):
        return _texts_of_object(cast("dict[str, Any]", found))
    if not isinstance(found, list):
        return None
    items = cast("list[Any]", found)
    turns = chat_turns(items)
    if turns is not None:
        role, content = turns[-1]
        return None if role in ("user", "system") else _content(content)
    texts: list[str | None] = []
    for item in items:
        inside = texts_of(item)
        if inside is None:
            return None
        texts += inside
    return texts


def _texts_of_object(found: dict[str, Any]) -> list[str | None] | None:
    names = [name for name in _INSIDE if name in found]
    for name in names:
        value = found[name]
        if isinstance(value, list):
            return _content(cast("list[Any]", value))
        if isinstance(value, str | dict):
            return texts_of(value)
    return [None] if names else None


def _content(content: Any) -> list[str | None] | None:
    """Return one text for the content of a message, which may be a list of parts."""
    if content is None:
        return [None]
    text = message_text(content)
    return None if text is None else [text]
