r"""compare(candidate, reference) -> Equality: are two answers the same?

Decided here without evaluating anything, or handed on.

    exact      the same text after `latex.plain`; words by their letters, whatever the case; a
               choice (C) by its letter
    numeric    two numbers by their exact values and units (`quantities.same`)
    by parts   tuples and intervals in order, sets and bare lists in any order, unions, matrices, `x
               = ...`, `a \pm b` (`structure`):
               each part by these same rules
    symbolic   all else: `Equality.pending` holds pairs (candidate, reference), small ones, all of
               which a symbolic tier must find equal
The three values of `equal`: True, False, None (all of `pending` must be asked). `relaxed` widens
the rules of quantities and of brackets. Nesting deeper than MAX_DEPTH and answers longer than
`latex.MAX_LENGTH` are compared as text.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from study.grading.math.latex import MAX_LENGTH, closing, plain
from study.grading.math.quantities import quantity, same, same_unit, split_unit
from study.grading.math.structure import Parts, comparable, has_relation, interval, named, parts

MAX_DEPTH = 6


class Tier(StrEnum):
    """Which kind of comparison decided."""

    exact = "exact"
    numeric = "numeric"
    symbolic = "symbolic"


@dataclass(frozen=True)
class Equality:
    equal: bool | None
    tier: Tier
    pending: tuple[tuple[str, str], ...] = ()


_SAME = Equality(True, Tier.exact)
_OTHER = Equality(False, Tier.exact)
_WORDS = re.compile(r"\\text\{([^{}]*)\}|([A-Za-z][A-Za-z' -]*)")
_CHOICE = re.compile(r"(?:\\text\{)?\(?([A-Za-z])\)?(?:\})?[.:]?")
_COMMAND = re.compile(r"\\[a-z]+|\\\{")
_LISTS = {
    "\\cup",
    "\\begin",
    "\\pm",
    "\\{",
    "\\setminus",
    "\\in",
}  # what may stand for several things without looking like it
_TWO_NUMBERS = re.compile(r"(?<![_^0-9])[0-9]+ [0-9]")  # not a product, and not one number
_UNREADABLE = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]|(?![0-9])\d"
)  # control characters, half ones, other digits
_BASE = re.compile(r"[0-9}]_(?:\{([0-9]+)\}|([0-9]))")
_CHOICE_AND_TEXT = re.compile(r"(?:\\text\{)?\(([A-Z])\)(?:\})?[.:]?(.*)", re.DOTALL)


def compare(candidate: str, reference: str, *, relaxed: bool = False) -> Equality:
    """Both as they were written. Time is bounded whatever they hold."""
    left, right = plain(candidate), plain(reference)
    if left == right:
        return _SAME
    if not left or max(len(left), len(right)) > MAX_LENGTH or _UNREADABLE.search(left + right):
        return _OTHER
    return _compare(left, right, relaxed, 0)


def vote(answer: str) -> str:
    """A name that answers share which the exact and numeric tiers find equal: what a majority vote
    counts.
    """
    text = plain(answer)
    number = quantity(text)
    return f"{number.value} {number.base}" if number else text.casefold()


def _compare(left: str, right: str, relaxed: bool, depth: int) -> Equality:
    if left == right:
        return _SAME
    if not left or not right or depth > MAX_DEPTH:
        return _OTHER
    left_number, right_number = quantity(left), quantity(right)
    if right_number and not left_number:
        left_number = quantity(left, letters=True)
    if left_number and left_number.unit and not right_number:
        right_number = quantity(right, letters=True)
    if left_number and right_number:
        return Equality(same(left_number, right_number, relaxed=relaxed), Tier.numeric)
    for rule in (_as_named, _as_words, _as_structure):
        if (verdict := rule(left, right, relaxed, depth)) is not None:
            return verdict
    return _as_formula(left, right, relaxed, depth)


def _as_words(left: str, right: str, relaxed: bool, depth: int) -> Equality | None:
    """Where the reference is words or the letter of a choice, words decide."""
    if relaxed and (marked := _CHOICE_AND_TEXT.fullmatch(left)) and marked[2]:
        sides = [_compare(side, right, relaxed, depth + 1) for side in (marked[1], marked[2])]
        return next(
            (v for v in sides if v.equal), next((v for v in sides if v.equal is None), _OTHER)
        )
    if (choice := _CHOICE.fullmatch(right)) and right != choice[1]:
        other = _CHOICE.fullmatch(left)
        return Equality(
            other is not None and other[1].casefold() == choice[1].casefold(), Tier.exact
        )
    if (words := _words(right)) is not None:
        return Equality(_letters(left) == words, Tier.exact)
    for text, other, swapped in ((left, right, False), (right, left, True)):
        if inner := _quoted(text):
            if inner.isalpha() and len(inner) > 1:
                return Equality(inner.casefold() == other.casefold(), Tier.exact)
            return (
                _compare(other, plain(inner), relaxed, depth + 1)
                if swapped
                else _compare(plain(inner), other, relaxed, depth + 1)
            )
    return None


def _quoted(text: str) -> str | None:
    r"""What \text{...} around the whole holds."""
    match = _WORDS.fullmatch(text)
    return (match[1] or "").strip() or None if match else None


def _words(text: str) -> str | None:
    """Casefolded words; None for what may be a formula: bare letters that are few or have
    no vowel.
    """
    match = _WORDS.fullmatch(text)
    if match is None:
        return None
    word = " ".join((match[1] if match[1] is not None else match[2]).casefold().split())
    if match[1] is not None:
        return (
            word
            if any(letter.isalpha() for letter in word) and quantity(plain(match[1])) is None
            else None
        )
    return word if len(word) >= 4 and any(vowel in word for vowel in "aeiou") else None


def _letters(text: str) -> str | None:
    match = _WORDS.fullmatch(text)
    return (
        " ".join((match[1] if match[1] is not None else match[2]).casefold().split())
        if match
        else None
    )


def _as_named(left: str, right: str, relaxed: bool, depth: int) -> Equality | None:
    """`x = 5` is 5 and is not `y = 5`; `x \\in [a, b]` and `a \\le x \\le b` are intervals."""
    ours, theirs = named(left), named(right)
    if ours and theirs and ours[:2] == theirs[:2]:
        return (
            _compare(ours[2], theirs[2], relaxed, depth + 1)
            if "=" not in ours[2] + theirs[2]
            else None
        )
    if ours and not has_relation(right) and not has_relation(ours[2]):
        return _compare(ours[2], right, relaxed, depth + 1)
    if theirs and not has_relation(left) and not has_relation(theirs[2]):
        return _compare(left, theirs[2], relaxed, depth + 1)
    left_interval, right_interval = interval(left), interval(right)
    if left_interval is None and right_interval is None:
        return None
    left = left_interval or (ours[2] if ours and ours[1] == "\\in" else left)
    right = right_interval or (theirs[2] if theirs and theirs[1] == "\\in" else right)
    return (
        _compare(left, right, relaxed, depth + 1)
        if left[:1] in "([" and right[:1] in "(["
        else None
    )


def _as_structure(left: str, right: str, relaxed: bool, depth: int) -> Equality | None:
    ours, theirs = parts(left), parts(right)
    if ours is None and theirs is None:
        return None
    if ours is None or theirs is None:
        return _one_sided(left, right, ours, theirs, relaxed, depth)
    if not comparable(ours, theirs, relaxed=relaxed) or len(ours.parts) != len(theirs.parts):
        return _OTHER
    if ours.ordered or theirs.ordered:
        return _in_order(ours.parts, theirs.parts, relaxed, depth)
    return _in_any_order(ours.parts, theirs.parts, (left, right), relaxed, depth)


def _one_sided(
    left: str, right: str, ours: Parts | None, theirs: Parts | None, relaxed: bool, depth: int
) -> Equality | None:
    """A list whose commas look like thousands separators; a set of one element; otherwise something
    else.
    """
    if theirs and theirs.kind in ("list", "set", "tuple") and quantity(left) is not None:
        listed = tuple(left.split(","))
        return (
            _in_any_order(listed, theirs.parts, (left, right), relaxed, depth)
            if len(listed) == len(theirs.parts) > 1
            else _OTHER
        )
    for some, other, swapped in ((ours, right, False), (theirs, left, True)):
        if some and some.kind == "set" and len(some.parts) == 1:
            return (
                _compare(other, some.parts[0], relaxed, depth + 1)
                if swapped
                else _compare(some.parts[0], other, relaxed, depth + 1)
            )
    return (
        None
        if (ours and ours.kind == "union") or (theirs and theirs.kind == "union")
        else _unlike(left, right)
    )


def _unlike(left: str, right: str) -> Equality | None:
    """A tuple or list against a number, or against a formula without any list in it, is something
    else.
    """
    return None if _LISTS & set(_COMMAND.findall(left + right)) else _OTHER


def _in_order(lefts: Sequence[str], rights: Sequence[str], relaxed: bool, depth: int) -> Equality:
    verdicts = [
        _compare(left.strip(), right.strip(), relaxed, depth + 1)
        for left, right in zip(lefts, rights, strict=True)
    ]
    if any(v.equal is False for v in verdicts):
        return Equality(False, _highest(v.tier for v in verdicts if v.equal is False))
    pending = tuple(pair for v in verdicts for pair in v.pending)
    return Equality(None if pending else True, _highest(v.tier for v in verdicts), pending)


def _in_any_order(
    lefts: Sequence[str], rights: Sequence[str], whole: tuple[str, str], relaxed: bool, depth: int
) -> Equality:
    """Each part must find a partner of its own.

    Where that hangs on a formula, the whole pair is asked about.
    """
    free, tiers, open_question = [part.strip() for part in lefts], [Tier.exact], False
    for right in rights:
        verdicts = [_compare(left, right.strip(), relaxed, depth + 1) for left in free]
        tiers += [v.tier for v in verdicts]
        partner = next((i for i, v in enumerate(verdicts) if v.equal), None)
        if partner is not None:
            free.pop(partner)
        elif all(v.equal is False for v in verdicts):
            return Equality(False, _highest(tiers))
        else:
            open_question = True
    return (
        Equality(None, Tier.symbolic, (whole,))
        if open_question
        else Equality(True, _highest(t for t in tiers if t is not Tier.symbolic))
    )


def _highest(tiers: Iterable[Tier]) -> Tier:
    return max(tiers, key=list(Tier).index, default=Tier.exact)


def _as_formula(left: str, right: str, relaxed: bool, depth: int) -> Equality:
    """What remains is for the symbolic tier, without units, which it would drop unseen."""
    for text, other, swapped in ((left, right, False), (right, left, True)):
        if text[0] == "(" and closing(text, 0) == len(text) - 1:
            return (
                _compare(other, text[1:-1], relaxed, depth + 1)
                if swapped
                else _compare(text[1:-1], other, relaxed, depth + 1)
            )
    (left_body, left_unit), (right_body, right_unit) = split_unit(left), split_unit(right)
    if not same_unit(left_unit, right_unit, relaxed=relaxed):
        return _OTHER
    if (left_body, right_body) != (left, right) and left_body and right_body:
        return _compare(left_body, right_body, relaxed, depth + 1)
    if _lost_by_parsing(left) != _lost_by_parsing(right) or _TWO_NUMBERS.search(
        left + " | " + right
    ):
        return _OTHER
    return Equality(None, Tier.symbolic, ((left, right),))


def _lost_by_parsing(text: str) -> list[tuple[str, str]]:
    """Subscripts of numbers (bases), which math-verify drops: 52_8 would be 52_9."""
    return _BASE.findall(text)
