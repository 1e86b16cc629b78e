r"""Where in a completion the answer stands: `boxed` (strict) and `stated` (relaxed).

    strict   the content of the last `\boxed{...}`, braces matched; nothing else counts as an answer
    relaxed  that box too; else what follows the last "final answer is", "Answer:", "####" or the
             like; else the last formula or number.
             Where the reference is a list of n parts, also the last n boxes together
What the relaxed way finds is a superset by construction, so strict and relaxed accuracies are the
two ends of a band.

`reference(text)` reads the answer out of a column of gold answers: the last box, what follows
`####` (GSM8K), or all of it. All of it is linear in the text: markers are looked for in the last
TAIL characters only.
"""

import re
from collections import deque

TAIL = 20_000  # characters from the end in which a relaxed answer is looked for
MAX_STATED = 300  # characters of a stated answer: more is not an answer but prose

_BOX = "\\boxed"
_BRACE_OR_ESCAPE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text, not structure
_MARKERS = (
    re.compile(r"####[ \t]*"),
    re.compile(r"\bfinal answer(?: is)?\b[ \t*:=]*(?:is\b)?[ \t*:]*", re.IGNORECASE),
    re.compile(r"(?:^|\n)[ \t*#]*(?:answer|ans|A)[ \t*]*[:=][ \t*]*", re.IGNORECASE),
    re.compile(r"\banswer[ \t*]*(?::|=|is\b|equals\b)[ \t*:]*", re.IGNORECASE),
)
_CLAUSE_END = re.compile(r"\n|(?<!\\)[.!?](?=\s|$)|,? (?:because|since|so|which|as|where) ")
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_NUMBERS = re.compile(
    rf"(?<![\w.,/^])[-+\u2212]?[ ]?\$?[ ]?(?:\d+ \d+/\d+|{_DECIMAL}(?:[ ]?/[ ]?\d+)?)(?:[ ]?\\?%|["
    r" ]percent)?(?![\w^*/+=])"
)
_MATH = re.compile(
    r"(?<!\\)\$([^$\n]{1,300})(?<!\\)\$|\\\(([^\n]{1,300}?)\\\)|\\\[([^\n]{1,300}?)\\\]"
)


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`; None when there is none, it is empty or blank, or it
    never closes.
    """
    found = _box_before(text, len(text))
    return (found[1] or "").strip() or None if found else None


def boxes(text: str, number: int) -> list[str]:
    """The contents of the last `number` closed boxes, in order; fewer where there are fewer."""
    found: list[str] = []
    end = len(text)
    while (
        len(found) < number and (box := _box_before(text, end)) is not None and box[1] is not None
    ):
        found.append(box[1].strip())
        end = box[0]
    return found[::-1]


def _box_before(text: str, end: int) -> tuple[int, str | None] | None:
    r"""(where it starts, its content or None if it never closes) of the last `\boxed {` before
    `end`; space may stand before the brace.
    """
    while (start := text.rfind(_BOX, 0, end)) != -1:
        brace = start + len(_BOX)
        while brace < end and text[brace].isspace():
            brace += 1
        if brace < end and text[brace] == "{":
            return start, _braced(text, brace + 1, end)
        end = start
    return None


def _braced(text: str, start: int, end: int) -> str | None:
    depth = 1
    for match in _BRACE_OR_ESCAPE.finditer(text, start, end):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return text[start : match.start()]
    return None


def stated(text: str) -> list[str]:
    """What a reader would take for the answer of a text without a box, best first; empty where
    there is neither a marker nor a number.
    """
    tail = text[-TAIL:]
    for marker in _MARKERS:
        if (clause := _after_last(marker, tail)) is not None:
            return _readings(clause)
    return _last_said(tail)


def _after_last(marker: re.Pattern[str], text: str) -> str | None:
    """The clause after the last hit that has one."""
    for match in reversed(list(marker.finditer(text))):
        rest = text[match.end() : match.end() + MAX_STATED]
        end = _CLAUSE_END.search(rest)
        if clause := (rest[: end.start()] if end else rest).strip(" \t*"):
            return clause
    return None


def _readings(clause: str) -> list[str]:
    """The whole clause; the formula in it, or else its first number."""
    if formula := _MATH.search(clause):
        return list(dict.fromkeys([clause, *(group for group in formula.groups() if group)]))
    number = None if "\\" in clause else _NUMBERS.search(clause)
    return [clause, number.group().strip()] if number and number.group() != clause else [clause]


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def _last_said(text: str) -> list[str]:
    """The last formula or the last number, whichever ends later."""
    number, formula = _last(_NUMBERS, text), _last(_MATH, text)
    if formula and (number is None or formula.end() >= number.end()):
        return [group.strip() for group in formula.groups() if group]
    return [number.group().strip()] if number else []


def reference(text: str) -> str:
    """The answer in a gold column; ValueError when there is none: a completion could never be
    right.
    """
    last = text.rstrip().rpartition("\n")[2]
    marked = (
        re.match(r"[ \t*]*(?:A|Answer)[ \t]*:[ \t]*(.+)", last, re.IGNORECASE)
        if "\n" in text.strip()
        else None
    )
    answer = boxed(text) or (
        text.rpartition("####")[2] if "####" in text else marked[1] if marked else text
    )
    if not answer.strip():
        raise ValueError("the reference answer is empty")
    return answer.strip()
