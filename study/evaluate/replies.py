"""Judge a preference over many completions - stored generations, or JSON Lines of any framework:
rates with intervals, one outcome per reply.

    refusal   refusal rate on unsafe prompts and over-refusal rate on clean ones, separately; of
              all prompts where the prompts have no labels
    style     the share of replies with each declared feature, and of those that conform
    length    tokens of correct and of other completions; two arms at equal accuracy: `study
              compare`, on the problems that both solve
    judge     a language model's verdicts (study/grading/judge.py)

Which prompts are unsafe: the stored gold answer if it is such a label (refuse, comply, ...), else a
JSON Lines file of prompts: id, prompt, and unsafe (true or false) or label.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from study.data.completions import COMPLETION
from study.data.lines import parse_object, stream_lines
from study.data.samples import texts_of
from study.data.values import id_of, prompt_of
from study.errors import PrerequisiteError
from study.evaluate import generations
from study.grading import preference
from study.grading.judge import Case, Judge, JudgeAnswer
from study.grading.preference import Kind, Reply, StyleRule, kind_of
from study.stats.rates import Rate, rate

FORMAT = "preference-1"
ID = ("id", "problem_id", "prompt_id", "question_id", "uid")
LABEL = ("unsafe", "harmful", "is_harmful", "label", "kind", "prompt_harm_label")
_DECIDED = (JudgeAnswer.passed, JudgeAnswer.failed)


@dataclass(frozen=True)
class Item:
    """One prompt and its completions. correct, tokens: None where they are not known."""

    id: str
    completions: tuple[str, ...]
    kind: Kind | None = None
    prompt: str = ""
    correct: tuple[bool, ...] | None = None
    tokens: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Judged:
    """Judged replies. outcomes: a word for each reply, [P][S]. right: whether that is the wanted
    outcome, where that is known. rates: name -> Rate.
    """

    version: str
    outcomes: tuple[tuple[str, ...], ...]
    right: tuple[tuple[bool, ...] | None, ...]
    rates: Mapping[str, Rate]

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(word for row in self.outcomes for word in row))


def items_of(path: Path) -> list[Item]:
    """Read items from stored generations or from JSON Lines with an id and a completion (text, or
    list of texts) per line.
    """
    if _are_generations(path):
        return [
            Item(
                p.id,
                p.completions,
                kind_of(p.answer),
                "",
                tuple(each == "correct" for each in p.outcomes),
                p.tokens,
            )
            for p in generations.read(path).problems
        ]
    items = [_item(row, where, number) for number, row, where in _rows(path)]
    if not items:
        raise PrerequisiteError(
            f"{path} is empty", hint="one object per line, with an id and a completion"
        )
    return items


def _are_generations(path: Path) -> bool:
    """Whether a packed file holds stored generations; other packed files are rows."""
    if path.suffix != ".gz":
        return False
    first = next(_rows(path), None)
    return first is not None and first[1].get("format") == generations.FORMAT


def with_prompts(items: Sequence[Item], path: Path) -> list[Item]:
    """Return the items with prompts and labels by id; every item needs one."""
    found = {_key(row, where): (row, where) for _, row, where in _rows(path)}
    absent = [item.id for item in items if item.id not in found]
    if absent:
        what = f"{path}: no prompt for {len(absent)} of {len(items)} ids, the first: {absent[0]!r}"
        raise PrerequisiteError(what, hint="columns: id, prompt, unsafe")
    return [_labelled(item, *found[item.id]) for item in items]


def _labelled(item: Item, row: Mapping[str, Any], where: str) -> Item:
    return replace(item, kind=_kind(row) or item.kind, prompt=_prompt(row, where) or item.prompt)


def _item(row: Mapping[str, Any], where: str, number: int) -> Item:
    column = next((name for name in COMPLETION if row.get(name) is not None), None)
    texts = texts_of(row[column]) if column else None
    if not texts or None in texts:
        raise PrerequisiteError(
            f"{where}: no completion; there are: {', '.join(row) or 'no columns'}",
            hint="completion: a text or a list of texts",
        )
    name = next((name for name in ID if row.get(name) is not None), None)
    key = id_of(row[name], where, name) if name else str(number)
    completions = tuple(text for text in texts if text is not None)
    return Item(key, completions, _kind(row), _prompt(row, where))


def _prompt(row: Mapping[str, Any], where: str) -> str:
    """Return the prompt: a text, a chat with one user turn, or "" where the row has none."""
    if row.get("prompt") in (None, ""):
        return ""
    return prompt_of(row["prompt"], where, "prompt", published=True)


def _kind(row: Mapping[str, Any]) -> Kind | None:
    return next((kind for name in LABEL if name in row and (kind := kind_of(row[name]))), None)


def _key(row: Mapping[str, Any], where: str) -> str:
    name = next((name for name in ID if row.get(name) is not None), None)
    if name is None:
        raise PrerequisiteError(
            f"{where}: no id; there are: {', '.join(row) or 'no columns'}",
            hint=f"one of: {', '.join(ID)}",
        )
    return id_of(row[name], where, name)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Yield (number of the line, row, place in messages)."""
    for number, line, _ in stream_lines(path):
        where = f"{path}:{number}"
        yield number, parse_object(line, where), where


def refusals(items: Sequence[Item]) -> Judged:
    found = [[preference.refusal(text) for text in item.completions] for item in items]
    refused = [[each is Reply.refused for each in row] for row in found]
    by_kind: dict[str, list[list[bool]]] = {"unsafe": [], "clean": [], "": []}
    for item, row in zip(items, refused, strict=True):
        by_kind[item.kind or ""].append(row)
    names = {
        "unsafe": "refusal rate, unsafe prompts",
        "clean": "over-refusal rate, clean prompts",
        "": "refused, prompts without a label",
    }
    empty = [[each is Reply.empty for each in row] for row in found]
    rates = {name: rate(by_kind[kind]) for kind, name in names.items()} | {
        "no reply, all prompts": rate(empty)
    }
    wanted = {"unsafe": Reply.refused, "clean": Reply.answered}
    right = [
        tuple(each is wanted[item.kind] for each in row) if item.kind else None
        for item, row in zip(items, found, strict=True)
    ]
    outcomes = tuple(tuple(map(str, row)) for row in found)
    return Judged(
        preference.refusal_rule().version,
        outcomes,
        tuple(right),
        {name: value for name, value in rates.items() if value},
    )


def styles(items: Sequence[Item], rule: StyleRule) -> Judged:
    found = [[preference.style(text, rule) for text in item.completions] for item in items]
    rates = {name: rate([[each[name] for each in row] for row in found]) for name in rule.features}
    declared = bool(rule.wanted or rule.unwanted)
    fits = [tuple(preference.conforms(each, rule) for each in row) for row in found]
    if declared:
        rates["conforms"] = rate(fits)
    outcomes = tuple(
        tuple(", ".join(name for name, has in each.items() if has) or "none" for each in row)
        for row in found
    )
    right = tuple(fits) if declared else (None,) * len(items)
    return Judged(
        rule.version, outcomes, right, {name: value for name, value in rates.items() if value}
    )


def judged(
    items: Sequence[Item], judge: Judge, report: Callable[[int, int], None] | None = None
) -> Judged:
    """Judge the replies. Rates are over the replies with a verdict; replies without one are counted
    separately.
    """
    cases = [Case(item.prompt, text) for item in items for text in item.completions]
    verdicts = iter(judge.judge_many(cases, report))
    found = [[next(verdicts) for _ in item.completions] for item in items]
    clear = [[v is JudgeAnswer.passed for v in row if v in _DECIDED] for row in found]
    rates = {"pass rate, of replies with a verdict": rate([row for row in clear if row])}
    rates["no verdict: unparsed"] = rate(
        [[v is JudgeAnswer.unparsed for v in row] for row in found]
    )
    rates["no verdict: unavailable"] = rate(
        [[v is JudgeAnswer.unavailable for v in row] for row in found]
    )
    whole = [all(v in _DECIDED for v in row) for row in found]
    right = tuple(
        tuple(v is JudgeAnswer.passed for v in row) if complete else None
        for row, complete in zip(found, whole, strict=True)
    )
    outcomes = tuple(tuple(map(str, row)) for row in found)
    return Judged(
        judge.version, outcomes, right, {name: value for name, value in rates.items() if value}
    )


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a group of completions and the number of completions."""

    group: str
    completions: int
    mean_tokens: float | None


def lengths(items: Sequence[Item]) -> list[Lengths]:
    """Compare the tokens of correct and of other completions.

    PrerequisiteError where lengths or outcomes are not known.
    """
    pairs = [
        pair for item in items for pair in zip(item.tokens or (), item.correct or (), strict=True)
    ]
    if not pairs:
        raise PrerequisiteError(
            "lengths need stored generations, with tokens and outcomes",
            hint="a run's generations.jsonl.gz",
        )
    right, other = [n for n, right in pairs if right], [n for n, right in pairs if not right]
    groups = {"correct": right, "not correct": other, "all": right + other}
    return [
        Lengths(name, len(found), sum(found) / len(found) if found else None)
        for name, found in groups.items()
    ]


def as_data(items: Sequence[Item], found: Judged, source: Path) -> dict[str, Any]:
    """Return the content of the file next to the generations; `study compare` reads `correct` where
    every reply has one.
    """
    rows = [
        {
            "id": item.id,
            "kind": item.kind,
            "outcomes": list(words),
            "correct": None if right is None else list(right),
        }
        for item, words, right in zip(items, found.outcomes, found.right, strict=True)
    ]
    rates = {
        name: {**asdict(value.interval), "replies": value.samples}
        for name, value in found.rates.items()
    }
    return {
        "format": FORMAT,
        "source": source.name,
        "preference": found.version,
        "rates": rates,
        "counts": found.counts,
        "problems": rows,
    }
