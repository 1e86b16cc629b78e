"""docs/trainers.md kept true: TRL's own loss functions against the tuples that the page gives them,
in value and in gradient.

Other frameworks are not run; four of their formulas are written out here and compared with what the
page says of them.
"""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import trl
from ruamel.yaml import YAML
from torch import Tensor
from trl.experimental.async_distillation import async_distillation_trainer as asynchronous
from trl.experimental.gkd import GKDTrainer
from trl.experimental.gold import GOLDTrainer
from trl.experimental.iw_opd import IWOPDTrainer
from trl.experimental.sdft import loss_utils as sdft
from trl.experimental.sdpo import loss_utils as sdpo
from trl.experimental.server_distillation import ServerDistillationTrainer
from trl.trainer.distillation_trainer import _chunked_divergence_loss

from study.models.loss import bind
from study.objectives.reductions import response_mean, token_mean
from study.spec.recipe.objective import Objective

PAGE = Path("docs/trainers.md")
B, T, V, K = 3, 5, 12, 4
Call = Callable[
    [Tensor, Tensor, Tensor, Tensor], Tensor
]  # student and teacher logits, tokens, mask -> scalar loss
SELF = "SDFTTrainer, SDPOTrainer"


def states(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random logits of both sides, the tokens written, and a mask with responses of different
    lengths.
    """
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(B, T, V, generator=draw, dtype=dtype) * 2 for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], dtype=torch.bool)
    return student.requires_grad_(), teacher, torch.randint(V, (B, T), generator=draw), mask


def ours(fields: dict[str, Any]) -> Call:
    objective = Objective(**fields)

    def loss(student: Tensor, teacher: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        values = torch.zeros(B, T, dtype=student.dtype)
        values = values.masked_scatter(
            mask, bind(objective)(student[mask], teacher[mask], tokens[mask]).loss_N
        )
        return (
            token_mean(values, mask, int(mask.sum()))
            if objective.reduction == "token_mean"
            else response_mean(values, mask, B)
        )

    return loss


def labels(tokens: Tensor, mask: Tensor) -> Tensor:
    return tokens.where(mask, torch.full_like(tokens, -100))


def tiled(beta: float, temperature: float = 1.0) -> Call:
    def loss(student: Tensor, teacher: Tensor, _: Tensor, mask: Tensor) -> Tensor:
        heads = (
            torch.eye(V, dtype=student.dtype),
            torch.eye(V, dtype=student.dtype),
        )  # so that hidden states are logits
        return _chunked_divergence_loss(
            student, teacher, *heads, mask, beta, int(mask.sum()), temperature=temperature
        )[0]

    return loss


def dense(trainer: Any, beta: float, **more: Any) -> Call:
    return lambda student, teacher, tokens, mask: trainer.generalized_jsd_loss(
        student,
        teacher,
        labels(tokens, mask),
        beta=beta,
        num_items_in_batch=int(mask.sum()),
        **more,
    )


def self_distilled(name: str, **how: Any) -> Call:
    """As the trainers reduce it: mean over a response's tokens, then over responses.

    Both packages, which must agree.
    """

    def loss(student: Tensor, teacher: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        written = (tokens,) if "sampled" in name else ()
        values, same = (
            getattr(package, name)(student, teacher, *written, **how) for package in (sdft, sdpo)
        )
        assert torch.equal(values, same)
        return ((values * mask).sum(-1) / mask.sum(-1)).mean()

    return loss


def importance_weighted(student: Tensor, teacher: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    logged = ("mean_advantage", "mean_abs_advantage", "mean_weight", "min_weight", "max_weight")
    trainer = SimpleNamespace(
        temperature=1.0, iw_opd_gamma=0.0, iw_opd_epsilon=1e-8,
        model=SimpleNamespace(training=True),
        _metrics={"train": {f"iw_opd/{name}": [] for name in logged}},
    )  # fmt: skip
    scored = teacher.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return IWOPDTrainer._compute_iw_opd_loss(
        trainer, student, tokens, labels(tokens, mask), scored, num_items_in_batch=int(mask.sum())
    )


def server(add_tail: bool) -> Call:
    def loss(student: Tensor, teacher: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        logprobs, ids = teacher.log_softmax(-1).topk(K)
        trainer = SimpleNamespace(
            loss_add_tail=add_tail,
            _reduce_divergence_loss=ServerDistillationTrainer._reduce_divergence_loss,
        )
        answered = {"topk_logprobs": logprobs, "topk_token_ids": ids}
        return ServerDistillationTrainer._compute_server_forward_kl_loss(
            trainer, answered, student.log_softmax(-1), labels(tokens, mask)
        )

    return loss


def from_a_queue(student: Tensor, teacher: Tensor, _: Tensor, mask: Tensor) -> Tensor:
    logprobs, ids = teacher.log_softmax(-1)[mask].topk(K)
    live = torch.ones_like(ids, dtype=torch.bool)
    sides = [
        asynchronous._add_tail_bucket(side, live)
        for side in (student.log_softmax(-1)[mask].gather(-1, ids), logprobs)
    ]
    return (
        asynchronous._jsd_divergence(sides[0][0], sides[1][0], 0.0, sides[0][1]).sum() / mask.sum()
    )


TOPK = {"distillation_topk": K}
CALLS: dict[tuple[str, str], Call] = {
    ("DistillationTrainer", "beta=1"): tiled(1.0),
    ("DistillationTrainer", "beta=0"): tiled(0.0),
    ("DistillationTrainer", "beta=0.3"): tiled(0.3),
    ("DistillationTrainer", "beta=1, temperature=0.7"): tiled(1.0, 0.7),
    ("GKDTrainer", "beta=1"): dense(GKDTrainer, 1),
    ("GKDTrainer", "beta=0"): dense(GKDTrainer, 0),
    ("GKDTrainer", "beta=0.5"): dense(GKDTrainer, 0.5),
    ("GOLDTrainer", "beta=0.5, temperature=0.9"): dense(GOLDTrainer, 0.5, temperature=0.9),
    (SELF, "distillation_mode=full_logits, distillation_alpha=1"): self_distilled(
        "compute_full_logit_self_distillation_loss", distillation_alpha=1.0
    ),
    (SELF, "distillation_mode=full_logits, distillation_alpha=0"): self_distilled(
        "compute_full_logit_self_distillation_loss", distillation_alpha=0.0
    ),
    (SELF, "distillation_mode=full_logits, distillation_alpha=0.5"): self_distilled(
        "compute_full_logit_self_distillation_loss", distillation_alpha=0.5
    ),
    (SELF, "distillation_mode=topk_logits, distillation_alpha=1"): self_distilled(
        "compute_topk_self_distillation_loss",
        distillation_alpha=1.0,
        distillation_add_tail=False,
        **TOPK,
    ),
    (SELF, "distillation_mode=topk_logits, distillation_alpha=0.5"): self_distilled(
        "compute_topk_self_distillation_loss",
        distillation_alpha=0.5,
        distillation_add_tail=False,
        **TOPK,
    ),
    (
        SELF,
        "distillation_mode=topk_logits, distillation_alpha=1, distillation_add_tail",
    ): self_distilled(
        "compute_topk_self_distillation_loss",
        distillation_alpha=1.0,
        distillation_add_tail=True,
        **TOPK,
    ),
    (SELF, "distillation_mode=sampled_token"): self_distilled(
        "compute_sampled_token_self_distillation_loss", distillation_alpha=1.0
    ),
    ("IWOPDTrainer", "distillation_objective=divergence, beta=1"): dense(IWOPDTrainer, 1, top_k=K),
    ("IWOPDTrainer", "distillation_objective=divergence, beta=1, loss_add_tail=false"): dense(
        IWOPDTrainer, 1, top_k=K, add_tail=False
    ),
    ("IWOPDTrainer", "distillation_objective=divergence, beta=0"): dense(IWOPDTrainer, 0, top_k=K),
    ("IWOPDTrainer", "distillation_objective=divergence, beta=0.5"): dense(
        IWOPDTrainer, 0.5, top_k=K
    ),
    ("IWOPDTrainer", "distillation_objective=iw_opd, iw_opd_gamma=0"): importance_weighted,
    ("ServerDistillationTrainer", "beta=0"): server(True),
    ("ServerDistillationTrainer", "beta=0, loss_add_tail=false"): server(False),
    ("AsyncDistillationTrainer", "beta=0"): from_a_queue,
}


def rows(section: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(trainer, flags, fields) of the table under a heading; rows whose tuple is `none` are left
    out.
    """
    text = PAGE.read_text(encoding="utf-8").partition(f"## {section}")[2].partition("\n## ")[0]
    found = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| `(\{.*?\})` \|", text, re.MULTILINE)
    return [
        (trainer, flags, YAML(typ="safe").load(fields.replace("k: K", f"k: {K}")))
        for trainer, flags, fields in found
    ]


def ends(loss: Call, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(value, gradient in the student's logits)."""
    student, teacher, tokens, mask = states(dtype)
    value = loss(student, teacher, tokens, mask)
    return value.detach(), torch.autograd.grad(value, student)[0]


@lru_cache
def tuple_ends(fields: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return ends(ours(json.loads(fields)), dtype)


TRL_ROWS = rows("TRL")


def test_the_page_is_about_the_installed_trl_and_has_every_row_that_is_checked() -> None:
    assert f"## TRL {'.'.join(trl.__version__.split('.')[:2])}," in PAGE.read_text(encoding="utf-8")
    assert [row[:2] for row in TRL_ROWS] == list(CALLS)


@pytest.mark.parametrize(
    ("trainer", "flags", "fields"),
    TRL_ROWS,
    ids=[f"{row[0].split(',')[0]} {row[1]}" for row in TRL_ROWS],
)
def test_trl_computes_what_the_page_says(trainer: str, flags: str, fields: dict[str, Any]) -> None:
    dtype, bound = (
        (torch.float32, 1e-6) if trainer == "DistillationTrainer" else (torch.float64, 1e-12)
    )
    theirs, mine = ends(CALLS[trainer, flags], dtype), tuple_ends(json.dumps(fields), dtype)
    surrogate = (
        fields.get("gradient") == "score_function"
    )  # its value is no divergence: only its gradient means something
    assert ((theirs[0] - mine[0]).abs() < bound) is not surrogate
    assert (theirs[1] - mine[1]).abs().max() < bound
    # the comparison sees a difference: the gradient of every other tuple of the table is told apart
    # from this one
    others = [tuple_ends(json.dumps(other), dtype) for _, _, other in TRL_ROWS if other != fields]
    assert all((theirs[1] - other[1]).abs().max() > 1e-3 for other in others)


def test_every_tuple_of_the_other_frameworks_is_a_loss() -> None:
    found = rows("Others")
    assert len(found) >= 19
    for framework, flags, fields in found:
        assert Objective(**fields), (framework, flags)
        assert re.fullmatch(r"\S+ [0-9a-f]{7}", framework), "read at a commit"


@pytest.mark.parametrize("trainer", [ServerDistillationTrainer, IWOPDTrainer])
def test_reverse_kl_from_a_server_without_a_tail_teaches_nothing(trainer: Any) -> None:
    student, teacher, tokens, mask = states()
    scored = teacher.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    for add_tail in (False, True):
        this = SimpleNamespace(
            beta=1, loss_add_tail=add_tail, _reduce_divergence_loss=trainer._reduce_divergence_loss
        )
        loss = trainer._compute_sparse_top_1_divergence_loss(
            this, student.log_softmax(-1), tokens, scored, tokens, scored, labels(tokens, mask)
        )
        gradient = torch.autograd.grad(loss, student)[0]
        assert (loss.abs() < 1e-15 and gradient.abs().max() < 1e-15) is not add_tail


def expected_gradient(value: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """sum over y of p(y) grad value(log p(y), log q(y)): what one-sample losses do on average, at
    one state.
    """
    student, teacher, _, _ = states()
    logits, fixed = student[0, 0], teacher[0, 0].log_softmax(-1)
    parts = [
        torch.autograd.grad(value(logits.log_softmax(-1)[y], fixed[y]), logits, retain_graph=True)[
            0
        ]
        for y in range(V)
    ]
    return torch.stack(
        [weight * part for weight, part in zip(logits.detach().softmax(-1), parts, strict=True)]
    ).sum(0)


def exact_gradient(**fields: Any) -> Tensor:
    student, teacher, tokens, _ = states()
    logits = student[0, :1]
    return torch.autograd.grad(
        bind(Objective(**fields))(logits, teacher[0, :1], tokens[0, :1]).loss_N.sum(), logits
    )[0][0]


def test_single_sample_estimators_as_losses_move_the_student_where_the_page_says() -> None:
    k1, k2 = (lambda s, q: s - q), (lambda s, q: (s - q) ** 2 / 2)
    k3 = lambda s, q: (q - s).exp() - (q - s) - 1  # noqa: E731
    assert expected_gradient(k1).abs().max() < 1e-12
    assert torch.allclose(expected_gradient(k2), exact_gradient(), atol=1e-12)
    assert torch.allclose(
        expected_gradient(k3), exact_gradient(divergence="forward_kl"), atol=1e-12
    )
    assert not torch.allclose(expected_gradient(k3), exact_gradient(), atol=1e-2)


def test_weights_by_the_students_share_are_the_stop_gradient_form_over_its_mass() -> None:
    """thunlp/OPD: sum over the student's TopK of sg[p / P_S (log p - log q)] log p."""
    student, teacher, _, _ = states()
    logits = student[0, 0]
    mine, theirs = logits.log_softmax(-1), teacher[0, 0].log_softmax(-1)
    ids = logits.topk(K).indices
    share = (mine[ids].softmax(-1) * (mine - theirs)[ids]).detach()
    mass = mine[ids].exp().sum().detach()
    gradient = torch.autograd.grad((share * mine[ids]).sum(), logits)[0]
    expected = exact_gradient(support="student_topk", k=K, gradient="stop_gradient") / mass
    assert torch.allclose(gradient, expected, atol=1e-12)
