r"""Find the likeliest answers of a text without a box, best first: stated(text).

What follows the last marker: a closed `<answer>`, "####", "final answer is", "Answer:", "the answer
is"; else the last formula or number. A formula is read as a whole: of `\frac{1+\sqrt5}{2}` without
dollar signs neither 2 nor 5 is the answer, of `3+5=8` the last side is. In "The largest $n$ is 34"
the value follows the verb. Of values that are listed ("3, 4 and 5", "x = 3 or x = 4") all are the
answer, and one that the text denies ("is not 5", "less than 5") is none.

All of it is linear in the text: only the last TAIL characters are read.
"""

import re
from typing import NamedTuple

from study.grading.math.equations import last_side
from study.grading.math.runs import runs

TAIL = 20_000  # characters from the end in which an answer is searched
MAX_STATED = 300  # characters of a stated answer: a longer text is prose, not an answer

_TAG = re.compile(
    r"<(?:final[-_]?)?answer(?:\s[^<>]{0,100})?>((?:(?!<[a-z_-]*answer).){1,300}?)"
    r"</[a-z_-]*answer>",
    re.IGNORECASE | re.DOTALL,
)
_BOX = re.compile(r"\\(?:f|frame)?box(?:ed)?(?![A-Za-z])")  # one that holds no braces: \boxed 7
_WIDE_DIGITS = str.maketrans("０１２３４５６７８９．", "0123456789.")
_FINAL = re.compile(r"\bfinal answer(?: is)?\b[ \t*:=]*(?:is\b)?[ \t*:]*", re.IGNORECASE)
_MARKERS = (
    re.compile(r"####[ \t]*"),
    _FINAL,
    re.compile(r"(?:^|\n)[ \t*#]*(?:answer|ans|A)[ \t*]*[:=][ \t*]*", re.IGNORECASE),
    re.compile(r"\banswer[ \t*]*(?::|=|is\b|equals\b)[ \t*:]*", re.IGNORECASE),
    re.compile(
        r"(?:答案|réponse|respuesta|antwort)[ \t*]*(?:[:：是为]|est\b)[ \t*]*", re.IGNORECASE
    ),
)
_CLAUSE_END = re.compile(r"\n|(?<!\\)[.!?](?=\s|$)|。|,? (?:because|since|so|which|as|where) ")
_VERB = re.compile(r"\b(?:is|are|was|be|equals|equal to)\b[ \t:]*")
_VERB_LAST = re.compile(r"\b(?:is|are|was|were|does|do|can|could|would|must)$")
_SIGN = re.compile(r"[：是为] *|:(?![0-9]) *")  # 3:4 is a ratio
_CONDITION = re.compile(r"(?:for|if|when|since|let|with|at|suppose|given)\b", re.IGNORECASE)
_SEVERAL = re.compile(r"=[^=]{1,60}(?:,|;|\bor\b|\band\b)[^=]{0,20}=")
_NEGATION = re.compile(r"\b(?:not|neither|never|cannot)\b|n't\b", re.IGNORECASE)
_NOT_BEFORE = re.compile(
    r"(?:\b(?:not|cannot|never|than|neither|nor|except|instead of)|n't)"
    r"(?: (?:be|equal|equals|or|to|the|an?|number))*\s*[$(]*(?:[A-Za-z] ?= ?)?$",
    re.IGNORECASE,
)
_NOT_THIS = re.compile(r"(?:,|\bbut|\band) not [$(]*$")
_NOT_AFTER = re.compile(
    r"[$)]*\s*(?:(?:is|are|was|were|does|do|can|could|would|must)(?: not\b|n't\b)|cannot\b"
    r"|(?:is|are) (?:wrong|incorrect|extraneous|impossible|too (?:large|small|big)))",
    re.IGNORECASE,
)
_JOINT = re.compile(  # between the members of "3, 4 and 5", of "x = 3 or x = 4"
    r"\s*(?:,|;|,?\s*\b(?:and/or|and|or|to|through)\b|-|–)\s*(?:\$?[A-Za-z](?:_\{?\w\}?)?\s*=\s*)?"
)
_RANGE = re.compile(r"\b(?:to|through)\b|-|–")
_NAME = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?'*")
_MATH = re.compile(
    r"(?<!\\)\$((?:[^$\n\\]|\\.){1,300})(?<!\\)\$|\\\(([^\n]{1,300}?)\\\)|\\\[([^\n]{1,300}?)\\\]"
)
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,} [A-Za-z]{2,}(?![^{]*\})|[?!;]\s")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:\{,\}|\\[,! ]|,\\!)\s*(?=[0-9]{3}(?![0-9]))")


def stated(text: str) -> list[str]:
    """Return the readings, none where there is neither a marker nor a number."""
    tail = _THOUSANDS.sub(",", _BOX.sub("", text[-TAIL:]).translate(_WIDE_DIGITS))
    tags = [tag for tag in _TAG.findall(tail) if tag.strip()]
    if tags:
        return _readings(tags[-1].strip())
    for marker in _MARKERS:
        if (clause := _after_last(marker, tail)) is not None:
            return _readings(clause)
    return _last_said(tail)


def stated_at_the_end(text: str) -> list[str]:
    """Return the value of "The final answer is $7$." in the text after a box."""
    clause = _after_last(_FINAL, text[-TAIL:])
    return [] if clause is None else _value_at(clause) or []


def _after_last(marker: re.Pattern[str], text: str) -> str | None:
    """Return the clause after the last hit that has one."""
    for match in reversed(list(marker.finditer(text))):
        rest = text[match.end() : match.end() + MAX_STATED]
        end = _CLAUSE_END.search(rest)
        if clause := (rest[: end.start()] if end else rest).strip(" \t*"):
            return clause
    return None


def _readings(clause: str) -> list[str]:
    """Return the whole clause; the value that it starts with, or that follows its verb, or the only
    one in it.
    """
    found = [clause]
    if denied := _NEGATION.search(clause):  # 8, not 9
        clause = clause[: denied.start()].rstrip()
    if denied and _VERB_LAST.search(clause):
        return found
    formulas = [match for match in _MATH.finditer(clause) if not _is_prose(match)]
    for start in _value_starts(clause, formulas):
        if (read := _value_at(clause[start:])) is not None:
            return list(dict.fromkeys([*found, *read]))
    values = [_inside(match) for match in formulas]
    if all(_NAME.fullmatch(value) for value in values):  # "$AB$ has length 10"
        values = [run for run, _ in runs(clause)] or values
    return list(dict.fromkeys([*found, *_sides(values[0])])) if len(values) == 1 else found


def _value_starts(clause: str, formulas: list[re.Match[str]]) -> list[int]:
    """Return where the value may start: at once except after a name, after a verb, after a sign.

    What is inside a formula is no sign: of "For $n=7$ the sum is 12" the answer is not 7.
    """
    named = bool(formulas) and not clause[: formulas[0].start()].strip(" *")
    named = named and _NAME.fullmatch(_inside(formulas[0])) is not None
    starts = [] if named and clause[formulas[0].end() :].strip(" *") else [0]
    # As in: For n = 4 we get 9. Or: x is 3 or x is 4.
    conditional = _CONDITION.match(clause) or _SEVERAL.search(clause)
    for pattern in (_VERB,) if conditional else (_VERB, _SIGN):
        for match in pattern.finditer(clause):
            if not _inside_any(match.start(), formulas):
                starts.append(match.end())
    ends = last_side(clause)
    if ends is not None and not conditional and not _inside_any(ends - 1, formulas):
        starts.append(ends)
    return starts


def _inside_any(index: int, formulas: list[re.Match[str]]) -> bool:
    return any(each.start() < index < each.end() for each in formulas)


def _value_at(text: str) -> list[str] | None:
    """Return the formula or number with which a text starts."""
    match = _MATH.match(text.lstrip(" *"))
    if match is not None and not _is_prose(match):
        return _sides(_inside(match))
    run, start = next(runs(text), ("", 0))
    return [run] if run and not text[:start].strip(" *$(") else None


def _sides(formula: str) -> list[str]:
    """Return a formula and the last side of an equation, if that is no value of `2x` or `x^2`."""
    start = last_side(formula)
    last = "" if start is None or _SEVERAL.search(formula) else formula[start:].strip()
    return [formula, last] if last else [formula]


def _is_prose(match: re.Match[str]) -> bool:
    """Whether two dollar signs belong to prose: "how many $? just about 1$"."""
    return _PROSE.search(_inside(match)) is not None


def _inside(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).strip()


def _last_said(text: str) -> list[str]:
    """Return the last formula or the last number, whichever ends later; with those that it is
    listed with, as in "3, 4 and 5" or "x = 3 or x = 4". Nothing where the text denies it.
    """
    values = _values(text)
    if not values:
        return []
    while len(values) > 1 and _NOT_THIS.search(text[: values[-1].start][-20:]):
        values.pop()  # 8, not 9
    listed = [values[-1]]
    for value in reversed(values[:-1]):
        if _JOINT.fullmatch(text, value.end, listed[0].start) is None:
            break
        listed.insert(0, value)
    if _denied(text, listed[0].start, listed[-1].end):
        return []
    if len(listed) == 1:
        return list(listed[0].readings)
    separator = " to " if _RANGE.search(text[listed[0].end : listed[-1].start]) else ", "
    return [separator.join(value.readings[-1] for value in listed)]


class _Value(NamedTuple):
    """A formula or number in prose, and where it starts and ends."""

    readings: tuple[str, ...]
    start: int
    end: int


def _values(text: str) -> list[_Value]:
    """Return the formulas between dollar signs and the numbers outside of them, in order."""
    formulas = [match for match in _MATH.finditer(text) if not _is_prose(match)]
    found = [_Value(tuple(_sides(_inside(each))), each.start(), each.end()) for each in formulas]
    at = 0
    for run, start in runs(text):
        while at < len(formulas) and formulas[at].end() < start + len(run):
            at += 1
        if at == len(formulas) or start + len(run) <= formulas[at].start():
            found.append(_Value((run,), start, start + len(run)))
    return sorted(found, key=lambda value: value.end)


def _denied(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 40) : start], text[end : end + 40]
    return _NOT_BEFORE.search(before) is not None or _NOT_AFTER.match(after) is not None
