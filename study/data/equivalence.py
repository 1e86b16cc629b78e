r"""compare(candidate, reference) -> Verdict: are two answers the same? Decided here without evaluating anything, or handed on as pairs to ask about.

    exact      the same text after `latex.plain`; words by their letters, whatever the case; a choice (C) by its letter
    numeric    two numbers by their exact values and units (`quantities.same`)
    structure  tuples and intervals in order, sets and bare lists in any order, unions, matrices, `x = ...`, `a \pm b`: part by part, by these rules
    symbolic   all else: `Verdict.pending` holds pairs (candidate, reference), small ones, all of which a symbolic tier must find equal
The three values of `equal`: True, False, None (all of `pending` must be asked). `relaxed` widens the rules of quantities and of brackets.
Nesting deeper than MAX_DEPTH and answers longer than `latex.MAX_LENGTH` are compared as text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from study.data.latex import MAX_LENGTH, closing, plain, split
from study.data.quantities import quantity, same, same_unit, split_unit

MAX_DEPTH = 6
MAX_PARTS = 60


class Tier(StrEnum):
    """Which kind of comparison decided."""

    exact = "exact"
    numeric = "numeric"
    symbolic = "symbolic"


@dataclass(frozen=True)
class Verdict:
    equal: bool | None
    tier: Tier
    pending: tuple[tuple[str, str], ...] = ()


_SAME = Verdict(True, Tier.exact)
_OTHER = Verdict(False, Tier.exact)
_WORDS = re.compile(r"\\text\{([^{}]*)\}|([A-Za-z][A-Za-z' -]*)")
_CHOICE = re.compile(r"(?:\\text\{)?\(?([A-Za-z])\)?(?:\})?[.:]?")
_CHOICE_AND_TEXT = re.compile(r"(?:\\text\{)?\(([A-Z])\)(?:\})?[.:]?(.*)", re.DOTALL)
_AND = re.compile(r"\\text\{,?\s*(?:and|or)\s*\}|,?(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")
_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_NAMED = re.compile(r"([A-Za-z](?:_\w|_\{\w+\})?|[A-Za-z]\([A-Za-z]\)|\\[a-z]+)(=|\\in(?![A-Za-z])) ?(.*)", re.DOTALL)
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|in|ne)(?![A-Za-z])")
_CHAIN = re.compile(r"(.+?)(<|\\le) ?([A-Za-z])(<|\\le) ?(.+)")
_ONE_SIDED = re.compile(r"([A-Za-z])(<|>|\\le|\\ge) ?(.+)")


def compare(candidate: str, reference: str, *, relaxed: bool = False) -> Verdict:
    """Both as they were written. Time is bounded whatever they hold."""
    left, right = plain(candidate), plain(reference)
    if left == right:
        return _SAME
    if not left or max(len(left), len(right)) > MAX_LENGTH or _UNREADABLE.search(left + right):
        return _OTHER
    return _compare(left, right, relaxed, 0)


def vote(answer: str) -> str:
    """A name that answers share which the exact and numeric tiers find equal: what a majority vote counts."""
    text = plain(answer)
    number = quantity(text)
    return f"{number.value} {number.base}" if number else text.casefold()


def _compare(left: str, right: str, relaxed: bool, depth: int) -> Verdict:
    if left == right:
        return _SAME
    if not left or not right or depth > MAX_DEPTH:
        return _OTHER
    left_number, right_number = quantity(left), quantity(right)
    if right_number and not left_number:
        left_number = quantity(left, letters=True)
    if left_number and left_number.unit and not right_number:
        right_number = quantity(right, letters=True)
    if left_number and right_number:
        return Verdict(same(left_number, right_number, relaxed=relaxed), Tier.numeric)
    for rule in (_as_named, _as_words, _as_structure):
        if (verdict := rule(left, right, relaxed, depth)) is not None:
            return verdict
    return _as_formula(left, right, relaxed, depth)


def _as_words(left: str, right: str, relaxed: bool, depth: int) -> Verdict | None:
    """Where the reference is words or the letter of a choice, words decide."""
    if relaxed and (marked := _CHOICE_AND_TEXT.fullmatch(left)) and marked[2]:
        sides = [_compare(side, right, relaxed, depth + 1) for side in (marked[1], marked[2])]
        return next((v for v in sides if v.equal), next((v for v in sides if v.equal is None), _OTHER))
    if (choice := _CHOICE.fullmatch(right)) and right != choice[1]:
        other = _CHOICE.fullmatch(left)
        return Verdict(other is not None and other[1].casefold() == choice[1].casefold(), Tier.exact)
    words = _words(right)
    if words is None:
        return _OTHER if left.startswith("\\text{") and _words(left) else None
    return Verdict(_letters(left) == words, Tier.exact)


def _words(text: str) -> str | None:
    """Casefolded words; None for what may be a formula: bare letters that are few or have no vowel."""
    match = _WORDS.fullmatch(text)
    if match is None:
        return None
    word = " ".join((match[1] if match[1] is not None else match[2]).casefold().split())
    return word if match[1] is not None or (len(word) >= 4 and any(vowel in word for vowel in "aeiou")) else None


def _letters(text: str) -> str | None:
    match = _WORDS.fullmatch(text)
    return " ".join((match[1] if match[1] is not None else match[2]).casefold().split()) if match else None


def _as_named(left: str, right: str, relaxed: bool, depth: int) -> Verdict | None:
    """`x = 5` is 5 and is not `y = 5`; `x \\in [a, b]` and `a \\le x \\le b` are intervals."""
    left_name, right_name = _NAMED.fullmatch(left), _NAMED.fullmatch(right)
    if left_name and right_name and left_name[1] == right_name[1] and left_name[2] == right_name[2]:
        return _compare(left_name[3], right_name[3], relaxed, depth + 1) if "=" not in left_name[3] + right_name[3] else None
    if left_name and not _has_relation(right) and not _has_relation(left_name[3]):
        return _compare(left_name[3], right, relaxed, depth + 1)
    if right_name and not _has_relation(left) and not _has_relation(right_name[3]):
        return _compare(left, right_name[3], relaxed, depth + 1)
    left_interval, right_interval = _interval(left), _interval(right)
    if left_interval is None and right_interval is None:
        return None
    left, right = left_interval or _after_in(left), right_interval or _after_in(right)
    return _compare(left, right, relaxed, depth + 1) if left[:1] in "([" and right[:1] in "([" else None


def _has_relation(text: str) -> bool:
    return _RELATION.search(text) is not None


def _after_in(text: str) -> str:
    match = _NAMED.fullmatch(text)
    return match[3] if match and match[2] == "\\in" else text


def _interval(text: str) -> str | None:
    """-2 \\le x < 7 as [-2,7); x > 3 as (3,\\infty)."""
    if match := _CHAIN.fullmatch(text):
        return f"{'(' if match[2] == '<' else '['}{match[1]},{match[5]}{')' if match[4] == '<' else ']'}"
    if (match := _ONE_SIDED.fullmatch(text)) is None or _has_relation(match[3]):
        return None
    sign, bound = match[2], match[3]
    if sign in ("<", "\\le"):
        return f"(-\\infty,{bound}{')' if sign == '<' else ']'}"
    return f"{'(' if sign == '>' else '['}{bound},\\infty)"


@dataclass(frozen=True)
class _Parts:
    """kind: set, list (bare), tuple, union, matrix. marks: what must agree beside the parts (brackets, shape)."""

    kind: str
    parts: tuple[str, ...]
    marks: str = ""


def _as_structure(left: str, right: str, relaxed: bool, depth: int) -> Verdict | None:
    ours, theirs = _parts(left), _parts(right)
    if ours is None and theirs is None:
        return None
    if ours is None or theirs is None:
        return _one_sided(left, right, ours, theirs, relaxed, depth)
    if not _comparable(ours, theirs, relaxed):
        return _OTHER
    if len(ours.parts) != len(theirs.parts):
        return _OTHER
    if {ours.kind, theirs.kind} <= {"set", "list", "union"}:
        return _in_any_order(ours.parts, theirs.parts, (left, right), relaxed, depth)
    return _in_order(ours.parts, theirs.parts, relaxed, depth)


def _one_sided(left: str, right: str, ours: _Parts | None, theirs: _Parts | None, relaxed: bool, depth: int) -> Verdict | None:
    """A list whose commas look like thousands separators; a set of one element; otherwise something else."""
    if theirs and theirs.kind in ("list", "set", "tuple") and quantity(left) is not None:
        listed = tuple(left.split(","))
        return _in_any_order(listed, theirs.parts, (left, right), relaxed, depth) if len(listed) == len(theirs.parts) > 1 else _OTHER
    for parts, other, swapped in ((ours, right, False), (theirs, left, True)):
        if parts and parts.kind == "set" and len(parts.parts) == 1:
            return _compare(other, parts.parts[0], relaxed, depth + 1) if swapped else _compare(parts.parts[0], other, relaxed, depth + 1)
    return None if ours and ours.kind == "union" or theirs and theirs.kind == "union" else _unlike(left, right)


def _unlike(left: str, right: str) -> Verdict | None:
    """A tuple or list against a number, or against a formula without any list in it, is something else."""
    return _OTHER if not {"\\cup", "\\begin", "\\pm", "\\{", "\\setminus", "\\in"} & set(re.findall(r"\\[a-z]+|\\\{", left + right)) else None


def _comparable(ours: _Parts, theirs: _Parts, relaxed: bool) -> bool:
    kinds = {ours.kind, theirs.kind}
    if kinds == {"tuple"}:
        return ours.marks == theirs.marks or (len(ours.parts) > 2) or (relaxed and len(ours.parts) != 2)
    if kinds == {"matrix"}:
        return ours.marks == theirs.marks
    if kinds == {"list", "tuple"} or kinds == {"list", "set"}:
        return all("[" not in each.marks and "]" not in each.marks for each in (ours, theirs))
    if kinds == {"matrix", "tuple"} or kinds == {"set", "tuple"}:
        return relaxed
    return len(kinds) == 1


def _parts(text: str) -> _Parts | None:
    if match := _MATRIX.fullmatch(text):
        rows = [row.split("&") for row in match[2].removesuffix("\\\\").split("\\\\")]
        cells = tuple(cell.strip() for row in rows for cell in row)
        determinant = "|" if match[1] in ("vmatrix", "Vmatrix") else ""
        return _Parts("matrix", cells, f"{determinant}{[len(row) for row in rows]}") if len(cells) <= MAX_PARTS else None
    if len(members := text.split("\\cup")) > 1:
        return _Parts("union", tuple(members)) if all(closing(m, 0) == len(m) - 1 or m.startswith("\\{") for m in members) else None
    if text.startswith("\\{") and text.endswith("\\}"):
        return _listed("set", text[2:-2], "")
    if text[0] in "([" and closing(text, 0) == len(text) - 1:
        found = _listed("tuple", text[1:-1], text[0] + text[-1])
        return found if found and len(found.parts) > 1 else None
    found = _listed("list", text, "") if quantity(text) is None else None
    return found if found and len(found.parts) > 1 else None


def _listed(kind: str, inner: str, marks: str) -> _Parts | None:
    separated = _AND.sub(",", inner) if kind in ("list", "set") else inner
    parts = [one for part in split(separated, ",;") if part for one in (_both_signs(part) if kind != "tuple" else [part])]
    return _Parts(kind, tuple(parts), marks) if 0 < len(parts) <= MAX_PARTS else None


def _both_signs(text: str) -> list[str]:
    if text.count("\\pm") != 1:
        return [text]
    before, _, after = text.partition("\\pm")
    return [f"{before}+{after}" if before else after.strip(), f"{before}-{after.strip()}"]


def _in_order(lefts: Sequence[str], rights: Sequence[str], relaxed: bool, depth: int) -> Verdict:
    verdicts = [_compare(left.strip(), right.strip(), relaxed, depth + 1) for left, right in zip(lefts, rights, strict=True)]
    if any(v.equal is False for v in verdicts):
        return Verdict(False, _highest(v.tier for v in verdicts if v.equal is False))
    pending = tuple(pair for v in verdicts for pair in v.pending)
    return Verdict(None if pending else True, _highest(v.tier for v in verdicts), pending)


def _in_any_order(lefts: Sequence[str], rights: Sequence[str], whole: tuple[str, str], relaxed: bool, depth: int) -> Verdict:
    """Each part must find a partner of its own. Where that hangs on a formula, the whole pair is asked about."""
    free, tiers, open_question = [part.strip() for part in lefts], [Tier.exact], False
    for right in rights:
        verdicts = [_compare(left, right.strip(), relaxed, depth + 1) for left in free]
        tiers += [v.tier for v in verdicts]
        partner = next((i for i, v in enumerate(verdicts) if v.equal), None)
        if partner is not None:
            free.pop(partner)
        elif all(v.equal is False for v in verdicts):
            return Verdict(False, _highest(tiers))
        else:
            open_question = True
    return Verdict(None, Tier.symbolic, (whole,)) if open_question else Verdict(True, _highest(t for t in tiers if t is not Tier.symbolic))


def _highest(tiers: "object") -> Tier:
    order = list(Tier)
    return max(tiers, key=order.index, default=Tier.exact)  # type: ignore[call-overload]


def _as_formula(left: str, right: str, relaxed: bool, depth: int) -> Verdict:
    """What remains is for the symbolic tier, without units, which it would drop unseen."""
    for text, other, swapped in ((left, right, False), (right, left, True)):
        if text[0] == "(" and closing(text, 0) == len(text) - 1:
            return _compare(other, text[1:-1], relaxed, depth + 1) if swapped else _compare(text[1:-1], other, relaxed, depth + 1)
    (left_body, left_unit), (right_body, right_unit) = split_unit(left), split_unit(right)
    if not same_unit(left_unit, right_unit, relaxed=relaxed):
        return _OTHER
    if (left_body, right_body) != (left, right) and left_body and right_body:
        return _compare(left_body, right_body, relaxed, depth + 1)
    if _lost_by_parsing(left) != _lost_by_parsing(right) or _TWO_NUMBERS.search(left + " | " + right):
        return _OTHER
    return Verdict(None, Tier.symbolic, ((left, right),))


_TWO_NUMBERS = re.compile(r"[0-9] [0-9]")  # not a product, and not one number
_UNREADABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]|(?![0-9])\d")  # control characters, halves of characters, other digits
_BASE = re.compile(r"[0-9}]_(?:\{([0-9]+)\}|([0-9]))")


def _lost_by_parsing(text: str) -> list[tuple[str, str]]:
    """Subscripts of numbers (bases), which math-verify drops: 52_8 would be 52_9."""
    return _BASE.findall(text)
