"""Run the light evaluation of the training curve: greedy and k samples per problem, graded, without
lm-eval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from study.data import chat
from study.data.problems import Problem
from study.data.views import student_view
from study.grading.boxed import GRADER, Outcome, grade
from study.grading.registry import open_grader
from study.models.sampling import Completion, generate
from study.spec.recipe.training import Curve, Sampling
from study.spec.recipe.user_code import reference


@dataclass(frozen=True)
class Graded:
    """One completion and its grade."""

    problem: Problem
    completion: Completion
    text: str
    outcome: Outcome


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    template: Mapping[str, Any] | None = None,
) -> list[list[int]]:
    """Return the student's view of each problem as token ids, up to where its answer starts.
    template: arguments of the chat template.
    """
    return chat.prompt_ids(tokenizer, [student_view(p) for p in problems], template=template)


def sample(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem],
    sampling: Sampling,
    *, k: int, seed: int, greedy: bool = False, grader: str = GRADER,
    template: Mapping[str, Any] | None = None,
) -> list[list[Graded]]:  # fmt: skip
    """Draw and grade k completions of each problem, [P][k]."""
    arguments = {**chat.template_arguments(sampling.thinking), **(template or {})}
    drawn = generate(
        model,
        tokenizer,
        prompt_ids(tokenizer, problems, arguments),
        sampling,
        k=k,
        seed=seed,
        greedy=greedy,
    )
    rows = [
        [grade_completion(tokenizer, p, c) for c in cs]
        for p, cs in zip(problems, drawn, strict=True)
    ]
    return rows if grader == GRADER else _judged_by(grader, rows)


def grade_completion(
    tokenizer: PreTrainedTokenizerBase, problem: Problem, completion: Completion
) -> Graded:
    """Grade strictly with the lab's grader: cheap enough for a training step."""
    text = str(tokenizer.decode(list(completion.ids), skip_special_tokens=True))
    return Graded(
        problem, completion, text, grade(text, problem.answer, truncated=completion.truncated)
    )


def _judged_by(grader: str, rows: Sequence[Sequence[Graded]]) -> list[list[Graded]]:
    with open_grader(grader) as other:
        asked = [
            g.problem.sample(g.text, truncated=g.completion.truncated) for row in rows for g in row
        ]
        said = iter(other.grade_many(asked))
    return [[replace(g, outcome=next(said).outcome) for g in row] for row in rows]


def repetition_3gram(ids: Sequence[int]) -> float:
    """Return repeated positions / tokens: position t is repeated if the 3-gram that ends at t
    occurred earlier in the same response.
    """
    return sum(repeated_positions(ids)) / len(ids) if ids else 0.0


def repeated_positions(ids: Sequence[int]) -> list[bool]:
    seen: set[tuple[int, ...]] = set()
    flags = []
    for t in range(len(ids)):
        gram = tuple(ids[t - 2 : t + 1]) if t >= 2 else ()
        flags.append(gram in seen and bool(gram))
        seen.add(gram)
    return flags


def summarise(graded: Sequence[Sequence[Graded]]) -> dict[str, float]:
    """Return means over all completions: accuracy, tokens, truncated fraction, 3-gram
    repetition.
    """
    flat = [g for row in graded for g in row]
    n = len(flat)
    return {
        "accuracy": sum(g.outcome is Outcome.correct for g in flat) / n,
        "mean_tokens": sum(len(g.completion.ids) for g in flat) / n,
        "truncated_fraction": sum(g.completion.truncated for g in flat) / n,
        "repetition_3gram": sum(repetition_3gram(g.completion.ids) for g in flat) / n,
    }


def curve_point(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem],
    curve: Curve, sampling: Sampling, seed: int,
    *, template: Mapping[str, Any] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Return one point of the training curve, the `eval/*` metrics; sampled at T = 1 is the
    headline.
    """
    at_one = sampling.model_copy(update={"temperature": 1.0, "top_p": 1.0})
    chosen = problems[: curve.problems]
    how: dict[str, Any] = {"seed": seed, "grader": reference(curve.grader), "template": template}
    greedy = summarise(sample(model, tokenizer, chosen, at_one, k=1, greedy=True, **how))
    drawn = summarise(sample(model, tokenizer, chosen, at_one, k=curve.k, **how))
    return {
        f"eval/avg@{curve.k}": drawn["accuracy"],
        "eval/greedy": greedy["accuracy"],
        **{
            f"eval/{name}": drawn[name]
            for name in ("mean_tokens", "truncated_fraction", "repetition_3gram")
        },
    }
