"""What is said of a measured number: name, unit, formula, meaning."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Definition:
    """axis: how a figure draws it; unit: what the axis says behind the name; bounds: values the
    metric cannot leave (None = open).

    shown: values that an axis always includes, so that a difference of a thousandth does not fill a
    panel.
    """

    name: str
    title: str
    unit: str
    formula: str
    meaning: str
    axis: Literal["linear", "log"] = "linear"
    bounds: tuple[float | None, float | None] = (0.0, None)
    shown: tuple[float, ...] = ()


SHARE = (0.0, 1.0)
