"""Check that samples depend on their seed: one seed repeats, two differ, in the sampler of the
curve and in that of the trainer.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DistillationConfig

from study.data.chat import prompt_ids
from study.data.problems import Problem
from study.models.sampling import end_token_ids, generate
from study.spec.recipe.model import DistilledModel
from study.spec.recipe.training import Sampling
from study.train import build
from study.train.arguments import arguments
from study.train.distill import OnPolicyDistillation
from study.train.evidence import Evidence
from study.train.preflight.check import Check
from study.train.preflight.scores import DRAWS, LENGTH

HOT = 4.0  # a temperature at which a student that is certain at its own temperature still varies
Draw = Callable[[int], list[list[int]]]  # seed -> completions


def seeds(
    student: PreTrainedModel, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    recipe: DistilledModel,
    problems: Sequence[Problem], subject: str,
) -> list[Check]:  # fmt: skip
    """Check that one seed gives one set of completions and two seeds give two: in evaluation, and
    in the rollouts of training.
    """
    sampling = recipe.training.sampling.model_copy(update={"max_completion_length": LENGTH})
    views = list(build.prompt_rows(list(problems), recipe)["prompt"])
    prompts = prompt_ids(tokenizer, views, recipe.training.sampling.thinking)

    @contextmanager
    def evaluated(sampling: Sampling) -> Iterator[Draw]:
        yield lambda seed: [
            list(c.ids)
            for row in generate(student, tokenizer, prompts, sampling, k=DRAWS, seed=seed)
            for c in row
        ]

    @contextmanager
    def rolled(sampling: Sampling) -> Iterator[Draw]:
        with rollouts(student, teacher, tokenizer, recipe, problems, sampling) as roll:
            yield lambda seed: roll(seed, prompts)

    return [
        _seeds(evaluated, sampling, f"{subject}, evaluation"),
        _seeds(rolled, sampling, f"{subject}, rollouts"),
    ]


def _seeds(
    drawing: Callable[[Sampling], AbstractContextManager[Draw]], sampling: Sampling, subject: str
) -> Check:
    """Check seeds. A student that is certain of its tokens writes the same under every seed, so it
    is tried again at `HOT`.
    """
    with drawing(sampling) as draw:
        size, within, between = _compared(draw)
    measured = {
        "completions": size,
        "differ_between_seeds": between,
        "differ_within_a_seed": within,
    }
    if within:
        message = f"one seed gives different completions ({within} of {size} differ)"
        hint = "the sampler draws from a state that is not the run's: nothing can be repeated"
        return Check("seeds", subject, False, message, hint, False, measured)
    if between:
        return Check(
            "seeds",
            subject,
            True,
            "two seeds give different completions, one seed the same",
            measured=measured,
        )
    with drawing(sampling.model_copy(update={"temperature": HOT, "top_p": 1.0})) as draw:
        size, _, between = _compared(draw)
    if between:
        message = (
            f"the student is certain: two seeds give the same {size} completions, at temperature"
            f" {HOT:g} they differ"
        )
        return Check("seeds", subject, True, message, "", True, measured)
    message, hint = (
        f"two seeds give the same {size} completions",
        "the sampler ignores its seed: replications would be copies",
    )
    return Check("seeds", subject, False, message, hint, False, measured)


def _compared(draw: Draw) -> tuple[int, int, int]:
    """Return the number of completions; how many differ within
    a seed, and how many between two seeds.

    The global state must have no effect.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(1)
        first = draw(1)
        torch.manual_seed(2)
        again, other = draw(1), draw(2)
    return len(first), _differing(first, again), _differing(first, other)


def _differing(left: list[list[int]], right: list[list[int]]) -> int:
    return sum(a != b for a, b in zip(left, right, strict=True))


@contextmanager
def rollouts(
    student: PreTrainedModel, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    recipe: DistilledModel,
    problems: Sequence[Problem], sampling: Sampling,
) -> Iterator[Callable[[int, list[list[int]]], list[list[int]]]]:  # fmt: skip
    """Yield (run seed, prompts) -> completions, by the trainer that training uses, without a step
    of training.
    """
    with tempfile.TemporaryDirectory() as folder:
        args = arguments(
            DistillationConfig, Path(folder), recipe.training.optimisation, steps=1,
            batch=len(problems), seed=0,
            max_completion_length=sampling.max_completion_length, temperature=sampling.temperature,
            top_p=sampling.top_p, top_k=0,
        )  # fmt: skip
        evidence = Evidence(
            problems,
            tokenizer,
            end_token_ids(student, tokenizer),
            1,
            sampling.max_completion_length,
        )
        trainer = OnPolicyDistillation(
            student, teacher, args, build.prompt_rows(list(problems), recipe), tokenizer,
            objective=recipe.objective, seed=0, evidence=evidence, sampler=sampling.sampler,
        )  # fmt: skip

        def rolled(seed: int, prompts: list[list[int]]) -> list[list[int]]:
            trainer.run_seed = seed
            return [list(row) for row in trainer._generate_single_turn(prompts, None, {})]

        yield rolled
