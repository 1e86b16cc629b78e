"""Run the preflight checks of a grid in order; a check that errors counts as failed.

Each distinct combination of a student, a teacher, privileged information and an objective is
checked once, on a few prompts. An untrained model of the same architecture and tokenizer replaces a
model that no stage has made yet.

The order: the grader on every source of problems, repeats in local files, user-supplied losses and
rewards, then pair by pair models, tokens, end of turn, chat template, views, temperatures, scores,
seeds. The models of a pair are in memory for its checks only. Scores are checked only where both
tokenizers agree. A check that two pairs share runs once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from jinja2 import TemplateError

from study.data import jsonl
from study.data.load import load
from study.errors import StudyError
from study.record.progress import ReportProgress
from study.spec.grid.labelled import LabelledCell
from study.spec.identity import canonical, slug
from study.spec.recipe.data import Data, JsonlData
from study.spec.recipe.model import Model
from study.train.distill import DEFAULT_K
from study.train.preflight import (
    coverage,
    grading,
    scores,
    seeds,
    temperatures,
    tokens,
    views,
)
from study.train.preflight.check import Check, Models
from study.train.preflight.own_code import check_loss, check_reward
from study.train.preflight.pairs import (
    MADE,
    Pair,
    Side,
    load_side,
    models_without_teacher,
    objective_label,
    own_objectives,
    own_rewards,
    pairs_of,
    sources_of,
)

REFERENCES = 64  # reference answers of a source on which the grader is tried

Step = Callable[[], list[Check]]


def check_grid(
    cells: Sequence[LabelledCell], models: Models, report: ReportProgress
) -> list[Check]:
    """Return the result of every check on everything that these cells combine, in a fixed order.

    Nothing is written. A check that cannot run (a missing file, a template with an unknown column)
    counts as failed.
    """
    torch.set_num_threads(1)  # as in a stage, so that the numbers are those of training
    steps = steps_of(cells, models)
    checks: list[Check] = []
    for number, step in enumerate(steps):
        report("preflight", number, len(steps), {})
        checks += step()
    report("preflight", len(steps), len(steps), {})
    return checks


def steps_of(cells: Sequence[LabelledCell], models: Models) -> list[Step]:
    """Return the checks in their order, in steps of seconds."""
    known: set[tuple[str, ...]] = set()
    steps: list[Step] = [
        partial(_guarded, "grader", data.kind, partial(_grader, data, rule))
        for data, rule in sources_of(cells)
    ]
    sources = [data for data, _ in sources_of(cells)]
    files = {canonical(data): data for data in sources if isinstance(data, JsonlData)}
    steps += [
        partial(_guarded, "problems", data.kind, partial(_problems, data))
        for data in files.values()
    ]
    steps += [
        partial(_guarded, "loss", code.version, partial(check_loss, o))
        for o in own_objectives(cells)
        if (code := o.python)
    ]
    steps += [
        partial(_guarded, "reward", code.version, lambda code=code: [check_reward(code)])
        for code in own_rewards(cells)
    ]
    steps += [partial(_pair, pair, models, known) for pair in pairs_of(cells)]
    return steps + [
        partial(_alone, model, models, known) for model in models_without_teacher(cells).values()
    ]


def _guarded(name: str, subject: str, ask: Callable[[], Iterable[Check]]) -> list[Check]:
    """Return the checks that `ask` makes, or one failed check if it raises an error."""
    try:
        return list(ask())
    except StudyError as error:
        return [Check(name, subject, False, error.message, error.hint)]
    except TemplateError as error:
        return [
            Check(
                name,
                subject,
                False,
                f"the chat template cannot render it: {error}",
                "choose another `placement` of the PI",
            )
        ]


def _grader(data: Data, version: str) -> list[Check]:
    return [grading.grader(load(data, "held_out")[:REFERENCES], data.kind, version)]


def _problems(data: JsonlData) -> list[Check]:
    """Report repeated problems: each counts again, and the score on a held-out problem that is also
    in training measures memory.
    """
    hint = "leave the repeats out of the file, or accept them"
    message = "; ".join(jsonl.repeats(data)) or "every problem occurs once"
    repeated = message != "every problem occurs once"
    return [Check("problems", data.kind, True, message, hint if repeated else "", repeated)]


def _pair(pair: Pair, models: Models, known: set[tuple[str, ...]]) -> list[Check]:
    sides: list[Side] = []
    checks = _guarded("models", pair.name, lambda: _models(pair, models, sides))
    if not sides:
        return checks
    student, teacher = sides
    asked: tuple[tuple[str, Callable[[], Iterable[Check]]], ...] = (
        ("tokens", lambda: _tokens(pair, student, teacher)),
        ("end of turn", lambda: _turn_ends(pair, sides, known)),
        ("chat template", lambda: _template(pair, student, teacher)),
        (
            "views",
            lambda: [views.views(pair.recipe, pair.problems, student.tokenizer, pair.name)],
        ),
        ("temperatures", lambda: _temperatures(pair)),
    )
    for name, ask in asked:
        checks += _guarded(name, pair.name, ask)
    if all(check.passed for check in checks if check.name in ("tokens", "views", "chat template")):
        checks += _guarded("scores", pair.name, lambda: _scores(pair, student, teacher, known))
        checks += _guarded("seeds", pair.student, lambda: _seeds(pair, student, teacher, known))
    return checks


def _models(pair: Pair, models: Models, sides: list[Side]) -> list[Check]:
    loaded = [load_side(model, models) for model in (pair.recipe.student, pair.recipe.teacher)]
    sides += loaded
    stand_ins = [
        f"{name}: {side.origin}"
        for name, side in zip((pair.student, pair.teacher), loaded, strict=True)
        if side.origin != MADE
    ]
    if stand_ins:
        return [
            Check(
                "models",
                pair.name,
                True,
                f"not made yet, checked on stand-ins: {'; '.join(stand_ins)}",
            )
        ]
    return [Check("models", pair.name, True, "made, and checked as they are")]


def _tokens(pair: Pair, student: Side, teacher: Side) -> list[Check]:
    return [
        tokens.tokens(student.tokenizer, teacher.tokenizer, (student.rows, teacher.rows), pair.name)
    ]


def _turn_ends(pair: Pair, sides: Sequence[Side], known: set[tuple[str, ...]]) -> Iterator[Check]:
    named = zip(
        (pair.student, pair.teacher), (pair.recipe.student, pair.recipe.teacher), sides, strict=True
    )
    for name, model, side in named:
        if _first(known, "end of turn", canonical(model)):
            yield tokens.turn_end(side.model, side.tokenizer, name)


def _template(pair: Pair, student: Side, teacher: Side) -> list[Check]:
    return [tokens.template(student.tokenizer, teacher.tokenizer, pair.problems[0], pair.name)]


def _temperatures(pair: Pair) -> Iterator[Check]:
    """Check temperatures; objectives that score at one temperature are one combination."""
    asked_last = sorted(
        pair.objectives.values(),
        key=lambda objective: "temperature" not in objective.model_fields_set,
    )
    # Objectives with the default temperature come last, so one of them represents its temperature.
    scored = {objective.temperature: objective for objective in asked_last}
    for temperature, objective in scored.items():
        subject = pair.name if len(scored) == 1 else f"{pair.name}, objectives at T={temperature:g}"
        for evaluation in pair.evaluations.values():
            yield temperatures.temperatures(pair.recipe, objective, evaluation, subject)


def _scores(
    pair: Pair, student: Side, teacher: Side, known: set[tuple[str, ...]]
) -> Iterator[Check]:
    trained = student.origin == teacher.origin == MADE
    scored = scores.score(
        student.model, teacher.model, student.tokenizer, pair.recipe, pair.problems, trained
    )
    for key, objective in pair.objectives.items():
        label = objective_label(objective)
        if _first(known, "zero", canonical(pair.recipe.student), key):
            subject = f"{pair.student}, {label}"
            yield from _guarded(
                "zero at the teacher",
                subject,
                lambda o=objective, s=subject: [scores.zero(scored, o, s)],
            )
        subject = f"{pair.name}, {label}"
        yield from _guarded(
            "teacher matters",
            subject,
            lambda o=objective, s=subject: [scores.teacher_matters(scored, o, s)],
        )
    for k in sorted({objective.k for objective in pair.objectives.values() if objective.k}) or [
        DEFAULT_K
    ]:
        yield from _guarded(
            "coverage", pair.name, lambda k=k: [coverage.coverage(scored, k, pair.name)]
        )


def _seeds(pair: Pair, student: Side, teacher: Side, known: set[tuple[str, ...]]) -> list[Check]:
    if not _first(known, "seeds", canonical(pair.recipe.student)):
        return []
    return seeds.seeds(
        student.model, teacher.model, student.tokenizer, pair.recipe, pair.problems, pair.student
    )


def _alone(model: Model, models: Models, known: set[tuple[str, ...]]) -> list[Check]:
    """Check where the turns of a model end that is evaluated
    without training, and so has no teacher.
    """
    if not _first(known, "end of turn", canonical(model)):
        return []

    def ask() -> list[Check]:
        side = load_side(model, models)
        return [tokens.turn_end(side.model, side.tokenizer, slug(model))]

    return _guarded("end of turn", slug(model), ask)


def _first(known: set[tuple[str, ...]], *what: str) -> bool:
    """Whether this check has not run before."""
    seen = what in known
    known.add(what)
    return not seen
