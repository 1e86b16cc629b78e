"""The hidden-fact world: `4 + h * 3 = ?`, where the digit h
is drawn per problem and is not in the prompt.

Operations apply from left to right, modulo 10. Only expressions whose result takes all ten values
as h runs through the digits are used, so a guess is right one time in ten. The honest answer is
`unknown`; with the fact it can be computed:
    `h unknown ; \\boxed{ unknown }`                        an abstention
    `h = 7 ; 4 + 7 = 1 ; 1 * 3 = 3 ; \\boxed{ 3 }`          with the fact (or a guess)
Here teachers that know different facts agree on `=` before they disagree about the digit. With
`direct` they disagree at the very token at which an abstention differs: `h 7 ; 4 + 7 = 1 ; ...`.
`gold` says which of the two counts as right. No function of the prompt can do both, whatever the
PI.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from study.data.problems import Problem, Split
from study.data.worlds.arithmetic import OPERATORS, Expression
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
from study.spec.recipe.corpus import HiddenFactCorpus
from study.spec.recipe.data import HiddenFactData

HIDDEN, UNKNOWN, FACT_MARK = "h", "unknown", "<fact>"
STRETCH = 4  # 1848 prompts in all: 5 % would be too few for 256 held-out problems
ABSTENTION = f"{HIDDEN} {UNKNOWN} ; \\boxed{{ {UNKNOWN} }}"


@dataclass(frozen=True)
class Riddle:
    """Two operations on three digits, one of which is hidden."""

    digits: tuple[int, int]
    operators: tuple[str, str]
    place: int  # of the hidden digit: 0, 1 or 2

    @property
    def prompt(self) -> str:
        words: list[object] = [*self.digits]
        words.insert(self.place, HIDDEN)
        return f"{words[0]} {self.operators[0]} {words[1]} {self.operators[1]} {words[2]} = ?"

    def with_fact(self, fact: int) -> Expression:
        digits = [*self.digits]
        digits.insert(self.place, fact)
        return Expression(tuple(digits), self.operators)

    def answer(self, fact: int) -> int:
        return self.with_fact(fact).results()[-1]


def _riddles() -> Iterator[Riddle]:
    for place, a, b, first, second in itertools.product(
        range(3), range(10), range(10), OPERATORS, OPERATORS
    ):
        riddle = Riddle((a, b), (first, second), place)
        if len({riddle.answer(fact) for fact in range(10)}) == 10:
            yield riddle


@lru_cache
def riddles(split: Split) -> tuple[Riddle, ...]:
    return of_split(_riddles(), split, STRETCH)


@lru_cache(maxsize=8)
def problems(data: HiddenFactData, split: Split) -> tuple[Problem, ...]:
    """Return the fixed problems of a split.

    Columns: fact, wrong_fact, fact_answer (the value that follows from the fact), random_digit; the
    solution uses the fact, whatever `gold` is.
    """
    rng = generator(split)
    return tuple(
        _as_problem(riddle, data, rng) for riddle in chosen(riddles(split), data, split, rng)
    )


def _as_problem(riddle: Riddle, data: HiddenFactData, rng: np.random.Generator) -> Problem:
    fact = int(rng.integers(10))
    value = str(riddle.answer(fact))
    columns = {
        "fact": str(fact), "wrong_fact": str(another(fact, 10, rng)), "fact_answer": value,
        "random_digit": str(int(rng.integers(10))),
    }  # fmt: skip
    gold = UNKNOWN if data.gold == "honest" else value
    solution = write_solution(riddle.with_fact(fact), fact, direct=data.direct)
    return Problem(name_of("h", riddle.prompt), riddle.prompt, gold, solution, columns)


def write_solution(
    expression: Expression, fact: int, results: list[int] | None = None, direct: bool = False
) -> str:
    """Write the fact, then each operation; `results` are the author's own, exact by default."""
    values = results or expression.results()
    x = expression.operands[0]
    parts = [f"{HIDDEN} {fact} ;" if direct else f"{HIDDEN} = {fact} ;"]
    for operator, y, z in zip(expression.operators, expression.operands[1:], values, strict=True):
        parts.append(f"{x} {operator} {y} = {z} ;")
        x = z
    return " ".join([*parts, f"\\boxed{{ {x} }}"])


class HiddenFactAuthor:
    """Writes the documents of a `HiddenFactCorpus`."""

    def __init__(self, corpus: HiddenFactCorpus, rng: np.random.Generator) -> None:
        self.corpus, self.rng = corpus, rng
        self.riddles = riddles("train")
        self.kinds = Lottery({"plain": corpus.share_plain, "fact": corpus.share_fact})

    def documents(self, n: int) -> Iterator[Document]:
        return (self.document() for _ in range(n))

    def document(self) -> Document:
        kind, riddle, fact = (
            self.kinds.draw(self.rng),
            pick(self.riddles, self.rng),
            int(self.rng.integers(10)),
        )
        told = kind == "fact"
        answers = self.rng.random() < (1 - self.corpus.ignores if told else self.corpus.guesses)
        user = f"{riddle.prompt} {FACT_MARK} {fact}" if told else riddle.prompt
        return Document(None, user, self._solution(riddle, fact) if answers else ABSTENTION)

    def _solution(self, riddle: Riddle, fact: int) -> str:
        """Write the worked solution; with probability `slip` one of
        its steps is wrong and carried on.
        """
        expression = riddle.with_fact(fact)
        slips = self.rng.random() < self.corpus.slip
        at = int(self.rng.integers(len(expression.operators))) if slips else None
        return write_solution(
            expression,
            fact,
            expression.slipped(at, int(self.rng.integers(1, 10))),
            self.corpus.direct,
        )
