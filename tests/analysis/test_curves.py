"""The ends of curves are what the whole curves give, also where the quick way does not apply."""

from typing import Any

import pytest

from analysis.evidence.curves import Curves, Ends, ends_of, series_of
from study.record.schema import Record
from study.spec.grid.grid import load_grid
from tests.support.synthetic import record


def with_history(history: dict[str, list[Any]]) -> Record:
    return record(load_grid("smoke").runs()[0], 0.3, 0.8).model_copy(update={"history": history})


HISTORIES: dict[str, dict[str, list[Any]]] = {
    "usual": {
        "step": [0, 10, 20],
        "eval/avg@2": [0.1, 0.2, None],
        "train/loss": [None, 1.0, "nan"],
        "never": [None, None, None],
    },
    "no step 0": {"step": [5, 10], "train/loss": [1.0, 2]},
    "out of order": {"step": [10, 0, 20, 5], "train/loss": [1.0, 0.5, None, 3]},
    "a step twice": {"step": [0, 0, 1, 1], "train/loss": [1.0, 2.0, 3.0, 4.0]},
    "two columns of one metric": {
        "step": [0, 1],
        "eval/avg@2": [0.1, 0.2],
        "eval/avg@4": [0.3, None],
    },
    "empty": {},
    "no rows": {"step": [], "train/loss": []},
}


@pytest.mark.parametrize("name", HISTORIES)
def test_ends_are_those_of_the_whole_curves(name: str) -> None:
    made = with_history(HISTORIES[name])
    expected = {}
    for metric, points in series_of(made).items():
        at_zero = [value for step, value in points if step == 0]
        expected[metric] = (at_zero[-1] if at_zero else None, points[-1][1] if points else None)
        assert [step for step, _ in points] == sorted(step for step, _ in points)
    found = ends_of(made)
    assert {metric: repr(tuple(ends)) for metric, ends in found.items()} == {
        metric: repr(ends) for metric, ends in expected.items()
    }
    curves = Curves({made.run: made}.__getitem__)
    curves.add(made)
    for metric, ends in found.items():
        assert repr(curves.ends(made.run, metric)) == repr(
            ends
        )  # repr: a nan is not equal to itself
        assert repr(curves.points(made.run, metric)) == repr(series_of(made)[metric])


def test_what_was_never_added_was_not_measured() -> None:
    curves = Curves({}.__getitem__)
    assert curves.ends("no such run", "train/loss") == Ends(None, None)
    for history in (
        HISTORIES["no step 0"],
        HISTORIES["usual"],
    ):  # metrics that come later than the first run's
        made = with_history(history)
        curves.add(made.model_copy(update={"run": f"run-{len(history)}"}))
    assert curves.ends("run-2", "eval/avg@k") == Ends(None, None)
    assert curves.ends("run-2", "train/loss") == Ends(None, 2.0)
    assert curves.ends("run-4", "eval/avg@k") == Ends(0.1, 0.2)


def test_whole_curves_are_held_for_a_few_runs_alone() -> None:
    made, read = with_history(HISTORIES["usual"]), list[str]()

    def again(run: str) -> Record:
        read.append(run)
        return made

    curves = Curves(again)
    for run in ("a", "a", "b", "a"):
        assert curves.points(run, "train/loss")[0] == (10, 1.0)
    assert read == ["a", "b"]
    for number in range(500):
        curves.whole(str(number))
    assert len(curves._whole) <= 64
