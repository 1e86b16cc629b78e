"""Contracts that are checked before a grid spends anything: what would make every number of it
wrong, found in seconds.

Each distinct combination of a student, a teacher, privileged information and an objective is
checked once, on a few prompts. Models that no stage has made yet are stood in for by untrained ones
of the same architecture and tokenizer. This module itself is light, so that a parent process can
read the checks of a worker; what checks them (`study.train.preflight.order`) brings the training
stack.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from study.errors import PrerequisiteError
from study.spec.grid.grid import LabelledCell
from study.spec.recipe.model import Model

Report = Callable[[str, int, int, dict[str, float]], None]  # phase, done, total, latest metrics
Models = Callable[[Model], Path | None]  # the folder of a model, None if no stage has made it yet


@dataclass(frozen=True)
class Check:
    """One contract on one subject. note: it holds, and there is something to know before the grid
    is run.
    """

    name: str
    subject: str
    passed: bool
    message: str
    hint: str = ""
    note: bool = False
    measured: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def state(self) -> Literal["ok", "note", "FAIL"]:
        return "FAIL" if not self.passed else "note" if self.note else "ok"

    def as_dict(self) -> dict[str, Any]:
        return {"state": self.state, **asdict(self)}


def check_grid(cells: Sequence[LabelledCell], models: Models, report: Report) -> list[Check]:
    """Every contract on everything that these cells bring together, in a fixed order.

    Nothing is written.

    A contract that cannot be judged (a file that is missing, a template with an unknown column) is
    one that does not hold.
    """
    from study.train.preflight.order import steps_of

    steps = steps_of(cells, models)
    checks: list[Check] = []
    for number, step in enumerate(steps):
        report("preflight", number, len(steps), {})
        checks += step()
    report("preflight", len(steps), len(steps), {})
    return checks


def refuse(checks: Sequence[Check], grid: str) -> None:
    """Raises PrerequisiteError with every contract that does not hold."""
    failed = [check for check in checks if not check.passed]
    if failed:
        lines = [
            f"  {check.name}, {check.subject}:"
            f" {check.message}{f' -> {check.hint}' if check.hint else ''}"
            for check in failed
        ]
        what = f"{len(failed)} of {len(checks)} preflight contracts do not hold:"
        raise PrerequisiteError(
            "\n".join([what, *lines]), hint=f"study preflight --grid {grid} shows all of them"
        )
