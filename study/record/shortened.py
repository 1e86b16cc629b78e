"""Reduce two records of one run to what both hold, where 12 kB made one of them leave out more.

The room for evidence depends on the length of the provenance, which differs between schemas and
machines, so the same evidence can be cut at two rungs of the ladder (`study/record/assemble.py`).
Only what both kept is compared: the history at common steps, the first completions of a step up to
the shorter text, the first repeated tokens.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

CUT = "…"  # ends a text that was cut

Value = Mapping[str, Any]


def shared_part(one: Value, other: Value) -> dict[str, Any]:
    """Reduce `one` to what `other` holds, too; without `trimmed`, which names the rungs.

    one, other: the JSON values of two records. shared_part(a, b) == shared_part(b, a) where both
    come from the same evidence.
    """
    return {
        **{name: value for name, value in one.items() if name != "trimmed"},
        "history": _common_steps(one["history"], other["history"]),
        "completions": _common_completions(one["completions"], other["completions"]),
        "repeated_tokens": _common_tokens(one["repeated_tokens"], other["repeated_tokens"]),
    }


def _common_steps(one: Value, other: Value) -> dict[str, Any]:
    steps = set(other.get("step", []))
    rows = [row for row, step in enumerate(one.get("step", [])) if step in steps]
    return {name: [column[row] for row in rows] for name, column in one.items()}


def _common_completions(one: Sequence[Value], other: Sequence[Value]) -> list[dict[str, Any]]:
    theirs = _by_step(other)
    common: list[dict[str, Any]] = []
    for step, ours in _by_step(one).items():
        for mine, twin in zip(ours, theirs.get(step, []), strict=False):
            texts = {
                name: _common_text(mine[name], twin[name]) for name in ("prompt", "completion")
            }
            common.append({**mine, **texts})
    return common


def _by_step(completions: Sequence[Value]) -> dict[int, list[Value]]:
    found: defaultdict[int, list[Value]] = defaultdict(list)
    for completion in completions:
        found[completion["step"]].append(completion)
    return found


def _common_text(text: str, other: str) -> str:
    """Return `text` up to where the shorter one was cut; whole where neither was cut."""
    shorter = min(text, other, key=len)
    if len(text) == len(other) or not shorter.endswith(CUT):
        return text
    return text[: len(shorter) - len(CUT)]


def _common_tokens(one: Value, other: Value) -> dict[str, Any]:
    return {step: pairs[: len(other.get(step, []))] for step, pairs in one.items()}
