"""Tables, figures and verdicts as a pure function of records. No training stack here: a notebook needs `analysis.load(path)` alone."""

from analysis.frames import Evidence, load

__all__ = ["Evidence", "load"]
