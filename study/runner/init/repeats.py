"""Find problems that occur more than once, by the normal form of their text
(`study.data.texts`).
"""

from collections.abc import Iterable, Mapping

from study.data.problems import Problem
from study.data.texts import normal_form
from study.runner.init.findings import Finding, Place
from study.spec.recipe.data import JsonlData


def repeated_ids(problems: Mapping[Place, Problem]) -> Iterable[Finding]:
    """Return rows with the id of an earlier row of the file."""
    seen: dict[str, Place] = {}
    again = [
        (place, p.id) for place, p in problems.items() if seen.setdefault(p.id, place) is not place
    ]
    details, hint = (
        tuple(f"{key!r}, first in {seen[key]}" for _, key in again),
        "another --id-field, or none: then lines are numbered",
    )
    return [Finding("duplicate id", tuple(p for p, _ in again), details, hint)] if again else []


def repeated_problems(
    problems: Mapping[Place, Problem], data: JsonlData, *, keep_repeats: bool
) -> Iterable[Finding]:
    """Return problems that occur more than once in a file, and those whose gold answers differ."""
    same: dict[str, list[Place]] = {}
    for place, problem in problems.items():
        same.setdefault(_form(problem, data), []).append(place)
    again: list[tuple[Place, Place]] = []
    differing: list[Place] = []
    for places in same.values():
        if len({normal_form(problems[place].answer) for place in places}) > 1:
            differing += places
        else:
            again += [(place, places[0]) for place in places[1:]]
    if again and not keep_repeats:
        yield Finding(
            f"repeated problem: {len(again)} of {len(problems)} rows hold a problem of an earlier"
            " row, and it would count twice",
            tuple(place for place, _ in again),
            tuple(f"as line {first.line}" for _, first in again),
            "--leave-out keeps the first row of each, --keep-repeats counts every one",
        )
    if differing:
        yield Finding(
            "one problem with different gold answers",
            tuple(differing),
            tuple(repr(problems[place].answer[:40]) for place in differing),
            "correct the wrong answers",
        )


def _form(problem: Problem, data: JsonlData) -> str:
    return normal_form(problem.prompt.removesuffix(data.prompt_suffix))


def shared_prompts(
    train: Mapping[Place, Problem], held_out: Mapping[Place, Problem], train_file: str
) -> list[Finding]:
    """Return held-out prompts that are also in the training
    rows: their score would measure memory.
    """
    known = {normal_form(p.prompt) for p in train.values()}
    both = tuple(place for place, p in held_out.items() if normal_form(p.prompt) in known)
    fault = f"duplicate prompt: it is in {train_file} too"
    return [Finding(fault, both, hint="take it out of one of the files")] if both else []
