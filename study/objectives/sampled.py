"""Estimate the reverse KL from sampled tokens: the token y that the student wrote represents the
whole distribution.

Axes: N any leading token axes, V vocabulary. Both functions return the same value, log p_S(y) - log
p_T(y), whose expectation over y ~ p_S is KL(student || teacher); they differ in the gradient alone.
"""

from torch import Tensor

from study.objectives.divergences import at_least_float32


def token_logprobs(logits_NV: Tensor, tokens_N: Tensor) -> Tensor:
    """Return log p(y) of one token per position."""
    logits_NV = at_least_float32(logits_NV)
    return logits_NV.gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1) - logits_NV.logsumexp(dim=-1)


def score_function(student_N: Tensor, teacher_N: Tensor) -> Tensor:
    """Return value r = log p_S(y) - log p_T(y) with gradient sg[r] grad log p_S(y): unbiased for
    the gradient of the reverse KL (paper Eqs. 4-5).

    The advantage of the token is -r. (x - sg[x] is zero in value and carries the gradient of x.)
    """
    ratio_N = (student_N - teacher_N).detach()
    return ratio_N + ratio_N * (student_N - student_N.detach())


def plain(student_N: Tensor, teacher_N: Tensor) -> Tensor:
    """Return the log-ratio itself as a loss: its gradient grad log p_S(y) does not depend on the
    teacher and has expectation zero.

    A negative control (paper Fig. 12, K = 1), not an estimator of anything.
    """
    return student_N - teacher_N.detach()
