"""What may be declared: every preset is a loss, every empty combination is refused with its
reason.
"""

import re
from functools import partial

import pytest
import torch
from pydantic import ValidationError

from study.errors import SpecError
from study.models.loss import bind
from study.objectives import diagnostics
from study.objectives.reductions import constant, response_mean, token_mean
from study.objectives.topk import Support, inside, top_ids, union
from study.spec.recipe.objective import PRESETS, TOPK_SUPPORTS, Objective, bias_note
from tests.support.paths import ROOT

SAMPLED = {"support": "sampled", "gradient": "score_function"}
REFUSED = [
    ({"support": "student_topk"}, "needs k"),
    ({"k": 5}, "k has no meaning with support 'full'"),
    (
        {"support": "sampled", "gradient": "score_function", "k": 1},
        "k has no meaning with support 'sampled'",
    ),
    ({"divergence": "jsd"}, "beta belongs to divergence 'jsd'"),
    ({"beta": 0.5}, "beta belongs to divergence 'jsd'"),
    ({"support": "student_topk", "k": 1, "normalisation": "renormalised"}, "identically zero"),
    ({"support": "intersection", "k": 1, "normalisation": "renormalised"}, "identically zero"),
    ({"normalisation": "renormalised"}, "needs a TopK support"),
    (
        {"support": "sampled", "gradient": "score_function", "normalisation": "tail_bucket"},
        "needs a TopK support",
    ),
    ({"support": "sampled", "divergence": "forward_kl"}, "reverse-KL log-ratio only"),
    ({"support": "sampled", "gradient": "stop_gradient"}, "reverse-KL log-ratio only"),
    ({"gradient": "score_function"}, "use support 'sampled'"),
    ({"support": "student_topk", "k": 5, "gradient": "score_function"}, "use support 'sampled'"),
    (
        {
            "divergence": "forward_kl",
            "support": "teacher_topk",
            "k": 5,
            "gradient": "stop_gradient",
        },
        "not defined for 'forward_kl'",
    ),
    ({"gradient": "stop_gradient"}, "with the full vocabulary"),
    (
        {
            "support": "student_topk",
            "k": 5,
            "normalisation": "tail_bucket",
            "gradient": "stop_gradient",
        },
        "with a tail bucket",
    ),
    ({"missing": "floor"}, "needs a TopK support"),
    ({"support": "intersection", "k": 5, "missing": "floor"}, "has no missing tokens"),
    ({"support": "teacher_topk", "k": 5, "missing": "student_value"}, "has no missing tokens"),
    ({"support": "union", "k": 5, "missing": "intersection"}, "use support 'teacher_topk'"),
    (
        {
            "support": "student_topk",
            "k": 5,
            "normalisation": "tail_bucket",
            "missing": "student_value",
        },
        "push it above 1",
    ),
    ({"support": "student_topk", "k": 0}, "greater than or equal to 1"),
    ({"temperature": 0.0}, "greater than 0"),
    ({"temperature": float("inf")}, "finite"),
    ({"divergence": "jsd", "beta": 1.0}, "less than 1"),
    ({"constant_tokens": 48}, "the divisor of reduction 'constant'"),
    ({"reduction": "token_mean", "constant_tokens": 48}, "'token_mean' counts tokens itself"),
    ({"reduction": "constant", "constant_tokens": 0}, "greater than or equal to 1"),
    ({"advantage": 1.0}, "use support 'sampled' and gradient 'score_function'"),
    ({"support": "sampled", "advantage": 1.0}, "use support 'sampled' and gradient"),
    (SAMPLED | {"advantage": 0.0}, "no gradient at all"),
    (SAMPLED | {"advantage": -1.0}, "has the gradient of the plain loss"),
    (SAMPLED | {"advantage": float("nan")}, "finite"),
]


@pytest.mark.parametrize(("fields", "reason"), REFUSED)
def test_empty_combinations_are_refused_with_a_reason(fields: dict, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Objective(**fields)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_a_loss_with_a_source(name: str) -> None:
    fields, source = PRESETS[name]
    objective = Objective(**fields, **({"k": 2} if fields.get("support") in TOPK_SUPPORTS else {}))
    assert source
    assert bind(objective)(
        torch.randn(3, 6), torch.randn(3, 6), torch.tensor([0, 1, 2])
    ).loss_N.shape == (3,)


def test_presets_are_different_losses() -> None:
    tuples = [
        Objective(**fields, **({"k": 2} if fields.get("support") in TOPK_SUPPORTS else {}))
        for fields, _ in PRESETS.values()
    ]
    assert len(set(tuples)) == len(tuples)


def test_k_larger_than_the_vocabulary_is_a_users_error() -> None:
    with pytest.raises(SpecError, match="k = 7 is larger than the vocabulary of 6 tokens"):
        bind(Objective(support="student_topk", k=7))(
            torch.randn(2, 6), torch.randn(2, 6), torch.tensor([0, 1])
        )


def test_ties_at_the_border_go_to_the_lowest_id() -> None:
    logits = torch.tensor(
        [[1.0, 3.0, 1.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0], [5.0, 4.0, 3.0, 2.0, 1.0]]
    )
    assert [set(row) for row in top_ids(logits, 3).tolist()] == [{0, 1, 4}, {0, 1, 2}, {0, 1, 2}]
    assert [set(row) for row in top_ids(logits.bfloat16(), 3).tolist()] == [
        {0, 1, 4},
        {0, 1, 2},
        {0, 1, 2},
    ]
    assert top_ids(logits[:0], 3).shape == (0, 3)


def test_a_union_holds_each_token_once() -> None:
    both = union(torch.tensor([[4, 1]]), torch.tensor([[1, 0]]))
    assert both.size_N.item() == 3
    assert inside(both, 5).tolist() == [[True, True, False, False, True]]
    assert not inside(Support(both.ids_NK, torch.zeros_like(both.live_NK)), 5).any()


def test_response_mean_weighs_responses_and_token_mean_tokens() -> None:
    values, mask = (
        torch.tensor([[1.0, 3.0, 5.0], [7.0, float("inf"), float("nan")]]),
        torch.tensor([[1, 1, 1], [1, 0, 0]]),
    )
    assert response_mean(values, mask, 2).item() == pytest.approx((3 + 7) / 2)
    assert token_mean(values, mask, 4).item() == pytest.approx((1 + 3 + 5 + 7) / 4)
    assert constant(values, mask, 2, 10).item() == pytest.approx((1 + 3 + 5 + 7) / 20)


@pytest.mark.parametrize(
    ("reduction", "count"),
    [(response_mean, 4), (token_mean, 9), (partial(constant, constant_tokens=7), 4)],
)
def test_micro_batches_add_up_to_the_batch(reduction, count: int) -> None:
    values = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
    parts = sum(reduction(values[rows], mask[rows], count) for rows in ([0], [1, 2], [3]))
    torch.testing.assert_close(parts, reduction(values, mask, count))


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({}, None),
        ({"support": "student_topk", "k": 5}, None),
        ({"reduction": "token_mean"}, None),
        (
            SAMPLED,
            "biased by its weight 1/T, which depends on the sampled tokens, at any batch size",
        ),
        (SAMPLED | {"reduction": "token_mean"}, "falling as 1/batch size"),
        (SAMPLED | {"reduction": "constant"}, None),
        ({"support": "sampled"}, "expected gradient is that of E[1/T], not zero"),
        ({"support": "sampled", "reduction": "token_mean"}, "that of E[1/sum T], not zero"),
        (SAMPLED | {"advantage": 2.0}, "expected gradient is that of E[1/T], not zero"),
        (SAMPLED | {"advantage": 2.0, "reduction": "constant"}, None),
    ],
)
def test_a_biased_estimator_is_named_as_one(fields: dict, note: str | None) -> None:
    found = bias_note(Objective(**fields))
    assert found is None if note is None else note in (found or "")


def test_diagnostics_in_numbers() -> None:
    log_p = torch.tensor([[0.5, 0.25, 0.25, 0.0]]).log()
    assert diagnostics.entropy(log_p).item() == pytest.approx(
        1.5 * torch.log(torch.tensor(2.0)).item()
    )
    assert diagnostics.support_mass(log_p, torch.tensor([[0, 3]])).item() == pytest.approx(0.5)
    assert diagnostics.overlap(
        torch.tensor([[0, 1, 2, 3]]), torch.tensor([[3, 5, 6, 0]])
    ).item() == pytest.approx(0.5)
    assert diagnostics.token_rank(log_p, torch.tensor([3])).item() == 3
    assert diagnostics.cosine(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0])) == pytest.approx(
        0.5**0.5
    )
    assert diagnostics.cosine(torch.zeros(2), torch.ones(2)) is None
    assert diagnostics.relative_error(torch.zeros(2), torch.ones(2)) == pytest.approx(1.0)


def test_the_page_on_losses_names_every_preset_of_the_paper() -> None:
    page = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    listed = page.partition("## The paper's losses by name")[2].partition("## Three")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", listed, re.MULTILINE))
    of_the_paper = {name for name, (_, source) in PRESETS.items() if "paper" in source}
    assert named == of_the_paper | {"sampled_plain_loss"}
    default = next(line for line in listed.splitlines() if "default of Table 1" in line)
    (preset,) = [name for name, (_, source) in PRESETS.items() if "Table 1 default" in source]
    assert default.startswith(f"| `{preset}` |")
