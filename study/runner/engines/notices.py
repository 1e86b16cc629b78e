"""The notices that the schedule of a grid sends while it runs, and its summary."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from study.errors import StudyError
from study.runner.work.worker import Event, Failed, Finished, Payload, Progress


class Engine(Protocol):
    def require(self, kinds: set[str]) -> None: ...
    def fits(self, payload: Payload) -> bool: ...
    def adopts(self, payload: Payload) -> bool: ...
    def start(self, payload: Payload) -> None: ...
    def events(self, timeout: float) -> list[Event]: ...
    def stop(self) -> None: ...
    def parting(self) -> str: ...


@dataclass(frozen=True)
class Started:
    task: str


@dataclass(frozen=True)
class Left:
    """A started task left the engine without an outcome: it is tried again, waits for a stage, or
    another process makes it.
    """

    task: str
    why: str


@dataclass(frozen=True)
class Tick:
    """One iteration of the loop: the display can show that it is alive."""


@dataclass
class Summary:
    """How a grid ended. failed: run id -> reason; fatal: why the schedule stopped starting tasks.

    A run that was not reached is in neither.
    """

    sealed_before: list[str] = field(default_factory=list[str])
    sealed_now: list[str] = field(default_factory=list[str])
    failed: dict[str, str] = field(default_factory=dict[str, str])
    stopped: bool = False
    fatal: Failed | None = None


class Stopped(StudyError):
    """Ended by Ctrl-C or SIGTERM: nothing is half-written, and everything finished is kept."""

    exit_code = 130


Notice = Started | Left | Tick | Progress | Finished | Failed
Observe = Callable[[Notice], None]
