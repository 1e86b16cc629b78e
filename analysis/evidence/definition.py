"""What is said of a measured number: name, unit, formula, meaning."""

from dataclasses import dataclass
from typing import Literal

from study.spec.report.outcome import Better


@dataclass(frozen=True)
class Definition:
    """axis: how a figure draws it; unit: what the axis says behind the name; bounds: values the
    metric cannot leave (None = open). better: the side that `not_worse` protects.

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
    better: Better = "neither"


SHARE = (0.0, 1.0)
