"""Probes: measurements on a trained model other than accuracy.

Each writes a few named numbers to the record.
"""

from typing import Annotated, Literal

from pydantic import Field

from study.spec.base import Spec
from study.spec.recipe.data import Data
from study.spec.recipe.model import Model
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.training import Sampling


class Likelihood(Spec):
    """How likely the teacher's own completions are under the model (paper Table 3).

    nll = mean over all tokens of -log p(token | problem, tokens before), in nats per token;
    perplexity = exp(nll). One completion for each of the first `problems` held-out problems.
    """

    kind: Literal["likelihood"] = "likelihood"
    name: str
    teacher: Model
    data: Data
    problems: int = Field(ge=1)
    sampling: Sampling


class PiOptimum(Spec):
    """The distance of the model p from the target of distillation from PI-conditioned teachers
    q_1..q_m, on the model's own completions.

    Per token, over the whole vocabulary (paper Eqs. 10-11, per prefix): g = the normalised
    geometric mean of the q_i, Z its normaliser, a = their arithmetic mean. kl_geometric = KL(p ||
    g), kl_arithmetic = KL(p || a), kl_teachers = the mean of KL(p || q_i), and heterogeneity = -log
    Z >= 0, which no p can reduce: kl_teachers = kl_geometric + heterogeneity. In nats per token.
    """

    kind: Literal["pi_optimum"] = "pi_optimum"
    name: str
    teacher: Model
    privileged: tuple[PrivilegedInformation, ...] = Field(min_length=2, strict=False)
    data: Data
    problems: int = Field(ge=1)
    sampling: Sampling


Probe = Annotated[Likelihood | PiOptimum, Field(discriminator="kind")]
