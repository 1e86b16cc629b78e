"""Collect what figures need from a distillation later, without a model: completions, repeated
tokens, log-ratios, rollout metrics.

Three short windows of steps (start, middle, end) are kept; everything else is only summed for the
next point of the curve. Axes: B responses, T completion tokens, N valid tokens.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from study.data.problems import Problem
from study.evaluate.light import Graded, grade_completion, repeated_positions
from study.grading.boxed import Outcome
from study.models.sampling import Completion
from study.train.curve import Window
from study.train.guard.callback import Scored

COMPLETIONS, REPEATED_TOKENS = 8, 12


class Evidence:
    """Collect every rollout and every log-ratio of a run.

    `window` collects means between two points of the curve, `step` those of one step.

    last_rollouts, last_scored: the completions of the last step
    and both sides' scores of their tokens.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        tokenizer: PreTrainedTokenizerBase,
        end_ids: Sequence[int],
        steps: int,
        max_length: int,
    ) -> None:
        self.problems, self.tokenizer, self.end_ids = problems, tokenizer, set(end_ids)
        self.window, self.step = Window(), Window()
        self.last_rollouts: list[Graded] = []
        self.last_scored: list[Scored] = []
        width = max(1, steps // 20)
        starts = dict.fromkeys((0, max(0, (steps - width) // 2), max(0, steps - width)))
        self.spans = [range(start, start + width) for start in starts]
        self.edges = [
            0,
            *(2**i for i in range(2, max_length.bit_length()) if 2**i < max_length),
            max_length,
        ]
        self.completions: list[dict[str, Any]] = []
        self.repeated = [Counter[str]() for _ in self.spans]
        bins = len(self.edges) - 1
        self.log_ratio_sum = torch.zeros(len(self.spans), 2, bins, dtype=torch.float64)
        self.log_ratio_count = torch.zeros(len(self.spans), 2, bins, dtype=torch.int64)

    def add(self, name: str, total: float, count: float) -> None:
        self.window.add(name, total, count)
        self.step.add(name, total, count)

    def rollouts(
        self, step: int, rows: Sequence[int], completions: Sequence[Sequence[int]]
    ) -> list[bool]:
        """Grade the rollouts of one step; return which are correct."""
        graded = [
            grade_completion(
                self.tokenizer,
                self.problems[row],
                Completion(tuple(ids), not ids or ids[-1] not in self.end_ids),
            )
            for row, ids in zip(rows, completions, strict=True)
        ]
        repeated = [repeated_positions(g.completion.ids) for g in graded]
        n = len(graded)
        self.last_rollouts, self.last_scored = graded, []
        self.add("rollout/mean_tokens", sum(len(g.completion.ids) for g in graded), n)
        self.add("rollout/truncated_fraction", sum(g.completion.truncated for g in graded), n)
        self.add(
            "rollout/repetition_3gram",
            sum(sum(flags) / max(1, len(flags)) for flags in repeated),
            n,
        )
        self.add("rollout/accuracy", sum(g.outcome is Outcome.correct for g in graded), n)
        for span, counter in zip(self.spans, self.repeated, strict=True):
            if step in span:
                for g, flags in zip(graded, repeated, strict=True):
                    counter.update(
                        str(self.tokenizer.decode([i]))
                        for i, flag in zip(g.completion.ids, flags, strict=True)
                        if flag
                    )
            if step == span.start:
                self.completions += [_shown(step, g) for g in graded[:COMPLETIONS]]
        return [g.outcome is Outcome.correct for g in graded]

    def scores(self, step: int, log_ratio_N: Tensor, mask_BT: Tensor, correct_B: Tensor) -> None:
        """Add the teacher-student log-ratio of every token, by position and by whether its response
        is correct.
        """
        for index, span in enumerate(self.spans):
            if step in span:
                response_N, position_N = mask_BT.nonzero(as_tuple=True)
                bin_N = torch.bucketize(
                    position_N, torch.tensor(self.edges[1:], device=position_N.device), right=True
                )
                cell_N = (
                    (~correct_B.bool()[response_N]).long() * (len(self.edges) - 1) + bin_N
                ).cpu()
                self.log_ratio_sum[index].view(-1).index_add_(
                    0, cell_N, log_ratio_N.detach().double().cpu()
                )
                self.log_ratio_count[index].view(-1).index_add_(0, cell_N, torch.ones_like(cell_N))

    def state_dict(self) -> dict[str, Any]:
        """Return the state that the next steps add to. The curve saves `window`; `step` is empty
        after a step, and the next step makes new last rollouts.
        """
        return {
            "completions": self.completions,
            "repeated": [dict(counter) for counter in self.repeated],
            "log_ratio_sum": self.log_ratio_sum.tolist(),
            "log_ratio_count": self.log_ratio_count.tolist(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.completions, self.repeated = (
            state["completions"],
            [Counter(counts) for counts in state["repeated"]],
        )
        self.log_ratio_sum = torch.tensor(state["log_ratio_sum"], dtype=torch.float64)
        self.log_ratio_count = torch.tensor(state["log_ratio_count"], dtype=torch.int64)

    def as_dict(self) -> dict[str, Any]:
        """Return completions; repeated_tokens {first step: [[token, count], ...]}; log_ratio
        {edges, points: [{steps, correct, wrong, ...}]}.
        """
        points = []
        for span, sums, counts in zip(
            self.spans, self.log_ratio_sum.tolist(), self.log_ratio_count.tolist(), strict=True
        ):
            correct, wrong = (_means(s, c) for s, c in zip(sums, counts, strict=True))
            steps = [span.start, span.stop - 1]
            points.append(
                {
                    "steps": steps,
                    "correct": correct,
                    "wrong": wrong,
                    "correct_tokens": counts[0],
                    "wrong_tokens": counts[1],
                }
            )
        # Ties are broken by the token itself, so that the same counts always give the same order.
        top = [
            sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:REPEATED_TOKENS]
            for counter in self.repeated
        ]
        repeated = {
            str(span.start): [list(pair) for pair in pairs]
            for span, pairs in zip(self.spans, top, strict=True)
        }
        return {
            "completions": self.completions,
            "repeated_tokens": repeated,
            "log_ratio": {"edges": self.edges, "points": points},
        }


def _shown(step: int, graded: Graded) -> dict[str, Any]:
    return {
        "step": step,
        "prompt": graded.problem.prompt,
        "completion": graded.text,
        "outcome": graded.outcome.value,
    }


def _means(sums: list[float], counts: list[int]) -> list[float | None]:
    return [round(s / c, 4) if c else None for s, c in zip(sums, counts, strict=True)]
