"""Check user-supplied losses and rewards.

A loss is checked on random logits in float64, for the properties that the tests
check of every loss here. Axes: N tokens, V vocabulary. A file whose loss stops
gradients on purpose declares `STOPS_GRADIENT = True`: its gradient is then not
that of its value, and finite differences are not compared. A file whose loss
leads away from the teacher on purpose declares `TOWARDS_TEACHER = False`.
"""

import torch
from torch import Tensor

from study.models.loss import bind
from study.objectives.divergences import UndefinedDivergence
from study.spec.recipe.objective import Objective
from study.spec.recipe.user_code import Code, load_cases, load_name
from study.train import user_reward
from study.train.preflight.check import Check

TOKENS, VOCABULARY = 3, 7
# tokens over which the direction of a loss is averaged: single tokens of a truncated or sampled
# loss may point anywhere
MANY = 256
ZERO = 1e-9  # nats, in float64
STEEP = 60.0  # logits this far apart: probabilities of 1e-26, which a trained model reaches
HINT = "docs/extending.md: what a loss receives and returns"


def check_loss(objective: Objective) -> list[Check]:
    """Return one check per property.

    Errors: those of a file that cannot run, or that does not return one number per token.
    """
    assert objective.python is not None
    code = objective.python
    subject = code.version
    if objective.k is not None:
        objective = objective.model_copy(update={"k": min(objective.k, VOCABULARY - 2)})
    drawn = torch.Generator().manual_seed(0)
    student_NV, teacher_NV = torch.randn(
        2, TOKENS, VOCABULARY, dtype=torch.float64, generator=drawn
    ).unbind()
    stops = bool(load_name(code, "STOPS_GRADIENT"))
    return [
        _zero(objective, student_NV, subject),
        _finite(objective, student_NV, teacher_NV, subject),
        _flows(objective, student_NV, teacher_NV, subject),
        _differences(objective, student_NV, teacher_NV, subject, stops),
        _towards(objective, drawn, subject, away=load_name(code, "TOWARDS_TEACHER") is False),
    ]


def _value(objective: Objective, student_NV: Tensor, teacher_NV: Tensor) -> Tensor:
    """Return loss_N at the tokens 0, 1, 2; the student's own logits choose the support and are not
    differentiated there.
    """
    return bind(objective)(student_NV, teacher_NV, torch.arange(TOKENS)).loss_N


def _zero(objective: Objective, student_NV: Tensor, subject: str) -> Check:
    largest = float(_value(objective, student_NV, student_NV).detach().abs().max())
    passed = largest <= ZERO
    message = (
        "no loss at a teacher equal to the student"
        if passed
        else f"a teacher equal to the student has a loss of {largest:.3g} nats"
    )
    return Check(
        "loss: zero at the teacher",
        subject,
        passed,
        message,
        "" if passed else HINT,
        measured={"largest_loss": largest},
    )


def _finite(objective: Objective, student_NV: Tensor, teacher_NV: Tensor, subject: str) -> Check:
    """Check that value and gradient are finite, also where both sides are nearly certain of
    different tokens.
    """
    leaf_NV = (student_NV * STEEP).float().requires_grad_()
    try:
        value = _value(objective, leaf_NV, (teacher_NV * STEEP).float()).sum()
        passed = not value.requires_grad or bool(
            torch.autograd.grad(value, leaf_NV)[0].isfinite().all()
        )
        message = (
            "value and gradient are finite on steep distributions"
            if passed
            else "the gradient is not finite on steep distributions"
        )
    except UndefinedDivergence as error:
        passed, message = False, f"the value is not finite on steep distributions: {error.message}"
    hint = "" if passed else "stay in log-probabilities: log p - log q, never log(p / q)"
    return Check("loss: finite", subject, passed, message, hint)


def _flows(objective: Objective, student_NV: Tensor, teacher_NV: Tensor, subject: str) -> Check:
    leaf_NV = student_NV.clone().requires_grad_()
    value = _value(objective, leaf_NV, teacher_NV).sum()
    norm = float(torch.autograd.grad(value, leaf_NV)[0].norm()) if value.requires_grad else 0.0
    passed = norm > ZERO
    message = (
        "a gradient reaches the student"
        if passed
        else "no gradient reaches the student: it would learn nothing"
    )
    return Check(
        "loss: gradient flows",
        subject,
        passed,
        message,
        "" if passed else HINT,
        measured={"gradient_norm": norm},
    )


def _towards(objective: Objective, drawn: torch.Generator, subject: str, *, away: bool) -> Check:
    """Check the direction: cos = <g, h> / (|g| |h|), g the gradient of the loss and h that of the
    full KL(student || teacher), over many tokens of the student.

    A wrong sign gives -1 and passes every other property. The smallest of this study's losses is
    0.06 (the teacher's TopK, renormalised); a log-ratio as a plain loss, which ignores the teacher,
    gives about 0.
    """
    student_NV, teacher_NV = torch.randn(
        2, MANY, VOCABULARY, dtype=torch.float64, generator=drawn
    ).unbind()
    tokens_N = torch.multinomial(student_NV.softmax(-1), 1, generator=drawn).squeeze(-1)
    g, h = (_gradient(one, student_NV, teacher_NV, tokens_N) for one in (objective, Objective()))
    cosine = float(torch.nn.functional.cosine_similarity(g, h, dim=0))
    measured = {"cosine": cosine}
    name = "loss: towards the teacher"
    if cosine > 0 or away:
        message = f"its gradient has a cosine of {cosine:.2f} with that of the full reverse KL"
        return Check(
            name,
            subject,
            True,
            f"{message}, as TOWARDS_TEACHER = False declares" if away else message,
            "",
            away,
            measured,
        )
    message = (
        f"descending it leads away from the teacher: a cosine of {cosine:.2f} with the gradient of"
        " the full reverse KL"
    )
    hint = "is a sign wrong? If it is intended: TOWARDS_TEACHER = False in the file"
    return Check(name, subject, False, message, hint, False, measured)


def _gradient(
    objective: Objective, student_NV: Tensor, teacher_NV: Tensor, tokens_N: Tensor
) -> Tensor:
    """Return the gradient of the sum over all tokens, flat;
    zeros where nothing reaches the student.
    """
    leaf_NV = student_NV.clone().requires_grad_()
    value = bind(objective)(leaf_NV, teacher_NV, tokens_N).loss_N.sum()
    found = (
        torch.autograd.grad(value, leaf_NV)[0] if value.requires_grad else torch.zeros_like(leaf_NV)
    )
    return found.flatten()


def _differences(
    objective: Objective, student_NV: Tensor, teacher_NV: Tensor, subject: str, stops: bool
) -> Check:
    """Compare autograd's gradient with central finite differences of the value."""
    if stops:
        message = (
            "STOPS_GRADIENT is declared: the gradient is not that of the value, and was not"
            " compared with finite differences"
        )
        return Check("loss: gradient of its value", subject, True, message, "", True)
    leaf_NV = student_NV.clone().requires_grad_()

    def value(logits_NV: Tensor) -> Tensor:
        return _value(objective, logits_NV, teacher_NV)

    try:
        torch.autograd.gradcheck(value, (leaf_NV,))  # pyright: ignore[reportArgumentType]
    except RuntimeError as error:  # gradcheck reports a difference in this way
        first = str(error).strip().splitlines()[0][:160]
        hint = "is something detached? Then say STOPS_GRADIENT = True in the file"
        return Check(
            "loss: gradient of its value",
            subject,
            False,
            f"its gradient is not that of its value ({first})",
            hint,
        )
    return Check("loss: gradient of its value", subject, True, "agrees with finite differences")


def check_reward(code: Code) -> Check:
    """Check a user-supplied reward: the pairs of BETTER are in order, values repeat, and an empty
    completion has a finite value.
    """
    reward = user_reward.bind(code)
    pairs = load_cases(code, "BETTER", "(better, worse, answer)")
    wrong = [
        (better, worse, answer)
        for better, worse, answer in pairs
        if not reward(better, answer) > reward(worse, answer)
    ]
    unstable = [
        text
        for pair in pairs
        for text in pair[:2]
        if reward(text, pair[2]) != reward(text, pair[2])
    ]
    reward("", pairs[0][2])
    measured = {"pairs": len(pairs), "wrong": len(wrong)}
    if wrong:
        better, worse, answer = wrong[0]
        message = (
            f"{len(wrong)} of {len(pairs)} pairs are not in order; the first: {better!r} against"
            f" {worse!r} for {answer!r}"
        )
        return Check(
            "reward",
            code.version,
            False,
            message,
            f"{code.function} or BETTER in that file",
            False,
            measured,
        )
    if unstable:
        message = f"one completion gets different rewards: {unstable[0]!r}"
        return Check(
            "reward",
            code.version,
            False,
            message,
            "no random numbers and no state in a reward",
            False,
            measured,
        )
    return Check(
        "reward",
        code.version,
        True,
        f"{len(pairs)} pairs in order, values repeat",
        measured=measured,
    )
