"""Run the final evaluation of a run: k samples per problem through lm-eval, plus one greedy answer,
on the held-out problems.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.data import chat
from study.data.hub.eval_tasks import render_prompts
from study.data.load import load
from study.data.problems import Problem
from study.data.views import shifted, teacher_view
from study.evaluate import generations
from study.evaluate.engine_lm import Chat
from study.evaluate.harness import TaskResult, run_task
from study.evaluate.light import Graded, sample
from study.grading.boxed import Outcome
from study.models.loading import load_for_inference, load_tokenizer
from study.record.progress import ReportProgress
from study.record.seeds import stream
from study.spec.identity import canonical
from study.spec.recipe.evaluation import Evaluation, Prefix
from study.spec.recipe.training import Sampling
from study.spec.recipe.user_code import reference, version


def evaluate(
    spec: Evaluation, model_dir: Path, seed: int, out: Path, report: ReportProgress,
    beside: Mapping[str, Path],
    template: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write evaluation.json (the settings, and for each problem how many of its k samples had which
    outcome) and the generations.

    tokens_sampled: tokens generated in all, the greedy answers included. Where the model sees
    privileged information or continues a prefix there is no greedy answer. template: arguments of
    the chat template (`{"enable_thinking": False}`); None uses the template's own defaults.
    """
    model, tokenizer = load_for_inference(model_dir), load_tokenizer(model_dir)
    problems = load(spec.data, "held_out")[: spec.problems]
    report("evaluate", 0, 2, {})
    views = {
        p.prompt: teacher_view(p, spec.privileged, other)
        for p, other in zip(problems, shifted(problems), strict=True)
    }
    asked = render_prompts(spec.task, problems)  # the task's prompt, where it adds words of its own
    begun = (
        prefixes(spec.prefix, beside[canonical(spec.prefix.source)], asked, spec.sampling, seed)
        if spec.prefix
        else {}
    )
    plain, told = (
        spec.privileged is None and not begun,
        {
            **chat.template_arguments(spec.sampling.thinking),
            **(template or {}),
        },
    )
    result = run_task(
        spec.task, problems, model, tokenizer, k=spec.k, sampling=spec.sampling,
        seed=stream(seed, "evaluate"),
        grader=reference(spec.grader),
        chat=Chat(arguments=told) if plain else Chat(arguments=told, views=views, prefixes=begun),
    )  # fmt: skip
    report("evaluate", 1, 2, {f"eval/avg@{spec.k}": result.accuracy})
    how: dict[str, Any] = {
        "k": 1,
        "seed": stream(seed, "greedy"),
        "greedy": True,
        "grader": reference(spec.grader),
        "template": template,
    }
    greedy = sample(model, tokenizer, asked, spec.sampling, **how) if plain else []
    report("evaluate", 2, 2, {f"eval/avg@{spec.k}": result.accuracy})
    content = {
        "task": spec.task,
        "k": spec.k,
        "n": len(problems),
        "grader": version(spec.grader),
        **spec.sampling.model_dump(exclude_none=True, exclude={"sampler"}),
        f"avg@{spec.k}": result.accuracy,
        "avg@1_greedy": _accuracy(greedy) if greedy else None,
        "mean_tokens": result.mean_tokens,
        "tokens_sampled": result.num_tokens
        + sum(len(g.completion.ids) for row in greedy for g in row),
        "problem_ids": result.problem_ids,
        **outcome_counts(result),
    }
    (out / "evaluation.json").write_text(json.dumps(content), encoding="utf-8")
    drawn = spec.sampling.model_dump(exclude={"thinking", "sampler"})
    header = generations.Header(
        spec.task, version(spec.grader), spec.k, **drawn, model=model_dir.name, seed=seed
    )
    generations.write(out / generations.NAME, header, stored(problems, result))


def prefixes(
    spec: Prefix, source: Path, problems: Sequence[Problem], sampling: Sampling, seed: int
) -> dict[str, list[int]]:
    """Return the tokens that the evaluated model continues, by prompt: the first round(fraction *
    T) of the T tokens (end token left out) that the source sampled. The sample of a problem is the
    same for every fraction.
    """
    model, tokenizer = load_for_inference(source), load_tokenizer(source)
    drawn = sample(model, tokenizer, problems, sampling, k=1, seed=stream(seed, "prefix"))
    cut = {row[0].problem.prompt: row[0].completion for row in drawn}
    ends = {prompt: len(c.ids) - (not c.truncated) for prompt, c in cut.items()}
    return {prompt: list(c.ids[: round(spec.fraction * ends[prompt])]) for prompt, c in cut.items()}


def outcome_counts(result: TaskResult) -> dict[str, list[int]]:
    """Count the k samples per problem and outcome: the strict ones, and the relaxedly
    correct ones.
    """
    counts = {f"{outcome}_counts": result.counts(outcome) for outcome in Outcome}
    return {**counts, "relaxed_correct_counts": result.counts(Outcome.correct, relaxed=True)}


def stored(problems: Sequence[Problem], result: TaskResult) -> list[generations.Problem]:
    """Return what is stored of the completions, in the order of the problems."""
    rows = zip(
        problems,
        result.prompts,
        result.completions,
        result.truncated,
        result.tokens,
        result.outcomes,
        strict=True,
    )
    return [
        generations.Problem(
            p.id,
            p.answer,
            generations.prompt_sha(prompt),
            texts,
            cut,
            tokens,
            tuple(map(str, outcomes)),
            p.gold_is_float,
        )
        for p, prompt, texts, cut, tokens, outcomes in rows
    ]


def _accuracy(graded: Sequence[Sequence[Graded]]) -> float:
    outcomes = [g.outcome for row in graded for g in row]
    return outcomes.count(Outcome.correct) / len(outcomes)
