"""Measure the losses at a real vocabulary in one process, alternately: naive rows, a loop over
columns, TRL's chunked loss, and every form of ours with a frozen and a trained head.

    python -m benchmarks.bench_losses --tokens 512
    python -m benchmarks.bench_losses --tokens 128 --loop-tokens 16 --repeats 3

CPU seconds of one thread (wall seconds on a GPU), median of the repeats; unit: one product of
[N, H] with [H, V], measured before each case of the same repeat. Memory: the peak above what was
resident before the case; with a trained head it contains the head's own gradient. error:
max |g - g64| / max |g64| of the gradient in the hidden states of a few tokens, g64 from the
definition in float64. The default loss is the paper's: TopK of the student, renormalised, with
stop-gradient. The column loop and the naive rows compute that loss, TRL's chunked code the full
reverse KL. A case measured on fewer tokens is scaled.
"""

import argparse
import os
import re
import statistics
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from study.models.chunked.cost import Inputs, Measured, Sizes, measure, products_needed
from study.models.loss import bind
from study.objectives.topk import top_ids
from study.spec.recipe.objective import Objective

K = 20  # the paper's default
CHECKED = 2  # tokens whose gradients are compared with float64
DEFAULT = Objective(
    support="student_topk", k=K, normalisation="renormalised", gradient="stop_gradient"
)
FULL = Objective()
FORMS = {
    "default: renormalised TopK, stop-gradient": DEFAULT,
    "renormalised, teacher's TopK": Objective(
        support="teacher_topk", k=K, normalisation="renormalised"
    ),
    "renormalised, intersection": Objective(
        support="intersection", k=K, normalisation="renormalised", gradient="stop_gradient"
    ),
    "renormalised, union": Objective(support="union", k=K, normalisation="renormalised"),
    "full reverse KL": FULL,
    "full forward KL": Objective(divergence="forward_kl"),
    "full JSD": Objective(divergence="jsd", beta=0.5),
    "TopK stop-gradient": Objective(support="student_topk", k=K, gradient="stop_gradient"),
    "TopK tail bucket": Objective(support="student_topk", k=K, normalisation="tail_bucket"),
    "sampled policy gradient": Objective(support="sampled", gradient="score_function"),
}


class Case(NamedTuple):
    """call: takes the loss and its gradient. scale: N over the tokens that it is measured on."""

    call: Callable[[], None]
    objective: Objective
    trained: bool
    scale: float = 1.0
    limit: int | None = None


def naive(inputs: Inputs, number: int) -> None:
    """Keep both sides' whole rows, and let autograd differentiate."""
    with torch.no_grad():
        teacher_NV = inputs.teacher_head(inputs.teacher_hidden[:number])
    student_NV = inputs.student_head(inputs.student_hidden[:number])
    bind(DEFAULT)(student_NV, teacher_NV, inputs.tokens[:number]).loss_N.sum().backward()


def column_loop(inputs: Inputs, number: int) -> None:
    """Take one column after another, each with a copy of the logits."""
    student_NV = inputs.student_head(inputs.student_hidden[:number])
    with torch.no_grad():
        teacher_NV = inputs.teacher_head(inputs.teacher_hidden[:number])
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    for ids_N in top_ids(student_NV, K).unbind(dim=-1):
        for columns, logits_NV in zip(sides, (student_NV, teacher_NV), strict=True):
            columns.append(-nn.functional.cross_entropy(logits_NV.clone(), ids_N, reduction="none"))
    log_p, log_q = (torch.stack(columns, dim=-1).log_softmax(dim=-1) for columns in sides)
    (log_p.exp() * (log_p.detach() - log_q)).sum().backward()


def trl_chunked(inputs: Inputs) -> None:
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    student, teacher = inputs.student_head.weight, inputs.teacher_head.weight
    divergence_N, _ = ChunkedDivergenceFunction.apply(
        inputs.student_hidden, student, None, inputs.teacher_hidden, teacher, None, 1.0
    )
    divergence_N.sum().backward()


def cases(inputs: Inputs, loop_tokens: int) -> dict[str, Case]:
    N = inputs.sizes.tokens
    loop = min(loop_tokens, N)
    found = {
        "default: naive rows": Case(lambda: naive(inputs, N), DEFAULT, False),
        "default: column loop": Case(lambda: column_loop(inputs, loop), DEFAULT, False, N / loop),
        "full reverse KL: TRL chunked": Case(lambda: trl_chunked(inputs), FULL, False),
        "full reverse KL: TRL chunked, trained": Case(lambda: trl_chunked(inputs), FULL, True),
    }
    for trained in (False, True):
        for name, objective in FORMS.items():
            needed = products_needed(objective, trained=trained)
            found[f"{name}{', trained' if trained else ''}"] = Case(
                lambda o=objective: inputs.loss(o), objective, trained, limit=needed
            )
    return found


def references(inputs: Inputs, objectives: set[Objective]) -> dict[Objective, Tensor]:
    """Return the float64 gradient in the first tokens' hidden states, for every objective."""
    teacher_NV = inputs.teacher_hidden[:CHECKED].double() @ inputs.teacher_head.weight.double().t()
    weight_VH = inputs.student_head.weight.detach().double()
    student_NV = inputs.student_hidden.detach()[:CHECKED].double() @ weight_VH.t()
    found = {}
    for objective in objectives:
        leaf_NV = student_NV.clone().requires_grad_()
        values = bind(objective)(leaf_NV, teacher_NV, inputs.tokens[:CHECKED])
        (gradient_NV,) = torch.autograd.grad(values.loss_N.sum(), leaf_NV)
        found[objective] = gradient_NV @ weight_VH
    return found


def error(inputs: Inputs, exact_NH: Tensor) -> float:
    assert inputs.student_hidden.grad is not None
    ours_NH = inputs.student_hidden.grad[:CHECKED].double()
    return float((ours_NH - exact_NH).abs().max() / exact_NH.abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = {"tokens": 512, "hidden": 1024, "vocabulary": 151_936, "repeats": 2}
    for name, default in (defaults | {"loop-tokens": 16}).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", default="", help="cases that this pattern is found in")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    said = parser.parse_args()
    torch.set_num_threads(1)
    import trl.kernels.chunked_divergence  # noqa: F401 - imports are no part of a loss

    sizes = Sizes(said.tokens, said.hidden, said.vocabulary, K)
    inputs = Inputs(sizes, said.device, getattr(torch, said.dtype))
    chosen = {n: c for n, c in cases(inputs, said.loop_tokens).items() if re.search(said.only, n)}
    forms = {case.objective for case in chosen.values()}  # pyright: ignore[reportUnhashable]
    exact = references(inputs, forms)
    print(f"N={said.tokens} H={said.hidden} V={said.vocabulary} K={K}, torch {torch.__version__},")
    print(f"1 thread, load {os.getloadavg()[0]:.1f} at the start", flush=True)
    found: dict[str, list[tuple[float, float, Measured, float]]] = defaultdict(list)
    for _ in range(said.repeats):
        for name, case in chosen.items():
            inputs.student_head.weight.requires_grad_(case.trained)
            unit = measure(inputs.product, inputs.device).seconds
            inputs.forget_gradients()
            one = measure(case.call, inputs.device)
            seconds = one.seconds * case.scale
            off = error(inputs, exact[case.objective])
            inputs.forget_gradients()
            found[name].append((seconds, seconds / unit, one, off))
            extra = (one.extra_bytes or 0) * case.scale / 1e6
            line = f"{seconds:9.2f}{seconds / unit:10.2f}{extra:8.0f} MB{off:10.1e}"
            print(f"  {name:50}{line}", flush=True)
    print(f"{'case':50}{'seconds':>9}{'products':>10}{'needed':>8}{'extra MB':>10}{'error':>10}")
    for name, runs in found.items():
        seconds = statistics.median(run[0] for run in runs)
        products = statistics.median(run[1] for run in runs)
        extra = statistics.median((run[2].extra_bytes or 0) for run in runs) * chosen[name].scale
        print(
            f"{name:50}{seconds:9.2f}{products:10.2f}{chosen[name].limit or '':>8}"
            f"{extra / 1e6:10.0f}{max(run[3] for run in runs):10.1e}"
        )
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
