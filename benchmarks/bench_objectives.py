"""Measure the losses at a real vocabulary: time, extra peak memory and gradient error of the
chunked driver and of three baselines without it.

    python -m benchmarks.bench_objectives
        # V = 151,936, H = 1024, N = 512, float32: 5 to 10 minutes on one core
    python -m benchmarks.bench_objectives --tokens 64 --chunk-tokens 16 --loop-tokens 64
    python -m benchmarks.bench_objectives --device cuda --tokens 4096 --dtype bfloat16
        --chunk-tokens 512

Baselines: (a) `naive full` keeps both sides' whole [N, V] log-softmax; (b) `column loop` does a
TopK loss one column at a time with a copy of the logits for each; (c) `TRL chunked` is TRL's own
tiled reverse KL (the installed one). Each case runs in its own process (peak memory cannot be
reset on a CPU): forward and backward to the hidden states; memory is the peak above weights and
inputs. The heads are frozen: the gradient of a head (as large as the head, the same in every case)
would hide what the loss itself needs.

error: max |g - g64| / max |g64| of the gradient in the hidden states of a few tokens, g64 from the
definition in float64 (exact, since a token's gradient is that of its own loss). loop-tokens: (b)
needs about 40 copies of the logits; if memory is short it is measured on fewer tokens and
scaled, and the table says so. A case during which the machine swapped is marked.
"""

import argparse
import dataclasses
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from study.models.logprobs import CHUNK_LOGITS, token_losses
from study.models.loss import bind
from study.objectives.topk import top_ids
from study.spec.recipe.objective import Objective

K = 20  # the paper's default
CHECKED = 8  # number of tokens whose gradients are compared with float64
SWAP_FAULTS = 1000  # pages read from disk during a case; with more, the case did not run in memory
OBJECTIVES = {
    "full reverse KL": Objective(),
    "TopK stop-gradient": Objective(support="student_topk", k=K, gradient="stop_gradient"),
    "TopK tail bucket": Objective(support="student_topk", k=K, normalisation="tail_bucket"),
    "sampled policy gradient": Objective(support="sampled", gradient="score_function"),
}


@dataclass(frozen=True)
class Sizes:
    tokens: int
    hidden: int
    vocabulary: int
    chunk_tokens: int
    repeats: int
    loop_tokens: int
    device: str
    dtype: str
    clock: str


class Inputs:
    """Hidden states and heads of two models; logits with a standard deviation of about 3, as peaked
    as a language model's.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.chunk_tokens, dtype = sizes.chunk_tokens, getattr(torch, sizes.dtype)
        generator = torch.Generator(sizes.device).manual_seed(0)
        options = {"generator": generator, "device": sizes.device, "dtype": dtype}
        self.student_hidden = torch.randn(sizes.tokens, sizes.hidden, **options).requires_grad_()
        self.teacher_hidden = torch.randn(sizes.tokens, sizes.hidden, **options)
        self.student_head, self.teacher_head = (self._head(sizes, options) for _ in range(2))
        self.tokens = torch.randint(
            sizes.vocabulary, (sizes.tokens,), generator=generator, device=sizes.device
        )

    @staticmethod
    def _head(sizes: Sizes, options: dict) -> nn.Linear:
        with torch.device("meta"):
            head = nn.Linear(sizes.hidden, sizes.vocabulary, bias=False)
        head.weight = nn.Parameter(
            torch.randn(sizes.vocabulary, sizes.hidden, **options).mul_(3 / sizes.hidden**0.5),
            requires_grad=False,
        )
        return head

    def logits(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            teacher_NV = self.teacher_head(self.teacher_hidden).float()
        return self.student_head(self.student_hidden).float(), teacher_NV


def naive_full(inputs: Inputs) -> Tensor:
    student_NV, teacher_NV = (logits_NV.log_softmax(dim=-1) for logits_NV in inputs.logits())
    return (student_NV.exp() * (student_NV - teacher_NV)).sum(dim=-1)


def column_loop(inputs: Inputs) -> Tensor:
    """Compute the sum over K columns of p (sg[log p] - log q), each column with its own pass over
    the vocabulary.
    """
    student_NV, teacher_NV = inputs.logits()
    loss_N = torch.zeros(len(student_NV), device=student_NV.device)
    for ids_N in top_ids(student_NV, K).unbind(dim=-1):
        log_p, log_q = (
            -nn.functional.cross_entropy(logits_NV.clone(), ids_N, reduction="none")
            for logits_NV in (student_NV, teacher_NV)
        )
        loss_N = loss_N + log_p.exp() * (log_p.detach() - log_q)
    return loss_N


def trl_chunked(inputs: Inputs) -> Tensor:
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    sides = (
        inputs.student_hidden,
        inputs.student_head.weight,
        None,
        inputs.teacher_hidden,
        inputs.teacher_head.weight,
        None,
    )
    divergence_N, _ = ChunkedDivergenceFunction.apply(*sides, 1.0)
    return divergence_N


def driver(objective: Objective) -> Callable[[Inputs], Tensor]:
    def run(inputs: Inputs) -> Tensor:
        sides = (
            inputs.student_hidden,
            inputs.student_head,
            inputs.teacher_hidden,
            inputs.teacher_head,
        )
        return token_losses(
            *sides, inputs.tokens, objective, chunk_tokens=inputs.chunk_tokens, diagnostics_k=None
        ).loss_N

    return run


CASES: dict[str, Callable[[Inputs], Tensor]] = {
    "naive full": naive_full,
    "column loop": column_loop,
    "TRL chunked": trl_chunked,
    **{name: driver(objective) for name, objective in OBJECTIVES.items()},
}


@dataclass(frozen=True)
class Result:
    """Best seconds, extra peak MB, mean loss, relative gradient error, and whether the machine
    swapped during the case.
    """

    seconds: float
    extra: float
    loss: float
    error: float
    swapped: bool


def measure(case: str, sizes: Sizes) -> Result:
    """Measure one case in a fresh process.

    clock cpu: the seconds of all threads together, which do not count other processes of the
    machine; wall: for a quiet machine.
    """
    torch.manual_seed(0)
    inputs = Inputs(sizes)
    clock = (
        time.process_time if (sizes.device, sizes.clock) == ("cpu", "cpu") else time.perf_counter
    )
    _warm_up(case, sizes)
    before, swaps, times, loss = _peak(sizes.device), _faults(), [], 0.0
    for _ in range(sizes.repeats):
        inputs.student_hidden.grad = None
        _synchronise(sizes.device)
        start = clock()
        loss_N = CASES[case](inputs)
        loss_N.sum().backward()
        _synchronise(sizes.device)
        times.append(clock() - start)
        loss = float(loss_N.detach().mean())
        del loss_N
    extra, swapped = _peak(sizes.device) - before, _faults() > swaps + SWAP_FAULTS
    return Result(min(times), extra, loss, gradient_error(case, inputs), swapped)


def _warm_up(case: str, sizes: Sizes) -> None:
    """Run the case once on one token and a small vocabulary, so that imports and thread pools do
    not count.
    """
    small = Inputs(dataclasses.replace(sizes, tokens=1, hidden=8, vocabulary=64, chunk_tokens=1))
    CASES[case](small).sum().backward()


def gradient_error(case: str, inputs: Inputs) -> float:
    """Return the gradient error on the first `CHECKED` tokens. A column loop is the stop-gradient
    TopK; the other two baselines are the full reverse KL.
    """
    assert inputs.student_hidden.grad is not None
    objective = OBJECTIVES.get(
        case, OBJECTIVES["TopK stop-gradient" if case == "column loop" else "full reverse KL"]
    )
    hidden = inputs.student_hidden.detach()[:CHECKED].double().requires_grad_()
    with torch.no_grad():
        teacher_NV = (
            inputs.teacher_hidden[:CHECKED].double() @ inputs.teacher_head.weight.double().T
        )
    student_NV = hidden @ inputs.student_head.weight.detach().double().T
    values = bind(objective)(student_NV, teacher_NV, inputs.tokens[:CHECKED])
    values.loss_N.sum().backward()
    assert hidden.grad is not None
    return float(
        (inputs.student_hidden.grad[:CHECKED].double() - hidden.grad).abs().max()
        / hidden.grad.abs().max()
    )


def _faults() -> int:
    """Return the page faults of this process that had to read from disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def _peak(device: str) -> float:
    """Return the peak memory so far in MB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    sizes = _sizes()
    print(f"{sizes}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    heads = ("seconds", "/ naive", "extra MB", "/ naive", "loss", "error")
    widths = (9, 9, 10, 9, 9, 10)
    print(f"{'case':26}" + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True)))
    context, found = multiprocessing.get_context("spawn"), dict[str, Result]()
    for case in CASES:
        own = (
            dataclasses.replace(sizes, tokens=min(sizes.loop_tokens, sizes.tokens))
            if case == "column loop"
            else sizes
        )
        with context.Pool(1) as pool:
            result = pool.apply(measure, (case, own))
        scale = sizes.tokens / own.tokens
        found[case] = dataclasses.replace(
            result, seconds=result.seconds * scale, extra=result.extra * scale
        )
        print(
            _line(case, found[case], found["naive full"], own.tokens if scale > 1 else None),
            flush=True,
        )
    for text, reached in targets(found):
        print(f"{'reached' if reached else 'MISSED':8} {text}")


def _sizes() -> Sizes:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = {
        "tokens": 512,
        "hidden": 1024,
        "vocabulary": 151_936,
        "chunk-tokens": CHUNK_LOGITS // 151_936,
        "repeats": 2,
        "loop-tokens": 512,
    }
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--clock", default="cpu", choices=["cpu", "wall"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    return Sizes(**vars(parser.parse_args()))


def _line(case: str, one: Result, naive: Result, measured_on: int | None) -> str:
    time_, memory = (
        f"{one.seconds:9.3f}{one.seconds / naive.seconds:9.2f}",
        f"{one.extra:10.0f}{one.extra / naive.extra:9.2f}",
    )
    numbers = f"{time_}{memory}{one.loss:9.4f}{one.error:10.1e}"
    notes = [f"scaled from {measured_on} tokens"] if measured_on else []
    return "  ".join([f"{case:26}{numbers}", *notes, *(["SWAPPED"] if one.swapped else [])])


def targets(found: dict[str, Result]) -> list[tuple[str, bool]]:
    """Return what the losses should reach, and what they reached."""
    topk, loop, full, trl = (
        found[name]
        for name in ("TopK stop-gradient", "column loop", "full reverse KL", "TRL chunked")
    )
    faster, smaller = loop.seconds / topk.seconds, topk.extra / loop.extra
    slower, larger = full.seconds / trl.seconds, full.extra / trl.extra
    worst = max(found[name].error for name in OBJECTIVES)
    return [
        (f"TopK {faster:.2f} times as fast as the column loop (at least 5)", faster >= 5),
        (f"TopK in {smaller:.3f} of the column loop's memory (at most 0.1)", smaller <= 0.1),
        (f"full vocabulary in {slower:.2f} of TRL's time (at most 1.1)", slower <= 1.1),
        (f"full vocabulary in {larger:.2f} of TRL's memory (at most 1)", larger <= 1),
        (f"largest gradient error {worst:.1e} (below 1e-5)", worst < 1e-5),
    ]


if __name__ == "__main__":
    main()
