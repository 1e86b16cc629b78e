"""Read arms from files: evaluations and stored generations made here, graded completions from
anywhere.

    evaluation.json          of `study evaluate` or of a stage: counts per problem, with everything
                             that it knows of its settings
    generations.jsonl(.gz)   a head and one line per problem, with outcomes and lengths
    regraded-<grader>.json   of `study regrade`: the outcomes after; preference-<rule>.json: whether
                             each reply is what was wanted
    FILE.jsonl, FILE.csv     one outcome or one problem per row, of `study grade --output` or any
                             framework:
        id        id, problem_id, question_id, unique_id, doc_id, task_id or uid; rows with one id
                  are samples of one problem
        outcome   outcome ("correct" and anything else), or correct, is_correct, score, reward:
                  true, false or a number between 0 and 1
        tokens    tokens, num_tokens or completion_tokens, optional
        and, where all rows agree on it: seed, task, grader, temperature, top_p,
        max_completion_length
Errors name the file, the line and what is missing.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.compare.arms import CHECKED, Arm, Scores, Spent, flat, problems_hash, shown
from analysis.compare.graded_rows import GradedProblem, JsonRow, forgiven, head_and_rest, take
from study.errors import PrerequisiteError

GENERATIONS, REGRADED, PREFERENCE = "generations-1", "regraded-1", "preference-1"
_RESULTS = (
    "format",
    "n",
    "seed",
    "mean_tokens",
    "tokens_sampled",
    "seconds",
    "started",
    "finished",
)  # of evaluation.json, not settings
_MADE = ("packages", "python", "platform", "code", "device", "batch_size")


def of_file(path: Path, name: str, *, relaxed: bool = False) -> Arm:
    """The arm with the one base that a file holds. relaxed: its relaxed outcomes, where `study
    grade` or `study regrade` wrote them.
    """
    if path.name.endswith(".json"):
        return _of_page(path, name, relaxed)
    first, lines = head_and_rest(path)
    if first.get("format") == GENERATIONS:
        return _generated(path, first, [row for _, row in lines], name, relaxed)
    return _of_rows(path, [(1, first), *lines], name, relaxed=relaxed)


def _of_page(path: Path, name: str, relaxed: bool) -> Arm:
    value = _json(path)
    kinds = {REGRADED: _of_regraded, PREFERENCE: _of_preference}
    try:
        return kinds.get(str(value.get("format")), _of_evaluation)(path, value, name, relaxed)
    except (KeyError, TypeError, AttributeError) as error:
        hint = "make it again: study regrade, or study evaluate"
        raise PrerequisiteError(
            f"{path}: not what was written there ({type(error).__name__}: {error})", hint=hint
        ) from error


def _json(path: Path) -> JsonRow:
    try:
        value: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PrerequisiteError(
            f"{path}: cannot be read ({error})", hint="give an evaluation.json or a JSON Lines file"
        ) from error
    if not isinstance(value, dict):
        raise PrerequisiteError(
            f"{path}: not a JSON object",
            hint="a JSON array is turned into lines by: jq -c '.[]' FILE",
        )
    return value


def _of_evaluation(path: Path, value: JsonRow, name: str, relaxed: bool) -> Arm:
    counts = "relaxed_correct_counts" if relaxed else "correct_counts"
    absent = [key for key in ("task", "k", "problem_ids", counts) if key not in value]
    if absent:
        what = f"{path}: no {absent[0]!r}: not an evaluation of this project"
        raise PrerequisiteError(what, hint="give evaluation.json, or graded JSON Lines")
    ids, settings = tuple(map(str, value["problem_ids"])), _checked(flat(value))
    settings |= (
        {"grader": f"{settings['grader']}, relaxed"} if relaxed and "grader" in settings else {}
    )
    score = Scores(
        str(path), value.get("seed"), tuple(map(float, value[counts])),
        (int(value["k"]),) * len(ids), problems_hash(ids), ids,
        settings, value.get("mean_tokens"),
        spent=Spent(sampled_tokens=value.get("tokens_sampled"), seconds=value.get("seconds")),
    )  # fmt: skip
    listed = {
        key: item
        for key, item in value.items()
        if key not in (*_RESULTS, *_MADE) and not _is_result(key, item)
    }
    return Arm(name, value["task"], value["task"], (score,), flat(listed), _made(value))


def _made(value: JsonRow) -> dict[str, str]:
    packages = value.get("packages") or {}
    return (
        {**flat(packages), **{key: shown(value[key]) for key in _MADE[1:] if key in value}}
        if packages
        else {}
    )


def _is_result(key: str, item: Any) -> bool:
    return "@" in key or key.endswith(("_counts", "_fraction", "_s")) or isinstance(item, list)


def _checked(values: Mapping[str, str]) -> dict[str, str]:
    """The settings that decide, wherever they are (`decoding.temperature`)."""
    return {
        key.rpartition(".")[2]: text
        for key, text in values.items()
        if key.rpartition(".")[2] in CHECKED
    }


def _of_regraded(path: Path, value: JsonRow, name: str, relaxed: bool) -> Arm:
    rows = [
        {"id": p["id"], "outcomes": p["after"], "relaxed": p["relaxed"], "tokens": p.get("tokens")}
        for p in value["problems"]
    ]
    return _generated(path, {**value["head"], "grader": value["grader"]}, rows, name, relaxed)


def _of_preference(path: Path, value: JsonRow, name: str, relaxed: bool) -> Arm:
    """Prompts of which it can be said what is wanted: those with a label, replies with a
    verdict.
    """
    rows = [
        (number, {"id": p["id"], "correct": p["correct"]})
        for number, p in enumerate(value["problems"])
        if p["correct"] is not None
    ]
    if not rows:
        hint = "say which prompts are unsafe: study regrade ... --prompts FILE"
        raise PrerequisiteError(f"{path}: nothing says which replies are wanted", hint=hint)
    return _of_rows(
        path, rows, name, {"grader": value["preference"], "task": "preference"}, relaxed
    )


def _generated(path: Path, head: JsonRow, rows: Sequence[JsonRow], name: str, relaxed: bool) -> Arm:
    arm = _of_rows(path, list(enumerate(rows, start=2)), name, dict(head), relaxed)
    known = {
        key: value
        for key, value in head.items()
        if key not in ("format", "bound_bytes", "cut", "seed")
    }
    return Arm(arm.name, head.get("task", arm.key), arm.task, arm.bases, flat(known))


def _of_rows(
    path: Path,
    rows: Sequence[tuple[int, JsonRow]],
    name: str,
    head: JsonRow | None = None,
    relaxed: bool = False,
) -> Arm:
    """head: settings that hold for all rows."""
    rows = (
        [(number, forgiven(row, f"{path}:{number}")) for number, row in rows] if relaxed else rows
    )
    problems: dict[str, GradedProblem] = {}
    for number, row in rows:
        take(problems, row, f"{path}:{number}")
    constant = {**_constant([row for _, row in rows]), **(head or {})}
    ids, found = tuple(problems), list(problems.values())
    tokens = [length for problem in found for length in problem.tokens]
    means = tuple(
        sum(p.right_tokens) / len(p.right_tokens) if p.right_tokens else None for p in found
    )
    settings = {key: shown(constant[key]) for key in CHECKED if constant.get(key) is not None}
    settings |= (
        {"grader": f"{settings['grader']}, relaxed"} if relaxed and "grader" in settings else {}
    )
    score = Scores(
        str(path), _seed(constant.get("seed")), tuple(p.right for p in found),
        tuple(p.samples for p in found), problems_hash(ids), ids,
        settings, sum(tokens) / len(tokens) if tokens else None, means if tokens else None,
        Spent(sampled_tokens=int(sum(tokens)) or None),
    )  # fmt: skip
    return Arm(name, name, settings.get("task"), (score,), external=head is None)


def _seed(value: Any) -> int | None:
    return int(value) if value is not None and str(value).lstrip("-").isdigit() else None


def _constant(rows: Sequence[JsonRow]) -> JsonRow:
    """The settings that every row spells alike."""
    return {
        key: rows[0][key]
        for key in (*CHECKED, "seed")
        if all(row.get(key) == rows[0].get(key) for row in rows) and key in rows[0]
    }
