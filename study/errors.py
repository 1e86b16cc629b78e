"""The errors a user meets. Each says what happened, where, and what to type next; none is shown
with a traceback.
"""


class StudyError(Exception):
    """A user's mistake or a missing prerequisite. `hint` is the next command or edit."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message


class SpecError(StudyError):
    """A grid, scale, table or claim file, or a command-line name, that is not valid."""

    exit_code = 2


class PrerequisiteError(StudyError):
    """Something that must exist before the work can start: an extra, a data file, a model folder, a
    stage artifact.
    """


class RunFailed(StudyError):
    """At least one run of a grid ended with an error; the others are sealed."""


class IncompleteResults(StudyError):
    """Records that a table, figure or claim needs are missing;
    a missing record never counts as zero.
    """


class RecordMismatch(StudyError):
    """A record, manifest or artifact whose content does not match its own seal or its plan."""
