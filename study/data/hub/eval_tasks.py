"""Pages of evaluation tasks as plain values: where a task's problems come from, and the text that
it makes of a problem.

The pages belong to lm-eval (`study/data/hub/tasks/*.yaml`), which reads the same files; nothing is
declared twice. They are read here so that training can keep their problems out, and can judge a
curve on the very prompts of the final evaluation.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode

from study.data.hub.benchmarks import Benchmark, Problems, Source, read
from study.data.problems import Problem
from study.errors import SpecError
from study.spec.recipe.data import LabData

TASKS = Path(__file__).with_name("tasks")


def known_tasks() -> list[str]:
    """The names of all pages."""
    return sorted(page.stem for page in TASKS.glob("[!_]*.yaml"))


def page_values(task: str) -> dict[str, Any]:
    """Every key of a page. SpecError for a task that does not exist."""
    if task not in known_tasks():
        raise SpecError(
            f"unknown evaluation task {task!r}", hint=f"known tasks: {', '.join(known_tasks())}"
        )
    return _load(TASKS / f"{task}.yaml")


def task_source(values: Mapping[str, Any]) -> Benchmark | LabData | None:
    """None where problems only ever come from a grid."""
    source = values["metadata"].get("source")
    return None if source is None else TypeAdapter[Any](Source).validate_python(source)


def task_problems(task: str) -> Problems:
    """The problems of a task as they stand in its data.

    PrerequisiteError when they cannot be had.
    """
    source = task_source(page_values(task))
    if source is None:
        raise SpecError(
            f"task {task} has no problems of its own", hint="name a benchmark, such as math500"
        )
    return read(task, source)


def as_asked(task: str, problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """The problems with the prompt that the task's page makes of them: its `doc_to_text`."""
    from jinja2 import Environment, StrictUndefined  # what lm-eval renders its pages with

    text = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        page_values(task)["doc_to_text"]
    )
    return tuple(
        Problem(p.id, text.render(**p.fields()), p.answer, p.solution, p.columns) for p in problems
    )


def _load(path: Path) -> dict[str, Any]:
    """The page over what it includes, key by key, as lm-eval merges them."""
    values: Mapping[str, Any] = _yaml().load(path.read_text(encoding="utf-8"))
    included = values.get("include")
    return {**(_load(path.parent / included) if included else {}), **values}


def _yaml() -> YAML:
    reader = YAML(typ="safe", pure=True)
    reader.constructor.add_constructor(
        "!function", _function
    )  # named here, called by lm-eval alone
    return reader


def _function(_: Any, node: ScalarNode) -> str:
    return str(node.value)
