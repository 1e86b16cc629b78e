"""Load the problems of a lab world: one match over the worlds."""

from typing import assert_never

from study.data.problems import Problem, Split
from study.data.worlds import arithmetic, hidden_fact, search, shared_rule
from study.spec.recipe.data import (
    ArithmeticData,
    HiddenFactData,
    LabData,
    SearchData,
    SharedData,
)


def load_world(data: LabData, split: Split) -> tuple[Problem, ...]:
    """Return the problems of one split, always the same and in the same order.

    Errors: SpecError if the split needs more problems than the world has.
    """
    # A frozen spec is hashable, as the caches of the worlds need it; pyright cannot see that.
    match data:
        case ArithmeticData():
            return arithmetic.problems(data, split)  # pyright: ignore[reportArgumentType]
        case SearchData():
            return search.problems(data, split)  # pyright: ignore[reportArgumentType]
        case HiddenFactData():
            return hidden_fact.problems(data, split)  # pyright: ignore[reportArgumentType]
        case SharedData():
            return shared_rule.problems(data, split)  # pyright: ignore[reportArgumentType]
        case _:
            assert_never(data)
