"""Train stage `grpo`: TRL's GRPOTrainer with the grader as verifiable reward (RLVR).

It makes teachers that stay close to the student.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer

from study.data.chat import template_arguments
from study.data.problems import Problem
from study.data.views import teacher_view
from study.errors import SpecError
from study.grading.boxed import Outcome
from study.grading.registry import Sample, open_grader
from study.models.sampling import at_once
from study.record.seeds import stream
from study.spec.recipe.model import GrpoModel
from study.spec.recipe.training import GrpoTraining, Sampler
from study.spec.recipe.user_code import UserCode, reference
from study.train import user_reward
from study.train.arguments import arguments, rollout_settings
from study.train.rollouts import drawn_by, seeded


class Correctness:
    """Reward 1 for a correct completion, else 0 (a truncated one is never correct), minus
    length_penalty * tokens / max_length.

    The grader is that of the stage's settings: the same object that evaluations use. A declared
    `reward` replaces it.
    """

    __name__ = "correctness"

    def __init__(
        self,
        problems: Sequence[Problem],
        tokenizer: PreTrainedTokenizerBase,
        training: GrpoTraining,
    ) -> None:
        self.problems, self.tokenizer, self.max_length = (
            problems,
            tokenizer,
            training.sampling.max_completion_length,
        )
        self.length_penalty = training.length_penalty
        self.grader = open_grader(reference(training.grader))
        self.own = (
            user_reward.bind(training.reward.python)
            if isinstance(training.reward, UserCode)
            else None
        )
        self.tokens_sampled = 0

    def state_dict(self) -> dict[str, Any]:
        return {"tokens_sampled": self.tokens_sampled}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.tokens_sampled = state["tokens_sampled"]

    def __call__(
        self, completion_ids: list[list[int]], problem: Sequence[int], **_: Any
    ) -> list[float]:
        self.tokens_sampled += sum(map(len, completion_ids))
        texts = self.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        samples = [self._sample(*one) for one in zip(texts, completion_ids, problem, strict=True)]
        penalties = [self.length_penalty * len(ids) / self.max_length for ids in completion_ids]
        if self.own is not None:
            rewards = [self.own(sample.completion, sample.answer) for sample in samples]
        else:
            rewards = [
                float(result.outcome is Outcome.correct)
                for result in self.grader.grade_many(samples)
            ]
        return [reward - penalty for reward, penalty in zip(rewards, penalties, strict=True)]

    def _sample(self, text: str, ids: list[int], row: int) -> Sample:
        truncated = len(ids) >= self.max_length and ids[-1] != self.tokenizer.eos_token_id
        return self.problems[row].sample(text, truncated=truncated)


class InParts(GRPOTrainer):
    """Sample the rollouts of a step in parts where a GPU has no room for all of them at once.

    run_seed: the seed of vLLM rollouts; transformers rollouts
    follow the trainer's own random state.
    """

    run_seed = 0
    sampler: Sampler = "transformers"

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any
    ) -> tuple[list[list[int]], Any]:
        if self.use_vllm:
            with drawn_by(self, self.sampler), seeded(self, self.run_seed):
                return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        size = at_once(
            self.accelerator.unwrap_model(self.model),
            prompt_ids,
            int(self.max_completion_length or 0),
        )
        some = [prompt_ids[i : i + size] for i in range(0, len(prompt_ids), size)]
        with drawn_by(self, self.sampler):
            parts = [
                super(InParts, self)._generate_single_turn(part, *args, **kwargs) for part in some
            ]
        if len(parts) == 1:
            return parts[0]
        # The second value would be log-probabilities, which only vLLM gives.
        return [row for ids, _ in parts for row in ids], None


def grpo_trainer(
    recipe: GrpoModel, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem], reward: Correctness,
    seed: int, out: Path, callbacks: Sequence[Any],
) -> GRPOTrainer:  # fmt: skip
    if recipe.privileged is not None and recipe.privileged.placement == "prefill":
        hint = "`placement: prefill` is for a teacher that scores; write this one into the prompt"
        raise SpecError(
            "reinforcement learning samples whole turns:"
            " its model cannot start in the middle of one",
            hint=hint,
        )
    training = recipe.training
    rollouts = training.prompts_per_step * training.rollouts_per_prompt
    args = arguments(
        GRPOConfig, out, training.optimisation, steps=training.steps, batch=rollouts,
        seed=stream(seed, "grpo"),
        num_generations=training.rollouts_per_prompt,
        max_completion_length=training.sampling.max_completion_length,
        temperature=training.sampling.temperature, top_p=training.sampling.top_p, top_k=0,
        beta=training.kl_coefficient,
        epsilon=training.clip_low, epsilon_high=training.clip_high, loss_type="grpo",
        shuffle_dataset=False,
        chat_template_kwargs=template_arguments(training.sampling.thinking), **rollout_settings(),
    )  # fmt: skip
    rows = Dataset.from_list(
        [
            {"prompt": teacher_view(p, recipe.privileged), "problem": i}
            for i, p in enumerate(problems)
        ]
    )
    trainer = InParts(
        model=model, reward_funcs=reward, args=args,  # pyright: ignore[reportArgumentType]
        train_dataset=rows, processing_class=tokenizer, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.run_seed, trainer.sampler = seed, training.sampling.sampler
    _drop_reference(trainer)
    return trainer


def _drop_reference(trainer: GRPOTrainer) -> None:
    """Remove the adapter `ref`: with adapters and a KL term TRL keeps a copy of them as reference.

    Our adapters start at zero, so the model without adapters is the same
    reference, and TRL takes it where there is no `ref`. The copy does harm:
    transformers 5.17, which finds it in the folder of a checkpoint, then reads
    that folder alone, and training would continue with adapters of step 0.
    """
    model = trainer.model
    if isinstance(model, PeftModel) and "ref" in model.peft_config:
        model.delete_adapter("ref")
