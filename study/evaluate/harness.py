"""avg@k through lm-eval: (task, problems, model, k, decoding settings, seed) -> k graded completions of each problem.

lm-eval owns the task (a YAML page in `tasks/`), the prompt (chat template applied), the repeats, the filter and the aggregation. Sampling
is the project's own sampler, the one the training curve uses, so that both see the same completions for the same seed; the grader is
`study.data.grading`. Nothing touches a hub: problems are handed over in memory, and no stock task is indexed.

Shapes: P problems, S = k samples. Errors: `SpecError` for an unknown task, ValueError for no problems or k < 1.
Source: lm-evaluation-harness 0.4.13, `evaluator.evaluate` (its `simple_evaluate` also reseeds the global random states and
collects environment information, which costs seconds a call).
"""

import contextlib
import io
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from study.data.grading import Outcome
from study.data.problems import Problem
from study.errors import SpecError
from study.models.sampling import generate
from study.spec.training import Sampling

TASKS = Path(__file__).parent / "tasks"
_TransformersLM: Any = HFLM  # lm-eval's registry decorator hides the class's own type


@dataclass(frozen=True)
class TaskResult:
    """k graded completions of each problem, in the order of the problems. `accuracy` is lm-eval's own aggregate, avg@k."""

    problem_ids: tuple[str, ...]
    outcomes: tuple[tuple[Outcome, ...], ...]  # [P][S]
    completions: tuple[tuple[str, ...], ...]  # [P][S], text without special tokens
    accuracy: float
    num_tokens: int  # of all P x S completions, the end tokens included

    @property
    def mean_tokens(self) -> float:
        return self.num_tokens / sum(map(len, self.completions))

    def counts(self, outcome: Outcome) -> list[int]:
        """How many of each problem's samples had this outcome, [P]."""
        return [row.count(outcome) for row in self.outcomes]


class Drawn(str):
    """A completion's text that remembers whether it was cut off and how many tokens it has; lm-eval hands strings on as they are."""

    __slots__ = ("num_tokens", "truncated")
    truncated: bool
    num_tokens: int

    def __new__(cls, text: str, *, truncated: bool, num_tokens: int) -> "Drawn":
        drawn = super().__new__(cls, text)
        drawn.truncated, drawn.num_tokens = truncated, num_tokens
        return drawn


class SamplerLM(_TransformersLM):
    """lm-eval's transformers model with the study's sampler in place of its generation loop.

    The stock loop returns text alone (a completion cut at the limit looks like one that ended) and draws from the global random state.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer)
        self._seed = seed

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002 - lm-eval's signature
        """One text for each request. lm-eval sends every request `repeats` times in a row; all share the decoding settings."""
        k = requests[0].repeats or 1
        settings: dict[str, Any] = requests[0].arguments[1]
        sampling = Sampling(temperature=settings["temperature"], top_p=settings["top_p"], max_completion_length=settings["max_gen_toks"])
        prompts = [self.tok_encode(request.arguments[0], add_special_tokens=False) for request in requests[::k]]
        rows = generate(self.model, self.tokenizer, prompts, sampling, k=k, seed=self._seed)
        return [
            Drawn(
                self.tokenizer.decode(completion.ids, skip_special_tokens=True),
                truncated=completion.truncated,
                num_tokens=len(completion.ids),
            )
            for row in rows
            for completion in row
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
) -> TaskResult:
    """Evaluate `model` on `problems` with the task page `tasks/<task>.yaml`. The same seed gives the same completions."""
    if not problems or k < 1:
        raise ValueError(f"an evaluation needs problems and samples, not {len(problems)} and {k}")
    with _undisturbed():
        configured = _load(task, problems)
        configured.set_config(key="repeats", value=k)
        configured.set_config(key="generation_kwargs", value=_generation_kwargs(sampling), update=True)
        results: Any = evaluate(
            SamplerLM(model, tokenizer, seed=seed), {"tasks": {task: configured}, "groups": {}},
            apply_chat_template=True, bootstrap_iters=0, log_samples=True,
        )  # fmt: skip
    return _task_result(problems, results["samples"][task], results["results"][task]["accuracy,graded"])


def known_tasks() -> list[str]:
    """The names an Evaluation may use."""
    return sorted(page.stem for page in TASKS.glob("[!_]*.yaml"))


def _load(task: str, problems: Sequence[Problem]) -> Any:
    if task not in known_tasks():
        raise SpecError(f"unknown evaluation task {task!r}", hint=f"known tasks: {', '.join(known_tasks())}")
    metadata: Any = {"rows": [{"id": p.id, "prompt": p.prompt, "answer": p.answer} for p in problems]}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)
    return manager.load(task)["tasks"][task]


def _generation_kwargs(sampling: Sampling) -> dict[str, float]:
    return {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_gen_toks": sampling.max_completion_length}


def _task_result(problems: Sequence[Problem], samples: list[dict[str, Any]], accuracy: float) -> TaskResult:
    by_position = sorted(samples, key=lambda sample: sample["doc_id"])
    drawn: list[list[Drawn]] = [sample["resps"][0] for sample in by_position]
    lengths = [text.num_tokens for row in drawn for text in row]
    return TaskResult(
        problem_ids=tuple(problem.id for problem, _ in zip(problems, by_position, strict=True)),
        outcomes=tuple(tuple(sample["filtered_resps"][0]) for sample in by_position),
        completions=tuple(tuple(map(str, row)) for row in drawn),
        accuracy=float(accuracy),
        num_tokens=sum(lengths),
    )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No progress bar, no advice about command-line options that this project does not have; errors pass through.

    Python's global random state is put back: lm-eval draws a task id from it while loading.
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
