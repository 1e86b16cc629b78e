"""The final evaluation of a run: k samples a problem through lm-eval, plus one greedy answer, on the held-out problems."""

import json
from collections.abc import Callable
from pathlib import Path

from study.data.grading import GRADER, Outcome
from study.data.problems import load
from study.evaluate.harness import run_task
from study.evaluate.sampled import sample, summarise
from study.models.loading import load_model, load_tokenizer
from study.record.seeds import stream
from study.spec.evaluation import Evaluation

Report = Callable[[str, int, int, dict[str, float]], None]


def evaluate(spec: Evaluation, model_dir: Path, seed: int, out: Path, report: Report) -> None:
    """Writes evaluation.json: the settings, and for each problem how many of its k samples were correct, truncated, unparsed.

    tokens_sampled: tokens generated for all of that, the greedy answers included.
    """
    model, tokenizer = load_model(model_dir), load_tokenizer(model_dir)
    problems = load(spec.data, "held_out")[: spec.problems]
    report("evaluate", 0, 2, {})
    result = run_task(spec.task, problems, model, tokenizer, k=spec.k, sampling=spec.sampling, seed=stream(seed, "evaluate"))
    report("evaluate", 1, 2, {f"eval/avg@{spec.k}": result.accuracy})
    greedy = sample(model, tokenizer, problems, spec.sampling, k=1, seed=stream(seed, "greedy"), greedy=True)
    report("evaluate", 2, 2, {f"eval/avg@{spec.k}": result.accuracy})
    content = {
        "task": spec.task, "k": spec.k, "n": len(problems), "grader": GRADER, **spec.sampling.model_dump(),
        f"avg@{spec.k}": result.accuracy, "avg@1_greedy": summarise(greedy)["accuracy"], "mean_tokens": result.mean_tokens,
        "tokens_sampled": result.num_tokens + sum(len(g.completion.ids) for row in greedy for g in row),
        "problem_ids": result.problem_ids,
        **{f"{name}_counts": result.counts(Outcome(name)) for name in ("correct", "truncated", "unparsed")},
    }  # fmt: skip
    (out / "evaluation.json").write_text(json.dumps(content), encoding="utf-8")
