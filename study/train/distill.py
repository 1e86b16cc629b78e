"""Train stage `distill`: TRL's DistillationTrainer generates; the teacher's view, the objective and
the reduction are the study's.

The stock trainer scores the student's own prompt with the teacher, knows generalised JSD only, and
reduces by token mean. Here the teacher may see another prompt (privileged information), the loss is
any `Objective`, and its reduction is the objective's own. Axes: B responses of a micro-batch, T
completion tokens, N = the valid ones of them, H hidden size.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DistillationConfig, DistillationTrainer
from trl.trainer.utils import pad

from study.data.chat import prompt_ids
from study.models.logprobs import TokenLosses, token_losses
from study.models.sampling import at_once
from study.models.server.scores import Returned
from study.objectives.reductions import constant, response_mean, token_mean
from study.record.seeds import stream
from study.spec.recipe.objective import Objective
from study.spec.recipe.training import Sampler
from study.train.evidence import Evidence
from study.train.guard.callback import Scored
from study.train.length_groups import hidden_states
from study.train.measured import measured_mask
from study.train.rollouts import drawn_by, seeded
from study.train.teachers import ServerTeacher

DEFAULT_K = 5  # K of the TopK diagnostics where the objective has none (our choice)
# nats per token: a token with a smaller loss has no signal for the student; above float32 rounding
INFORMATIVE = 1e-6
MEASURED = (
    "reverse_kl", "student_entropy", "teacher_entropy", "student_topk_mass", "teacher_topk_mass",
    "topk_overlap", "teacher_cut_mass",
    "teacher_coverage", "teacher_coverage_mass",
)  # fmt: skip


class OnPolicyDistillation(DistillationTrainer):
    """Train on a data set with columns `prompt` and `teacher_prompt` (messages) and `problem` (its
    row in `evidence.problems`).

    seconds: where the time went (generation, teacher, student = the rest of a step); tokens:
    sampled and scored.
    """

    def __init__(
        self, model: PreTrainedModel, teacher: PreTrainedModel | ServerTeacher,
        args: DistillationConfig, train_dataset: Dataset,
        processing_class: PreTrainedTokenizerBase, *, objective: Objective, seed: int,
        evidence: Evidence, callbacks: Sequence[Any] = (), sampler: Sampler = "transformers",
        length_groups: int = 1, measure_every: int = 1,
    ) -> None:  # fmt: skip
        # The teacher is set below: TRL refuses two padded widths of one vocabulary, which the
        # chunked driver cuts to the shared ids.
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            processing_class=processing_class,
            callbacks=list(callbacks),
        )
        self.server = teacher if isinstance(teacher, ServerTeacher) else None
        if not isinstance(teacher, ServerTeacher):
            self.teacher_model = self.accelerator.prepare_model(
                teacher.eval().requires_grad_(False), evaluation_mode=True
            )
        self.objective, self.run_seed, self.evidence = objective, seed, evidence
        self.sampler: Sampler = sampler
        self.length_groups, self.measure_every = length_groups, measure_every
        self.seconds = {"generation": 0.0, "teacher": 0.0, "student": 0.0}
        self.tokens = {"sampled": 0, "scored": 0}

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "tokens": self.tokens}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seconds, self.tokens = state["seconds"], state["tokens"]

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = [*self._signature_columns, "teacher_prompt", "problem"]

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any
    ) -> list[list[int]]:
        """Generate with TRL under a random state that depends on (run seed, step) only, in parts
        where a GPU has no room for all.
        """
        started = time.perf_counter()
        longest = int(self.max_completion_length or 0)
        size = (
            len(prompt_ids)
            if self.use_vllm
            else at_once(self.accelerator.unwrap_model(self.model), prompt_ids, longest)
        )
        completions: list[list[int]] = []
        with (
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            seeded(self, self.run_seed),
            drawn_by(self, self.sampler),
        ):
            torch.manual_seed(
                stream(
                    self.run_seed, "rollout", self.state.global_step, self.accelerator.process_index
                )
            )
            for start in range(0, len(prompt_ids), size):
                completions += super()._generate_single_turn(
                    prompt_ids[start : start + size], *args, **kwargs
                )
        self.seconds["generation"] += time.perf_counter() - started
        self.tokens["sampled"] += sum(map(len, completions))
        return completions

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super()._generate_and_score_completions(inputs)
        # A teacher's turn may have begun already (`placement: prefill`), which TRL's own
        # tokenisation of prompts does not support.
        arguments: Any = self.chat_template_kwargs
        views, thinking = [x["teacher_prompt"] for x in inputs], arguments.get("enable_thinking")
        ids = [torch.tensor(row) for row in prompt_ids(self._tokenizer, views, thinking)]
        device: Any = self.accelerator.device
        fill: Any = self._tokenizer.pad_token_id
        batch["teacher_prompt_ids"] = pad(ids, padding_value=fill, padding_side="left").to(device)
        batch["teacher_prompt_mask"] = pad(
            [torch.ones_like(x) for x in ids], padding_value=0, padding_side="left"
        ).to(device)
        lengths = batch["completion_mask"].sum(dim=1).tolist()
        rows = [row[:n] for row, n in zip(batch["completion_ids"].tolist(), lengths, strict=True)]
        correct = self.evidence.rollouts(
            self.state.global_step, [x["problem"] for x in inputs], rows
        )
        batch["correct"] = torch.tensor(correct, device=device)
        if self.measure_every > 1:
            batch["measured_mask"] = measured_mask(
                batch["completion_mask"],
                [x["problem"] for x in inputs],
                self.measure_every,
                self.run_seed,
            )
        return batch

    def _compute_loss(
        self, unwrapped_student: Any, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return (loss of this micro-batch in units of the optimiser step, sum of student
        entropies, number of valid tokens).
        """
        mask_BT = inputs["completion_mask"].bool()
        started = time.perf_counter()
        teacher, teacher_head = self._scored_by_teacher(inputs, mask_BT)
        scored = time.perf_counter()
        student_BTH = self._hidden(unwrapped_student, "prompt", inputs)
        measured_BT = inputs.get("measured_mask")
        losses = token_losses(
            student_BTH[mask_BT], unwrapped_student.get_output_embeddings(), teacher, teacher_head,
            inputs["completion_ids"][mask_BT], self.objective,
            weights_N=lambda: self._weights(mask_BT, num_items_in_batch)[mask_BT],
            measured_at=None if measured_BT is None else _places(measured_BT[mask_BT]),
            diagnostics_k=self.objective.k or DEFAULT_K,
        )  # fmt: skip
        values_BT = torch.zeros(
            mask_BT.shape, dtype=losses.loss_N.dtype, device=mask_BT.device
        ).masked_scatter(mask_BT, losses.loss_N)
        loss = self._reduce(values_BT, mask_BT, num_items_in_batch)
        self._measure(losses, mask_BT, inputs)
        self.seconds["teacher"] += scored - started
        entropy_M, num_tokens = losses.diagnostics["student_entropy"], mask_BT.sum()
        entropy = entropy_M.sum() if measured_BT is None else entropy_M.mean() * num_tokens
        return loss, entropy, num_tokens

    def _scored_by_teacher(
        self, inputs: dict[str, Any], mask_BT: Tensor
    ) -> tuple[Tensor | Returned, Any]:
        """Return (the teacher's hidden states at the valid places, its head), or (a server's scores
        there, None).
        """
        if self.server is not None:
            return self.server(inputs), None
        with torch.no_grad():
            teacher = self.accelerator.unwrap_model(self.teacher_model)
            teacher_BTH = self._hidden(teacher, "teacher_prompt", inputs)
        return teacher_BTH[mask_BT], teacher.get_output_embeddings()

    def _hidden(self, model: Any, prompt: str, inputs: dict[str, Any]) -> Tensor:
        forward = partial(self._get_last_hidden_state, model)
        return hidden_states(self.length_groups, inputs, prompt, forward)

    def _weights(self, mask_BT: Tensor, num_items_in_batch: Any) -> Tensor:
        """Return the derivative of the reduced loss in the loss of each token, [B, T]."""
        with torch.enable_grad():
            values_BT = torch.zeros(mask_BT.shape, device=mask_BT.device, requires_grad=True)
            loss = self._reduce(values_BT, mask_BT, num_items_in_batch)
            return torch.autograd.grad(loss, values_BT)[0]

    def _reduce(self, values_BT: Tensor, mask_BT: Tensor, num_items_in_batch: Any) -> Tensor:
        """Apply the objective's reduction with global denominators:
        TRL scales nothing afterwards (`loss_is_scaled_for_ga`).
        """
        if self.objective.reduction == "token_mean":
            return token_mean(values_BT, mask_BT, num_items_in_batch)
        # All responses of the optimiser step; divided by the process count because gradients are
        # averaged over processes.
        num_responses = (
            self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        )
        if self.objective.reduction == "constant":
            return constant(values_BT, mask_BT, num_responses, self._constant_tokens())
        return response_mean(values_BT, mask_BT, num_responses)

    def _constant_tokens(self) -> int:
        """Return C of reduction `constant`: declared, or the limit of a completion."""
        return self.objective.constant_tokens or int(self.max_completion_length or 0)

    def _measure(self, losses: TokenLosses, mask_BT: Tensor, inputs: dict[str, Any]) -> None:
        num_tokens = int(mask_BT.sum())
        self.tokens["scored"] += num_tokens
        measured_BT = inputs.get("measured_mask", mask_BT)
        for name in MEASURED:
            # Absent, not zero, where it needs more than a server returns.
            if name not in losses.diagnostics:
                continue
            values_M = losses.diagnostics[name]
            self.evidence.add(f"train/{name}", float(values_M.sum()), len(values_M))
        loss_N = losses.loss_N.detach()
        self.evidence.step.add("train/token_loss", float(loss_N.sum()), num_tokens)
        self.evidence.step.add(
            "train/informative_tokens", float((loss_N.abs() > INFORMATIVE).sum()), num_tokens
        )
        scored = Scored(
            inputs["completion_ids"],
            mask_BT,
            losses.diagnostics["student_logprob"],
            losses.diagnostics["log_ratio"],
            measured_BT,
        )
        self.evidence.last_scored.append(scored)
        self.evidence.scores(
            self.state.global_step, losses.diagnostics["log_ratio"], measured_BT, inputs["correct"]
        )

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        elsewhere, started = (
            self.seconds["generation"] + self.seconds["teacher"],
            time.perf_counter(),
        )
        loss = super().training_step(*args, **kwargs)
        others = self.seconds["generation"] + self.seconds["teacher"] - elsewhere
        self.seconds["student"] += time.perf_counter() - started - others
        return loss


def _places(measured_N: Tensor) -> list[int]:
    return measured_N.nonzero().squeeze(-1).tolist()
