r"""Structure of answers in plain spelling (`study.grading.math.latex`): the parts of tuples, sets,
lists, unions and matrices; names; intervals.

    parts(text)      (1,2]  \{1,2\}  1,2  1\text{ or }2  a\pm b  A\cup B
                     \begin{pmatrix}...\end{pmatrix}   -> Parts; None for one thing
    named(text)      x=...  f(x)=...  (x,y)=...  x\in...
                     -> (name, sign, rest)
    interval(text)   a<x\le b  x>a  a<x  \mathbb{R}
                     -> (a,b]  (a,\infty)  ...
Nothing is compared here and nothing evaluated.
"""

import re
from dataclasses import dataclass

from study.grading.math.latex import closing, split
from study.grading.math.quantities import quantity

MAX_PARTS = 60

_AND = re.compile(r"\\text\{,?\s*(?:and|or)\s*\}|,?(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")
_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_NAME = r"[A-Za-z](?:_\w|_\{\w+\})?|[A-Za-z]\([A-Za-z]\)|\\[a-z]+|\([A-Za-z](?:,[A-Za-z])*\)"
_NAMED = re.compile(rf"({_NAME})(=|\\in(?![A-Za-z])) ?(.*)", re.DOTALL)
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|in|ne)(?![A-Za-z])")
_CHAIN = re.compile(r"(.+?)(<|\\le) ?([A-Za-z])(<|\\le) ?(.+)")
_ONE_SIDED = re.compile(r"([A-Za-z])(<|>|\\le|\\ge) ?(.+)")
_REVERSED = re.compile(r"(.+?)(<|>|\\le|\\ge) ?([A-Za-z])")
_MIRRORED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


@dataclass(frozen=True)
class Parts:
    """kind: set, list (bare), tuple, union, matrix. marks: what must agree beside the parts
    (brackets, shape).
    """

    kind: str
    parts: tuple[str, ...]
    marks: str = ""

    @property
    def ordered(self) -> bool:
        return self.kind in ("tuple", "matrix")


def parts(text: str) -> Parts | None:
    """None also for more than MAX_PARTS parts."""
    if match := _MATRIX.fullmatch(text):
        rows = [row.split("&") for row in match[2].removesuffix("\\\\").split("\\\\")]
        cells = tuple(cell.strip() for row in rows for cell in row)
        determinant = "|" if match[1] in ("vmatrix", "Vmatrix") else ""
        return (
            Parts("matrix", cells, f"{determinant}{[len(row) for row in rows]}")
            if len(cells) <= MAX_PARTS
            else None
        )
    if len(members := text.split("\\cup")) > 1:
        return (
            Parts("union", tuple(members))
            if all(closing(m, 0) == len(m) - 1 or m.startswith("\\{") for m in members)
            else None
        )
    if text.startswith("\\{") and text.endswith("\\}"):
        return _listed("set", text[2:-2], "")
    if text[0] in "([" and closing(text, 0) == len(text) - 1:
        found = _listed("tuple", text[1:-1], text[0] + text[-1])
    else:
        found = _listed("list", text, "") if quantity(text) is None else None
    return found if found and len(found.parts) > 1 else None


def _listed(kind: str, inner: str, marks: str) -> Parts | None:
    separated = _AND.sub(",", inner) if kind != "tuple" else inner
    found = [
        one
        for part in split(separated, ",;")
        if part
        for one in (_both_signs(part) if kind != "tuple" else [part])
    ]
    return Parts(kind, tuple(found), marks) if 0 < len(found) <= MAX_PARTS else None


def _both_signs(text: str) -> list[str]:
    if text.count("\\pm") != 1:
        return [text]
    before, _, after = text.partition("\\pm")
    return [f"{before}+{after}" if before else after.strip(), f"{before}-{after.strip()}"]


def comparable(ours: Parts, theirs: Parts, *, relaxed: bool) -> bool:
    """Could these two be the same, whatever their parts?

    `relaxed` forgives the brackets of what can be no interval.
    """
    kinds = {ours.kind, theirs.kind}
    if kinds == {"tuple"}:
        return ours.marks == theirs.marks or len(ours.parts) > 2
    if kinds == {"matrix"}:
        return ours.marks == theirs.marks
    if "list" in kinds and kinds & {"tuple", "set"}:
        return all("[" not in each.marks and "]" not in each.marks for each in (ours, theirs))
    return len(kinds) == 1 or (relaxed and kinds in ({"matrix", "tuple"}, {"set", "tuple"}))


def named(text: str) -> tuple[str, str, str] | None:
    match = _NAMED.fullmatch(text)
    return (match[1], match[2], match[3]) if match else None


def has_relation(text: str) -> bool:
    return _RELATION.search(text) is not None


def interval(text: str) -> str | None:
    """None for what is no inequality with one letter in the right place."""
    if text == "\\mathbb{R}":
        return "(-\\infty,\\infty)"
    if match := _CHAIN.fullmatch(text):
        left = "(" if match[2] == "<" else "["
        right = ")" if match[4] == "<" else "]"
        return f"{left}{match[1]},{match[5]}{right}"
    if (match := _ONE_SIDED.fullmatch(text)) and not has_relation(match[3]):
        return _ray(match[2], match[3])
    if (match := _REVERSED.fullmatch(text)) and not has_relation(match[1]):
        return _ray(_MIRRORED[match[2]], match[1])
    return None


def _ray(sign: str, bound: str) -> str:
    if sign in ("<", "\\le"):
        return f"(-\\infty,{bound}{')' if sign == '<' else ']'}"
    return f"{'(' if sign == '>' else '['}{bound},\\infty)"
