"""Run avg@k through lm-eval: (task, problems, engine, k, decoding, seed) -> k graded completions of
each problem.

lm-eval owns the task (a YAML file in `tasks/`), the prompt (chat template applied), the repeats,
the filter and the aggregation. Completions come from an engine of the project
(`study.evaluate.engines`); for a run's final evaluation that is the sampler of the training curve,
so that both see the same completions for the same seed. Grading is the task file's filter. Nothing
uses a hub here: problems are passed in memory, and no stock task is indexed.

Shapes: P problems, S = k samples. Errors: `SpecError` for an unknown task, ValueError for no
problems or k < 1. Source: lm-evaluation-harness 0.4.13, `evaluator.evaluate` (its `simple_evaluate`
also reseeds the global random states and collects environment information, which costs seconds per
call).
"""

import contextlib
import io
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from study.data.hub.eval_tasks import document_rows, lm_eval_name
from study.data.problems import Problem
from study.evaluate.engine_lm import AS_TEMPLATED, Chat, EngineLM, Text
from study.evaluate.engines import Drawn, Engine, TransformersEngine
from study.evaluate.task_page import TASKS, Decoding, known_tasks
from study.grading.boxed import GRADER, Outcome
from study.grading.registry import Grade
from study.spec.recipe.training import Sampling

__all__ = ["Chat", "TaskResult", "evaluate_task", "known_tasks", "run_task"]
_METRIC = "accuracy,graded"


@dataclass(frozen=True)
class TaskResult:
    """k graded completions of each problem, in the order of the problems.

    `accuracy` is lm-eval's own aggregate, avg@k.
    """

    problem_ids: tuple[str, ...]
    prompts: tuple[str, ...]  # as the model read them
    results: tuple[tuple[Grade, ...], ...]  # [P][S]
    completions: tuple[tuple[str, ...], ...]  # [P][S], text without special tokens
    truncated: tuple[tuple[bool, ...], ...]  # [P][S]
    tokens: tuple[tuple[int, ...], ...]  # [P][S], the end tokens included
    accuracy: float

    @property
    def outcomes(self) -> tuple[tuple[Outcome, ...], ...]:
        """Return the strict outcomes, [P][S]."""
        return tuple(tuple(result.outcome for result in row) for row in self.results)

    @property
    def num_tokens(self) -> int:
        return sum(map(sum, self.tokens))

    @property
    def mean_tokens(self) -> float:
        return self.num_tokens / sum(map(len, self.tokens))

    def counts(self, outcome: Outcome, *, relaxed: bool = False) -> list[int]:
        """Count how many of each problem's samples had this outcome, [P]."""
        return [
            sum((result.relaxed if relaxed else result.outcome) is outcome for result in row)
            for row in self.results
        ]


def run_task(
    task: str,
    problems: Sequence[Problem],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    k: int,
    sampling: Sampling,
    seed: int,
    grader: str = GRADER,
    chat: Chat | None = None,
) -> TaskResult:
    """Evaluate a run: `model` on `problems` with the task file `tasks/<task>.yaml`.

    The same seed gives the same completions.
    """
    decoding = Decoding(sampling.temperature, sampling.top_p, sampling.max_completion_length)
    engine = TransformersEngine(model, tokenizer, sampler=sampling.sampler)
    return evaluate_task(
        task,
        problems,
        engine,
        tokenizer,
        k=k,
        decoding=decoding,
        seed=seed,
        grader=grader,
        chat=chat or Chat(),
    )


def evaluate_task(
    task: str,
    problems: Sequence[Problem],
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    *,
    k: int,
    decoding: Decoding,
    seed: int,
    grader: str,
    chat: Chat = AS_TEMPLATED,
    drawn: Drawn = lambda _samples, _tokens: None,
    fits: bool = False,
) -> TaskResult:
    """Evaluate an engine on a task. fits: before drawing, refuse prompts that leave no room for a
    completion of the declared length.
    """
    if not problems or k < 1:
        raise ValueError(f"an evaluation needs problems and samples, not {len(problems)} and {k}")
    with _undisturbed():
        configured = _load(task, problems, grader)
        configured.set_config(key="repeats", value=k)
        configured.set_config(
            key="generation_kwargs", value=decoding.generation_kwargs(), update=True
        )
        results: Any = evaluate(
            EngineLM(engine, tokenizer, chat, seed, drawn, fits),
            {"tasks": {task: configured}, "groups": {}},
            apply_chat_template=chat.template, bootstrap_iters=0, log_samples=True,
        )  # fmt: skip
    return _task_result(problems, results["samples"][task], results["results"][task][_METRIC])


def _load(task: str, problems: Sequence[Problem], grader: str) -> Any:
    """Load the task file as an lm-eval task on these problems, under the study's own name."""
    name = lm_eval_name(task)
    metadata: Any = {"rows": document_rows(problems), "grader": grader}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)
    configured: Any = manager.load(name)["tasks"][name]
    configured.set_config(key="task", value=task)
    return configured


def _task_result(
    problems: Sequence[Problem], samples: list[dict[str, Any]], accuracy: float
) -> TaskResult:
    by_position = sorted(samples, key=lambda sample: sample["doc_id"])
    drawn: list[list[Text]] = [sample["resps"][0] for sample in by_position]
    return TaskResult(
        problem_ids=tuple(problem.id for problem, _ in zip(problems, by_position, strict=True)),
        prompts=tuple(str(sample["arguments"][0][0]) for sample in by_position),
        results=tuple(tuple(sample["filtered_resps"][0]) for sample in by_position),
        completions=tuple(tuple(map(str, row)) for row in drawn),
        truncated=tuple(tuple(text.truncated for text in row) for row in drawn),
        tokens=tuple(tuple(text.num_tokens for text in row) for row in drawn),
        accuracy=float(accuracy),
    )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hide progress bars and advice about command-line options that this project does not have;
    errors pass through.

    Python's global random state is restored: lm-eval draws a task id from it while loading.
    """
    logger = logging.getLogger("lm_eval")
    level, state = logger.level, random.getstate()
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        random.setstate(state)
