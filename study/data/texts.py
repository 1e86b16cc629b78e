"""Find faults in a text, and compute the normal form by which two texts are the same.

Half a surrogate pair cannot be written in UTF-8. Control characters before letters are the remains
of a backslash that should have been doubled: `"\\frac"` in JSON is a form feed and `rac`. A control
token of a chat template, such as `<|im_end|>`, ends a turn in the middle of a problem.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping

_HALF = re.compile("[\ud800-\udfff]")
_CONTROL_TOKEN = re.compile(
    r"<\|[A-Za-z][\w .:/-]{2,40}\|>|<(?:start|end)_of_turn>|<\uff5c[^<>|]{1,40}\uff5c>"
    r"|\[/?INST\]|<</?SYS>>|</?s>|<(?:bos|eos|pad|unk)>"
)
_SPACES = re.compile(r"\s+")
_SHORT = 80  # characters of a gold that is an answer and not a worked solution

# LaTeX commands that lost their first letter with the backslash.
_LEFT = {
    "t": "frac imes heta ext extbf extit extrm exttt ilde riangle herefore binom anh hickapprox",
    "n": "eq abla ewline subseteq supseteq leq geq cong rightarrow leftarrow warrow earrow",
    "r": "ho ight ightarrow angle ceil floor brace lap eal",
}
# More of them, which may also begin an ordinary line of text; they count only in a short gold.
_LEFT_IN_GOLD = {
    "t": "au an o op",
    "n": "u e i ot eg mid parallel less gtr sim exists otin",
    "r": "m oot",
}
_CONTROL = {"t": "\t", "n": "\n", "r": "\r"}
_NAMES = {
    "\a": "bell", "\b": "backspace", "\f": "form feed", "\t": "tab", "\n": "line feed",
    "\r": "return", "\v": "vertical tab",
}  # fmt: skip


def _pattern(words: Mapping[str, str]) -> str:
    kinds = [
        rf"{_CONTROL[letter]}(?:{'|'.join(words[letter].split())})(?![A-Za-z])" for letter in words
    ]
    return "|".join(kinds)


# A form feed before a capital letter is a page break. Bell and vertical tab come from Python texts
# without a raw prefix: "\alpha", "\varphi".
_LOST = re.compile(rf"[\a\b\v](?=[A-Za-z])|\f(?=[a-z])|{_pattern(_LEFT)}")
_LOST_IN_GOLD = re.compile(rf"[\t\r](?=[A-Za-z])|{_pattern(_LEFT_IN_GOLD)}")


def normal_form(text: str) -> str:
    """Return the form by which two prompts count as the same problem, in every split and count.

    Composed characters (NFC), no invisible ones (zero-width spaces, byte-order marks), every run of
    white space one space. Case and all visible characters stay: x and X, 2 and ² differ.
    """
    visible = "".join(
        c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf"
    )
    return _SPACES.sub(" ", visible).strip()


def lost_backslash(text: str, *, gold: bool = False) -> str:
    """Say where a text holds the remains of a lost backslash; "" if it does not.

    gold: the text is a gold answer; in a short one a tab before a letter is enough.
    """
    found = _LOST.search(text)
    if found is None and gold and len(text) <= _SHORT and "####" not in text:
        found = _LOST_IN_GOLD.search(text)
    if found is None:
        return ""
    rest = re.match(r"[A-Za-z]*", text[found.start() + 1 :])
    return f"a {_NAMES[text[found.start()]]} before {json.dumps(rest[0] if rest else '')}"


def half_surrogate(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which no file can hold in UTF-8."""
    return _HALF.search(text) is not None


def control_tokens(text: str, known: Iterable[str] = ()) -> list[str]:
    """Return the control tokens of chat templates in a text, in their order.

    known: further ones, the special tokens of a tokenizer.
    """
    found = _CONTROL_TOKEN.findall(text)
    return found + [token for token in known if token and token in text and token not in found]
