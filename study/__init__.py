"""An empirical study harness for on-policy distillation (arXiv 2605.11182)."""

__version__ = "0.2.0"
