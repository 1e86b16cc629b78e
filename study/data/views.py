"""Two views of one problem: what the student sees and what the teacher sees. PI enters the teacher's view only."""

from collections.abc import Sequence
from string import Formatter

from study.data.problems import Problem
from study.errors import SpecError
from study.spec.privileged import PrivilegedInformation

Messages = list[dict[str, str]]


def student_view(problem: Problem) -> Messages:
    return [{"role": "user", "content": problem.prompt}]


def teacher_view(problem: Problem, privileged: PrivilegedInformation | None, other: Problem | None = None) -> Messages:
    """The student's messages with PI placed in them; `other` is the problem whose columns a placebo (`source: other`) shows."""
    if privileged is None:
        return student_view(problem)
    source = problem
    if privileged.source == "other":
        if other is None or other.id == problem.id:
            raise SpecError("privileged information with `source: other` needs another problem")
        source = other
    text = render(privileged.template, source)
    match privileged.placement:
        case "system":
            return [{"role": "system", "content": text}, *student_view(problem)]
        case "before_prompt":
            return [{"role": "user", "content": f"{text} {problem.prompt}"}]
        case "after_prompt":
            return [{"role": "user", "content": f"{problem.prompt} {text}"}]
        case "instead_of_prompt":
            return [{"role": "user", "content": text}]


def render(template: str, problem: Problem) -> str:
    """The template with the problem's columns filled in; an unknown column is named together with the known ones."""
    columns = problem.fields()
    for _, name, _, _ in Formatter().parse(template):
        if name is not None and name not in columns:
            raise SpecError(f"privileged template asks for column {name!r}; this data has {', '.join(sorted(columns))}")
    return template.format(**columns)


def shifted(problems: Sequence[Problem]) -> list[Problem]:
    """For each problem another one of the same batch (the next; the last takes the first)."""
    return [*problems[1:], problems[0]]
