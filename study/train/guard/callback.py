"""Feed a `Guard` from a trainer, one row per step, carry out policy stop, and write the forensics
of a stopped run.

Axes: B responses, T completion tokens, N valid tokens.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from study.evaluate.light import Graded, repeated_positions, repetition_3gram
from study.grading.boxed import Outcome
from study.train.guard.trace import Guard

WORST, TOKENS, LAST_STEPS = 4, 12, 10
DISTILL_LOG = {"loss": "train/loss", "grad_norm": "train/grad_norm"}
GRPO_LOG = DISTILL_LOG | {
    "entropy": "train/student_entropy", "reward": "rollout/accuracy",
    "completions/mean_length": "rollout/mean_tokens",
    "completions/clipped_ratio": "rollout/truncated_fraction",
}  # fmt: skip


class GuardCallback(TrainerCallback):
    """Feed the guard after each step. take: the means of the step just done, added to what TRL logs
    under the keys of `logged`.

    Under policy stop a step whose gradient is not finite changes no weight, so that the sealed
    model can still be sampled from.
    """

    def __init__(
        self,
        guard: Guard,
        logged: Mapping[str, str],
        take: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self.guard, self.logged, self.take = guard, logged, take

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        if self.guard.policy == "stop" and _anywhere(
            not math.isfinite(_norm(model, gradients=True)), args
        ):
            optimizer.zero_grad(set_to_none=True)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, Any] | None = None,
        model: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        if not logs or "loss" not in logs:  # the summary after the last step
            return
        row = {ours: float(logs[theirs]) for theirs, ours in self.logged.items() if theirs in logs}
        self.guard.observe(
            state.global_step, {**self.take(), **row, "train/weight_norm": _norm(model)}
        )
        if self.guard.policy == "stop" and _anywhere(self.guard.stopped_at is not None, args):
            self.guard.stop(state.global_step)
            control.should_training_stop = True


def _norm(model: nn.Module, gradients: bool = False) -> float:
    """Return the global 2-norm of the weights or of their gradients; not finite as soon as one of
    them is not.
    """
    tensors = [
        p.grad if gradients else p.detach()
        for p in model.parameters()
        if not gradients or p.grad is not None
    ]
    norm: Any = nn.utils.get_total_norm([tensor for tensor in tensors if tensor is not None])
    # Sharded weights give a sharded norm.
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _anywhere(here: bool, args: TrainingArguments) -> bool:
    """Whether it holds in any process: one that stopped alone
    would leave the others waiting for it.
    """
    if args.world_size == 1:
        return here
    flag = torch.tensor(int(here), device=args.device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag)


class Scored(NamedTuple):
    """One micro-batch with both sides' log-probabilities of its M measured tokens, in the order of
    the places of measured_BT (None: every valid token, those of mask_BT).
    """

    completion_ids_BT: Tensor
    mask_BT: Tensor
    student_logprob_M: Tensor
    log_ratio_M: Tensor
    measured_BT: Tensor | None = None


def forensics(
    guard: Guard,
    rollouts: Sequence[Graded],
    scored: Sequence[Scored],
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """Return the content of forensics.json: the worst completions of the last step, its most
    repeated tokens, and the last rows of the trace.
    """
    wrong = [g for g in rollouts if g.outcome in (Outcome.wrong, Outcome.unparsed)]
    longest = sorted(rollouts, key=lambda g: -len(g.completion.ids))
    repetitive = sorted(rollouts, key=lambda g: -repetition_3gram(g.completion.ids))
    worst = {"wrong": wrong, "longest": longest, "most_repetitive": repetitive}
    return {
        "stopped_at": guard.stopped_at, "alarms": guard.alarms,
        "completions": {why: [_shown(g) for g in found[:WORST]] for why, found in worst.items()},
        "tokens": token_table(scored, tokenizer), "metrics": guard.last(LAST_STEPS),
    }  # fmt: skip


def _shown(graded: Graded) -> dict[str, Any]:
    ids = graded.completion.ids
    return {
        "prompt": graded.problem.prompt, "completion": graded.text, "outcome": graded.outcome.value,
        "tokens": len(ids), "repeated_fraction": round(repetition_3gram(ids), 4),
    }  # fmt: skip


def token_table(
    scored: Sequence[Scored], tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, Any]]:
    """Return the tokens that most often end a repeated 3-gram: how often, and the mean
    log-probability that each side gave them there.
    """
    found: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for batch in scored:
        values = iter(
            zip(batch.student_logprob_M.tolist(), batch.log_ratio_M.tolist(), strict=True)
        )
        measured_BT = batch.mask_BT if batch.measured_BT is None else batch.measured_BT
        rows = zip(
            batch.completion_ids_BT.tolist(),
            batch.mask_BT.tolist(),
            measured_BT.tolist(),
            strict=True,
        )
        for row, mask, measured in rows:
            ids = [token for token, valid in zip(row, mask, strict=True) if valid]
            known = [flag for flag, valid in zip(measured, mask, strict=True) if valid]
            for token, again, has_values in zip(ids, repeated_positions(ids), known, strict=True):
                if not has_values:
                    continue
                student, ratio = next(values)
                if again:
                    found[token].append((student, student + ratio))
    top = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))[:TOKENS]
    return [
        {"token": str(tokenizer.decode([token])), "count": len(pairs), **_means(pairs)}
        for token, pairs in top
    ]


def _means(pairs: Sequence[tuple[float, float]]) -> dict[str, float | None]:
    means = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
    return {
        f"{side}_logprob": round(m, 4) if math.isfinite(m) else None
        for side, m in zip(("student", "teacher"), means, strict=True)
    }
