"""Take typed values out of a row: a prompt, a gold answer, a completion, an id.

No value is turned into text with `str()`: an object, a list, a truth value or NaN in the place of a
text is refused, with its place and what to write instead. A chat with one user turn is that turn's
text. Control characters before letters are the remains of a backslash that should have been doubled
(`"\\frac"` in JSON is a form feed and `rac`); they are refused in golds, prompts and solutions.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from study.data.texts import half_surrogate, lost_backslash
from study.errors import PrerequisiteError


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()  # what `value_at` returns if a path leads nowhere

_LISTED_CHAT = re.compile(r"""\s*\[\s*\{\s*['"](?:role|from|content)['"]\s*:""")
_BACKSLASH = (
    "a backslash was lost: in JSON it is written twice (\\\\frac); write the file again with"
    " json.dumps from texts that still have it"
)
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}


class Gold(NamedTuple):
    """A gold answer. is_float: it came as a JSON float, and `text` is its shortest decimal."""

    text: str
    is_float: bool = False


def value_at(value: Any, path: str) -> Any:
    """Return the value at a dotted path, or MISSING.

    A name that itself holds dots is tried first. A number as a step takes that element of a list;
    any other step goes into each element.
    """
    if isinstance(value, list):
        items = cast("list[Any]", value)
        head, _, rest = path.partition(".")
        if head.isdigit():
            inside = items[int(head)] if int(head) < len(items) else MISSING
            return value_at(inside, rest) if rest else inside
        found = [value_at(item, path) for item in items]
        return MISSING if all(item is MISSING for item in found) else found
    if not isinstance(value, dict):
        return MISSING
    row = cast("dict[str, Any]", value)
    if path in row:
        return row[path]
    head, _, rest = path.partition(".")
    return value_at(row[head], rest) if rest and head in row else MISSING


def kind(value: Any) -> str:
    """Name the type of a JSON value, for messages."""
    if value is None or value is MISSING:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number (NaN or infinite)"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"


def prompt_of(value: Any, where: str, column: str, *, published: bool = False) -> str:
    """Return the text of a problem: a text, or a chat with one user turn.

    published: a released data set, whose damaged texts are its own and stay unchanged.

    Errors: PrerequisiteError for anything else, also for a chat
    with several turns or a system turn.
    """
    turns = chat_turns(value)
    if turns is not None:
        value = _only_user_turn(turns, where, column)
    text = _text(
        value, where, column, f"--prompt-field NAME, where NAME holds a text{_inside(value)}"
    )
    if _LISTED_CHAT.match(text):
        raise PrerequisiteError(
            f"{where}: column {column!r} is the text of a list of messages",
            hint="write the list itself as JSON, or the user's message alone",
        )
    if not published:
        _require_backslashes(text, where, column, gold=False)
    return text


def cell_of(value: Any, where: str, column: str) -> str:
    """Return a cell of a released data set as text: a text, a number, or True or False; null is "".

    Errors: PrerequisiteError for a list, an object or NaN.
    """
    if value is None or value is MISSING:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    raise PrerequisiteError(
        f"{where}: column {column!r} is {kind(value)}",
        hint=f"name a column that holds texts or numbers{_inside(value)}",
    )


def gold_of(value: Any, where: str, column: str, *, unwrap: bool = False) -> Gold:
    """Return a gold answer: a text or a number. unwrap: a list with one element is replaced by it.

    Errors: PrerequisiteError for an object, a list, true or false, NaN, an empty text, half a
    surrogate pair, and the remains of a lost backslash.
    """
    while unwrap and isinstance(value, list) and len(cast("list[Any]", value)) == 1:
        value = cast("list[Any]", value)[0]
    if isinstance(value, int) and not isinstance(value, bool):
        return Gold(str(value))
    if isinstance(value, float) and math.isfinite(value):
        return Gold(repr(value), True)
    text = _text(value, where, column, _gold_hint(value))
    _require_backslashes(text, where, column, gold=True)
    return Gold(text)


def solution_of(value: Any, where: str, column: str) -> str:
    """Return a worked solution: a text, or an empty one for null."""
    if value is None or value is MISSING or value == "":
        return ""
    text = _text(value, where, column, f"the solution is a text{_inside(value)}")
    _require_backslashes(text, where, column, gold=False)
    return text


def id_of(value: Any, where: str, column: str) -> str:
    """Return an id: a text or a number."""
    if isinstance(value, str) and value.strip() and not half_surrogate(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    raise PrerequisiteError(
        f"{where}: no id at {column!r}: it is {kind(value) if value != '' else 'empty'}",
        hint="an id is a text or a number, and every row needs one",
    )


def column_of(value: Any) -> str | None:
    """Return a further column for templates: a text or a number
    as text, null as ""; None for other values.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return None if half_surrogate(value) else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return repr(value) if math.isfinite(value) else None


def message_text(content: Any) -> str | None:
    """Return the text of a message's content: a text, or the text parts of a list of parts.

    None if there is no text: null, or a part that is an image or a sound.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    found: list[str] = []
    for part in cast("list[Any]", content):
        if isinstance(part, str):
            found.append(part)
            continue
        if not isinstance(part, dict):
            return None
        typed = cast("dict[str, Any]", part)
        if typed.get("type") in ("thinking", "reasoning", "redacted_thinking"):
            continue
        if not isinstance(typed.get("text"), str):
            return None
        found.append(typed["text"])
    return "".join(found)


def chat_turns(value: Any) -> list[tuple[str, Any]] | None:
    """Return (role, content) of each message of a chat; None for a value that is not a chat.

    Both spellings are known: role and content, and from and value (ShareGPT).
    """
    if isinstance(value, dict):
        value = [cast("dict[str, Any]", value)]
    if not isinstance(value, list) or not value:
        return None
    turns: list[tuple[str, Any]] = []
    for message in cast("list[Any]", value):
        if not isinstance(message, dict):
            return None
        turn = cast("dict[str, Any]", message)
        role = turn.get("role", turn.get("from"))
        if not isinstance(role, str):
            return None
        turns.append((_ROLES.get(role, role), turn.get("content", turn.get("value"))))
    return turns


def _only_user_turn(turns: Sequence[tuple[str, Any]], where: str, column: str) -> str:
    said = [role for role, _ in turns]
    if said != ["user"]:
        roles = ", ".join(said)
        raise PrerequisiteError(
            f"{where}: column {column!r} is a chat of {len(turns)} turns ({roles}); one user"
            " turn is the problem",
            hint="write the problem as one user turn or as a text; a system turn goes into a column"
            " of its own, for privileged information",
        )
    text = message_text(turns[0][1])
    if text is None:
        raise PrerequisiteError(
            f"{where}: column {column!r} is a chat whose user turn has parts that are not text",
            hint="write the problem as a text",
        )
    return text


def _text(value: Any, where: str, column: str, hint: str) -> str:
    if value is None or value is MISSING or (isinstance(value, str) and not value.strip()):
        raise PrerequisiteError(
            f"{where}: column {column!r} is empty", hint=f"fill {column!r} in, or leave the row out"
        )
    if not isinstance(value, str):
        raise PrerequisiteError(f"{where}: column {column!r} is {kind(value)}", hint=hint)
    if half_surrogate(value):
        raise PrerequisiteError(
            f"{where}: column {column!r} holds half a surrogate pair (\\ud800 to \\udfff)",
            hint="a character was cut in two when the file was made; write the whole character",
        )
    return value


def _inside(value: Any) -> str:
    names = list(cast("dict[str, Any]", value)) if isinstance(value, dict) else []
    return f"; a field inside an object is named OUTER.NAME, here .{names[0]}" if names else ""


def _gold_hint(value: Any) -> str:
    if isinstance(value, bool):
        return 'write the answer as a text, such as "True" or "Yes"'
    if isinstance(value, float):
        return "fill in the answer: NaN is what an empty cell of a table becomes"
    if isinstance(value, list):
        return "write the one accepted answer as a text or a number, a list or set as LaTeX"
    return f"write the answer as a text or a number: --answer-field NAME{_inside(value)}"


def _require_backslashes(text: str, where: str, column: str, *, gold: bool) -> None:
    found = lost_backslash(text, gold=gold)
    if found:
        raise PrerequisiteError(f"{where}: column {column!r} holds {found}", hint=_BACKSLASH)
