"""Time and extra peak memory of the chunked driver at a real vocabulary, beside two ways of doing without it, in one run.

    python -m benchmarks.bench_objectives                        # V = 151,936, H = 1024, N = 256: about a minute on two cores
    python -m benchmarks.bench_objectives --tokens 512 --chunk-tokens 128
    python -m benchmarks.bench_objectives --device cuda --tokens 4096 --dtype bfloat16 --chunk-tokens 512

Baselines, written here for the comparison: `naive full` keeps both sides' whole [N, V] log-softmax; `column loop` does a TopK loss one
column at a time with a copy of the logits for each. Each case runs in a process of its own (peak memory cannot be reset on a CPU):
forward and backward to the hidden states; memory is the peak above weights and inputs. The heads are frozen: the gradient of a head (as
large as the head, the same in every case) would hide what the loss itself needs.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from study.models.logprobs import token_losses
from study.objectives.topk import top_ids
from study.spec.objective import Objective

K = 20  # the paper's default
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
    device: str
    dtype: str


class Inputs:
    """Hidden states and heads of two models; logits with a standard deviation of about 3, as peaked as a language model's."""

    def __init__(self, sizes: Sizes) -> None:
        self.chunk_tokens, dtype = sizes.chunk_tokens, getattr(torch, sizes.dtype)
        generator = torch.Generator(sizes.device).manual_seed(0)
        options = {"generator": generator, "device": sizes.device, "dtype": dtype}
        self.student_hidden = torch.randn(sizes.tokens, sizes.hidden, **options).requires_grad_()
        self.teacher_hidden = torch.randn(sizes.tokens, sizes.hidden, **options)
        self.student_head, self.teacher_head = (self._head(sizes, options) for _ in range(2))
        self.tokens = torch.randint(sizes.vocabulary, (sizes.tokens,), generator=generator, device=sizes.device)

    @staticmethod
    def _head(sizes: Sizes, options: dict) -> nn.Linear:
        with torch.device("meta"):
            head = nn.Linear(sizes.hidden, sizes.vocabulary, bias=False)
        head.weight = nn.Parameter(torch.randn(sizes.vocabulary, sizes.hidden, **options).mul_(3 / sizes.hidden**0.5), requires_grad=False)
        return head

    def logits(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            teacher_NV = self.teacher_head(self.teacher_hidden).float()
        return self.student_head(self.student_hidden).float(), teacher_NV


def naive_full(inputs: Inputs) -> Tensor:
    student_NV, teacher_NV = (logits_NV.log_softmax(dim=-1) for logits_NV in inputs.logits())
    return (student_NV.exp() * (student_NV - teacher_NV)).sum(dim=-1)


def column_loop(inputs: Inputs) -> Tensor:
    """sum over K columns of p (sg[log p] - log q), each column with its own pass over the vocabulary."""
    student_NV, teacher_NV = inputs.logits()
    loss_N = torch.zeros(len(student_NV), device=student_NV.device)
    for ids_N in top_ids(student_NV, K).unbind(dim=-1):
        log_p, log_q = (-nn.functional.cross_entropy(logits_NV.clone(), ids_N, reduction="none") for logits_NV in (student_NV, teacher_NV))
        loss_N = loss_N + log_p.exp() * (log_p.detach() - log_q)
    return loss_N


def driver(objective: Objective) -> Callable[[Inputs], Tensor]:
    def run(inputs: Inputs) -> Tensor:
        sides = (inputs.student_hidden, inputs.student_head, inputs.teacher_hidden, inputs.teacher_head)
        return token_losses(*sides, inputs.tokens, objective, chunk_tokens=inputs.chunk_tokens, diagnostics_k=None).loss_N

    return run


CASES: dict[str, Callable[[Inputs], Tensor]] = {
    "naive full": naive_full,
    "column loop": column_loop,
    **{name: driver(objective) for name, objective in OBJECTIVES.items()},
}


def measure(case: str, sizes: Sizes) -> tuple[float, float, float]:
    """(best seconds, extra peak MB, mean loss) of one case; runs in a fresh process.

    On a CPU the seconds are those of all threads together: they do not count what other processes do on the machine.
    """
    torch.manual_seed(0)
    inputs = Inputs(sizes)
    clock = time.perf_counter if sizes.device == "cuda" else time.process_time
    before, times, loss = _peak(sizes.device), [], 0.0
    for _ in range(sizes.repeats):
        _synchronise(sizes.device)
        start = clock()
        loss_N = CASES[case](inputs)
        loss_N.mean().backward()
        _synchronise(sizes.device)
        times.append(clock() - start)
        loss = float(loss_N.detach().mean())
    return min(times), _peak(sizes.device) - before, loss


def _peak(device: str) -> float:
    """Peak memory so far in MB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("tokens", 256), ("hidden", 1024), ("vocabulary", 151_936), ("chunk-tokens", 64), ("repeats", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    sizes = Sizes(**vars(parser.parse_args()))
    print(f"{sizes}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'case':26}{'seconds':>9}{'/ naive':>9}{'extra MB':>10}{'/ naive':>9}{'loss':>9}")
    context, base = multiprocessing.get_context("spawn"), (1.0, 1.0)
    for case in CASES:
        with context.Pool(1) as pool:
            seconds, extra, loss = pool.apply(measure, (case, sizes))
        base = (seconds, extra) if case == "naive full" else base
        print(f"{case:26}{seconds:9.3f}{seconds / base[0]:9.2f}{extra:10.0f}{extra / base[1]:9.2f}{loss:9.4f}", flush=True)


if __name__ == "__main__":
    main()
