r"""Decide whether two answers are the same: compare(candidate, reference) -> Equality.

    exact      the same text after `latex.plain`; words (`words`)
    numeric    two numbers by their exact values and units (`quantities`); formulas without
               variables by their values, exact or to 250 digits (`formulas`)
    by parts   names and intervals (`names`), tuples, sets, lists, unions, matrices (`structure`):
               each part by these same rules
    symbolic   all else: `Equality.pending` holds pairs (candidate, reference), small ones, all of
               which a symbolic tier must find equal. Formulas with variables whose values differ at
               a point never get there

`relaxed` widens the rules of quantities, of names and of brackets. `float_gold`: the reference was
a float, and equals all that is within FLOAT_ERROR of it. Nesting deeper than MAX_DEPTH and answers
longer than `latex.MAX_LENGTH` are compared as text.
"""

import re

from study.grading.math.balls import as_fraction, rational
from study.grading.math.equality import OTHER, SAME, Comparison, Equality, Tier
from study.grading.math.formulas import letters, same_value, value
from study.grading.math.latex import MAX_LENGTH, closing, plain
from study.grading.math.names import as_named, has_relation
from study.grading.math.quantities import (
    FLOAT_ERROR,
    Quantity,
    is_rounding,
    quantity,
    same,
)
from study.grading.math.structure import as_structure
from study.grading.math.units import same_unit, split_unit
from study.grading.math.words import as_words

__all__ = ["Equality", "Tier", "compare", "vote"]

MAX_DEPTH = 6
_TWO_NUMBERS = re.compile(r"(?<![_^0-9])[0-9]+ [0-9]")  # not a product, and not one number
# Control characters, halves of surrogate pairs, digits other than 0-9.
_UNREADABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]|(?![0-9])\d")
_BASE = re.compile(r"[0-9}]_(?:\{([0-9]+)\}|([0-9]))")


def compare(
    candidate: str, reference: str, *, relaxed: bool = False, float_gold: bool = False
) -> Equality:
    """Compare both as they were written. Time is bounded whatever they hold."""
    left, right = plain(candidate), plain(reference)
    if left == right:
        return SAME
    if not left or max(len(left), len(right)) > MAX_LENGTH or _UNREADABLE.search(left + right):
        return OTHER
    if float_gold and _is_near(left, right):
        return Equality(True, Tier.numeric)
    return _compare(left, right, relaxed, 0)


def vote(answer: str) -> str:
    """Return a name shared by answers that the exact and numeric tiers find equal: a majority vote
    counts these names.
    """
    text = plain(answer)
    number = quantity(text)
    return f"{number.value} {number.base}" if number else text.casefold()


def _is_near(text: str, gold: str) -> bool:
    """Whether a number is within the error of a computation in floats."""
    number, exact = quantity(gold), value(text)
    candidate = quantity(text)
    if number is None:
        return False
    if candidate is not None:
        distance = abs(candidate.value - number.value)
    elif exact is not None and letters(text) == frozenset():
        distance = abs(as_fraction(exact) - number.value)
    else:
        return False
    return distance <= abs(number.value) * FLOAT_ERROR


def _compare(left: str, right: str, relaxed: bool, depth: int) -> Equality:
    if left == right or left.replace(", ", ",") == right:
        return SAME
    if not left or not right or depth > MAX_DEPTH:
        return OTHER
    left_number, right_number = quantity(left), quantity(right)
    if right_number and not left_number:
        left_number = quantity(left, letters=True)
    if left_number and left_number.unit and not right_number:
        right_number = quantity(right, letters=True)
    if left_number and right_number:
        return Equality(same(left_number, right_number, relaxed=relaxed), Tier.numeric)
    comparison = Comparison(lambda a, b: _compare(a, b, relaxed, depth + 1), relaxed)
    for rule in (as_named, as_words, as_structure):
        if (equality := rule(left, right, comparison)) is not None:
            return equality
    return _as_formula(left, right, comparison)


def _as_formula(left: str, right: str, comparison: Comparison) -> Equality:
    """Compare the rest by value, then leave it to the symbolic tier, without units, which that
    would drop silently.
    """
    for text, other, swapped in ((left, right, False), (right, left, True)):
        if text[0] + text[-1] in ("()", "[]") and closing(text, 0) == len(text) - 1:
            inner = text[1:-1]
            return comparison.parts(other, inner) if swapped else comparison.parts(inner, other)
    (left_body, left_unit), (right_body, right_unit) = split_unit(left), split_unit(right)
    if not same_unit(left_unit, right_unit, relaxed=comparison.relaxed):
        return OTHER
    if (left_body, right_body) != (left, right) and left_body and right_body:
        return comparison.parts(left_body, right_body)
    if _bases(left) != _bases(right) or _TWO_NUMBERS.search(left + " | " + right):
        return OTHER
    if (equal := _by_value(left, right)) is not None:
        return Equality(equal, Tier.numeric)
    if has_relation(left) != has_relation(right) and _is_equation(left + right):
        return OTHER
    return Equality(None, Tier.symbolic, ((left, right),))


def _by_value(left: str, right: str) -> bool | None:
    equal = same_value(left, right)
    if equal is not False:
        return equal
    for decimal, formula in ((left, right), (right, left)):
        number = quantity(decimal)
        if number and number.decimals and letters(formula) == frozenset():
            return _rounds(number, formula)
    return False


def _rounds(decimal: Quantity, formula: str) -> bool:
    """Whether a decimal is the rounding of a formula's value."""
    return is_rounding(decimal, as_fraction(value(formula) or rational(0)))


def _is_equation(text: str) -> bool:
    return "=" in text


def _bases(text: str) -> list[tuple[str, str]]:
    """Return subscripts of numbers (bases), which math-verify drops: 52_8 would be 52_9."""
    return _BASE.findall(text)
