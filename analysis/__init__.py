"""Tables, figures and verdicts as a pure function of records. No training stack here: a notebook
needs `analysis.load(path)` alone.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.evidence.frames import Evidence
    from analysis.evidence.loading import load

__all__ = ["Evidence", "load"]


def __getattr__(name: str) -> Any:
    """Both hold pandas and are loaded on first use: `analysis.compare.compare` does without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from analysis.evidence import loading

    return getattr(loading, name)
