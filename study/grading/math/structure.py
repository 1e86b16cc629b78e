r"""Split answers in plain spelling (`study.grading.math.latex`) into parts, and compare them by
structure.

    parts(text)   (1,2]  \{1,2\}  1,2  1\text{ or }2  a\pm b  A\cup B
                  \begin{pmatrix}...\end{pmatrix}   -> Parts; None for one thing
    as_structure(left, right, comparison)   tuples and intervals in order, sets and lists in any
                  order, unions, matrices, assignments by their names, solutions as tuples
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from study.grading.math.equality import (
    OTHER,
    Comparison,
    Equality,
    Tier,
    as_sets,
    every,
    in_order,
)
from study.grading.math.latex import closing, split
from study.grading.math.names import (
    Assignments,
    are_labels,
    assignments,
    positions,
    solutions,
)
from study.grading.math.quantities import quantity
from study.grading.math.units import same_unit, split_unit

MAX_PARTS = 60
_COMMAND = re.compile(r"\\[a-z]+|\\\{")
_LISTS = {  # may be several things without looking like a list
    "\\cup",
    "\\begin",
    "\\pm",
    "\\{",
    "\\setminus",
    "\\in",
}

_PAIRS = re.compile(r"[+-]?[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?")
_AND = re.compile(r"\\text\{,?\s*(?:and|or)\s*\}|,?(?<![A-Za-z\\])(?:and|or)(?![a-z])")
_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)


@dataclass(frozen=True)
class Parts:
    """Parts of an answer. kind: set, list (bare), tuple, union, matrix. marks: what must agree
    besides the parts (brackets, shape).
    """

    kind: str
    parts: tuple[str, ...]
    marks: str = ""

    @property
    def ordered(self) -> bool:
        return self.kind in ("tuple", "matrix")


def parts(text: str) -> Parts | None:
    """Split into parts; None also for more than MAX_PARTS parts."""
    match = _MATRIX.fullmatch(text)
    if match and "\\begin" not in match[2]:  # a sum of two matrices is no matrix
        rows = [row.split("&") for row in match[2].removesuffix("\\\\").split("\\\\")]
        cells = tuple(cell.strip() for row in rows for cell in row)
        determinant = "|" if match[1] in ("vmatrix", "Vmatrix") else ""
        shape = [len(row) for row in rows]
        return Parts("matrix", cells, f"{determinant}{shape}") if len(cells) <= MAX_PARTS else None
    if len(members := text.split("\\cup")) > 1:
        return (
            Parts("union", tuple(members))
            if all(closing(m, 0) == len(m) - 1 or m.startswith("\\{") for m in members)
            else None
        )
    if text.startswith("\\{") and closing(text, 1) == len(text) - 1:
        return _listed("set", text[2:-2], "")
    if text[0] in "([" and closing(text, 0) == len(text) - 1:
        found = _listed("tuple", text[1:-1], text[0] + text[-1])
    else:
        found = _listed("list", text, "") if quantity(text) is None else None
    return found if found and len(found.parts) > 1 else None


def _listed(kind: str, inner: str, marks: str) -> Parts | None:
    separated = _AND.sub(",", inner) if kind != "tuple" else inner
    separator = ",;"
    if kind != "tuple" and len(split(separated, ";")) > 1 and len(split(separated, ",")) > 1:
        separator = ";"  # 1,2;3,4 are two pairs
    found = [
        one
        for part in split(separated, separator)
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
    """Whether these two could be the same, whatever their parts.

    `relaxed` accepts other brackets where neither side can be an interval.
    """
    kinds = {ours.kind, theirs.kind}
    if kinds == {"tuple"}:
        return ours.marks == theirs.marks or len(ours.parts) > 2
    if kinds == {"matrix"}:
        return ours.marks == theirs.marks
    if "list" in kinds and kinds & {"tuple", "set"}:
        return all("[" not in each.marks and "]" not in each.marks for each in (ours, theirs))
    return len(kinds) == 1 or (relaxed and kinds in ({"matrix", "tuple"}, {"set", "tuple"}))


def as_structure(left: str, right: str, comparison: Comparison) -> Equality | None:
    if (equality := _as_solutions(left, right, comparison)) is not None:
        return equality
    ours, theirs = parts(left), parts(right)
    if ours is None and theirs is None:
        return None
    if ours is None or theirs is None:
        return _one_sided(left, right, ours, theirs, comparison)
    if not comparable(ours, theirs, relaxed=comparison.relaxed):
        return OTHER
    if _nested(ours) != _nested(theirs):
        return OTHER
    if ours.ordered or theirs.ordered:
        return in_order(ours.parts, theirs.parts, comparison)
    return as_sets(ours.parts, theirs.parts, (left, right), comparison)


def _nested(found: Parts) -> int:
    """Count members that are sets: {{1}, 2} is not {1, 2}."""
    return sum(part.strip().startswith("\\{") for part in found.parts)


def _as_solutions(left: str, right: str, comparison: Comparison) -> Equality | None:
    """Compare `x=1,y=2` and `p=5,q=2;p=7,q=2` with each other, a tuple, or a list of tuples."""
    if "=" not in left + right:
        return None
    several = solutions(left), solutions(right)
    if several != (None, None):
        tuples = [
            text if found is None else ",".join(f"({','.join(positions(one))})" for one in found)
            for text, found in zip((left, right), several, strict=True)
        ]
        same_names = None in several or _names(several[0]) == _names(several[1])
        return comparison.parts(*tuples) if same_names else OTHER
    ours, theirs = assignments(left), assignments(right)
    if ours and theirs:
        if ours.keys() != theirs.keys():
            return None if are_labels(ours) and are_labels(theirs) else OTHER
        return every([comparison.parts(ours[name], theirs[name]) for name in ours])
    if ours:
        return _assigned(ours, right, comparison, swapped=False)
    return _assigned(theirs, left, comparison, swapped=True) if theirs else None


def _names(found: list[Assignments] | None) -> set[str]:
    return set(found[0]) if found else set()


def _assigned(
    found: Assignments, other: str, comparison: Comparison, *, swapped: bool
) -> Equality | None:
    """Compare named values with a tuple or a list without names: in order, unless the names only
    number the values.
    """
    listed = parts(other)
    if listed is None or listed.kind not in ("tuple", "list") or are_labels(found):
        return None
    if "=" in other or (listed.kind == "tuple" and listed.marks != "()"):
        return None
    values = positions(found) if listed.kind == "tuple" else list(found.values())
    sides = (listed.parts, values) if swapped else (values, listed.parts)
    return in_order(*sides, comparison)


def _one_sided(
    left: str, right: str, ours: Parts | None, theirs: Parts | None, comparison: Comparison
) -> Equality | None:
    """Compare with a list whose commas look like thousands separators or a decimal comma, or a set
    of one element; otherwise they differ.
    """
    if theirs and theirs.kind == "tuple" and quantity(left) is not None:
        return OTHER  # 1,200 is no point
    if theirs and theirs.kind in ("list", "set") and quantity(left) is not None:
        if theirs.kind == "list":
            for rule in (_decimal_comma, _grouped_in_pairs):
                if (same_number := rule(right, left, comparison)) is not None:
                    return same_number
        listed = tuple(left.split(","))
        compact = theirs.kind != "list" or ", " not in right or comparison.relaxed
        padded = any(re.match(r"0[0-9]", member) for member in listed)  # 1,050 is not 1 and 50
        if len(listed) == len(theirs.parts) > 1 and compact and not padded:
            return as_sets(listed, theirs.parts, (left, right), comparison)
        return OTHER
    if ours and ours.kind == "list":
        for rule in (_decimal_comma, _grouped_in_pairs):
            if (same_number := rule(left, right, comparison)) is not None:
                return same_number
    for some, other, swapped in ((ours, right, False), (theirs, left, True)):
        if some and some.kind == "set" and len(some.parts) == 1:
            one = some.parts[0]
            return comparison.parts(other, one) if swapped else comparison.parts(one, other)
    union = any(each and each.kind == "union" for each in (ours, theirs))
    return None if union else _unlike(left, right)


def _decimal_comma(listed: str, other: str, comparison: Comparison) -> Equality | None:
    """Read 0,25 as 0.25, as many countries write it, where the other side is a decimal and not a
    list. Relaxed: 2,5 is 2.5 as well, though it may be a list.
    """
    number, match = quantity(other), re.fullmatch(r"([+-]?)([0-9]+),([0-9]+)", listed)
    if match is None or number is None or number.decimals == 0:
        return None
    if match[2] != "0" and not comparison.relaxed:
        return None
    same = Fraction(f"{match[1]}{match[2]}.{match[3]}") == number.value
    return Equality(True, Tier.numeric) if same else None


def _grouped_in_pairs(listed: str, other: str, _: Comparison) -> Equality | None:
    """Read 12,34,567 as 1234567, as India writes it, where the other side is that number."""
    body, unit = split_unit(listed)
    number = quantity(other)
    if number is None or _PAIRS.fullmatch(body) is None or not same_unit(unit, number.unit):
        return None
    same = Fraction(body.replace(",", "")) == number.value
    return Equality(True, Tier.numeric) if same else None


def _unlike(left: str, right: str) -> Equality | None:
    """Return a difference for a tuple or list against a number or a formula without any list in it;
    None otherwise.
    """
    return None if _LISTS & set(_COMMAND.findall(left + right)) else OTHER
