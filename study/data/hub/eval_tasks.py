"""Read the files of evaluation tasks as plain values: where a task's problems come from, and the
prompt that it makes of a problem.

The files belong to lm-eval (`study/data/hub/tasks/*.yaml`), which reads the same ones; nothing is
declared twice. They are read here so that training can exclude their problems, and can evaluate a
curve on the exact prompts of the final evaluation.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode

from study.data.hub.benchmarks import Benchmark, Problems, Source, read
from study.data.problems import Problem
from study.errors import SpecError
from study.spec.recipe.data import LabData

TASKS = Path(__file__).with_name("tasks")
_OWN_FILE = (
    'STUDY_DATA=FOLDER and --metadata \'{"source": {"kind": "benchmark", "files": ["mine.jsonl"],'
    ' "prompt": ["question"], "answer": ["answer"]}}\''
)


def known_tasks() -> list[str]:
    """Return the names of all task files."""
    return sorted(page.stem for page in TASKS.glob("[!_]*.yaml"))


def page_values(task: str) -> dict[str, Any]:
    """Return every key of a task file. Errors: SpecError for a task that does not exist."""
    if task not in known_tasks():
        raise SpecError(
            f"unknown evaluation task {task!r}", hint=f"known tasks: {', '.join(known_tasks())}"
        )
    return _load(TASKS / f"{task}.yaml")


def lm_eval_name(task: str) -> str:
    """Return the name of a task in plain lm-eval: `opd_gsm8k` for our gsm8k.

    It differs if lm-eval publishes a task of our name; with `--include_path` ours would silently
    replace it. The study's own names are part of identity and do not change.
    """
    return str(page_values(task)["task"])


def document_rows(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Return problems as the rows that the templates and graders of a task file read."""
    return [
        {
            "id": p.id,
            "prompt": p.prompt,
            "answer": p.answer,
            "choices": p.columns.get("choices", ""),
            "gold_is_float": p.gold_is_float,
        }
        for p in problems
    ]


def parse_source(task: str, value: Any) -> Benchmark | LabData:
    """Return the `source` of a task file. Errors: SpecError if it is missing or wrong."""
    if value is None:
        raise SpecError(
            f"task {task} has no problems of its own",
            hint=f"name a benchmark, such as math500; in plain lm-eval give it a file: {_OWN_FILE}",
        )
    try:
        return TypeAdapter[Any](Source).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "source"
        raise SpecError(
            f"task {task}: its source is wrong: {place}: {first['msg']}", hint=_OWN_FILE
        ) from error


def task_source(values: Mapping[str, Any]) -> Benchmark | LabData | None:
    """Return the source of a task; None if its problems always come from a grid."""
    source = values["metadata"].get("source")
    return None if source is None else parse_source(str(values["task"]), source)


def task_problems(task: str) -> Problems:
    """Return the problems of a task as they are in its data.

    Errors: PrerequisiteError if they are not available, SpecError for a task without problems.
    """
    return read(task, parse_source(task, page_values(task)["metadata"].get("source")))


def render_prompts(task: str, problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Return the problems with the prompt that the task file makes of them: its `doc_to_text`."""
    from jinja2 import Environment, StrictUndefined  # lm-eval renders its task files with it

    text = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        page_values(task)["doc_to_text"]
    )
    return tuple(
        Problem(p.id, text.render(**p.fields()), p.answer, p.solution, p.columns) for p in problems
    )


def _load(path: Path) -> dict[str, Any]:
    """Return the file merged over those that it includes, key by key, as lm-eval merges them."""
    values: Mapping[str, Any] = _yaml().load(path.read_text(encoding="utf-8"))
    included = values.get("include")
    return {**(_load(path.parent / included) if included else {}), **values}


def _yaml() -> YAML:
    reader = YAML(typ="safe", pure=True)
    # Functions are only named here; lm-eval calls them.
    reader.constructor.add_constructor("!function", _function)
    return reader


def _function(_: Any, node: ScalarNode) -> str:
    return str(node.value)
