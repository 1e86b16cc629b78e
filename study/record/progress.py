"""Define how a task reports its progress while it runs, the same from trainer to runner."""

from collections.abc import Callable

# phase, steps done, steps in total, latest metrics by name
ReportProgress = Callable[[str, int, int, dict[str, float]], None]
