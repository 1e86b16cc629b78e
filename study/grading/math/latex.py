r"""plain(text): one spelling for answers that differ in typography alone: `\dfrac12`,
`\tfrac{1}{2}` and `\frac 1 2` are `\frac{1}{2}`.

Removed: math delimiters, sizes (`\left`, `\big`), fonts, spaces that carry no meaning, invisible
Unicode marks, a final full stop. Rewritten: Unicode mathematics as LaTeX, `\leq` as `\le`, `\$` and
`\%` as `$` and `%`, `\mbox`, `\textbf`, ... as `\text`. Kept: a space between two digits (`1 2` is
not `12`) or two letters, everything inside `\text{...}`, and all structure. Nothing is evaluated.
Time grows at most with the square of the length; callers cut off at `MAX_LENGTH`.

Also here: what every reader of such text needs - brackets that match, splitting outside brackets.
"""

import re
from collections.abc import Iterator

MAX_LENGTH = 2000  # characters of one answer; a longer one is compared as text only

_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]")
_UNICODE = str.maketrans(
    {
        "\u2212": "-", "\u2013": "-", "\u2010": "-", "\u2011": "-", "×": "\\times ", "·": "\\cdot ",
        "÷": "/", "π": "\\pi ",
        "∞": "\\infty ",
        "°": "^\\circ ", "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "±": "\\pm ", "∪": "\\cup ",
        "∩": "\\cap ", "∈": "\\in ",
        "∅": "\\emptyset ",
        "²": "^2", "³": "^3", "½": "\\frac{1}{2}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}",
        "⟨": "(", "⟩": ")",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2061": "", "’": "'", "θ": "\\theta ",
    }
)  # fmt: skip
_DELIMITER = re.compile(
    r"(?<!\\)\$|(?<!\\)\\[()\[\]]|\\displaystyle(?![A-Za-z])|\\textstyle(?![A-Za-z])|\\limits(?![A-Za-z])|\\!|\*\*"
)
_SIZE = re.compile(r"\\(?:left|right|[Bb]igg?[lrm]?)(?![A-Za-z])\.?")
_SPACING = re.compile(
    r"(?<!\\)\\(?:[,;: ~>]|quad(?![A-Za-z])|qquad(?![A-Za-z])|hspace\{[^{}]*\})|~"
)
_FONT = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|textbf|textit|textrm|textnormal|textsf|mbox|hbox|operatorname|boldsymbol|bm)\s*(?=\{)"
)
_FRACTION = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_SYNONYM = {
    "leq": "le", "geq": "ge", "leqslant": "le", "geqslant": "ge", "neq": "ne", "lbrace": "{",
    "rbrace": "}", "langle": "(", "rangle": ")",
    "lbrack": "[", "rbrack": "]", "degree": "circ", "varnothing": "emptyset", "vert": "|",
    "lvert": "|", "rvert": "|", "lt": "<", "gt": ">",
}  # fmt: skip
_SYNONYMS = re.compile(rf"\\({'|'.join(_SYNONYM)})(?![A-Za-z])")
_LITERAL = {"(", ")", "[", "]", "|", "<", ">"}
_DIGIT_ARGUMENTS = re.compile(r"\\frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
_BARE_ROOT = re.compile(r"\\sqrt\s*(\d|[A-Za-z](?![A-Za-z]))")
_BARE_CIRCLE = re.compile(r"\^\s*\{\s*\\circ\s*\}")
_ONE_DIGIT_SCRIPT = re.compile(r"([\^_])\s*\{\s*(\w)\s*\}")
_LEADING = re.compile(r"(?:=|\\approx(?![A-Za-z])|\\therefore(?![A-Za-z])) *")
_EMPTY_TEXT = re.compile(r"\\text\s*\{\s*\}")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_IDLE_SPACE = re.compile(
    r"(?<![0-9A-Za-z]) +| +(?![0-9A-Za-z])|(?<=[0-9]) +(?=[A-Za-z])|(?<=[A-Za-z]) +(?=[0-9])"
)
_OPEN, _CLOSE = "([{", ")]}"


def plain(text: str) -> str:
    """The answer in its plain spelling; '' for one that holds nothing.

    A text longer than MAX_LENGTH keeps everything but outer space.
    """
    if len(text) > MAX_LENGTH:
        return text.strip()
    text = _INVISIBLE.sub("", text).translate(_UNICODE)
    text = _SPACING.sub(" ", _SIZE.sub("", _DELIMITER.sub("", text)))
    text = _FRACTION.sub(r"\\frac", _FONT.sub(r"\\text", text))
    text = (
        _SYNONYMS.sub(_canonical, text).replace("\\$", "$").replace("\\%", "%").replace("{,}", ",")
    )
    text = _EMPTY_TEXT.sub("", _BARE_CIRCLE.sub(r"^\\circ", text))
    text = _ONE_DIGIT_SCRIPT.sub(
        r"\1\2", _BARE_ROOT.sub(r"\\sqrt{\1}", _DIGIT_ARGUMENTS.sub(_fraction, text))
    )
    text = _without_idle_spaces(text).rstrip(" .") if not text.rstrip().endswith("\\.") else text
    return _unwrapped(_LEADING.sub("", text, count=1) if _LEADING.match(text) else text)


def _canonical(match: re.Match[str]) -> str:
    name = _SYNONYM[match[1]]
    return name if name in _LITERAL else f"\\{name}"


def _fraction(match: re.Match[str]) -> str:
    top, bottom = (
        match[1] if match[1] is not None else match[2],
        (match[3] if match[3] is not None else match[4]),
    )
    return rf"\frac{{{top.strip()}}}{{{bottom.strip()}}}"


def _without_idle_spaces(text: str) -> str:
    """Spaces go, except inside \\text{...}, where they are folded to one."""
    parts, end = [], 0
    for match in _TEXT.finditer(text):
        parts += [
            _IDLE_SPACE.sub("", re.sub(r"\s+", " ", text[end : match.start()])),
            rf"\text{{{' '.join(match[1].split())}}}",
        ]
        end = match.end()
    parts.append(_IDLE_SPACE.sub("", re.sub(r"\s+", " ", text[end:])))
    return "".join(parts).strip()


def _unwrapped(text: str) -> str:
    """Braces around the whole are typography: {7} is 7."""
    while text.startswith("{") and closing(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def closing(text: str, start: int) -> int | None:
    """Index of the bracket that closes the one at `start`, of whatever kind: (3,4] matches.

    None where nothing does.
    """
    for index, depth in _depths(text, start):
        if depth == 0:
            return index
    return None


def split(text: str, separators: str) -> list[str]:
    """The parts of `text` between separator characters outside all brackets."""
    parts, begin = [], 0
    for index, depth in _depths(text, 0, every=True):
        if depth == 0 and text[index] in separators:
            parts.append(text[begin:index])
            begin = index + 1
    return [*parts, text[begin:]]


def _depths(text: str, start: int, *, every: bool = False) -> Iterator[tuple[int, int]]:
    """(index, depth after it) of every bracket, or of every character.

    The brackets of `\\frac{(}{...}` that do not match never reach 0.
    """
    depth = 0
    for index in range(start, len(text)):
        step = (text[index] in _OPEN) - (text[index] in _CLOSE)
        depth += step
        if step or every:
            yield index, depth
