"""Define the result of a preflight check, and the error for checks that fail.

This module is light, so that a parent process can read the checks of a worker. The checks
themselves (`study.train.preflight.order`) load the training stack.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from study.errors import PrerequisiteError
from study.spec.recipe.model import Model

Models = Callable[[Model], Path | None]  # the folder of a model, None if no stage has made it yet


@dataclass(frozen=True)
class Check:
    """The result of one contract on one subject.

    note: the contract holds, and the user should know something before the grid is run.
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


def refuse(checks: Sequence[Check], grid: str) -> None:
    """Raise PrerequisiteError with every contract that does not hold; return when all hold."""
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
