"""Read what a task file declares - version, k, decoding, grader, source - without lm-eval, so that
a wrong request fails in a moment.

lm-eval reads the same files (`include_path`); nothing is declared twice.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from study.data.hub.benchmarks import Benchmark
from study.data.hub.eval_tasks import TASKS, known_tasks, page_values, task_source
from study.errors import SpecError
from study.grading.boxed import GRADER
from study.spec.recipe.data import LabData

__all__ = ["TASKS", "Decoding", "Page", "known_tasks", "read_page"]


@dataclass(frozen=True)
class Decoding:
    """How completions are drawn; temperature 0 is greedy, with one completion."""

    temperature: float
    top_p: float
    max_completion_length: int

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    def as_dict(self) -> dict[str, float]:
        return asdict(self)

    def generation_kwargs(self) -> dict[str, float]:
        """Return the decoding in lm-eval's words."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_gen_toks": self.max_completion_length,
        }


@dataclass(frozen=True)
class Page:
    """A task's settings. source is None where problems only ever come from a grid (boxed_math)."""

    task: str
    version: str
    k: int
    decoding: Decoding | None
    grader: str
    source: Benchmark | LabData | None

    def changed(self, **wanted: Any) -> "Page":
        """Apply the user's k, temperature, top_p or max_completion_length (None = as declared).

        SpecError for an impossible value.
        """
        asked = {name: value for name, value in wanted.items() if value is not None}
        k = int(asked.pop("k", self.k))
        decoding = replace(self.decoding, **asked) if self.decoding else None
        if decoding and decoding.greedy and k > 1:
            if "k" in wanted and wanted["k"] is not None:
                raise SpecError(
                    f"{self.task}: {k} samples at temperature 0 are one and the same",
                    hint="leave out --k, or sample: --temperature 0.6",
                )
            k = 1
        return replace(self, k=k, decoding=decoding)


def read_page(task: str) -> Page:
    """Read a task file; SpecError for a task that does not exist."""
    values = page_values(task)
    about, drawn = values["metadata"], values["generation_kwargs"]
    return Page(
        task,
        str(about["version"]),
        values.get("repeats", 1),
        Decoding(drawn["temperature"], drawn["top_p"], drawn["max_gen_toks"])
        if "temperature" in drawn
        else None,
        about.get("grader", GRADER),
        task_source(values),
    )
