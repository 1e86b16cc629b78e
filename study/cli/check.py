"""`study check`: validate every grid, scale, claim, table and figure."""

from study.cli.console import say, styled
from study.errors import SpecError
from study.runner.verbs.check import check_experiments


def check() -> None:
    """Expand every grid at every scale; look up the cells that claims, tables and figures name."""
    problems = 0
    for name, outcome in check_experiments():
        ok = not isinstance(outcome, SpecError)
        problems += not ok
        say(f"{styled('ok' if ok else 'BAD', 'good' if ok else 'bad')}  {name}: {outcome}")
    if problems:
        raise SpecError(f"{problems} files of experiments/ have errors")
