r"""Compare answers that are words, or the letter of a choice: as_words(left, right, comparison).

Words are compared by their letters, whatever the case, and a choice by its letter: C is
`\text{(C)}`. One letter is a name, so A is not a (`relaxed` accepts it); capital letters in a row
name points, so ABC is not BCA.
"""

import re

from study.grading.math.equality import OTHER, SAME, Comparison, Equality, Tier, either
from study.grading.math.latex import plain
from study.grading.math.quantities import quantity

_WORDS = re.compile(r"\\text\{([^{}]*)\}|([A-Za-z][A-Za-z' -]*)")
_CHOICE = re.compile(r"(?:\\text\{)?\(?([A-Za-z])\)?(?:\})?[.:]?")
_CHOICE_AND_TEXT = re.compile(r"(?:\\text\{)?\(([A-Z])\)(?:\})?[.:]?(.*)", re.DOTALL)
_POINTS = re.compile(r"[A-Z]{2,}")


def as_words(left: str, right: str, comparison: Comparison) -> Equality | None:
    """Compare as words where the reference is words or the letter of a choice; None elsewhere."""
    relaxed = comparison.relaxed
    if relaxed and (marked := _CHOICE_AND_TEXT.fullmatch(left)) and marked[2]:
        return either([comparison.parts(side, right) for side in (marked[1], marked[2])])
    if _POINTS.fullmatch(left) and _POINTS.fullmatch(right):
        return None if relaxed else OTHER
    choice, other = _CHOICE.fullmatch(right), _CHOICE.fullmatch(left)
    if choice and right != choice[1]:
        same = other is not None and other[1].casefold() == choice[1].casefold()
        return Equality(same, Tier.exact)
    if choice and relaxed and left.casefold() == right.casefold():
        return SAME
    if (words := _words(right)) is not None:
        return Equality(_letters(left) == words, Tier.exact)
    return _quoted_part(left, right, comparison)


def _quoted_part(left: str, right: str, comparison: Comparison) -> Equality | None:
    for text, other, swapped in ((left, right, False), (right, left, True)):
        inner = _quoted(text)
        if not inner:
            continue
        if inner.isalpha() and len(inner) > 1:
            return Equality(inner.casefold() == other.casefold(), Tier.exact)
        bare = plain(inner)
        return comparison.parts(other, bare) if swapped else comparison.parts(bare, other)
    return None


def _quoted(text: str) -> str | None:
    r"""Return the content of \text{...} around the whole."""
    match = _WORDS.fullmatch(text)
    return (match[1] or "").strip() or None if match else None


def _words(text: str) -> str | None:
    """Return casefolded words; None for a text that may be a formula: bare letters that are few or
    have no vowel.
    """
    match = _WORDS.fullmatch(text)
    if match is None:
        return None
    word = _folded(match)
    if match[1] is not None:
        spoken = any(letter.isalpha() for letter in word) and quantity(plain(match[1])) is None
        return word if spoken else None
    return word if len(word) >= 4 and any(vowel in word for vowel in "aeiou") else None


def _letters(text: str) -> str | None:
    match = _WORDS.fullmatch(text)
    return _folded(match) if match else None


def _folded(match: re.Match[str]) -> str:
    said = match[1] if match[1] is not None else match[2]
    return " ".join(said.casefold().split())
