r"""Read the exact value of a number as people write answers, with its unit: quantity(text) ->
Quantity, None for anything but one number.

    12   -3.5   .5   1,234   10 080   $18   50%   3/4   \frac{3}{4}   137\frac{1}{2}   2 1/2
    1.5e3   2\times10^{-4}   3 million   52_8

Nothing is evaluated: exponents have at most three digits, a text at most MAX_DIGITS characters.
Texts are `study.grading.math.latex.plain` ones.

`same(left, right)` says whether two of them are the same number:

    exact rational equality; a decimal may represent a value that it cannot hold (1/3) if it is
        its correct rounding to DECIMALS places and SIGNIFICANT digits at least
    50% is 1/2 and is not 50 (`relaxed` accepts both)
    52_8 is not 52 (`relaxed` accepts it) and never 52_9
    a unit on one side only is ignored; two units must be the same one (`relaxed`: unless both are
        known, they are ignored)
    5 m is not 500 cm: units are compared, not converted
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from study.grading.math.units import same_unit, scaled, split_unit

MAX_DIGITS = 200
SIGNIFICANT = 6
DECIMALS = 4
FLOAT_SIGNIFICANT = 15
FLOAT_ERROR = Fraction(1, 10**12)  # relative

_DECIMAL = (  # nothing groups the digits after a single 0: 0,111 is no integer
    r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]{0,2}(?: [0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
)
_TIMES_TEN = r"(?:\\times|\\cdot|\*)10\^(?:\{(?P<b>[+-]?[0-9]{1,3})\}|(?P<d>[0-9]))"
_POWER = rf"(?:e(?P<e>[+-]?[0-9]{{1,3}})|{_TIMES_TEN})"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)(?P<value>{_DECIMAL}){_POWER}?(?P<percent>%?)", re.IGNORECASE
)
_SIMPLE = r"[0-9]+|[0-9]*\.[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+"
_RATIO = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<whole>[0-9]+)(?:[ ](?=[0-9])|(?=\\frac)))?"
    rf"(?:\\frac\{{(?P<a>[+-]?(?:{_SIMPLE}))\}}\{{(?P<b>[+-]?(?:{_SIMPLE}))\}}"
    rf"|(?P<c>{_SIMPLE})/(?P<d>{_SIMPLE}))(?P<percent>%?)"
)
_REPEATING = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]*)\.(?P<fixed>[0-9]*)\\overline\{(?P<repeated>[0-9]+)\}"
)
_BASED = re.compile(r"(?P<digits>[0-9A-Fa-f]+)_(?:\{(?P<long>[0-9]{1,2})\}|(?P<short>[0-9]))")


@dataclass(frozen=True)
class Quantity:
    """A number. value: exact, a percentage already divided by 100. decimals: digits after the
    point, None for a ratio. 52_8: base 8, digits "52".
    """

    value: Fraction
    unit: str | None = None
    percent: bool = False
    decimals: int | None = None
    base: int = 10
    digits: str = ""


def quantity(text: str, *, letters: bool = False) -> Quantity | None:
    """Read a number. `letters`: one letter after the number may be a unit (`5m`, `5m/s`), which
    otherwise is a variable.
    """
    if len(text) > MAX_DIGITS or not any(c.isdigit() for c in text):
        return None
    body, unit = split_unit(text, letters=letters)
    found = _number(body)
    if found is None:
        return None
    factor, percent, rest = scaled(unit)
    if percent and found.percent:
        return None
    return replace(found, value=found.value * factor, percent=found.percent or percent, unit=rest)


def same(left: Quantity, right: Quantity, *, relaxed: bool = False) -> bool:
    """Whether two quantities are the same number, by the rules in the module's docstring.
    Symmetric.
    """
    if not same_unit(left.unit, right.unit, relaxed=relaxed):
        return False
    if left.base != right.base:
        return (
            relaxed
            and 10 in (left.base, right.base)
            and _digits_as_read(left) == _digits_as_read(right)
        )
    if _close(left, right):
        return True
    return (
        relaxed
        and left.percent != right.percent
        and left.value * (100 if left.percent else 1) == right.value * (100 if right.percent else 1)
    )


def _digits_as_read(number: Quantity) -> str:
    return number.digits or str(number.value)


def _close(left: Quantity, right: Quantity) -> bool:
    if left.value == right.value:
        return True
    for exact, decimal in ((left, right), (right, left)):
        if exact.decimals is None and decimal.decimals is not None and not decimal.percent:
            return is_rounding(decimal, exact.value)
    return False


def is_rounding(decimal: Quantity, value: Fraction) -> bool:
    """Whether a decimal is the correct rounding of a value that it cannot hold.

    With FLOAT_SIGNIFICANT digits it may be a float, which is off by more than half a last digit.
    """
    places, distance = decimal.decimals or 0, abs(value - decimal.value)
    significant = _digits(decimal.value * 10**places)
    if places < DECIMALS or significant < SIGNIFICANT:
        return False
    if significant >= FLOAT_SIGNIFICANT and distance <= abs(value) * FLOAT_ERROR:
        return True
    return distance * 2 <= Fraction(1, 10**places)


def _digits(value: Fraction) -> int:
    return len(str(abs(value.numerator) // value.denominator))


def _number(text: str) -> Quantity | None:
    if match := _NUMBER.fullmatch(text):
        return _decimal(match)
    if match := _RATIO.fullmatch(text):
        return _ratio(match)
    if match := _REPEATING.fullmatch(text):
        return _repeating(match)
    return _based(match) if (match := _BASED.fullmatch(text)) else None


def _decimal(match: re.Match[str]) -> Quantity:
    digits = match["value"].replace(",", "").replace(" ", "").rstrip(".")
    exponent = int(match["e"] or match["b"] or match["d"] or 0)
    value = Fraction(digits) * Fraction(10) ** exponent / (100 if match["percent"] else 1)
    decimals = max(len(digits.partition(".")[2]) - exponent, 0)
    return Quantity(
        -value if match["sign"] == "-" else value, None, bool(match["percent"]), decimals
    )


def _ratio(match: re.Match[str]) -> Quantity | None:
    top, bottom = (
        Fraction((one or other).replace(",", ""))
        for one, other in ((match["a"], match["c"]), (match["b"], match["d"]))
    )
    if bottom == 0:
        return None
    value = (int(match["whole"] or 0) + top / bottom) / (100 if match["percent"] else 1)
    return Quantity(-value if match["sign"] == "-" else value, None, bool(match["percent"]))


def _repeating(match: re.Match[str]) -> Quantity:
    """Return the value of a repeating decimal: 0.1\\overline{6} = 0.1 + 6 / 90."""
    fixed, repeated = match["fixed"], match["repeated"]
    value = Fraction(f"{match['whole'] or 0}.{fixed or 0}") + Fraction(
        int(repeated), (10 ** len(repeated) - 1) * 10 ** len(fixed)
    )
    return Quantity(-value if match["sign"] == "-" else value)


def _based(match: re.Match[str]) -> Quantity | None:
    base = int(match["long"] or match["short"])
    if base < 2:
        return None
    try:
        return Quantity(
            Fraction(int(match["digits"], base)), None, base=base, digits=match["digits"]
        )
    except ValueError:  # a digit that the base does not have
        return None
