r"""Find the answer in a completion: `answer` (strict) and `statements.stated` (relaxed).

    strict   the content of the last `\boxed{...}`, braces matched. Boxes that are listed one after
             the other (`\boxed{1}, \boxed{2} and \boxed{3}`, `x=\boxed{1}, y=\boxed{2}`) are one
             answer; a box that holds nothing or dots is an instruction and no answer
    relaxed  that too; else the last box that holds something; else what is stated without a box.
             Where the reference is a list of n parts, also the last n boxes together; and a final
             answer that is stated after the last box

`reference(text)` reads the answer from a column of gold answers: all of its boxes, what follows
`####` (GSM8K), the final answer that a solution states, or all of it. Everything here is linear in
the text.
"""

import re

from study.grading.math.equivalence import vote
from study.grading.math.statements import stated_at_the_end

MAX_LISTED = 60  # boxes that are read together
LONG = 25  # words in a reference: a longer one is a solution and not an answer

_BOX = "\\boxed"
_BRACE_OR_ESCAPE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text, not structure
_BRACE = re.compile(r"[{}]")
_DOTS = re.compile(r"(?:\\[cl]?dots|\.|…|_|\s)*")
_BARE_BOX = re.compile(r"\\boxed(?![A-Za-z{])\s*([^\s${}]+(?:\{[^{}]{0,200}\})*)")
_PERCENT_AFTER = re.compile(
    r"[\s$~]*(?:\\\)|\\[,; ])?\s*(?:\\?%|(?:\\text\{\s*)?(?:percent|per cent|pct)\b)", re.IGNORECASE
)
_MARKUP = re.compile(
    r"\\\(|\\\)|\\\[|\\\]|\$|\*\*|\\[,;:! ]|\\(?:quad|qquad)(?![A-Za-z])|&|\\text\s*\{|[{}~]"
)
_LIST_WORD = r"(?:,|;|\band\b|\bor\b)"
_BETWEEN = re.compile(
    rf"[ \t]*(?:(?:[a-z()]+[ \t]+){{0,4}}(?=and\b|or\b))?{_LIST_WORD}?[ \t\n]*(?:and|or)?[ \t\n]*"
    r"(?:[A-Za-z]\w*(?:\([a-z]\))?[ \t]*=)?[ \t]*"
)


def answer(text: str) -> str | None:
    r"""Return what the last box, or the last boxes that are listed together, hold; None where there
    is no box, or the last one is empty, dots, or never closes.
    """
    found, end = list[str](), len(text)
    while len(found) < MAX_LISTED and (box := _box_before(text, end)) is not None:
        start, content = box
        if content is None or not _holds_something(content):
            break
        if found and not _listed(text[_end_of(text, box) : end]):
            break
        found.append(content.strip().removesuffix("\\"))
        end = start
    if len(found) < 2:
        return found[0] if found else None
    return ", ".join(_distinct(found[::-1]))


def _listed(between: str) -> bool:
    r"""Whether a text may separate the boxes of one list, such as a comma, "and", ", papers and",
    or "$ and $y =". A new line alone separates a repeated box.
    """
    if len(between) > 80:
        return False
    plain = _MARKUP.sub(" ", between)
    return _BETWEEN.fullmatch(plain) is not None and (bool(plain.strip()) or "\n" not in between)


def percent_follows(text: str) -> bool:
    r"""Whether a percent sign or word follows the last box: `\boxed{28}\%`."""
    box = _box_before(text, len(text))
    return box is not None and _PERCENT_AFTER.match(text, _end_of(text, box)) is not None


def boxed(text: str) -> str | None:
    r"""Return the content of the last `\boxed{...}`; None when there is none, it is empty or blank,
    or it never closes.
    """
    found = _box_before(text, len(text))
    return (found[1] or "").strip() or None if found else None


def after_last_box(text: str) -> str:
    """Return the text after the last box; "" where there is none or it never closes."""
    box = _box_before(text, len(text))
    return "" if box is None or box[1] is None else text[_end_of(text, box) :]


def filled_box(text: str) -> str | None:
    """Return the content of the last closed box that holds something."""
    end = len(text)
    for _ in range(MAX_LISTED):
        box = _box_before(text, end)
        if box is None:
            return None
        if box[1] is not None and _holds_something(box[1]):
            return box[1].strip()
        end = box[0]
    return None


def boxes(text: str, number: int) -> list[str]:
    """Return the contents of the last `number` closed boxes, in order; fewer where there
    are fewer.
    """
    found: list[str] = []
    end = len(text)
    while (
        len(found) < number and (box := _box_before(text, end)) is not None and box[1] is not None
    ):
        found.append(box[1].strip())
        end = box[0]
    return found[::-1]


def _holds_something(content: str) -> bool:
    return _DOTS.fullmatch(content) is None


def _distinct(answers: list[str]) -> list[str]:
    """Remove those that repeat an earlier one."""
    return list({vote(each): each for each in reversed(answers)}.values())[::-1]


def _box_before(text: str, end: int) -> tuple[int, str | None] | None:
    r"""Return (where it starts, its content or None if it never closes) of the last `\boxed {`
    before `end`; a space may precede the brace.
    """
    while (start := text.rfind(_BOX, 0, end)) != -1:
        brace = _brace_after(text, start, end)
        if brace is not None:
            return start, _braced(text, brace + 1, end)
        end = start
    return None


def _brace_after(text: str, start: int, end: int) -> int | None:
    brace = start + len(_BOX)
    while brace < end and text[brace].isspace():
        brace += 1
    return brace if brace < end and text[brace] == "{" else None


def _end_of(text: str, box: tuple[int, str | None]) -> int:
    """Return the index after the closing brace of a closed box."""
    brace = _brace_after(text, box[0], len(text))
    return 0 if brace is None else brace + 2 + len(box[1] or "")


def _braced(text: str, start: int, end: int) -> str | None:
    r"""Return what is inside the braces. Where they never close otherwise, the backslash of
    `\boxed{64\}` does not escape the brace.
    """
    closed = _closed(text, start, end, _BRACE_OR_ESCAPE)
    return _closed(text, start, end, _BRACE) if closed is None else closed


def _closed(text: str, start: int, end: int, braces: re.Pattern[str]) -> str | None:
    depth = 1
    for match in braces.finditer(text, start, end):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return text[start : match.start()]
    return None


def reference(text: str) -> str:
    """Return the answer in a gold column; ValueError when there is none: a completion could never
    be right. A text with several different boxes has several answers, and all are required.
    """
    answer = _boxed_reference(text) or _marked_reference(text)
    if not answer.strip():
        raise ValueError("the reference answer is empty")
    return answer.strip()


def _boxed_reference(text: str) -> str:
    if _BOX not in text:
        return ""
    found = [each for each in boxes(text, MAX_LISTED) if _holds_something(each)]
    if found:
        return ", ".join(_distinct(found))
    if bare := _BARE_BOX.findall(text):  # \boxed 2
        return str(bare[-1]).rstrip(".,;")
    unclosed = text.rpartition(_BOX)[2].lstrip()
    return unclosed.removeprefix("{") if unclosed.startswith("{") else ""


def _marked_reference(text: str) -> str:
    if "####" in text:
        return text.rpartition("####")[2]
    if is_long(text) and (said := stated_at_the_end(text)):
        return said[0]
    if "\n" not in text.strip():
        return text
    last = text.rstrip().rpartition("\n")[2]
    marked = re.match(r"[ \t*]*(?:A|Answer)[ \t]*:[ \t]*(.+)", last, re.IGNORECASE)
    return marked[1] if marked else text


def is_long(reference_answer: str) -> bool:
    """Whether a reference is longer than a sentence: then the gold column holds solutions and
    hardly any completion can be right.
    """
    return len(reference_answer.split()) > LONG
