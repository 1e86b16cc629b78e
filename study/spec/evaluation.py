"""The final evaluation of a run: an lm-eval task, k samples a problem, our grader."""

from typing import Literal

from pydantic import Field

from study.spec.base import Spec
from study.spec.data import Data
from study.spec.training import Sampling


class Evaluation(Spec):
    """k samples at the declared decoding settings on the first `problems` held-out problems (None = all).

    grader: boxed-1 is the lab's; math-1 also compares formulas symbolically (docs/graders.md).
    """

    task: str  # name of the lm-eval task and of the metric: eval/<task>/avg@<k>
    data: Data
    k: int = Field(ge=1)
    problems: int | None = Field(default=None, ge=1)
    sampling: Sampling
    grader: Literal["boxed-1", "math-1"] = "boxed-1"  # a default, so that the ids of older cells stay
