r"""Compute the value of a formula in plain spelling (`study.grading.math.latex`): value(text) ->
Real, None where it has no value, is too large, or could be read in two ways.

    numbers, + - * / ^ !, brackets, |x|, \frac, \sqrt[n]{x}, \binom, \pi, e, \ln, \log_b, \exp,
    \sin ... \cot, \lfloor, \lceil, \bmod, letters with subscripts

`same_value(left, right)` compares two of them: exactly, or to 250 digits
(`study.grading.math.balls`). A formula with letters has a value at a point: the letters are
positive rationals made from their names. Formulas that differ at a point differ; formulas that
agree are left to the symbolic tier.

A formula that two readers could read differently has no value here: `1/2x`, `2\frac12 x`, `\sin
x/2`, the letter i, f(x) next to other factors, words, units, percent, relations.
"""

from decimal import DecimalException
from functools import lru_cache

from study.grading.math import balls
from study.grading.math.balls import Real, Unknown
from study.grading.math.parser import GREEK, Parser, tokens_of

_POINTS = 2  # at which formulas with letters are evaluated


def same_value(left: str, right: str) -> bool | None:
    """Compare by value. True: two numbers that are equal. False: formulas whose values differ.
    None: not known, or equal at every point that was tried and not a number.
    """
    ours, theirs = letters(left), letters(right)
    if ours is None or theirs is None:
        return None
    points = range(_POINTS if ours or theirs else 1)
    found = [_same_at(left, right, point) for point in points]
    if False in found:
        return False
    return None if ours or theirs or None in found else True


def _same_at(left: str, right: str, point: int) -> bool | None:
    ours, theirs = value(left, point), value(right, point)
    if ours is None or theirs is None:
        return None
    try:
        return balls.same(ours, theirs)
    except (Unknown, DecimalException):
        return None


@lru_cache(maxsize=4096)
def value(text: str, point: int = 0) -> Real | None:
    """Return the value of a formula. point: which values the letters take."""
    tokens = tokens_of(text)
    if tokens is None:
        return None
    try:
        return Parser(tokens, point).whole()
    except (Unknown, DecimalException, RecursionError, OverflowError, MemoryError):
        return None


@lru_cache(maxsize=4096)
def letters(text: str) -> frozenset[str] | None:
    """Return the names of the variables of a formula; None for a text that is not a formula."""
    tokens = tokens_of(text)
    if tokens is None:
        return None
    return frozenset(t for t in tokens if t in GREEK or (t[0].isalpha() and t != "e"))
