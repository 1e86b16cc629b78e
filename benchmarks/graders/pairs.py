r"""Pairs (answer, reference) whose label is known by construction: golds against themselves,
rewritten, nearly missed, and shuffled.

    itself      the gold answer in a box, in the wrappings in which models write it
    equivalent  the same value in another spelling: 3/4 for \frac{3}{4}, reversed lists, a common
                factor, sympy's expansion and factors
    near miss   one unit more, the sign, the inverse, another bracket, another order of a tuple,
                another base, another word
    shuffled    the gold of the next problem; equal only by chance
No grader is used here.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from study.grading.math.extraction import reference
from study.grading.math.latex import closing, plain, split
from study.grading.math.quantities import quantity, split_unit

FILES = {
    "MATH-500": "math500.jsonl",
    "AIME24": "aime24.jsonl",
    "AIME25": "aime25.jsonl",
    "AMC23": "amc23.jsonl",
    "GSM8K": "gsm8k-test.jsonl",
}
STRICT_WRAPPINGS = {
    "box": r"\boxed{%s}",
    "prose": (
        "First we add, which gives \\boxed{12}. Wait.\nThus the final answer is $\\boxed{%s}$. I"
        " hope it is right."
    ),
    "display": "Hence\n\\[\n\\boxed{ %s }\n\\]",
    "spaced": "\\boxed {\n%s\n}",
}
RELAXED_WRAPPINGS = {
    "final answer is": "The final answer is %s.",
    "Answer:": "**Answer:** $%s$\n",
    "last formula": "so we find $%s$",
}


class Pair(NamedTuple):
    """kind: how `answer` was made from `gold`. equal: the label."""

    group: str
    kind: str
    answer: str
    gold: str
    equal: bool


def golds(folder: Path, name: str) -> list[str]:
    with (folder / FILES[name]).open(encoding="utf-8") as file:
        return [reference(str(json.loads(line)["answer"])) for line in file]


def pairs(references: list[str]) -> list[Pair]:
    """Return the pairs, without those whose texts are the same.

    Each different gold is rewritten and missed once.
    """
    made: list[Pair] = []
    for gold in dict.fromkeys(references):
        made += [Pair("equivalent", kind, text, gold, True) for kind, text in equivalents(gold)]
        made += [Pair("near miss", kind, text, gold, False) for kind, text in near_misses(gold)]
    shifted = [*references[1:], references[0]]
    made += [
        Pair("shuffled", "shuffled", other, gold, False)
        for gold, other in zip(references, shifted, strict=True)
        if _bare(other) != _bare(gold)
    ]
    return [pair for pair in dict.fromkeys(made) if pair.answer != pair.gold]


def _bare(gold: str) -> str:
    """Reduce x=5 to 5."""
    return re.sub(r"^[a-z]=", "", plain(gold))


def equivalents(gold: str) -> Iterator[tuple[str, str]]:
    text = plain(gold)
    body, unit = split_unit(text)
    if re.fullmatch(r"-?\d+(,\d{3})*", body):
        yield from _integers(int(body.replace(",", "")), unit)
    elif match := re.fullmatch(r"(-?)\\frac\{(\d+)\}\{(\d+)\}", text):
        yield from _fractions(match[1], int(match[2]), int(match[3]))
    elif parts := _parts(text):
        yield from _rearranged(*parts)
    elif match := re.fullmatch(r"\\text\{\(?([A-Za-z ]+)\)?\}", text):
        yield from (
            ("words without \\text", match[1]),
            ("words in bold", rf"\textbf{{{match[1]}}}"),
        )
    elif match := re.fullmatch(r"(\d+)_(\d)", text):
        yield "base in braces", f"{match[1]}_{{{match[2]}}}"
    elif "=" in text:
        yield "equation with both sides doubled", _doubled(text)
        yield from (
            [("right side of an equation", text.partition("=")[2])]
            if not text.endswith("=0")
            else []
        )
    elif quantity(text) is None and "\\" + "in" not in text and not text.startswith("\\begin"):
        yield from _formulas(gold, _SAME)
    if text.startswith("\\begin{pmatrix}"):
        yield from _matrices(text)


def near_misses(gold: str) -> Iterator[tuple[str, str]]:
    text = plain(gold)
    body, _ = split_unit(text)
    if re.fullmatch(r"-?\d+(,\d{3})*", body):
        value = int(body.replace(",", ""))
        yield from (("one more", str(value + 1)), ("a third more", rf"{value}\frac{{1}}{{3}}"))
        yield from (
            [
                ("other sign", str(-value)),
                ("ten times", f"{value}0"),
                ("as a percentage", rf"{value}\%"),
            ]
            if value
            else []
        )
    elif match := re.fullmatch(r"(-?)\\frac\{(\d+)\}\{(\d+)\}", text):
        sign, top, bottom = match[1], int(match[2]), int(match[3])
        yield from (
            ("inverse", rf"{sign}\frac{{{bottom}}}{{{top}}}"),
            ("numerator + 1", f"{sign}{top + 1}/{bottom}"),
        )
        yield (
            "rounded to two places",
            f"{sign}{top / bottom + (0 if top * 100 % bottom else 0.01):.2f}",
        )
    elif match := re.fullmatch(r"-?\d*\.\d*(\d)", text):
        yield "last digit", text[:-1] + str((int(match[1]) + 1) % 10)
    elif parts := _parts(text):
        yield from _spoiled(*parts)
    elif match := re.fullmatch(r"\\text\{\(?([A-Za-z ]+)\)?\}", text):
        word = match[1]
        yield (
            "other word",
            rf"\text{{{chr((ord(word) - 64) % 26 + 65) if len(word) == 1 else 'un' + word}}}",
        )
        yield from [("letters rearranged", word[1:] + word[0])] if len(word) > 1 else []
    elif match := re.fullmatch(r"(\d+)_(\d)", text):
        yield from (
            ("other base", f"{match[1]}_{(int(match[2]) + 1) % 10 or 2}"),
            ("other digits", f"1{match[1]}_{match[2]}"),
        )
        yield "value in base ten", str(int(match[1], int(match[2])))
    elif "=" in text:
        yield "right side + 1", f"{text} + 1"
    elif quantity(text) is None and "\\" + "in" not in text and not text.startswith("\\begin"):
        yield from _formulas(gold, _DIFFERENT)
    if text.startswith("\\begin{pmatrix}"):
        yield "first entry + 1", text.replace("{pmatrix}", "{pmatrix}1+", 1)


def _integers(value: int, unit: str | None) -> Iterator[tuple[str, str]]:
    yield from (
        ("decimal", f"{value}.0"),
        ("named", f"x = {value}"),
        ("fraction", rf"\frac{{{2 * value}}}{{2}}"),
        ("sum", f"{value - 1} + 1"),
    )
    yield from [("thousands", f"{value:,}")] if abs(value) > 999 else []
    yield from (
        [("with a unit", rf"{value}\text{{ apples}}"), ("with a bare unit", f"{value} cm")]
        if unit is None
        else []
    )


def _fractions(sign: str, top: int, bottom: int) -> Iterator[tuple[str, str]]:
    yield from (
        ("slash", f"{sign}{top}/{bottom}"),
        ("common factor", rf"{sign}\dfrac{{{3 * top}}}{{{3 * bottom}}}"),
    )
    yield from [("short form", rf"{sign}\frac {top}{{{bottom}}}")] if top < 10 else []
    yield from (
        ("sum", rf"{sign}\frac{{{top - 1}}}{{{bottom}}} {sign or '+'} \frac{{1}}{{{bottom}}}"),
    )
    if 10**6 * top % bottom == 0:
        yield "decimal", f"{sign}{top / bottom:.6f}".rstrip("0")
    yield from (
        [("mixed number", rf"{sign}{top // bottom}\frac{{{top % bottom}}}{{{bottom}}}")]
        if top > bottom
        else []
    )


def _parts(text: str) -> tuple[str, list[str], str] | None:
    r"""(opening, parts, closing) of (a,b], \{a,b\}, a,b and A \cup B."""
    if "\\cup" in text:
        return "cup", text.split("\\cup"), "cup"
    if text.startswith("\\{"):
        return "\\{", split(text[2:-2], ","), "\\}"
    if text[0] in "([" and closing(text, 0) == len(text) - 1:
        return (text[0], found, text[-1]) if len(found := split(text[1:-1], ",")) > 1 else None
    return (
        ("", split(text, ","), "") if quantity(text) is None and len(split(text, ",")) > 1 else None
    )


def _rearranged(begin: str, parts: list[str], end: str) -> Iterator[tuple[str, str]]:
    if begin == "cup":
        yield "union reversed", " \\cup ".join(reversed(parts))
        return
    if begin in ("", "\\{"):
        yield "list reversed", f"{begin}{', '.join(reversed(parts))}{end}"
        yield from [("list with and", " \\text{ and } ".join(parts))] if not begin else []
        return
    shown = begin + ",\\; ".join(parts) + end
    yield "sized brackets", rf"\left{begin} {', '.join(parts)} \right{end}"
    yield from (
        ("spaced", shown),
        ("slashes", re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", shown)),
    )


def _spoiled(begin: str, parts: list[str], end: str) -> Iterator[tuple[str, str]]:
    if begin == "cup":
        yield from (
            ("union without a part", parts[0]),
            ("union with other brackets", " \\cup ".join(f"[{part[1:]}" for part in parts)),
        )
        return
    joined = ",".join(parts[1:])
    yield "first part left out", f"{begin}{joined}{end}"
    if "\\infty" not in parts[0]:
        yield "first part + 1", f"{begin}{parts[0]}+1,{joined}{end}"
    if begin in ("(", "["):
        yield "order reversed", begin + ",".join(reversed(parts)) + end
    if begin + end in ("(]", "[)", "[]", "()") and len(parts) == 2:
        yield "other bracket", f"{'[' if begin == '(' else '('}{','.join(parts)}{end}"


def _matrices(text: str) -> Iterator[tuple[str, str]]:
    yield "square brackets", text.replace("pmatrix", "bmatrix")
    yield "fractions", re.sub(r"(-?\d+)/(\d+)", r"\\frac{\1}{\2}", text)


def _doubled(text: str) -> str:
    left, _, right = text.partition("=")
    return rf"2\left({left}\right) = 2\left({right}\right)"


def _other_case(made: str, gold: str) -> bool:
    ours, theirs = (set(_LETTER.findall(text)) for text in (made, gold))
    return any(letter.swapcase() in theirs for letter in ours - theirs)


_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])")
_Change = Callable[[Any], dict[str, Any]]


def _SAME(value: Any) -> dict[str, Any]:
    return {"sympy's own": value, "expanded": value.expand(), "factored": value.factor()}


def _DIFFERENT(value: Any) -> dict[str, Any]:
    return {"+ 1": value + 1, "other sign": -value, "doubled": 2 * value}


def _formulas(gold: str, change: _Change) -> Iterator[tuple[str, str]]:
    """Rewrite with sympy if it is one formula, and by editing the text around it."""
    from math_verify import parse
    from sympy import Expr, latex

    value = next(iter(parse(f"${gold}$")), None)
    if not isinstance(value, Expr) or "\\text" in plain(gold):
        return
    value = value.doit()
    for kind, made in change(value).items():
        text = latex(made)
        if not _other_case(text, gold):  # the parser reads R as r, which is another letter
            yield kind, text
    body = plain(gold).replace("^\\circ", "")
    around = {"1 + ... - 1": rf"1 + {body} - 1", "2(...)/2": rf"\frac{{2\left({body}\right)}}{{2}}"}
    missed = {"... + 1": rf"{body} + 1", "-(...)": rf"-\left({body}\right)"}
    yield from (around if change is _SAME else missed).items()
