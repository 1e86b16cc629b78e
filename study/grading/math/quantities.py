r"""quantity(text) -> Quantity: the exact value of a number as people write answers, with its unit;
None for anything but one number.

    12   -3.5   .5   1,234   10 080   $18   50%   3/4   \frac{3}{4}   137\frac{1}{2}   2 1/2   1.5e3
         2\times10^{-4}   3 million   52_8
Nothing is evaluated: exponents have at most three digits, a text at most MAX_DIGITS characters.
Texts are `study.grading.math.latex.plain` ones.

`same(left, right)` says whether two of them are the same number:
    exact rational equality; a decimal may stand for a value that it cannot hold (1/3) if it is its
    correct rounding to DECIMALS places
        and SIGNIFICANT digits at least
    50% is 1/2 and is not 50 (`relaxed` accepts both); 52_8 is not 52 (`relaxed` accepts it) and
    never 52_9
    a unit on one side only is ignored; two units must be the same one (`relaxed`: unless both are
    known, they are ignored)
    5 m is not 500 cm: units are compared, not converted
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction

MAX_DIGITS = 200
SIGNIFICANT = 6
DECIMALS = 4

_DECIMAL = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?: [0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
_TIMES_TEN = r"(?:\\times|\\cdot|\*)10\^(?:\{(?P<b>[+-]?[0-9]{1,3})\}|(?P<d>[0-9]))"
_POWER = rf"(?:e(?P<e>[+-]?[0-9]{{1,3}})|{_TIMES_TEN})"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\$?(?P<value>{_DECIMAL}){_POWER}?(?P<percent>%?)", re.IGNORECASE
)
_SIMPLE = r"[0-9]+|[0-9]*\.[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+"
_RATIO = re.compile(
    rf"(?P<sign>[+-]?)\$?(?:(?P<whole>[0-9]+)(?:[ ](?=[0-9])|(?=\\frac)))?"
    rf"(?:\\frac\{{(?P<a>[+-]?(?:{_SIMPLE}))\}}\{{(?P<b>[+-]?(?:{_SIMPLE}))\}}"
    rf"|(?P<c>{_SIMPLE})/(?P<d>{_SIMPLE}))(?P<percent>%?)"
)
_REPEATING = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]*)\.(?P<fixed>[0-9]*)\\overline\{(?P<repeated>[0-9]+)\}"
)
_BASED = re.compile(r"(?P<digits>[0-9A-Fa-f]+)_(?:\{(?P<long>[0-9]{1,2})\}|(?P<short>[0-9]))")
_SCALES = {
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "percent": Fraction(1, 100),
}

_UNIT = re.compile(
    r"(?:\\text\{(?P<text>[^{}]*)\}|(?<=[0-9}%])(?P<word>[A-Za-z]+(?:"
    r" [A-Za-z]+){0,4}))(?:\^\{?(?P<power>[23])\}?)?$"
)
_DEGREES = re.compile(r"\^\\circ(?:\\text\{)?(?P<scale>[CF]?)\}?$")
_KNOWN = {
    "cm": "cm centimeter centimetre", "m": "m meter metre", "mm": "mm millimeter millimetre",
    "km": "km kilometer kilometre",
    "inch": "in inch inche", "foot": "ft foot feet", "yard": "yd yard", "mile": "mi mile",
    "second": "s sec second", "minute": "min minute", "hour": "h hr hour", "day": "day",
    "week": "week", "month": "month",
    "year": "yr year",
    "gram": "g gram", "kilogram": "kg kilogram", "pound": "lb pound", "ounce": "oz ounce",
    "ton": "ton",
    "liter": "l liter litre", "milliliter": "ml milliliter millilitre", "gallon": "gal gallon",
    "dollar": "dollar usd buck", "cent": "cent", "degree": "degree deg", "radian": "radian rad",
    "mph": "mph", "unit": "unit",
}  # fmt: skip
_CANONICAL = {
    spelling: unit for unit, spellings in _KNOWN.items() for spelling in spellings.split()
}
_LETTERS = {"m", "s", "h", "g", "l"}
_POWERS = {"square": "2", "squared": "2", "sq": "2", "cubic": "3", "cubed": "3", "cu": "3"}
_NOT_UNITS = {"pi", "sqrt", "frac", "sin", "cos", "tan", "log", "ln", "exp", "or", "and"}


@dataclass(frozen=True)
class Quantity:
    """value: exact, a percentage already divided by 100. decimals: digits after the point, None for
    a ratio. 52_8: base 8, digits "52".
    """

    value: Fraction
    unit: str | None = None
    percent: bool = False
    decimals: int | None = None
    base: int = 10
    digits: str = ""


def quantity(text: str, *, letters: bool = False) -> Quantity | None:
    """`letters`: one letter after the number may be a unit (`5m`), which otherwise is a
    variable.
    """
    if len(text) > MAX_DIGITS or not any(c.isdigit() for c in text):
        return None
    body, unit = (
        (text[:-1], _CANONICAL[text[-1]]) if letters and text[-1] in _LETTERS else split_unit(text)
    )
    if (found := _number(body)) is None:
        return None
    scale = _SCALES.get(unit or "")
    if scale is not None:
        return replace(found, value=found.value * scale, percent=found.percent or unit == "percent")
    money = "dollar" if unit is None and "$" in body else unit
    return replace(found, unit=money)


def same(left: Quantity, right: Quantity, *, relaxed: bool = False) -> bool:
    """See the module's text. Symmetric."""
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


def same_unit(left: str | None, right: str | None, *, relaxed: bool = False) -> bool:
    """None, or the bare word "unit", fits every unit.

    `relaxed` lets words that are no known unit differ.
    """
    if left == right or {left, right} & {None, "unit"}:
        return True
    return relaxed and not (_is_known(left) and _is_known(right))


def _digits_as_read(number: Quantity) -> str:
    return number.digits or str(number.value)


def _close(left: Quantity, right: Quantity) -> bool:
    if left.value == right.value:
        return True
    for exact, decimal in ((left, right), (right, left)):
        places = decimal.decimals or 0
        if (
            exact.decimals is None
            and not decimal.percent
            and places >= DECIMALS
            and _digits(decimal.value * 10**places) >= SIGNIFICANT
        ):
            return abs(exact.value - decimal.value) * 2 <= Fraction(1, 10**places)
    return False


def _digits(value: Fraction) -> int:
    return len(str(abs(value.numerator) // value.denominator))


def split_unit(text: str) -> tuple[str, str | None]:
    r"""(what stands before the unit, the unit's canonical name): `15\text{cm}^2` -> 15, "cm2".

    (text, None) without one.
    """
    if match := _DEGREES.search(text):
        return text[: match.start()], f"degree{match['scale'].lower()}"
    match = _UNIT.search(text)
    if match is None or match.start() == 0:
        return text, None
    words = (
        (match["text"] if match["text"] is not None else match["word"])
        .casefold()
        .replace(".", "")
        .split()
    )
    if match["text"] is None and not _bare_unit(words):
        return text, None
    if words and words[-1] in ("degrees", "degree") and text[: match.start()].endswith("^\\circ"):
        return text[: match.start()].removesuffix("^\\circ"), "degree"
    return text[: match.start()], canonical_unit(words, match["power"] or "")


def _bare_unit(words: list[str]) -> bool:
    """Letters straight after a number are a unit if they are a known one of two letters, or look
    like a word: `2k` and `6xyz` do not.
    """
    first = words[0]
    if first in _NOT_UNITS:
        return False
    known = len(first) > 1 and (
        _singular(first) in _CANONICAL or first in _POWERS or first in _SCALES
    )
    return known or (len(first) >= 3 and any(vowel in first for vowel in "aeiou"))


def canonical_unit(words: list[str], power: str) -> str | None:
    """ "square inches" and inches^2 are inch2; unknown words stay as they are, in the singular."""
    powers = [_POWERS[word] for word in words if word in _POWERS] + ([power] if power else [])
    rest = [
        _CANONICAL.get(_singular(word), _singular(word)) for word in words if word not in _POWERS
    ]
    return " ".join(rest) + "".join(powers[:1]) or None


def _singular(word: str) -> str:
    return word if word in _CANONICAL or len(word) < 3 else word.removesuffix("s")


def _is_known(unit: str | None) -> bool:
    return unit is not None and (unit.rstrip("23") in _KNOWN or unit.startswith("degree"))


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
    """0.1\\overline{6} = 0.1 + 6 / 90."""
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
