"""Whether a teacher stays as it is or, where it starts as the student, follows it
(`study/train/teacher_update.py`).
"""

from typing import Annotated, Literal

from pydantic import Field

from study.spec.base import Spec


class FrozenTeacher(Spec):
    """The teacher stays what its recipe says."""

    kind: Literal["frozen"] = "frozen"


class EmaTeacher(Spec):
    """After every optimiser step: teacher = decay * teacher + (1 - decay) * student."""

    kind: Literal["ema"] = "ema"
    decay: float = Field(gt=0, lt=1)


class PeriodicTeacher(Spec):
    """After every `every`-th optimiser step the teacher becomes a copy of the student."""

    kind: Literal["periodic"] = "periodic"
    every: int = Field(ge=1)


TeacherUpdate = Annotated[FrozenTeacher | EmaTeacher | PeriodicTeacher, Field(discriminator="kind")]
