"""What a task page declares - version, k, decoding, grader, source - read without lm-eval, so that a wrong request fails in a moment.

lm-eval reads the same files (`include_path`); nothing is declared twice.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode

from study.data.benchmarks import Benchmark, Source
from study.data.grading import GRADER
from study.errors import SpecError
from study.spec.data import ArithmeticData

TASKS = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class Decoding:
    """How completions are drawn; temperature 0 is greedy, of which there is one."""

    temperature: float
    top_p: float
    max_completion_length: int

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    def as_dict(self) -> dict[str, float]:
        return asdict(self)

    def generation_kwargs(self) -> dict[str, float]:
        """In lm-eval's words."""
        return {"temperature": self.temperature, "top_p": self.top_p, "max_gen_toks": self.max_completion_length}


@dataclass(frozen=True)
class Page:
    """source is None where problems only ever come from a grid (boxed_math)."""

    task: str
    version: str
    k: int
    decoding: Decoding | None
    grader: str
    source: Benchmark | ArithmeticData | None

    def changed(self, **wanted: Any) -> "Page":
        """With a person's own k, temperature, top_p or max_completion_length (None = as declared). SpecError for what cannot be."""
        asked = {name: value for name, value in wanted.items() if value is not None}
        k = int(asked.pop("k", self.k))
        decoding = replace(self.decoding, **asked) if self.decoding else None
        if decoding and decoding.greedy and k > 1:
            if "k" in wanted and wanted["k"] is not None:
                raise SpecError(
                    f"{self.task}: {k} samples at temperature 0 are one and the same", hint="leave out --k, or sample: --temperature 0.6"
                )
            k = 1
        return replace(self, k=k, decoding=decoding)


def known_tasks() -> list[str]:
    """The names of all pages."""
    return sorted(page.stem for page in TASKS.glob("[!_]*.yaml"))


def read_page(task: str) -> Page:
    """SpecError for a task that does not exist."""
    if task not in known_tasks():
        raise SpecError(f"unknown evaluation task {task!r}", hint=f"known tasks: {', '.join(known_tasks())}")
    values = _load(TASKS / f"{task}.yaml")
    about, drawn = values["metadata"], values["generation_kwargs"]
    source = about.get("source")
    return Page(
        task, str(about["version"]), values.get("repeats", 1),
        Decoding(drawn["temperature"], drawn["top_p"], drawn["max_gen_toks"]) if "temperature" in drawn else None,
        about.get("grader", GRADER), None if source is None else TypeAdapter[Any](Source).validate_python(source),
    )  # fmt: skip


def _load(path: Path) -> dict[str, Any]:
    """The page over what it includes, key by key, as lm-eval merges them."""
    values: Mapping[str, Any] = _yaml().load(path.read_text(encoding="utf-8"))
    included = values.get("include")
    return {**(_load(path.parent / included) if included else {}), **values}


def _yaml() -> YAML:
    reader = YAML(typ="safe", pure=True)
    reader.constructor.add_constructor("!function", _function)  # named here, called by lm-eval alone
    return reader


def _function(_: Any, node: ScalarNode) -> str:
    return str(node.value)
