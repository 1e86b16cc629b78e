"""A fault of rows, with the place of each row that has it."""

from dataclasses import dataclass

SHOWN = 3  # faulty rows that a finding names


@dataclass(frozen=True)
class Place:
    """A row: its file (as the user named it) and its line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Finding:
    """All rows with one fault.

    details: one for each of the first rows, in order. hint: how to correct it, if known.
    """

    fault: str
    places: tuple[Place, ...]
    details: tuple[str, ...] = ()
    hint: str = ""

    @property
    def first(self) -> str:
        named = [
            f"{place}{f' ({detail})' if detail else ''}"
            for place, detail in zip(self.places, self.details or [""] * SHOWN, strict=False)
        ]
        return ", ".join(named[:SHOWN]) + (" ..." if len(self.places) > SHOWN else "")
