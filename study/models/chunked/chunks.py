"""Compute token losses chunk by chunk, each with its gradient.

Axes: N completion tokens, H hidden size (each side has its own), V vocabulary.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from study.models.chunked.known_gradient import (
    Entries,
    HeadGradient,
    with_entries,
    with_gradient,
)
from study.models.chunked.logit_gradients import loss_and_gradient, needs_teacher
from study.models.chunked.sides import Sides, TokenLosses, measured, teacher_logits, token_values
from study.models.chunked.sparse import is_plain, is_sparse, sparse_chunk
from study.models.server.scores import Returned
from study.objectives.divergences import require_finite
from study.spec.recipe.objective import Objective


class _Chunk(NamedTuple):
    """Losses of one chunk, what its gradient is made of, and diagnostics of its measured tokens.

    gradient_NH: None where no gradient is wanted. entries: of a K-sparse form alone.
    """

    loss_N: Tensor
    support_size_N: Tensor
    gradient_NH: Tensor | None
    entries: Entries | None
    diagnostics: dict[str, Tensor]


class Chunks:
    """Compute the losses chunk by chunk, each with its gradient. Nothing here waits for a GPU
    between two chunks.
    """

    def __init__(
        self, sides: Sides, objective: Objective,
        weights_N: Tensor | Callable[[], Tensor] | None,
        measured_at: Sequence[int] | None, k: int | None, size: int,
    ) -> None:  # fmt: skip
        self.sides, self.objective, self.size = sides, objective, size
        self.measured_at, self.k = measured_at, k
        local = not isinstance(sides.teacher, Returned)
        self.sparse = local and is_sparse(objective, sides.student_head, sides.teacher_head)
        self.written_out = local and objective.python is None
        self.wanted = torch.is_grad_enabled()
        parameters = sides.student_head.parameters() if self.wanted and not self.sparse else ()
        self.trained = [parameter for parameter in parameters if parameter.requires_grad]
        # Only a trained head's gradient is computed with weights.
        self.weights_N: Tensor | None = None
        if self.trained:
            self.weights_N = weights_N() if callable(weights_N) else weights_N
        self.head_gradients = [torch.zeros_like(parameter) for parameter in self.trained]

    def losses(self) -> TokenLosses:
        total = len(self.sides.tokens_N)
        make = self._sparse_chunk if self.sparse else self._dense_chunk
        starts = range(0, total, self.size)
        chunks = [make(start, min(start + self.size, total)) for start in starts]
        loss_N = require_finite(torch.cat([chunk.loss_N for chunk in chunks]))
        diagnostics = self._diagnostics(chunks)
        return TokenLosses(self._differentiable(loss_N, chunks), diagnostics)

    def _differentiable(self, loss_N: Tensor, chunks: list[_Chunk]) -> Tensor:
        """Return loss_N with the gradient that the chunks know."""
        if not self.wanted:
            return loss_N
        gradient_NH = torch.cat([c.gradient_NH for c in chunks if c.gradient_NH is not None])
        hidden_NH, head = self.sides.student_NH, self.sides.student_head
        if self.sparse:
            assert isinstance(head, nn.Linear)
            columns = zip(*(c.entries for c in chunks if c.entries is not None), strict=True)
            entries = Entries(*(torch.cat(column) for column in columns))
            return with_entries(hidden_NH, loss_N, gradient_NH, entries, head)
        if not self.trained:
            return with_gradient(hidden_NH, loss_N, gradient_NH)
        weights_N = torch.ones_like(loss_N) if self.weights_N is None else self.weights_N
        known = HeadGradient(weights_N, self.trained, self.head_gradients)
        return with_gradient(hidden_NH, loss_N, gradient_NH, known)

    def _sparse_chunk(self, start: int, stop: int) -> _Chunk:
        part = self.sides.part(start, stop)
        student_head, teacher_head = part.student_head, part.teacher_head
        assert isinstance(student_head, nn.Linear)
        assert isinstance(teacher_head, nn.Linear)
        assert isinstance(part.teacher, Tensor)
        found, rows = sparse_chunk(
            self.objective, part.student_NH, student_head, part.teacher, teacher_head
        )
        found_here: dict[str, Tensor] = {}
        if self.k is not None and self.measured_at is None:
            with torch.no_grad():
                student_NV = rows.student_NV
                if student_NV is None:
                    student_NV = student_head(part.student_NH)
                teacher_NV = rows.teacher_NV
                if teacher_NV is None:
                    teacher_NV = teacher_head(part.teacher)
                found_here = measured(part, student_NV, teacher_NV, self.k)
        return _Chunk(
            found.loss_N, found.support_size_N, found.gradient_NH, found.entries, found_here
        )

    def _dense_chunk(self, start: int, stop: int) -> _Chunk:
        part = self.sides.part(start, stop)
        leaf_NH = part.student_NH.detach().requires_grad_(self.wanted)
        # A plain head's products are written out; autograd knows what another one does.
        with torch.set_grad_enabled(self.wanted and not is_plain(part.student_head)):
            student_NV = part.student_head(leaf_NH)
        teacher_NV = None
        if self.k is not None or needs_teacher(self.objective):
            teacher_NV = teacher_logits(part)
        # First: the written-out gradient overwrites the rows.
        found_here = self._measured_between(start, stop, part, student_NV.detach(), teacher_NV)
        loss_N, size_N, gradient_NV = self._logit_gradient(part, student_NV, teacher_NV)
        del teacher_NV
        gradient_NH = None
        if gradient_NV is not None:
            gradient_NH = self._through_head(start, stop, leaf_NH, student_NV, gradient_NV)
        return _Chunk(loss_N, size_N, gradient_NH, None, found_here)

    def _logit_gradient(
        self, part: Sides, student_NV: Tensor, teacher_NV: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return (loss_N, support_size_N, the gradient in the student's logits)."""
        if not self.wanted:
            values = token_values(self.objective, part, student_NV, teacher_NV)
            return values.loss_N, values.support_size_N, None
        if not self.written_out:
            leaf_NV = student_NV.detach().requires_grad_()
            values = token_values(self.objective, part, leaf_NV, teacher_NV)
            (gradient_NV,) = torch.autograd.grad(values.loss_N.sum(), leaf_NV)
            return values.loss_N.detach(), values.support_size_N, gradient_NV
        width = student_NV.shape[-1]
        own_NV = _overwritable(student_NV.detach(), part.student_head)
        others_NV = None
        if teacher_NV is not None and part.teacher_head is not None:
            others_NV = _overwritable(teacher_NV, part.teacher_head)[:, :width]
            own_NV = own_NV[:, : others_NV.shape[-1]]
        found = loss_and_gradient(self.objective, own_NV, others_NV, part.tokens_N)
        missing = width - found.gradient_NV.shape[-1]
        gradient_NV = found.gradient_NV
        if missing:
            gradient_NV = nn.functional.pad(gradient_NV, (0, missing))
        return found.loss_N, found.support_size_N, gradient_NV.to(student_NV.dtype)

    def _through_head(
        self, start: int, stop: int, leaf_NH: Tensor, student_NV: Tensor, gradient_NV: Tensor
    ) -> Tensor:
        """Return the gradient in the hidden states; add a trained head's own to its sum."""
        head = self.sides.student_head
        weights_N1 = torch.ones_like(gradient_NV[:, :1])
        if self.weights_N is not None:
            weights_N1 = self.weights_N[start:stop].unsqueeze(-1).to(gradient_NV.dtype)
        if is_plain(head):
            assert isinstance(head, nn.Linear)
            self._add_plain(gradient_NV, leaf_NH.detach(), weights_N1)
            return (gradient_NV @ head.weight.detach()).to(leaf_NH.dtype)
        keep = bool(self.trained)
        (gradient_NH,) = torch.autograd.grad(student_NV, leaf_NH, gradient_NV, retain_graph=keep)
        if self.trained:
            found = torch.autograd.grad(student_NV, self.trained, gradient_NV * weights_N1)
            for total, gradient in zip(self.head_gradients, found, strict=True):
                total.add_(gradient)
        return gradient_NH

    def _add_plain(self, gradient_NV: Tensor, hidden_NH: Tensor, weights_N1: Tensor) -> None:
        """Add a chunk's share to the gradient of a plain head's weight and bias, if trained."""
        for parameter, total in zip(self.trained, self.head_gradients, strict=True):
            if parameter.dim() == 1:
                total.add_((gradient_NV.t() @ weights_N1).squeeze(-1))
                continue
            # The weights multiply the narrow side: H numbers per token, not V.
            side_NH = (hidden_NH * weights_N1).to(gradient_NV.dtype)
            if total.dtype == gradient_NV.dtype:
                total.addmm_(gradient_NV.t(), side_NH)
            else:
                total.add_(gradient_NV.t() @ side_NH)

    def _measured_between(
        self, start: int, stop: int, part: Sides, student_NV: Tensor, teacher_NV: Tensor | None
    ) -> dict[str, Tensor]:
        """Measure the tokens of this chunk that are to be measured, possibly none."""
        if self.k is None:
            return {}
        if self.measured_at is None:
            return measured(part, student_NV, teacher_NV, self.k)
        first, last = bisect_left(self.measured_at, start), bisect_left(self.measured_at, stop)
        chosen = [index - start for index in self.measured_at[first:last]]
        rows = torch.tensor(chosen, dtype=torch.int64, device=student_NV.device)
        teacher_NV = None if teacher_NV is None else teacher_NV[rows]
        return measured(part.at(rows), student_NV[rows], teacher_NV, self.k)

    def _diagnostics(self, chunks: list[_Chunk]) -> dict[str, Tensor]:
        """Return the diagnostics of all measured tokens."""
        if self.k is None:
            return {}
        found = [chunk.diagnostics for chunk in chunks if chunk.diagnostics]
        size_N = torch.cat([chunk.support_size_N for chunk in chunks])
        if self.measured_at is not None:
            rows = torch.tensor(self.measured_at, dtype=torch.int64, device=size_N.device)
            size_N = size_N[rows]
            if self.sparse:
                # No chunk made the teacher's rows: a few products of full width, not one per chunk.
                sides = self.sides.at(rows)
                starts = range(0, max(1, len(rows)), self.size)
                found = [self._measure_apart(sides.part(s, s + self.size)) for s in starts]
        joined = {name: torch.cat([values[name] for values in found]) for name in found[0]}
        return joined | {"support_size": size_N}

    @torch.no_grad()
    def _measure_apart(self, part: Sides) -> dict[str, Tensor]:
        assert self.k is not None
        student_NV = part.student_head(part.student_NH)
        return measured(part, student_NV, teacher_logits(part), self.k)


def _overwritable(logits_NV: Tensor, head: nn.Module) -> Tensor:
    """Return logits that nothing else reads: a head that is more than a product may have returned
    its input, or may need its output again.
    """
    return logits_NV if is_plain(head) else logits_NV.clone()
