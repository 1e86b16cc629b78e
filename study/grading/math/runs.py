"""Cut a text into runs: formulas and numbers without dollar signs."""

import re
from collections.abc import Iterator

from study.grading.math.equations import last_side

_NUMBER = (
    r"[0-9]+ [0-9]+/[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?"
    r"|[0-9]{1,3}(?: [0-9]{3})+(?![0-9])|[0-9]+(?:,[0-9]+)+"
    r"|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
)
# Words of mathematics, which change a number that they stand beside: 2 pi, log_2 8, 7 choose 2.
_OPERATION = (
    r"(?<![A-Za-z\\])(?:(?:pi|choose|mod|sin|cos|tan|sqrt|ln|exp|squared|cubed|factorial|and a half"
    r"|(?<=[0-9] )(?:to|and|or)(?= [0-9])"
    r"|(?:times|plus|minus|divided by|to the power of|root of)(?= [0-9]))(?![A-Za-z])"
    r"|log(?![A-Za-z])(?:_[0-9])?)"
)
_PIECE = re.compile(
    rf"(?P<number>{_NUMBER})|\\log_(?:\w|\{{\w+\}}) ?|\\[A-Za-z]+|\\[{{}}|$%]"
    r"|(?<=[0-9])(?: :(?= [0-9])|:(?=[0-9]))"
    rf"|(?P<operation>{_OPERATION})"
    r"|(?P<letter>(?<![A-Za-z\\])[A-Za-zπ](?![A-Za-z]))|(?P<word>(?<=[0-9])[A-Za-z]{2,})"
    r"|[-+*/^_=<>|!(){}\[\]×·⋅÷±√∛∜°%$€£¥\u2212⁰¹²³⁴⁵⁶⁷⁸⁹½⅓⅔¼¾≈≤≥≠‰∙∕⁄–—ˣ₀₁₂₃₄₅₆₇₈₉]"
)
_PERCENT_WORD = re.compile(r" ?(?:percent|per cent|pct)\b", re.IGNORECASE)
_FACTORS = tuple("πxyzknie")  # letters that multiply a number before them: 4 x
_MONEY = "$€£¥%"
_PAIRS = {")": "(", "]": "[", "}": "{"}
_STRAY_BEFORE, _STRAY_AFTER = "*=<>/^_|!)}]≈≤≥× ", "*=<>/^_|([{-+≈≤≥× "


def runs(text: str) -> Iterator[tuple[str, int]]:
    """Yield (formula or number without dollar signs, where it starts), in order; those with a
    digit.
    """
    pieces = list[re.Match[str]]()
    for match in _PIECE.finditer(text):
        if pieces and not _goes_on(text, pieces, match):
            yield from _run(text, pieces)
            pieces = []
        pieces.append(match)
    if pieces:
        yield from _run(text, pieces)


def _goes_on(text: str, pieces: list[re.Match[str]], match: re.Match[str]) -> bool:
    """Whether the next piece belongs to the same formula. Two numbers, or a number and a letter,
    with a space between them do not.
    """
    last = pieces[-1]
    gap = text[last.end() : match.start()]
    if not gap:
        return True
    if gap.isspace() and "\n" not in gap:
        if last[0] in _MONEY and match["letter"]:  # 2.74 $ a month
            return False
        if last["number"] and gap == " " and match["letter"] in _FACTORS:
            return True
        separate = [each["number"] or each["letter"] or each["word"] for each in (last, match)]
        return not all(separate)
    return gap.strip() in (",", ";") and _depth(pieces) > 0


def _depth(pieces: list[re.Match[str]]) -> int:
    opened = sum(piece[0] in ("(", "[", "{") for piece in pieces[-40:])
    return opened - sum(piece[0] in (")", "]", "}") for piece in pieces[-40:])


def _run(text: str, pieces: list[re.Match[str]]) -> Iterator[tuple[str, int]]:
    start, end = pieces[0].start(), pieces[-1].end()
    if start > 0 and text[start - 1].isascii() and text[start - 1].isalnum():  # the 2 of AZYUK2A
        return
    run = text[start:end]
    if percent := _PERCENT_WORD.match(text, end):
        run += percent[0]
    whole = run[last_side(run) or 0 :]
    start += len(run) - len(whole)
    bars = "|" if whole.count("|") % 2 == 0 else ""  # |-7| is 7
    run = whole.lstrip(_STRAY_BEFORE.replace(bars, "") if bars else _STRAY_BEFORE)
    start += len(whole) - len(run)
    run = _balanced(run.rstrip(_STRAY_AFTER.replace(bars, "") if bars else _STRAY_AFTER))
    if any(letter.isdigit() for letter in run):
        yield run, start


def _balanced(run: str) -> str:
    """Remove a bracket of the prose at either end: `(5` and `5)`."""
    while run and run[0] in "([{" and not _closes(run):
        run = run[1:].lstrip()
    while run and run[-1] in ")]}" and run.count(run[-1]) > run.count(_PAIRS[run[-1]]):
        run = run[:-1].rstrip()
    return run.rstrip("$") if run.count("$") == 1 and run.endswith("$") else run


def _closes(run: str) -> bool:
    closer = {"(": ")", "[": "]", "{": "}"}[run[0]]
    return run.count(run[0]) <= run.count(closer)
