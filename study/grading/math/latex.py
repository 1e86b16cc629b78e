r"""Spell answers that differ in typography alone in one way: plain(text) turns `\dfrac12`,
`\tfrac{1}{2}` and `\frac 1 2` into `\frac{1}{2}`.

Removed: math delimiters, sizes (`\left`, `\big`), fonts, spaces that carry no meaning, a full stop,
comma or backslash at the end. Rewritten: Unicode and ASCII mathematics as LaTeX
(`study.grading.math.notation`), `\leq` as `\le`, `\$` and `\%` as `$` and `%`, `\mbox`, `\textbf`,
... as `\text`, subscripts `_{\text{max}}` and `_{\max}` as `_{max}`. Kept: a space between two
digits (`1 2` is not `12`), two letters, or a comma and three digits (`1, 234` is not `1,234`);
everything inside `\text{...}`, and all structure. Nothing is evaluated. Time grows at most with the
square of the length; callers cut off at `MAX_LENGTH`.

Also here: functions that every reader of such text needs (matching brackets, splitting outside
brackets).
"""

import re
from collections.abc import Iterator

from study.grading.math.notation import latex_notation

MAX_LENGTH = 2000  # characters of one answer; a longer one is compared as text only

_DELIMITER = re.compile(
    r"(?<!\\)\$|(?<!\\)\\[()\[\]]|\\!"
    r"|\\(?:displaystyle|textstyle|limits|rm|bf|underline)(?![A-Za-z])"
)
_SIZE = re.compile(r"\\(?:left|right|[Bb]igg?[lrm]?)(?![A-Za-z])\.?")
_SPACING = re.compile(
    r"(?<!\\)\\(?:[,;: ~>]|quad(?![A-Za-z])|qquad(?![A-Za-z])|hspace\{[^{}]*\})|~"
)
_FONT = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|textbf|textit|textrm|textnormal|textsf"
    r"|mbox|hbox|operatorname|boldsymbol|bm)\s*(?=\{)"
)
_CURRENCY = re.compile(
    r"^\s*[+-]?(?:US|AU?|CA?|R|HK|NZ|NT|MX|S)(\$)\s*(?=[0-9.,])"  # R$ 50: no delimiter
)
_PRICE = re.compile(  # a number alone: its single dollar sign is the currency
    r"\s*[+-]?\s*\$\s*[+-]?[0-9][0-9.,]*\s*|\s*[+-]?[0-9][0-9.,]*\s*\$\s*"
)
_FRACTION = re.compile(r"\\[dtc](frac|binom)(?![A-Za-z])")
_SYNONYM = {
    "leq": "le", "geq": "ge", "leqslant": "le", "geqslant": "ge", "neq": "ne", "lbrace": "{",
    "rbrace": "}", "mod": "bmod", "langle": "(", "rangle": ")",
    "lbrack": "[", "rbrack": "]", "degree": "circ", "varnothing": "emptyset", "vert": "|",
    "lvert": "|", "rvert": "|", "lt": "<", "gt": ">", "colon": ":", "dots": "ldots",
    "cdots": "ldots", "pounds": "£", "euro": "€", "yen": "¥",
}  # fmt: skip
_SYNONYMS = re.compile(rf"\\({'|'.join(_SYNONYM)})(?![A-Za-z])")
_LITERAL = {"(", ")", "[", "]", "|", "<", ">", ":", "£", "€", "¥"}
_DIGIT_ARGUMENTS = re.compile(r"\\(frac|binom)\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
_BARE_ROOT = re.compile(r"\\sqrt\s*(\d|[A-Za-z](?![A-Za-z]))")
_BARE_CIRCLE = re.compile(r"\^\s*\{\s*\\circ\s*\}")
_ONE_DIGIT_SCRIPT = re.compile(r"([\^_])\s*\{\s*(\w)\s*\}")
_UPRIGHT_LETTER = re.compile(r"\\mathrm\s*\{\s*([eid])\s*\}")
_SUBSCRIPT_WORD = re.compile(
    r"(?<!log)_\s*(?:\{\s*)?\\(?:text\s*\{\s*(\w+)\s*\}|(max|min|sup|inf))(?:\s*\})?"
    r"|(?<!log)_\s*\{\s*\\(?!pi|infty)([A-Za-z]+)\s*\}"
)
_THOUSANDS_COMMA = re.compile(r",\\!\s*|\{\s*,\s*\}")
_LISTED_THOUSAND = re.compile(r"(?<=[0-9])(?: +, *|, +)(?=[0-9]{3}(?![0-9]))")
_COMMAND_NAMES = (
    "left|right|[dtc]?frac|sqrt|text|mathrm|pi|cdot|times|infty|le|leq|ge|geq|ne|in|cup|pm|circ|sin"
    "|cos|tan|log|ln|binom|theta|alpha|begin|end|boxed|overline|mathbb"
)
_DOUBLED = re.compile(rf"(?<!\\)\\\\(?=(?:{_COMMAND_NAMES})(?![A-Za-z])|[{{}}%$])")
_TRAILING = " .,;:\\"
_LEADING = re.compile(r"(?:=|\\approx(?![A-Za-z])|\\therefore(?![A-Za-z])) *")
_EMPTY_TEXT = re.compile(r"\\text\s*\{\s*\}")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_IDLE_SPACE = re.compile(
    r"(?<![0-9A-Za-z]) +| +(?![0-9A-Za-z])|(?<=[0-9]) +(?=[A-Za-z])|(?<=[A-Za-z]) +(?=[0-9])"
)
_OPEN, _CLOSE = "([{", ")]}"


def plain(text: str) -> str:
    """Return the answer in its plain spelling; '' for an empty one.

    A text longer than MAX_LENGTH keeps everything but outer space.
    """
    if len(text) > MAX_LENGTH:
        return text.strip()
    text = latex_notation(_once_escaped(text))
    text = _THOUSANDS_COMMA.sub(",", text)
    if _PRICE.fullmatch(text):
        text = text.replace("$", "\\$")
    if text.count("$") == 1 and (currency := _CURRENCY.match(text)):
        text = f"{text[: currency.start(1)]}\\{text[currency.start(1) :]}"
    text = _SPACING.sub(" ", _SIZE.sub("", _DELIMITER.sub("", text)))
    text = _FONT.sub(r"\\text", _UPRIGHT_LETTER.sub(r"\1", text))
    text = _SYNONYMS.sub(_canonical, _FRACTION.sub(r"\\\1", text))
    text = text.replace("\\$", "$").replace("\\%", "%")
    text = _EMPTY_TEXT.sub("", _BARE_CIRCLE.sub(r"^\\circ", text))
    text = _BARE_ROOT.sub(r"\\sqrt{\1}", _DIGIT_ARGUMENTS.sub(_fraction, text))
    text = _SUBSCRIPT_WORD.sub(lambda match: f"_{{{match[1] or match[2] or match[3]}}}", text)
    text = _ONE_DIGIT_SCRIPT.sub(r"\1\2", text)
    text = _without_idle_spaces(text).rstrip(_TRAILING)
    return _unwrapped(_LEADING.sub("", text, count=1) if _LEADING.match(text) else text)


def _once_escaped(text: str) -> str:
    r"""Undo doubled backslashes: \\frac becomes \frac. In a matrix two backslashes end a row, so
    there all or none are doubled.
    """
    if "\\\\" not in text:
        return text
    if "\\\\begin" in text:
        return text.replace("\\\\", "\\")
    return text if "\\begin" in text else _DOUBLED.sub(r"\\", text)


def _canonical(match: re.Match[str]) -> str:
    name = _SYNONYM[match[1]]
    return name if name in _LITERAL else f"\\{name}"


def _fraction(match: re.Match[str]) -> str:
    top = match[2] if match[2] is not None else match[3]
    bottom = match[4] if match[4] is not None else match[5]
    return rf"\{match[1]}{{{top.strip()}}}{{{bottom.strip()}}}"


def _without_idle_spaces(text: str) -> str:
    r"""Remove spaces, except inside \text{...}, where runs become one."""
    parts, end = list[str](), 0
    for match in _TEXT.finditer(text):
        words = " ".join(match[1].split())
        parts += [_tight(text[end : match.start()]), rf"\text{{{words}}}"]
        end = match.end()
    parts.append(_tight(text[end:]))
    return "".join(parts).strip()


def _tight(text: str) -> str:
    """Keep the space of `1, 234`: it is a list, and 1,234 is a number."""
    folded = re.sub(r"\s+", " ", text)
    between = [_IDLE_SPACE.sub("", piece) for piece in _LISTED_THOUSAND.split(folded)]
    return ", ".join(between)


def _unwrapped(text: str) -> str:
    """Remove braces around the whole, which are typography: {7} is 7."""
    while text.startswith("{") and closing(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def closing(text: str, start: int) -> int | None:
    """Return the index of the bracket that closes the one at `start`, of whatever kind: (3,4]
    matches.

    None where nothing does.
    """
    for index, depth in _depths(text, start):
        if depth == 0:
            return index
    return None


def split(text: str, separators: str) -> list[str]:
    """Return the parts of `text` between separator characters outside all brackets."""
    parts, begin = [], 0
    for index, depth in _depths(text, 0, every=True):
        if depth == 0 and text[index] in separators:
            parts.append(text[begin:index])
            begin = index + 1
    return [*parts, text[begin:]]


def _depths(text: str, start: int, *, every: bool = False) -> Iterator[tuple[int, int]]:
    """Yield (index, depth after it) of every bracket, or of every character.

    The brackets of `\\frac{(}{...}` that do not match never reach 0.
    """
    depth = 0
    for index in range(start, len(text)):
        step = (text[index] in _OPEN) - (text[index] in _CLOSE)
        depth += step
        if step or every:
            yield index, depth
