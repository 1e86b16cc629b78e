"""The common parts of the lab's worlds: splits by a hash of the prompt, fixed sets of problems,
weighted draws, documents and their author.

A world lists its questions; the split of a question depends only on its prompt, so no prompt is in
two splits.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from study.data.problems import Split
from study.errors import SpecError

SPLIT_PERCENT = {"held_out": range(0, 5), "selection": range(5, 10), "train": range(10, 100)}


@dataclass(frozen=True)
class Document:
    """One training example: optional system message, user message, assistant message."""

    system: str | None
    user: str
    assistant: str


class Author(Protocol):
    """Writes the documents of a corpus.

    Every kind of document has the same noise, so that what PI adds is not a cleaner author.
    """

    def documents(self, n: int) -> Iterator[Document]: ...


class Sized(Protocol):
    """A data source that says how many problems each of its splits has."""

    @property
    def train_size(self) -> int: ...
    @property
    def selection_size(self) -> int: ...
    @property
    def held_out_size(self) -> int: ...


class Question(Protocol):
    @property
    def prompt(self) -> str: ...


Q = TypeVar("Q", bound=Question)
T = TypeVar("T")


def split_of(prompt: str, stretch: int = 1) -> Split:
    """Return the split of a prompt. `stretch`: held_out and selection take this many times 5 % (a
    world with few prompts needs more).
    """
    percent = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big") % 100 // stretch
    fitting = (split for split, band in SPLIT_PERCENT.items() if percent in band)
    return next(fitting)  # type: ignore[return-value]


def of_split(questions: Iterable[Q], split: Split, stretch: int = 1) -> tuple[Q, ...]:
    return tuple(q for q in questions if split_of(q.prompt, stretch) == split)


def generator(split: Split) -> np.random.Generator:
    """Return the generator of a split's fixed problems, which depends only on the split."""
    return np.random.default_rng([2605, 11182, list(SPLIT_PERCENT).index(split)])


def size_of(data: Sized, split: Split) -> int:
    return {
        "train": data.train_size,
        "selection": data.selection_size,
        "held_out": data.held_out_size,
    }[split]


def chosen(questions: Sequence[Q], data: Sized, split: Split, rng: np.random.Generator) -> list[Q]:
    """Return the required number of questions of a split, in random order.

    Errors: SpecError if the world has fewer.
    """
    size = size_of(data, split)
    if size > len(questions):
        raise SpecError(
            f"{split} needs {size} problems, but this world has only"
            f" {len(questions)} different prompts for it",
            hint=f"set {split}_size to at most {len(questions)}",
        )
    return [questions[i] for i in rng.permutation(len(questions))[:size]]


def name_of(letter: str, prompt: str) -> str:
    """Return a problem's id: the letter of its world and ten hex digits of its prompt's sha256."""
    return f"{letter}-{hashlib.sha256(prompt.encode()).hexdigest()[:10]}"


def another(value: int, n: int, rng: np.random.Generator) -> int:
    """Draw one of 0..n-1 other than `value`, uniformly."""
    return (value + int(rng.integers(1, n))) % n


def pick(values: Sequence[T], rng: np.random.Generator) -> T:
    return values[int(rng.integers(len(values)))]


class Lottery:
    """Draw names with the given weights, which need not add up to one.

    Errors: SpecError if all are zero.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        total = sum(weights.values())
        if total <= 0:
            raise SpecError(
                f"at least one of {', '.join(weights)} must be above zero",
                hint="give one of them a share",
            )
        self.names = tuple(weights)
        self.law = np.cumsum(np.array(list(weights.values())) / total)

    def draw(self, rng: np.random.Generator) -> str:
        return self.names[
            min(int(np.searchsorted(self.law, rng.random(), side="right")), len(self.names) - 1)
        ]
