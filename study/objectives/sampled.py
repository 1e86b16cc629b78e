"""Estimate the reverse KL from sampled tokens: the token y that the student wrote represents the
whole distribution.

Axes: N any leading token axes, V vocabulary. r(y) = log p_S(y) - log p_T(y), whose expectation over
y ~ p_S is KL(student || teacher). At one state s, with the state fixed:

    score_function        E_y sg[r(y)] grad log p_S(y) = grad KL_s             unbiased
    plain                 E_y grad log p_S(y) = 0                              no teacher in it
    constant_advantage    E_y -A grad log p_S(y) = 0                           no teacher in it

In training the states are those of the student's own responses, and a reduction gives the tokens of
response b a weight w_b (`study.objectives.reductions`). Let d(s) be the probability that a response
visits s, held fixed; W(s, y) the mean of B w_b over responses that visit s and draw y there; and
W(s) = E_y W(s, y). The expected gradient of a batch is, exactly,

    full reverse KL       sum_s d(s) W(s) grad KL_s
    score_function        the same + sum_s d(s) Cov_y[W(s, y), r(y) grad log p_S(y)]
    plain                 sum_s d(s) Cov_y[W(s, y), grad log p_S(y)]
    constant_advantage    -A times that of plain

The covariance is the bias:

- `constant`, w_b = 1 / (B C): W is one number, so every covariance is zero. The score function is
  unbiased for (1 / C) sum_s d(s) grad KL_s; the other two have expectation zero.
- `response_mean`, w_b = 1 / (B T_b): a token that ends the response at length n has weight 1/n,
  and one that leads on to length m has 1/m. If p_S is on these two outcomes alone and r is the same
  number R for both, the full gradient in the logit of the end is 0, and the expected one is
  p_end (1 - p_end) R (1/n - 1/m): for R > 0 the student unlearns to stop. plain has the gradient of
  E[1/T]: descent on it makes responses longer.
- `token_mean`, w_b = 1 / sum T: a covariance that falls as 1 / B; plain has the gradient of
  E[1 / sum T]. At B = 1 it is response_mean.

Under no reduction is any of these the gradient of the KL between whole responses: the states are
fixed, so a token is not charged for what follows it.

A baseline, r(y) - KL_s, is not the repair: under `response_mean` a covariance is left, and on 84 of
200 random trees the cosine to the full gradient falls with it (docs/losses.md).
"""

from torch import Tensor

from study.objectives.divergences import at_least_float32


def token_logprobs(logits_NV: Tensor, tokens_N: Tensor) -> Tensor:
    """Return log p(y) of one token per position."""
    logits_NV = at_least_float32(logits_NV)
    return logits_NV.gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1) - logits_NV.logsumexp(dim=-1)


def score_function(student_N: Tensor, teacher_N: Tensor) -> Tensor:
    """Return value r = log p_S(y) - log p_T(y) with gradient sg[r] grad log p_S(y): at one state
    unbiased for the gradient of the reverse KL (paper Eqs. 4-5), in a batch under reduction
    `constant` alone.

    The advantage of the token is -r. (x - sg[x] is zero in value and carries the gradient of x.)
    """
    ratio_N = (student_N - teacher_N).detach()
    return ratio_N + ratio_N * (student_N - student_N.detach())


def plain(student_N: Tensor, teacher_N: Tensor) -> Tensor:
    """Return the log-ratio itself as a loss: its gradient grad log p_S(y) does not depend on the
    teacher. Its expectation is zero under reduction `constant`, and grad E[1/T] under
    `response_mean`.

    A negative control (paper Fig. 12, K = 1), not an estimator of the reverse KL.
    """
    return student_N - teacher_N.detach()


def constant_advantage(student_N: Tensor, advantage: float) -> Tensor:
    """Return value -A with gradient -A grad log p_S(y): the score function with r(y) = -A.

    The placebo of the sampled forms. A teacher equal to the student is none, because r = 0 there
    and nothing is left to weigh.
    """
    return -advantage - advantage * (student_N - student_N.detach())
