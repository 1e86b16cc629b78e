r"""Find the answer that an equation in prose ends with: last_side(text) -> its start, or None.

    3+5=8   A=\pi r^2=25\pi   a+b=7   f(x)=5   \sin x=\frac35      the last side
    x-2=5   2x=10   x^2=9   \sqrt{x}=3   \frac{1}{x}=5             none: still to be solved
    x!=5    x<=5    x =/= 5                                        none: no equation

An equation is still to be solved where the side before the last holds one variable and more than
its name. 4!=24 is a factorial, x!=24 is not.
"""

import re

from study.grading.math.formulas import letters
from study.grading.math.latex import MAX_LENGTH, plain
from study.grading.math.names import named
from study.grading.math.parser import tokens_of

_EQUALS = re.compile(r"(?<![<>/=])(?<![^\d)}]!)={1,2}(?![=/])|≈|\\approx(?![A-Za-z])")
_NAMELY = frozenset(("\\sin", "\\cos", "\\tan", "\\cot", "\\sec", "\\csc"))  # of an angle
_CHANGED = frozenset(("-", "/", "^", "!", "\\sqrt", "\\frac", "\\ln", "\\log", "\\exp"))
_UNKNOWNS = frozenset("xynt")


def last_side(text: str) -> int | None:
    """Return where the last side of an equation starts."""
    signs = list(_EQUALS.finditer(text))
    if not signs or len(text) > MAX_LENGTH:
        return None
    starts = [0, *(sign.end() for sign in signs[:-1])]
    ends = [sign.start() for sign in signs]
    sides = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    if not any(map(_is_name, sides)) and is_unsolved(sides[-1]):
        return None
    return signs[-1].end()


def is_unsolved(side: str) -> bool:
    """Whether a side holds one variable and more than its name."""
    text = plain(side)
    tokens, names = tokens_of(text), letters(text)
    if not tokens or names is None or len(names) != 1 or _is_name(side) or "\\pi" in tokens:
        return False
    if tokens[0] in _NAMELY:
        return False
    if tokens[0] == "|" and names <= _UNKNOWNS:
        return True
    return any(token in _CHANGED or token[0].isdigit() for token in tokens)


def _is_name(side: str) -> bool:
    return named(f"{plain(side)}=0") is not None
