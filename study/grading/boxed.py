r"""Grade by the last `\boxed{...}` of a completion: does it hold the reference answer? outcome =
grade(completion, answer).

Strict on purpose: one place to look (the last box, braces matched), one comparison (equal text
after whitespace is normalised, or the same rational number). A number may be written as an integer,
a decimal, a fraction (`3/4`, `\frac{3}{4}`), a percentage or with thousands separators; nothing is
evaluated. Symbolic equality is another grader with another version: `study.grading.registry`.

Every completion has exactly one outcome, so the four counts of a problem add up to its number of
samples:

    truncated  the length limit came before the end of the text: no answer was given, whatever a box
               inside says
    unparsed   no box, an empty one, or one whose braces never close
    wrong      a box that holds something else
    correct    a box that holds the answer

(`timed_out` is an outcome of graders with a symbolic tier, `study.grading.registry`; this one never
gives it.)

Time is linear in the text, so a hostile completion cannot stall an evaluation; numbers longer than
`MAX_NUMBER_LENGTH` characters are compared as text, which keeps integer arithmetic bounded.
"""

import re
from enum import StrEnum
from fractions import Fraction

# The version of the rule is part of every score, so that two rules are never compared as one.
GRADER = "boxed-1"
MAX_NUMBER_LENGTH = 64

_BOX = "\\boxed"
_WHITESPACE = " \t\n\r\f\v\u00a0"
_BRACE_OR_ESCAPE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text, not structure
_SPACES = re.compile(f"[{_WHITESPACE}]+")
_DECIMAL = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?) ?\$?(?P<value>{_DECIMAL})(?:e(?P<exponent>[+-]?[0-9]{{1,2}}))?"
    r" ?(?P<percent>%?)",
    re.IGNORECASE,
)
_RATIO = re.compile(
    r"(?P<sign>[+-]?) ?(?:\\[dt]?frac ?\{ ?(?P<a>[^{}]+?) ?\} ?\{ ?(?P<b>[^{}]+?)"
    r" ?\}|(?P<c>[^/{}]+?) ?/ ?(?P<d>[^/{}]+))"
)


class Outcome(StrEnum):
    """The outcome of one completion. Only `correct` counts towards accuracy; the others say why
    not.
    """

    correct = "correct"
    wrong = "wrong"
    unparsed = "unparsed"
    truncated = "truncated"
    timed_out = "timed_out"  # a comparison that did not end within its limits of time and memory


def grade(completion: str, answer: str, *, truncated: bool = False) -> Outcome:
    """Return the outcome of one completion.

    An empty `answer` is a fault of the data and raises ValueError: it could never be right.
    """
    reference = normalise(answer)
    if not reference:
        raise ValueError("the reference answer is empty")
    if truncated:
        return Outcome.truncated
    boxed = last_boxed(completion)
    if boxed is None:
        return Outcome.unparsed
    return Outcome.correct if equal(boxed, reference) else Outcome.wrong


def last_boxed(text: str) -> str | None:
    r"""Return the normalised content of the last `\boxed{`, or None when there is none, it is
    empty, or it never closes.
    """
    start = _last_box_start(text)
    if start is None:
        return None
    depth = 1
    for match in _BRACE_OR_ESCAPE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return normalise(text[start : match.start()]) or None
    return None


def _last_box_start(text: str) -> int | None:
    r"""Return the index after the opening brace of the last `\boxed{`; whitespace may precede the
    brace.
    """
    end = len(text)
    while (found := text.rfind(_BOX, 0, end)) != -1:
        brace = found + len(_BOX)
        while brace < end and text[brace] in _WHITESPACE:
            brace += 1
        if brace < len(text) and text[brace] == "{":
            return brace + 1
        end = found
    return None


def normalise(text: str) -> str:
    """Turn runs of whitespace into one space, with none at the ends.

    Unicode minus signs and escaped LaTeX `\\%`, `\\$` become plain ones.
    """
    plain = text.replace("\u2212", "-").replace("\\%", "%").replace("\\$", "$")
    return _SPACES.sub(" ", plain).strip(" ")


def equal(left: str, right: str) -> bool:
    """Whether both sides, normalised, are the same text or the same rational number."""
    if left == right:
        return True
    if max(len(left), len(right)) > MAX_NUMBER_LENGTH:
        return False
    left_value = number(left)
    return left_value is not None and left_value == number(right)


def number(text: str) -> Fraction | None:
    """Return the exact value of a short number or of a ratio of two; None for anything else, a zero
    denominator included.
    """
    if match := _NUMBER.fullmatch(text):
        return _decimal_value(match)
    ratio = _RATIO.fullmatch(text)
    if ratio is None:
        return None
    top, bottom = (
        _NUMBER.fullmatch(part) for part in (ratio["a"] or ratio["c"], ratio["b"] or ratio["d"])
    )
    if top is None or bottom is None or (denominator := _decimal_value(bottom)) == 0:
        return None
    value = _decimal_value(top) / denominator
    return -value if ratio["sign"] == "-" else value


def _decimal_value(match: re.Match[str]) -> Fraction:
    value = Fraction(match["value"].replace(",", "").rstrip(".")) * Fraction(10) ** int(
        match["exponent"] or 0
    )
    value = value / 100 if match["percent"] else value
    return -value if match["sign"] == "-" else value
