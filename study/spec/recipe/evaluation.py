"""The final evaluation of a run: an lm-eval task, k samples per problem, our grader."""

from pydantic import Field

from study.spec.base import Spec
from study.spec.recipe.data import Data
from study.spec.recipe.model import Model
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.training import GraderName, Sampling


class Prefix(Spec):
    """The model continues a completion of `source`: the first `fraction` of the tokens of one
    sampled completion per problem.
    """

    source: Model
    fraction: float = Field(gt=0, lt=1)


class Evaluation(Spec):
    """k samples at the declared decoding settings on the first `problems` held-out problems (None =
    all).

    grader: boxed-1 is the lab's; math-1 also compares formulas symbolically (docs/graders.md);
    polite-1 also requires the lab's preference; refusal-1 only detects refusals of unsafe prompts.
    privileged: what the evaluated model sees in addition to the problem (to score a prompted
    teacher). prefix: what the model must continue. name: the key of the score if a cell has
    several; without it, the task's.
    """

    task: str  # name of the lm-eval task and of the metric: eval/<task>/avg@<k>
    data: Data
    k: int = Field(ge=1)
    problems: int | None = Field(default=None, ge=1)
    sampling: Sampling
    # A default, so that the ids of older cells do not change; the same holds for the fields below.
    grader: GraderName = "boxed-1"
    privileged: PrivilegedInformation | None = None
    prefix: Prefix | None = None
    name: str | None = None

    @property
    def score_name(self) -> str:
        return self.name or self.task
