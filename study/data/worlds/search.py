"""The search world: which x in 0..5 makes `( 3 + x ) * 2 = 8` true (modulo 10)?

Exactly one does, and no single step shows which.

A solution tries candidates, at most six; a try is computed and the target subtracted, so that 0
is a success:
    `3 + 2 = 5 * 2 = 0 - 8 = 2 no ; 3 + 1 = 4 * 2 = 8 - 8 = 0 yes \\boxed{ 1 }`
and after six failures `\\boxed{ unknown }`. In pilots without the subtraction a model of this size
did not learn when to say yes. Right PI, wrong PI and the rule `ordered` differ only in the prompt:
the author's noise (one wrong step in some documents, carried on) is the same for all of them.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from study.data.problems import Problem, Split
from study.data.worlds.arithmetic import ANSWER_MARK, OPERATORS, SOLUTION_MARK, apply_operator
from study.data.worlds.common import (
    Document,
    Lottery,
    another,
    chosen,
    generator,
    name_of,
    of_split,
    pick,
)
from study.spec.recipe.corpus import SearchCorpus
from study.spec.recipe.data import SearchData

CANDIDATES = 6  # x is one of 0..5; also the most tries a solution makes
ORDERED, NEUTRAL = "ordered", "neutral"
STRETCH = 2  # 4288 prompts in all: 5 % would be too few for 256 held-out problems


@dataclass(frozen=True)
class Equation:
    """( left first x ) second right = target, with its one solution x."""

    left: int
    first: str
    second: str
    right: int
    target: int
    solution: int

    @property
    def prompt(self) -> str:
        return f"( {self.left} {self.first} x ) {self.second} {self.right} = {self.target} ?"

    def result(self, intermediate: int) -> int:
        return apply_operator(intermediate, self.second, self.right)

    def intermediate(self, candidate: int) -> int:
        return apply_operator(self.left, self.first, candidate)


def _equations() -> Iterator[Equation]:
    """Yield every equation that exactly one candidate solves."""
    for left, first, right, second in itertools.product(range(10), OPERATORS, range(10), OPERATORS):
        results = [
            apply_operator(apply_operator(left, first, x), second, right) for x in range(CANDIDATES)
        ]
        for target in sorted(set(results)):
            if results.count(target) == 1:
                yield Equation(left, first, second, right, target, results.index(target))


@lru_cache
def equations(split: Split) -> tuple[Equation, ...]:
    return of_split(_equations(), split, STRETCH)


@lru_cache(maxsize=8)
def problems(data: SearchData, split: Split) -> tuple[Problem, ...]:
    """Return the fixed problems of a split.

    Columns other than answer and solution (one clean path in random order): wrong_answer, a
    candidate that fails; random_digit, a candidate without relation to the problem.
    """
    rng = generator(split)
    return tuple(
        _as_problem(equation, rng) for equation in chosen(equations(split), data, split, rng)
    )


def _as_problem(equation: Equation, rng: np.random.Generator) -> Problem:
    columns = {
        "wrong_answer": str(another(equation.solution, CANDIDATES, rng)),
        "random_digit": str(int(rng.integers(CANDIDATES))),
    }  # fmt: skip
    path = write_path(equation, rng.permutation(CANDIDATES).tolist())
    return Problem(
        name_of("s", equation.prompt), equation.prompt, str(equation.solution), path, columns
    )


@dataclass(frozen=True)
class Slip:
    """A wrong step: the try in which it occurs, whether at its intermediate value or at its result,
    and how far off (1..9).
    """

    at: int
    early: bool
    off: int


def write_path(equation: Equation, order: Sequence[int], slip: Slip | None = None) -> str:
    """Write tries in the given order up to the first that the author believes to be right."""
    parts: list[str] = []
    for i, candidate in enumerate(order[:CANDIDATES]):
        here = slip if slip is not None and slip.at == i else None
        middle = (equation.intermediate(candidate) + (here.off if here and here.early else 0)) % 10
        result = (equation.result(middle) + (here.off if here and not here.early else 0)) % 10
        found = result == equation.target
        steps = (
            f"{equation.left} {equation.first} {candidate} = {middle} {equation.second}"
            f" {equation.right} = {result}"
        )
        parts.append(
            f"{steps} - {equation.target} = {(result - equation.target) % 10}"
            f" {'yes' if found else 'no'}"
        )
        if found:
            return f"{' ; '.join(parts)} \\boxed{{ {candidate} }}"
    return f"{' ; '.join(parts)} \\boxed{{ unknown }}"


class SearchAuthor:
    """Writes the documents of a `SearchCorpus`."""

    def __init__(self, corpus: SearchCorpus, rng: np.random.Generator) -> None:
        self.corpus, self.rng = corpus, rng
        self.equations = equations("train")
        shares = {
            "plain": corpus.share_plain,
            "rule": corpus.share_rule,
            "answer": corpus.share_answer,
            "solution": corpus.share_solution,
            "neutral": corpus.share_neutral,
        }
        self.kinds = Lottery(shares)

    def documents(self, n: int) -> Iterator[Document]:
        return (self.document() for _ in range(n))

    def document(self) -> Document:
        kind, equation = self.kinds.draw(self.rng), pick(self.equations, self.rng)
        match kind:
            case "rule":
                return Document(
                    ORDERED, equation.prompt, self._path(equation, list(range(CANDIDATES)))
                )
            case "answer":
                hinted = f"{equation.prompt} {ANSWER_MARK} {equation.solution}"
                return Document(
                    None, hinted, self._path(equation, self._order(*self._hinted(equation)))
                )
            case "solution":
                shown, followed = self._shown(equation)
                user = f"{equation.prompt} {SOLUTION_MARK} {write_path(equation, shown)}"
                return Document(None, user, self._path(equation, self._order(*followed)))
            case _:
                return Document(
                    NEUTRAL if kind == "neutral" else None,
                    equation.prompt,
                    self._path(equation, self._order()),
                )

    def _hinted(self, equation: Equation) -> list[int]:
        """Return the tries that a given answer leads to: only that
        answer, or first one that fails.
        """
        doubts = self.rng.random() < self.corpus.failed_first
        return (
            [another(equation.solution, CANDIDATES, self.rng), equation.solution]
            if doubts
            else [equation.solution]
        )

    def _shown(self, equation: Equation) -> tuple[list[int], list[int]]:
        """Return the tries of the solution in the prompt, and those that the author makes first."""
        if self.corpus.jumps and self.rng.random() < self.corpus.jumps:
            return self.rng.permutation(CANDIDATES).tolist(), self._hinted(equation)
        order = self._order()
        return order, (
            order[: order.index(equation.solution) + 1] if equation.solution in order else order
        )

    def _order(self, *first: int) -> list[int]:
        """Return six candidates: `first`, then at random, without repetition unless this author
        forgets what was tried.
        """
        if self.rng.random() < self.corpus.forgetful:
            return [*first, *self.rng.integers(0, CANDIDATES, CANDIDATES).tolist()][:CANDIDATES]
        return list(dict.fromkeys([*first, *self.rng.permutation(CANDIDATES).tolist()]))

    def _path(self, equation: Equation, order: list[int]) -> str:
        """Write the path with the author's noise: with probability
        `slip` one of its steps is wrong.
        """
        if self.rng.random() >= self.corpus.slip:
            return write_path(equation, order)
        tries = order.index(equation.solution) + 1 if equation.solution in order else CANDIDATES
        slip = Slip(
            int(self.rng.integers(tries)),
            bool(self.rng.random() < 0.5),
            int(self.rng.integers(1, 10)),
        )
        return write_path(equation, order, slip)
