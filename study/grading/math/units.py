r"""Split a unit from a text: split_unit(text) -> (the text before the unit, the unit in one
spelling): `15\text{cm}^2` -> 15, "cm2"; `72km/h` -> 72, "km/hour"; `€5`, `5 euros` -> 5, "euro".

Units are compared, never converted: 5 m is not 500 cm. Words of number (`million`, `dozen`, `万`,
`percent`) are not units: `scaled` removes them and gives their factor. With words that change a
value in another way (`and a half`, `squared`) a text is not a number with a unit.
"""

import re
from fractions import Fraction

SYMBOLS = {
    "$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee", "¢": "cent", "₽": "ruble",
    "₩": "won", "₫": "dong", "₺": "lira", "₴": "hryvnia", "₪": "shekel", "₦": "naira", "₱": "peso",
    "฿": "baht", "₿": "bitcoin", "৳": "taka", "₡": "colon", "₸": "tenge", "₲": "guarani",
}  # fmt: skip
_CODES = {
    "usd": "dollar", "eur": "euro", "gbp": "pound", "jpy": "yen", "cny": "yuan", "rmb": "yuan",
    "inr": "rupee", "rs": "rupee", "us$": "dollar", "rub": "ruble", "krw": "won", "chf": "franc",
    "r$": "real", "brl": "real", "a$": "aud", "au$": "aud", "aud": "aud", "c$": "cad",
    "ca$": "cad", "cad": "cad", "nz$": "nzd", "nzd": "nzd", "s$": "sgd", "sgd": "sgd",
    "hk$": "hkd", "hkd": "hkd", "nt$": "twd", "twd": "twd", "mx$": "peso", "mxn": "peso",
    "sek": "krona", "nok": "krone", "dkk": "krone", "kr": "krona", "pln": "zloty", "zar": "rand",
}  # fmt: skip
_SYMBOL = f"[{''.join(map(re.escape, SYMBOLS))}]"
_CODE = rf"(?:{'|'.join(map(re.escape, _CODES))})(?![A-Za-z])\.?"
_MONEY_BEFORE = re.compile(
    rf"([+-]?)(?:\\text\{{\s*)?({_SYMBOL}|{_CODE})(?:\s*\}})?\s*(?=[+-]?[\d.\\])", re.IGNORECASE
)
_MONEY_AFTER = re.compile(rf"(?:\\text\{{\s*)?({_SYMBOL})(?:\s*\}})?$")

_KNOWN = {
    "cm": "cm centimeter centimetre", "m": "m meter metre", "mm": "mm millimeter millimetre",
    "km": "km kilometer kilometre", "inch": "in inch inche", "foot": "ft foot feet",
    "yard": "yd yard", "mile": "mi mile", "second": "s sec second", "minute": "min minute",
    "hour": "h hr hour", "day": "day", "week": "week", "month": "month", "year": "yr year",
    "gram": "g gram gramme", "kilogram": "kg kilogram", "milligram": "mg milligram",
    "pound": "lb pound", "ounce": "oz ounce", "ton": "ton tonne", "liter": "l liter litre",
    "milliliter": "ml milliliter millilitre", "gallon": "gal gallon",
    "dollar": "dollar buck", "euro": "euro", "yen": "yen", "yuan": "yuan", "rupee": "rupee",
    "cent": "cent", "degree": "degree deg", "radian": "radian rad", "unit": "unit",
    "newton": "newton", "joule": "joule", "watt": "watt", "volt": "volt", "mole": "mol mole",
    "pascal": "pascal", "am": "am a.m", "pm": "pm p.m", "hertz": "hz hertz", "kelvin": "kelvin",
    "kilowatt-hour": "kwh", "ohm": "ohm", "kiloohm": "kohm kiloohm", "megaohm": "megaohm",
    "m*newton": "newtonmeter newtonmetre", "kilonewton*m": "kilonewtonmeter",
    "kilonewton": "kn kilonewton", "kilopascal": "kpa kilopascal", "kilowatt": "kw kilowatt",
    "ampere": "ampere amp", "coulomb": "coulomb", "farad": "farad", "kilojoule": "kj kilojoule",
    "micrometer": "microm micrometer micrometre micron", "microsecond": "micros microsecond",
    "microgram": "microg microgram", "microliter": "microl microliter microlitre",
    "microfarad": "microf microfarad", "microamp": "microa microampere", "microvolt": "microv",
}  # fmt: skip
CANONICAL = {
    spelling: unit for unit, spellings in _KNOWN.items() for spelling in spellings.split()
} | {code: unit for code, unit in _CODES.items() if code.isalpha() and code != "rs"}
_CAPITALS = {  # that are units inside of \text{...} alone
    "N": "newton", "J": "joule", "W": "watt", "V": "volt", "Pa": "pascal", "A": "ampere",
    "K": "kelvin",
}  # fmt: skip
_WHOLE = {"mph": "mile/hour", "kph": "km/hour", "kmh": "km/hour", "kmph": "km/hour"}
_POWERS = {"square": "2", "squared": "2", "sq": "2", "cubic": "3", "cubed": "3", "cu": "3"}
_NEVER = frozenset(
    (
        "pi", "sqrt", "frac", "sin", "cos", "tan", "log", "ln", "exp", "mod", "or", "and",
        "plus", "minus", "times", "over", "factorial", "half", "quarter", "third", "point",
        "than", "not", "to", "choose", "root", "power", "divided",
    )
)  # fmt: skip
_RISING_WORDS = frozenset(  # words whose letters are in alphabetical order, as those of abc
    (
        "ant", "ants", "box", "boy", "city", "chip", "chips", "chop", "dot", "film", "films",
        "fox", "hint", "job", "lot", "now",
    )
)  # fmt: skip
_SCALES: dict[str, Fraction] = {
    name: Fraction(value)
    for names, value in {
        "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9,
        "trillion": 10**12, "dozen": 12, "lakh": 10**5, "crore": 10**7, "tenth": Fraction(1, 10),
        "hundredth": Fraction(1, 100), "thousandth": Fraction(1, 1000),
        "percent pct percentage": Fraction(1, 100),
        "тыс тысяч тысячи тысяча": 10**3, "млн миллион миллиона миллионов": 10**6,
        "млрд миллиард миллиарда миллиардов": 10**9,
    }.items()
    for name in names.split()
}  # fmt: skip
_PERCENT = frozenset(("percent", "pct", "percentage"))
_HAN_SCALES = {
    "百": 100, "千": 10**3, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8, "兆": 10**12,
    "만": 10**4, "억": 10**8, "천": 10**3, "백": 100,
}  # fmt: skip
_HAN_UNITS = ("千克", "千米", "千瓦", "千卡", "千焦", "百分", "千帕", "千伏", "백분")

_ATOM = r"(?:\\text\{[^{}]*\}|[A-Za-z]+)(?:\^\{?-?[1-4]\}?)?"
_COMPOUND = re.compile(rf"(?P<first>{_ATOM})(?P<rest>(?:(?:/|\\cdot ?|\*){_ATOM})+)$")
_FRACTION = re.compile(rf"\\frac\{{({_ATOM})\}}\{{({_ATOM})\}}$")
_UNIT = re.compile(
    r"(?:\\text\{(?P<text>[^{}]*)\}|(?<=[0-9}%!)])(?P<word>[A-Za-z]+(?:[ .][A-Za-z]+){0,4}))"
    r"(?:\^\{?(?P<power>[23])\}?)?$"
)
_FOREIGN = re.compile(r"(?:\\text\{\s*)?((?:[^\W\d_]|[/ ])*[^\W\d_a-zA-Z](?:[^\W\d_]|[/ ])*)\}?$")
_DEGREES = re.compile(r"\^\\circ ?(?:\\text\{)?(?P<scale>[CF]?)\}?$")


_INVERSE = re.compile(r"(?<=[0-9}])([A-Za-z]{1,3}) ([A-Za-z]{1,3})\^\{-([123])\}$")
_OHM = re.compile(r"(?<=[0-9])([kM]?)\\Omega$")
_OHMS = {"": "ohm", "k": "kohm", "M": "megaohm"}
_TORQUE = re.compile(r"(?<=[0-9])(k?)N(?:\\cdot ?|\*)m$")  # a product would be written 6mN
_MICRO = re.compile(r"(?<=[0-9}])\\mu ?(?:\\text\{ ?([msgLlFAV]) ?\}|([msgLlFAV]))$")


def split_unit(text: str, *, letters: bool = False) -> tuple[str, str | None]:
    """Return (text, unit), (text, None) without a unit. `letters`: one letter after a number may be
    a unit (`5m`, `5m/s`, `5m^2`), which otherwise is a variable.
    """
    if match := _DEGREES.search(text):
        return text[: match.start()], f"degree{match['scale'].lower()}"
    text = _OHM.sub(lambda match: _OHMS[match[1]], text)
    text = _TORQUE.sub(lambda match: f"{'kilo' * len(match[1])}newtonmeter", text)
    if (match := _MICRO.search(text)) and (match[1] or letters):
        text = f"{text[: match.start()]}\\text{{micro{match[1] or match[2]}}}"
    if letters:  # 9.8 m s^{-1}
        text = _INVERSE.sub(_as_quotient, text)
    body, money = _money(text)
    if money is not None:
        inner, words = _words(body)
        return (
            (inner, f"{words} {money}") if words and words.split()[0] in _SCALES else (body, money)
        )
    if not text.isascii() and (match := _FOREIGN.search(text)) and match.start() > 0:
        return text[: match.start()], match[1].strip().casefold()
    for pattern in (_FRACTION, _COMPOUND):
        match = pattern.search(text)
        if match is not None and match.start() > 0 and _is_unit(match[0], letters=letters):
            rest = match[2] if pattern is _COMPOUND else f"/{match[2]}"
            unit = _compound(match[1], rest)
            return (text[: match.start()], unit) if unit else (text, None)
    if letters and (match := re.search(r"(?<=[0-9}])([mshgl])(?:\^\{?([23])\}?)?$", text)):
        return text[: match.start()], CANONICAL[match[1]] + (match[2] or "")
    return _words(text)


def _as_quotient(match: re.Match[str]) -> str:
    power = "" if match[3] == "1" else f"^{match[3]}"
    return f"{match[1]}/{match[2]}{power}"


def _money(text: str) -> tuple[str, str | None]:
    if match := _MONEY_BEFORE.match(text):
        name = match[2].casefold().rstrip(".")
        return match[1] + text[match.end() :], SYMBOLS.get(match[2]) or _CODES[name]
    if (match := _MONEY_AFTER.search(text)) and match.start() > 0:
        return text[: match.start()], SYMBOLS[match[1]]
    return text, None


def _words(text: str) -> tuple[str, str | None]:
    match = _UNIT.search(text)
    if match is None or match.start() == 0:
        return text, None
    said = match["text"] if match["text"] is not None else match["word"]
    if re.search(r"[A-Za-z]\s*(?:/|·|\bper\b(?! cent))\s*[A-Za-z]", said):
        unit = _compound(*_first_and_rest(said), power=match["power"] or "")
        return (text[: match.start()], unit) if unit else (text, None)
    if match["text"] is not None and said.strip() in _CAPITALS and not match["power"]:
        return text[: match.start()], _CAPITALS[said.strip()]
    words = said.casefold().replace(".", " ").split()
    if _NEVER & set(words) or (match["text"] is None and not _bare_unit(words)):
        return text, None
    body = text[: match.start()]
    if words and words[-1] in ("degrees", "degree") and body.endswith("^\\circ"):
        return body.removesuffix("^\\circ"), "degree"
    unit = canonical_unit(words, match["power"] or "")
    return (text, None) if unit in ("2", "3") else (body, unit)


def _first_and_rest(said: str) -> tuple[str, str]:
    spelled = re.sub(r"\s*(?:/|\bper\b)\s*", "/", said.strip()).replace("·", "*")
    first = re.match(r"[^/*]+", spelled)
    return (first[0], spelled[first.end() :]) if first else (said, "")


def _compound(first: str, rest: str, power: str = "") -> str | None:
    """`km/h` -> "km/hour"; None where a part is not a known unit or an unknown word has a known
    unit under it (apples/day).
    """
    above, below = [_factor(first)], list[str | None]()
    signs = re.findall(r"(/|\\cdot ?|\*)((?:\\text\{[^{}]*\}|[^/*\\])+)", rest)
    for index, (sign, part) in enumerate(signs):
        last = power if index == len(signs) - 1 else ""
        (below if sign == "/" else above).append(_factor(part + (f"^{last}" if last else "")))
    if None in above or None in below:
        return None
    top, bottom = sorted(map(str, above)), sorted(map(str, below))
    return "*".join(top) + "".join(f"/{part}" for part in bottom)


def _factor(text: str) -> str | None:
    match = re.fullmatch(r"\s*(?:\\text\{)?([A-Za-z .]+?)\}?(?:\^\{?(-?[1-4])\}?)?\s*", text)
    if match is None:
        return None
    words = _CAPITALS.get(match[1], match[1]).casefold().replace(".", "").split()
    if not words or _NEVER & set(words):
        return None
    unit = canonical_unit(words, "")
    return None if unit is None else unit + (match[2] if match[2] not in (None, "1") else "")


def _is_unit(text: str, *, letters: bool) -> bool:
    r"""Whether every part outside \text{} is a known unit, and not all of them are single
    letters.
    """
    bare = re.sub(r"\\text\{[^{}]*\}|\\[a-z]+", " ", text)
    names = re.findall(r"[A-Za-z]+", bare)
    known = all(singular(name.casefold()) in CANONICAL for name in names)
    return known and (letters or "\\text" in text or any(len(name) > 1 for name in names))


def _bare_unit(words: list[str]) -> bool:
    """Whether letters straight after a number are a unit: a known one of two letters, or letters
    that look like a word; `2k`, `6xyz` and `5abc` are not.
    """
    first = words[0]
    name = singular(first)
    known = len(first) > 1 and any(
        name in names for names in (CANONICAL, _POWERS, _SCALES, _WHOLE, {"per": ""})
    )
    product = sorted(set(first)) == list(first) and first not in _RISING_WORDS
    return known or (len(first) >= 3 and not product and any(v in first for v in "aeiou"))


def canonical_unit(words: list[str], power: str) -> str | None:
    """Return the unit in one spelling: "square inches" and inches^2 are inch2; unknown words stay
    unchanged, in the singular.
    """
    if len(words) == 1 and words[0] in _WHOLE:
        return _WHOLE[words[0]]
    powers = [_POWERS[word] for word in words if word in _POWERS] + ([power] if power else [])
    rest = [CANONICAL.get(singular(word), singular(word)) for word in words if word not in _POWERS]
    return " ".join(rest) + "".join(powers[:1]) or None


def scaled(unit: str | None) -> tuple[Fraction, bool, str | None]:
    """Return (factor, is it a percentage, the unit that is left): "million dollar" -> 10^6, False,
    "dollar".
    """
    if unit is None:
        return Fraction(1), False, None
    if unit[0] in _HAN_SCALES and not unit.startswith(_HAN_UNITS):
        factor, at = Fraction(1), 0
        while at < len(unit) and unit[at] in _HAN_SCALES:
            factor *= _HAN_SCALES[unit[at]]
            at += 1
        return factor, False, unit[at:] or None
    words = unit.removeprefix("per cent").split() if unit.startswith("per cent") else unit.split()
    percent = unit.startswith("per cent")
    factor = Fraction(1, 100) if percent else Fraction(1)
    while words and words[0] in _SCALES:
        factor, percent = factor * _SCALES[words[0]], percent or words[0] in _PERCENT
        words = words[1:]
    if percent and words in (["point"], ["points"]):
        words = []
    return factor, percent, " ".join(words) or None


def singular(word: str) -> str:
    if word in CANONICAL or len(word) < 3 or word == "plus":
        return word
    return word.removesuffix("s")


def same_unit(left: str | None, right: str | None, *, relaxed: bool = False) -> bool:
    """Whether two units are the same; None, or the bare word "unit", fits every unit.

    `relaxed` lets words that are not known units differ.
    """
    if left == right or {left, right} & {None, "unit"}:
        return True
    return relaxed and not (_is_known(left) and _is_known(right))


def _is_known(unit: str | None) -> bool:
    if unit is None:
        return False
    parts = [part.rstrip("-1234") for part in re.split(r"[/*]", unit)]
    known = (_KNOWN, SYMBOLS.values(), _CODES.values())
    return unit.startswith("degree") or all(any(part in one for one in known) for part in parts)
