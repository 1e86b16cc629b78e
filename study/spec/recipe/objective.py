"""A loss as a declared tuple: divergence x support x normalisation x gradient x missing x advantage
x reduction x temperature.

Presets (`PRESETS`) are names from the literature for some tuples; only the tuple is part of
identity. `bias_note` says which tuples are biased estimators.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from study.spec.base import Spec
from study.spec.recipe.user_code import CodeField

Divergence = Literal["reverse_kl", "forward_kl", "jsd"]
Support = Literal["full", "student_topk", "teacher_topk", "intersection", "union", "sampled"]
Normalisation = Literal["none", "renormalised", "tail_bucket"]
Gradient = Literal["through", "stop_gradient", "score_function"]
Missing = Literal["exact", "student_value", "floor", "intersection"]
Reduction = Literal["response_mean", "token_mean", "constant"]

TOPK_SUPPORTS = ("student_topk", "teacher_topk", "intersection", "union")


class Objective(Spec):
    """One distillation loss.

    - divergence: reverse_kl = KL(student || teacher), forward_kl = KL(teacher || student), jsd =
      generalised JSD with weight `beta`.
    - support: the tokens v that the sum runs over at each position; `k` is their number for the
      TopK supports.
    - normalisation: none = probabilities as they are (mass < 1), renormalised = both sides divided
      by their mass on the support, tail_bucket = one more outcome with the remaining mass of each
      side.
    - gradient: through = autograd through everything (with a truncated reverse KL: the biased form,
      paper Eqs. 6-9), stop_gradient = log p_S detached inside the log-ratio (Eq. 12),
      score_function = sg[log-ratio] * log p_S(y) (Eqs. 4-5).
    - missing: the value of p_T(v) if a teacher returned only its own k likeliest tokens and v is
      not among them. exact = gathered from the full teacher (nothing is missing), student_value =
      the student's own value, detached (authors' code: no signal where the disagreement is
      largest), floor = the remaining mass of the teacher, divided evenly over the other V - k
      tokens, intersection = v leaves the support.
    - advantage: a number A in place of the sampled token's advantage, log p_T(y) - log p_S(y), in
      the score function: -A * log p_S(y). A placebo: no teacher is in it.
    - reduction: response_mean = mean over a response's tokens, then over responses (Eq. 1);
      token_mean = mean over all tokens of the batch; constant = sum over all tokens divided by
      (responses * C), with C fixed before any token is drawn. What each one does to a sampled
      loss: study/objectives/reductions.py.
    - constant_tokens: C of reduction constant, in tokens; None = the limit of a completion,
      `sampling.max_completion_length` of the training.
    - temperature: divides both sides' logits inside the loss.
    - beta: weight of KL(teacher || mixture) in the generalised JSD; 1 - beta is that of KL(student
      || mixture).
    - python: file.py:function, a user-supplied loss instead of the divergence
      (study/models/user_loss.py defines its arguments).
    """

    divergence: Divergence = "reverse_kl"
    support: Support = "full"
    k: int | None = Field(default=None, ge=1)
    normalisation: Normalisation = "none"
    gradient: Gradient = "through"
    missing: Missing = "exact"
    reduction: Reduction = "response_mean"
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    beta: float | None = Field(default=None, gt=0, lt=1)
    python: CodeField | None = None
    # defaults, so that the ids of older cells do not change
    advantage: float | None = Field(default=None, allow_inf_nan=False)
    constant_tokens: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _refuse_empty_combinations(self) -> "Objective":
        reason = refusal(self)
        if reason:
            raise ValueError(reason)
        return self


def refusal(objective: Objective) -> str | None:
    """Say why this tuple is invalid or empty, or None if it is a loss. Each refusal has a test."""
    checks = (
        _refused_python,
        _refused_fields,
        _refused_normalisation,
        _refused_gradient,
        _refused_missing,
        _refused_advantage,
    )
    return next((reason for check in checks if (reason := check(objective))), None)


def _refused_python(o: Objective) -> str | None:
    """Say which declared fields a user-supplied function decides itself."""
    if o.python is None:
        return None
    if o.support not in ("full", "student_topk", "teacher_topk", "sampled"):
        return (
            f"a loss of your own is given one rectangle of log-probabilities; support {o.support!r}"
            " has gaps"
        )
    decided = {
        name: Objective.model_fields[name].default
        for name in ("divergence", "normalisation", "gradient", "missing", "beta", "advantage")
    }
    said = next((name for name, default in decided.items() if getattr(o, name) != default), None)
    return f"{said} is what the function of `python` decides; remove it" if said else None


def _refused_fields(o: Objective) -> str | None:
    if o.support in TOPK_SUPPORTS and o.k is None:
        return f"support {o.support!r} needs k"
    if o.support not in TOPK_SUPPORTS and o.k is not None:
        return f"k has no meaning with support {o.support!r}; remove it"
    if (o.divergence == "jsd") != (o.beta is not None):
        return "beta belongs to divergence 'jsd' and is required there"
    if o.constant_tokens is not None and o.reduction != "constant":
        return (
            f"constant_tokens is the divisor of reduction 'constant'; reduction {o.reduction!r}"
            " counts tokens itself"
        )
    return None


def _refused_normalisation(o: Objective) -> str | None:
    if o.normalisation != "none" and o.support not in TOPK_SUPPORTS:
        return (
            f"normalisation {o.normalisation!r} needs a TopK support; on {o.support!r} it changes"
            " nothing"
        )
    if o.normalisation == "renormalised" and o.k == 1 and o.support != "union":
        return (
            "renormalised on one token is identically zero: both sides are 1 on a support of size 1"
        )
    return None


def _refused_gradient(o: Objective) -> str | None:
    if o.support == "sampled" and (o.divergence != "reverse_kl" or o.gradient == "stop_gradient"):
        return (
            "the sampled token gives the reverse-KL log-ratio only, with gradient 'score_function'"
            " or (negative control) 'through'"
        )
    if o.gradient == "score_function" and o.support != "sampled":
        return "gradient 'score_function' is the sampled-token estimator; use support 'sampled'"
    if o.gradient == "stop_gradient" and o.divergence != "reverse_kl":
        return (
            "gradient 'stop_gradient' detaches log p_S in the reverse-KL log-ratio; it is not"
            f" defined for {o.divergence!r}"
        )
    if o.gradient == "stop_gradient" and (o.support == "full" or o.normalisation == "tail_bucket"):
        where = "a tail bucket" if o.normalisation == "tail_bucket" else "the full vocabulary"
        return (
            f"with {where} the sum runs over a whole distribution and the stop-gradient changes"
            " nothing; use gradient 'through'"
        )
    return None


def _refused_missing(o: Objective) -> str | None:
    if o.missing == "exact":
        return None
    if o.support not in TOPK_SUPPORTS:
        return f"a missing-token policy needs a TopK support, not {o.support!r}"
    if o.support in ("intersection", "teacher_topk"):
        return (
            f"support {o.support!r} has no missing tokens: the teacher returned all of them; use"
            " missing 'exact'"
        )
    if o.support == "union" and o.missing == "intersection":
        return (
            "the union without the teacher's missing tokens is the teacher's TopK; use support"
            " 'teacher_topk'"
        )
    if o.normalisation == "tail_bucket" and o.missing == "student_value":
        return (
            "a tail bucket needs the teacher's mass on the support, and filled student values can"
            " push it above 1; use missing 'floor'"
        )
    return None


def _refused_advantage(o: Objective) -> str | None:
    if o.advantage is None:
        return None
    if o.gradient != "score_function":
        return (
            "advantage replaces the log-ratio of the sampled-token estimator; use support"
            " 'sampled' and gradient 'score_function'"
        )
    if o.advantage == 0:
        return "an advantage of 0 has no gradient at all; use a number such as 1.0"
    if o.advantage == -1:
        return (
            "an advantage of -1 has the gradient of the plain loss; use gradient 'through' without"
            " advantage"
        )
    return None


def bias_note(objective: Objective) -> str | None:
    """Say in one sentence how this objective's estimator is biased, or None where it is not.

    A sampled token's loss is the only form that can be: the others are functions of the state, so
    every reduction of them has the gradient of its own definition at the visited states. The
    derivation is in study/objectives/sampled.py.
    """
    if objective.support != "sampled" or objective.reduction == "constant":
        return None
    weight, size = "1/T", "at any batch size"
    if objective.reduction == "token_mean":
        weight, size = "1/sum T", "falling as 1/batch size"
    teacher_free = objective.gradient == "through" or objective.advantage is not None
    if teacher_free and objective.python is None:
        return f"its expected gradient is that of E[{weight}], not zero (docs/losses.md)"
    return (
        f"biased by its weight {weight}, which depends on the sampled tokens, {size}"
        " (docs/losses.md)"
    )


# name -> (fields, source of the form)
PRESETS: dict[str, tuple[dict[str, Any], str]] = {
    "full_reverse_kl": ({}, "paper Eq. 3: full-vocabulary reverse KL"),
    "full_forward_kl": ({"divergence": "forward_kl"}, "GKD; OPSD (2601.18734)"),
    "full_jsd": ({"divergence": "jsd", "beta": 0.5}, "GKD, TRL beta 0.5"),
    "topk_biased": (
        {"support": "student_topk"},
        "paper Eqs. 6-9: unnormalised TopK reverse KL, gradient through everything",
    ),
    "topk_stop_gradient": (
        {"support": "student_topk", "gradient": "stop_gradient"},
        "paper Eq. 12",
    ),
    "topk_renormalised": (
        {"support": "student_topk", "normalisation": "renormalised"},
        "paper Eqs. 15-16",
    ),
    "topk_renormalised_stop_gradient": (
        {"support": "student_topk", "normalisation": "renormalised", "gradient": "stop_gradient"},
        "paper Table 1 default; the same gradient as topk_renormalised",
    ),
    "topk_tail_bucket": (
        {"support": "student_topk", "normalisation": "tail_bucket"},
        "SDPO; TA-OPD 2608.14728",
    ),
    "intersection_renormalised": (
        {"support": "intersection", "normalisation": "renormalised", "gradient": "stop_gradient"},
        "paper Eq. 17; authors' code topk_reverse_kl_intersect_sg_norm",
    ),
    "topk_biased_student_fill": (
        {"support": "student_topk", "missing": "student_value"},
        "authors' code topk_reverse_kl_notail with its fill of missing teacher tokens",
    ),
    "topk_stop_gradient_student_fill": (
        {"support": "student_topk", "gradient": "stop_gradient", "missing": "student_value"},
        "authors' code topk_reverse_kl_notail_sg with its fill of missing teacher tokens",
    ),
    "teacher_topk_forward_kl": (
        {"divergence": "forward_kl", "support": "teacher_topk"},
        "authors' code topk_forward_kl",
    ),
    "teacher_topk_renormalised": (
        {"support": "teacher_topk", "normalisation": "renormalised"},
        "Revisiting OPD 2603.25562: teacher-TopK renormalised reverse KL",
    ),
    "union_stop_gradient": (
        {"support": "union", "gradient": "stop_gradient"},
        "thunlp/OPD support switch",
    ),
    "sampled_policy_gradient": (
        {"support": "sampled", "gradient": "score_function"},
        "paper Eqs. 4-5; Thinking Machines",
    ),
    "sampled_plain_loss": (
        {"support": "sampled", "gradient": "through"},
        (
            "negative control, Fig. 12: the log-ratio as a plain loss has a teacher-independent"
            " gradient"
        ),
    ),
    "constant_advantage": (
        {"support": "sampled", "gradient": "score_function", "advantage": 1.0},
        (
            "negative control: a policy gradient with a constant advantage, whose expected gradient"
            " is zero under reduction constant"
        ),
    ),
}
