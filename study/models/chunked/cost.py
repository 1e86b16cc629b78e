"""Measure what a loss costs on this machine, in products of [N, H] with [H, V] and in bytes.

Axes: N tokens, H hidden size, V vocabulary. The unit is one product of all tokens with the head,
measured next to each loss: other work on the machine slows both. How many products each form
needs is in `study.models.logprobs`.
"""

import ctypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from study.models.chunked.sparse import is_sparse
from study.models.logprobs import chunk_size, token_losses
from study.models.loss import rows_for_support
from study.spec.recipe.objective import PRESETS, TOPK_SUPPORTS, Objective


class Sizes(NamedTuple):
    tokens: int
    hidden: int
    vocabulary: int
    k: int


class Measured(NamedTuple):
    """CPU seconds of all threads (of a GPU: wall seconds), and the largest extra memory in bytes
    while it ran; None where the machine does not tell.
    """

    seconds: float
    extra_bytes: int | None


@dataclass(frozen=True)
class Row:
    """One preset. needed: the products that its gradient needs; taken: its seconds over those of
    one product.
    """

    preset: str
    trained: bool
    needed: int
    taken: float
    extra_bytes: int | None


class Inputs:
    """Hidden states and heads of two models; logits with a standard deviation of about 3, as peaked
    as a language model's.
    """

    def __init__(
        self, sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.sizes, self.device = sizes, torch.device(device)
        generator = torch.Generator(device).manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device, dtype=dtype)

        def head(weight_VH: Tensor) -> nn.Linear:
            with torch.device("meta"):
                linear = nn.Linear(sizes.hidden, sizes.vocabulary, bias=False)
            linear.weight = nn.Parameter(weight_VH, requires_grad=False)
            return linear

        V, H = sizes.vocabulary, sizes.hidden
        student_NH, student_VH = draw(sizes.tokens, H), draw(V, H).mul_(3 / H**0.5)
        # The teacher is the student with noise, so that their TopK sets have tokens in common.
        teacher_VH = draw(V, H).mul_(1 / H**0.5).add_(student_VH)
        self.teacher_hidden = student_NH + draw(sizes.tokens, H) / 3
        self.student_hidden = student_NH.requires_grad_()
        self.student_head, self.teacher_head = head(student_VH), head(teacher_VH)
        self.tokens = torch.randint(
            sizes.vocabulary, (sizes.tokens,), generator=generator, device=device
        )

    def forget_gradients(self) -> None:
        self.student_hidden.grad = None
        self.student_head.weight.grad = None

    def product(self) -> None:
        """Take one product of all tokens with the head, in chunks."""
        size = chunk_size(self.sizes.vocabulary, self.device)
        with torch.no_grad():
            for part_NH in self.student_hidden.split(size):
                self.student_head(part_NH)

    def loss(self, objective: Objective) -> None:
        """Take the loss and its gradient, without diagnostics."""
        losses = token_losses(
            self.student_hidden, self.student_head, self.teacher_hidden, self.teacher_head,
            self.tokens, objective, diagnostics_k=None,
        )  # fmt: skip
        losses.loss_N.sum().backward()


def products_needed(objective: Objective, *, trained: bool) -> int:
    """Return how many products of [N, H] with [H, V] value and gradient of a form need.

    Of a user-supplied loss: as of its support without normalisation.
    """
    if is_sparse(objective):
        return sum(rows_for_support(objective))
    teacher = objective.advantage is None
    return 2 + teacher + trained


def cost_rows(inputs: Inputs) -> Iterator[Row]:
    """Measure every preset, head frozen and trained."""
    for trained in (False, True):
        inputs.student_head.weight.requires_grad_(trained)
        for name, (fields, _) in PRESETS.items():
            k = {"k": inputs.sizes.k} if fields.get("support") in TOPK_SUPPORTS else {}
            objective = Objective.model_validate(fields | k)
            unit = measure(inputs.product, inputs.device).seconds
            inputs.forget_gradients()
            found = measure(lambda o=objective: inputs.loss(o), inputs.device)
            inputs.forget_gradients()
            needed = products_needed(objective, trained=trained)
            yield Row(name, trained, needed, found.seconds / unit, found.extra_bytes)


def measure(call: Callable[[], object], device: torch.device) -> Measured:
    """Measure one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before, started = torch.cuda.memory_allocated(device), time.perf_counter()
        call()
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
        return Measured(seconds, torch.cuda.max_memory_allocated(device) - before)
    before = _resident(reset=True)
    started = time.process_time()
    call()
    seconds = time.process_time() - started
    peak = _resident(reset=False)
    return Measured(seconds, None if before is None or peak is None else max(0, peak - before))


def _resident(*, reset: bool) -> int | None:
    """Return the resident bytes of this process now (reset: and start a new peak), or their peak.
    None where the system does not tell (only Linux does).
    """
    try:
        if reset:
            # Freed memory that malloc keeps would hide what a call takes.
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except (OSError, AttributeError):
        return None
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    kilobytes = lines["VmRSS" if reset else "VmHWM"].split()[0]
    return int(kilobytes) * 1024
