"""Load the problems of any source: one match over lab
worlds, local files, hub data sets and benchmarks.
"""

from typing import assert_never

from study.data import jsonl
from study.data.hub import datasets
from study.data.problems import Problem, Split
from study.data.worlds.load import load_world
from study.spec.recipe.data import (
    ArithmeticData,
    BenchmarkData,
    Data,
    HiddenFactData,
    HubData,
    JsonlData,
    SearchData,
    SharedData,
)


def load(data: Data, split: Split) -> tuple[Problem, ...]:
    """Return the problems of one split, always the same and in the same order.

    Errors: PrerequisiteError if a local file is missing or has no such column; SpecError if a lab
    world has fewer problems than the split requires.
    """
    match data:
        case ArithmeticData() | SearchData() | HiddenFactData() | SharedData():
            return load_world(data, split)
        case JsonlData():
            return jsonl.problems(data, split)
        case HubData():
            return datasets.problems(data, split)
        case BenchmarkData():
            return datasets.benchmark_problems(data, split)
        case _:
            assert_never(data)
