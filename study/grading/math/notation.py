r"""Rewrite Unicode mathematics and ASCII mathematics as LaTeX: latex_notation(text).

    Unicode   √2  ∛(x+1)  10⁵  x₁  ⅔  １２  （1，2）  π  ≤   ->  \sqrt{2}  \sqrt[3]{x+1}  10^{5} ...
    ASCII     x**2  2**(1/4)  2^(1/4)  x^10  sqrt(2)  pi/2  <=  ->  x^{2}  2^{1/4} ...  x^{10} ...

Two stars are a power between two operands and Markdown around one; the ASCII rules leave
`\text{...}` unchanged. Nothing is evaluated.
"""

import re
import unicodedata

MAX_NESTED = 10

_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]")
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta",
    "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi",
    "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "ϕ": "phi", "χ": "chi", "ψ": "psi",
    "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Π": "Pi",
    "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_COMMANDS = {
    "×": "times", "·": "cdot", "⋅": "cdot", "∙": "cdot", "∞": "infty", "°": "circ", "≤": "le",
    "⩽": "le", "≦": "le", "≥": "ge", "⩾": "ge", "≧": "ge", "≠": "ne", "±": "pm", "∪": "cup",
    "∩": "cap", "∈": "in", "∉": "notin", "∅": "emptyset", "ℝ": "mathbb{R}", "ℤ": "mathbb{Z}",
    "ℕ": "mathbb{N}", "ℚ": "mathbb{Q}", "ℂ": "mathbb{C}", "∠": "angle", "≈": "approx",
    "∖": "setminus", "→": "to", "∴": "therefore", "∑": "sum", "∏": "prod", "∫": "int",
    "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil", "△": "triangle",
    **_GREEK,
}  # fmt: skip
_CHARACTERS = str.maketrans(
    {
        **{symbol: f"\\{name} " for symbol, name in _COMMANDS.items()},
        "°": "^\\circ ", "º": "^\\circ ", "\u2212": "-", "\u2013": "-", "\u2010": "-",
        "\u2011": "-", "÷": "/", "⁄": "/", "∕": "/", "∗": "*", "⟨": "(", "⟩": ")", "〈": "(",
        "〉": ")", "’": "'", "′": "'", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u3000": " ",
        "\u2061": "", "、": ",", "。": ".", "．": ".",
    }
)  # fmt: skip
_WIDE = re.compile("[\uff01-\uff5e\uffe0-\uffe6\U0001d400-\U0001d7ff\ufe62-\ufe66]")

_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ"
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙ"
_RAISED = str.maketrans(_SUPERSCRIPTS + _SUBSCRIPTS, "0123456789+-()ni" + "0123456789+-()n")
_MICRO = re.compile(r"(?<=[0-9])\s*[µμ]([msgLlFAV])(?![A-Za-z])")
_SUPERSCRIPT = re.compile(f"[{_SUPERSCRIPTS}]+")
_SUBSCRIPT = re.compile(f"[{_SUBSCRIPTS}]+")
_FRACTIONS = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5),
    "⅗": (3, 5), "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8),
    "⅝": (5, 8), "⅞": (7, 8), "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip
_FRACTION = re.compile(f"[{''.join(_FRACTIONS)}]")
_ROOTS = {"√": "\\sqrt", "∛": "\\sqrt[3]", "∜": "\\sqrt[4]"}
_ROOT_INDEX = re.compile(r"(?:^|(?<=[-+*/=(,{ ]))([⁰¹²³⁴⁵⁶⁷⁸⁹]+)√")  # ⁴√16; 2⁴√16 is a product
_ROOT = re.compile(r"([√∛∜]|\\sqrt\[\d+\]√)\s*(?:(\d+(?:\.\d+)?)|(\\[A-Za-z]+|[A-Za-z])|(?=[({]))")

_BOLD = re.compile(r"(?<![\w)\]}!])\*\*(?=\S)([^*]+)(?<=\S)\*\*(?![\w(\[{\\.-])")
_LOOSE_STARS = re.compile(r"^\s*\*\*|\*\*\s*$")
_TEXT = re.compile(r"(\\(?:text|mbox|mathrm|textbf)\s*\{[^{}]*\})")
_ASCII_ROOT = re.compile(r"(?<![A-Za-z])\\?sqrt\s*(?=\()")
_ASCII_COMMAND = re.compile(
    r"(?<![A-Za-z\\])(?:([Pp]i|infinity|inf|theta)(?![A-Za-z])|(sin|cos|tan|log|ln|exp)(?= ?\())"
)
_SPELLED = {"inf": "infty", "infinity": "infty", "Pi": "pi"}
_OPERAND = re.compile(r"\s*([+-]?\s*(?:\d+(?:\.\d+)?(?![\d.])|\\[A-Za-z]+|[A-Za-z]))")
_GROUPED = re.compile(  # 1_000_000 and 1.234.567: nothing else is written so
    r"(?<![\w.,])(?:[1-9]\d{0,2}(?:_\d{3})+|[1-9]\d{0,2}(?:\.\d{3}){2,})(?![\w.])"
)
_LONG_EXPONENT = re.compile(r"\^(-?\d{2,}|-\d|-[A-Za-z])")


def latex_notation(text: str) -> str:
    """Rewrite Unicode first: its result may be ASCII mathematics."""
    text = _INVISIBLE.sub("", text)
    if not text.isascii():
        text = _from_unicode(text)
    return _from_ascii(text)


def _from_unicode(text: str) -> str:
    text = _WIDE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = _MICRO.sub(r"\\text{micro\1}", text)
    text = _ROOT_INDEX.sub(lambda match: f"\\sqrt[{match[1].translate(_RAISED)}]√", text)
    text = _SUPERSCRIPT.sub(lambda match: f"^{{{match[0].translate(_RAISED)}}}", text)
    text = _SUBSCRIPT.sub(lambda match: f"_{{{match[0].translate(_RAISED)}}}", text)
    text = _FRACTION.sub(_vulgar_fraction, text)
    text = text.translate(_CHARACTERS)
    return _bracketed(_ROOT.sub(_root, text), "\\sqrt") if _ROOT.search(text) else text


def _vulgar_fraction(match: re.Match[str]) -> str:
    top, bottom = _FRACTIONS[match[0]]
    return rf"\frac{{{top}}}{{{bottom}}}"


def _root(match: re.Match[str]) -> str:
    name = _ROOTS.get(match[1]) or match[1].removesuffix("√")
    radicand = match[2] or match[3]
    return f"{name}{{{radicand}}}" if radicand else f"{name}"


def _from_ascii(text: str) -> str:
    if "**" in text:
        text = _LOOSE_STARS.sub("", _BOLD.sub(r"\1", text))
        text = re.sub(r"\s*\*\*\s*", "^", text)
    text = _GROUPED.sub(lambda match: re.sub("[._]", "", match[0]), text)
    if "sqrt" in text:
        text = _bracketed(_ASCII_ROOT.sub(r"\\sqrt", text), "\\sqrt")
    if "^" in text:
        text = _LONG_EXPONENT.sub(r"^{\1}", _nested_powers(_bracketed(text, "^")))
    pieces = _TEXT.split(text)
    pieces[::2] = [_outside_text(piece) for piece in pieces[::2]]
    return "".join(pieces)


def _outside_text(text: str) -> str:
    text = _ASCII_COMMAND.sub(_command, text)
    return text.replace("<=", "\\le ").replace(">=", "\\ge ").replace("=<", "\\le ")


def _command(match: re.Match[str]) -> str:
    name = match[1] or match[2]
    return f"\\{_SPELLED.get(name, name)} "


def _nested_powers(text: str) -> str:
    """Read powers from the right: a^b^c is a^{b^c}."""
    return re.sub(r"\^(\d+)\^(\{[^{}]*\}|\d+)", r"^{\1^\2}", text) if text.count("^") > 1 else text


def _bracketed(text: str, name: str, depth: int = 0) -> str:
    r"""Turn round brackets after `name` into a LaTeX argument: 2^(1/4)."""
    if depth > MAX_NESTED:
        return text
    parts, end = list[str](), 0
    pattern = re.compile(re.escape(name) + r"(?:\[\d+\])?\s*(?=\()")
    while match := pattern.search(text, end):
        close = _closing(text, match.end())
        if close is None:
            break
        inside = _bracketed(text[match.end() + 1 : close], name, depth + 1)
        parts.append(f"{text[end : match.end()].rstrip()}{{{inside}}}")
        end = close + 1
    return "".join(parts) + text[end:]


def _closing(text: str, start: int) -> int | None:
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if depth == 0:
            return index
    return None
