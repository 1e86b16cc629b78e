r"""Compare answers that name their value: as_named(left, right, comparison) for `x = 5`, `f(x) =
x^2`, `x_{max} = 5`, `2 = x`, `x \in [1,2]`, `0 < f(x) < 1`, `17 \bmod 5 = 2`.

    one side named     x = 5 is 5; x \in [1,2] and 1 \le x \le 2 are [1,2]
    both named         the same name: what they say of it; other names with numbers: different
    arithmetic         an equation without variables, or of one operation, ends in its answer:
                       5+7=12 is 12, \gcd(8,12)=4 is 4; 2+2=5 is false and has no answer
    assignments(text)  `x=1,y=2` -> {x: 1, y: 2};  solutions: `p=5,q=2;p=7,q=2` -> one of them each
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from study.grading.math.balls import Real, Unknown, as_fraction, rational, same
from study.grading.math.equality import OTHER, Comparison, Equality
from study.grading.math.formulas import letters, value
from study.grading.math.latex import split
from study.grading.math.quantities import FLOAT_ERROR, quantity

ROUNDED = Fraction(1, 100)  # relative: by so much a rounded last side may differ

_INDEX = r"(?:_(?:\w|\{(?:\\triangle ?|\\angle ?)?[\w,]+\}))?"
_SYMBOL = rf"(?:[A-Za-z]|\\(?!pi|infty|frac|sqrt|text|begin)[a-z]+(?![a-z]))'*{_INDEX}"
_POINTS = rf"[A-Z]{{2,4}}{_INDEX}"
_ARGUMENT = r"(?:[A-Za-z]|\\(?:theta|nu|phi|alpha|lambda|omega|mu|tau|rho|sigma|xi))"
_FUNCTION = rf"(?:[fghFGHpPqQEVWRLS]|\\(?:phi|psi|varphi|sigma|tau|zeta|Gamma)) ?'*{_INDEX}"
_NAME = (
    rf"{_SYMBOL}|{_SYMBOL}(?:\^{{?-1}}?)?\({_ARGUMENT}(?:,{_ARGUMENT})*\)|{_POINTS}|\|{_POINTS}\|"
    rf"|{_FUNCTION}\(-?[0-9]+\)"
    rf"|\\(?:angle|overline|triangle) ?\{{?{_POINTS}\}}?|\\text\{{[A-Za-z ]+\}}{_INDEX}"
    rf"|(?:{_SYMBOL}|{_POINTS}):(?:{_SYMBOL}|{_POINTS})|\\frac\{{{_POINTS}\}}\{{{_POINTS}\}}"
    rf"|\({_SYMBOL}(?:,{_SYMBOL})*\)|[^\W\d_A-Za-z]+"  # 面积=5
)
_NAMED = re.compile(rf"({_NAME})(=|\\in(?![A-Za-z])) ?(.*)", re.DOTALL)
_MATRIX = re.compile(  # A=..., A^{-1}=..., where the rest is one matrix
    r"([A-Z](?:\^(?:[0-9nT]|\{-?[0-9nT]+\}|\{\\top\}))?)(=)(\\begin\{[pb]?matrix\}.*)", re.DOTALL
)
_CONGRUENCE = re.compile(r"(.+?)\\equiv ?(.+?)\\pmod ?\{?([0-9]{1,9})\}?")
_NAME_LAST = re.compile(rf"([^<>]+)=({_NAME})", re.DOTALL)
# Their value is not computed here: of `\\gcd(12,18)=6` the last side is the answer all the same.
_OPERATION = re.compile(
    r"\\(?:lim|int|iint|oint|sum|prod|gcd|lcm|det|max|min|deg|dim)(?![A-Za-z])"
    r"|(?:\\text\{ ?)?(?:gcd|lcm|hcf|gcf|det|rank|trace|tr)\}?[({]"
    r"|\\begin\{[vV]matrix\}|e\^(?:i(?![A-Za-z])|\{[^{}=]*(?<![A-Za-z_])i(?![A-Za-z]))",
    re.IGNORECASE,
)
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|in|ne)(?![A-Za-z])")
_OF_ONE = rf"{_NAME}|\\(?:sin|cos|tan|ln|log|exp) ?(?:{_ARGUMENT}|\({_ARGUMENT}\))"
_LESS, _MORE = r"<|\\le(?![a-z]) ?", r">|\\ge(?![a-z]) ?"
_CHAIN = re.compile(rf"(.+?)({_LESS}) ?({_OF_ONE})({_LESS}) ?(.+)")
_FALLING_CHAIN = re.compile(rf"(.+?)({_MORE}) ?({_OF_ONE})({_MORE}) ?(.+)")
_ONE_SIDED = re.compile(rf"({_NAME})({_LESS}|{_MORE}) ?(.+)")
_REVERSED = re.compile(rf"(.+?)({_LESS}|{_MORE}) ?({_NAME})")
_MIRRORED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_SEPARATOR = re.compile(r"[,;]|\\text\{\s*(?:and|or)|(?<![A-Za-z])(?:and|or)(?![a-z])")
_BETWEEN = re.compile(r";|\\text\{\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![a-z])")

Assignments = dict[str, str]


def as_named(left: str, right: str, comparison: Comparison) -> Equality | None:
    ours, theirs = named(left), named(right)
    if ours and theirs:
        return _both_named(ours, theirs, comparison)
    if ours and not has_relation(right):
        return comparison.parts(ours[2], right)
    if theirs and not has_relation(left):
        return comparison.parts(left, theirs[2])
    if not has_relation(right) and (result := _end_of_arithmetic(left)) is not None:
        return comparison.parts(result, right)
    if not has_relation(left) and (result := _end_of_arithmetic(right)) is not None:
        return comparison.parts(left, result)
    return _as_intervals(left, right, comparison)


def _both_named(
    ours: tuple[str, str, str], theirs: tuple[str, str, str], comparison: Comparison
) -> Equality | None:
    same_names = ours[0] == theirs[0] or _same_function(ours, theirs)
    if same_names and ours[1] == theirs[1]:
        plain_values = "=" not in ours[2] + theirs[2]
        return comparison.parts(ours[2], theirs[2]) if plain_values else None
    if not same_names and letters(ours[2]) == letters(theirs[2]) == frozenset():
        return OTHER
    return None


def _same_function(ours: tuple[str, str, str], theirs: tuple[str, str, str]) -> bool:
    """Whether two names are of one constant function in different variables: W(n)=1 and W(x)=1."""
    functions = ["(" in each[0] and each[0].partition("(")[0] for each in (ours, theirs)]
    constant = letters(ours[2]) == letters(theirs[2]) == frozenset()
    at_a_number = any(letter.isdigit() for each in (ours, theirs) for letter in each[0])
    return bool(functions[0]) and functions[0] == functions[1] and constant and not at_a_number


def _end_of_arithmetic(text: str) -> str | None:
    """Return what follows the last `=` of an equation whose other sides are numbers or operations.

    A side that differs from the last one by more than a rounding makes the equation false, and a
    false equation has no answer.
    """
    if match := _CONGRUENCE.fullmatch(text):
        return match[2] if _congruent(match[1], match[2], int(match[3])) else None
    *before, last = split(text, "=")
    sides = [side for side in before if side]
    if not last or has_relation(last):
        return None
    number = letters(last) == frozenset() or quantity(last) is not None
    known = [_leads_to(side, last) for side in sides]
    return last if sides and number and all(known) else None


def _congruent(left: str, right: str, modulus: int) -> bool:
    """Whether two numbers leave the same remainder: 100 and 1 modulo 9."""
    if letters(left) != frozenset() or letters(right) != frozenset():
        return False
    numbers = [value(left), value(right)]
    exact = [number.exact for number in numbers if number is not None]
    if len(exact) < 2 or exact[0] is None or exact[1] is None or modulus == 0:
        return False
    return (exact[0] - exact[1]) % modulus == 0


def _leads_to(side: str, last: str) -> bool:
    if _OPERATION.match(side):
        return True
    start = quantity(side)
    computed = value(side) if letters(side) == frozenset() else None
    if start is not None:
        computed = rational(start.value)
    if computed is None:
        return False
    number, result = quantity(last), value(last)
    if number is not None:
        rounded = bool(number.decimals) or number.percent
        error = abs(number.value - as_fraction(computed))
        return error <= (ROUNDED if rounded else FLOAT_ERROR) * abs(number.value)
    return result is not None and _not_different(computed, result)


def _not_different(left: Real, right: Real) -> bool:
    try:
        return same(left, right)
    except Unknown:
        return True


def _as_intervals(left: str, right: str, comparison: Comparison) -> Equality | None:
    """Compare inequalities of one variable as intervals; other variables are different ones."""
    ours, theirs = interval(left), interval(right)
    if ours is None and theirs is None:
        return None
    if ours and theirs and ours[0] and theirs[0] and ours[0] != theirs[0]:
        return None if comparison.relaxed else OTHER
    left = ours[1] if ours else _set_of(left)
    right = theirs[1] if theirs else _set_of(right)
    both = left[:1] in "([" and right[:1] in "(["
    return comparison.parts(left, right) if both and left and right else None


def _set_of(text: str) -> str:
    found = named(text)
    return found[2] if found and found[1] == "\\in" else text


def named(text: str) -> tuple[str, str, str] | None:
    r"""Return (name, `=` or `\in`, the rest); where numbers come first, the sides are swapped: 2=x,
    1+1=2=x.
    """
    if match := _NAMED.fullmatch(text) or _MATRIX.fullmatch(text):
        several = has_relation(match[3]) and _SEPARATOR.search(match[3])  # x=1,y=2
        return None if several else (match[1], match[2], match[3])
    match = _NAME_LAST.fullmatch(text)
    if match is not None and all(letters(side) == frozenset() for side in match[1].split("=")):
        return (match[2], "=", match[1])
    return None


def has_relation(text: str) -> bool:
    return _RELATION.search(text) is not None


def interval(text: str) -> tuple[str, str] | None:
    """Return (the variable, its interval); None for a text that is not an inequality with
    one name.
    """
    if text == "\\mathbb{R}":
        return "", "(-\\infty,\\infty)"
    for chain, falling in ((_CHAIN, False), (_FALLING_CHAIN, True)):
        match = chain.fullmatch(text)
        if match is None or has_relation(match[1] + match[5]):
            continue
        low, high = (match[5], match[1]) if falling else (match[1], match[5])
        below, above = (match[4], match[2]) if falling else (match[2], match[4])
        left = "(" if below.strip() in "<>" else "["
        right = ")" if above.strip() in "<>" else "]"
        return match[3], f"{left}{low},{high}{right}"
    if (match := _ONE_SIDED.fullmatch(text)) and not has_relation(match[3]):
        return match[1], _ray(match[2].strip(), match[3])
    if (match := _REVERSED.fullmatch(text)) and not has_relation(match[1]):
        return match[3], _ray(_MIRRORED[match[2].strip()], match[1])
    return None


def _ray(sign: str, bound: str) -> str:
    if sign in ("<", "\\le"):
        return f"(-\\infty,{bound}{')' if sign == '<' else ']'}"
    return f"{'(' if sign == '>' else '['}{bound},\\infty)"


def assignments(text: str) -> Assignments | None:
    """Return two or more `name=value` with different names, in the order of the text."""
    found = Assignments()
    pieces = [piece.strip() for piece in split(text, ",;") if piece.strip()]
    for piece in pieces:
        match = named(piece)
        if match is None or match[1] != "=" or has_relation(match[2]) or match[0] in found:
            return None
        found[match[0]] = match[2]
    return found if len(found) > 1 else None


def solutions(text: str) -> list[Assignments] | None:
    """Return two or more solutions, each of which assigns the same names."""
    pieces = [piece.strip(" ,") for piece in _BETWEEN.split(text)]
    found = [assignments(piece) for piece in pieces if piece]
    known = [each for each in found if each is not None]
    if len(known) < 2 or len(known) < len(found):
        return None
    return known if all(each.keys() == known[0].keys() for each in known) else None


def positions(found: Assignments) -> Sequence[str]:
    """Return the values as a tuple lists them: single letters by the alphabet, others as
    written.
    """
    letters_only = all(len(name) == 1 for name in found)
    return [found[name] for name in (sorted(found) if letters_only else found)]


def are_labels(found: Assignments) -> bool:
    """Whether x_1 and x_2 only number the values of one unknown."""
    return len({name.partition("_")[0] for name in found}) == 1
