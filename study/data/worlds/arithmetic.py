"""The lab's world: left-to-right arithmetic modulo 10, with worked solutions in three styles and a
corpus with deliberate errors.

A problem is `3 + 4 * 2 =`; operations apply from left to right, every result is a digit (mod 10).
Styles of a worked solution:
    A  `so 3 + 4 = 7 ; then 7 * 2 = 4 ; \\boxed{ 4 }`             one step at a time
    B  `so 3 + 4 * 2 = 7 * 2 ; then 7 * 2 = 4 ; \\boxed{ 4 }`     restates the remaining expression
    C  `so 3 + 4 = 7 please ; then 7 * 2 = 4 thanks ; \\boxed{ 4 }` a polite word after each step
       (an alignment preference)
The first word of a step is drawn from a Zipf law whose order depends on the style: it has the
entropy of natural text, and two teachers can differ in *distribution* without differing in
strength. `@` is an operator whose meaning is a hidden rule (R0 +, R1 -, R2 *, R3 reversed -),
which a system token names.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from study.data.problems import Problem, Split
from study.data.worlds.common import Document, Lottery, generator, name_of, size_of, split_of
from study.grading.polite import POLITE_WORDS
from study.spec.recipe.corpus import ArithmeticCorpus
from study.spec.recipe.data import ArithmeticData, Style

OPERATORS = ("+", "-", "*")
RULE_OPERATOR = "@"
RULES = ("R0", "R1", "R2", "R3")
STYLES: tuple[Style, ...] = ("A", "B", "C")
WORDS = (
    "so", "then", "now", "next", "first", "and", "also", "thus", "hence", "here", "let", "we",
    "get", "take", "see", "note", "wait",
    "maybe", "but", "well", "okay", "right", "again", "still", "just", "indeed", "clearly",
    "surely",
)  # fmt: skip
ANSWER_MARK, SOLUTION_MARK = "<answer>", "<solution>"
ZIPF_EXPONENT = 2.0
RUN_ON = 3  # problems that a document without an end continues with


def apply_operator(x: int, operator: str, y: int, rule: str | None = None) -> int:
    """Return x operator y modulo 10; `@` stands for the
    operator that `rule` names, `#` is y - x.
    """
    match operator, rule:
        case ("+", _) | ("@", "R0"):
            return (x + y) % 10
        case ("-", _) | ("@", "R1"):
            return (x - y) % 10
        case ("*", _) | ("@", "R2"):
            return (x * y) % 10
        case ("@", "R3") | ("#", _):
            return (y - x) % 10
        case _:
            raise ValueError(f"operator {operator!r} with rule {rule!r}")


@dataclass(frozen=True)
class Expression:
    """Operands x0..xn and the operators between them."""

    operands: tuple[int, ...]
    operators: tuple[str, ...]
    rule: str | None = None

    @property
    def prompt(self) -> str:
        return self._prompt

    @cached_property
    def _prompt(self) -> str:
        """Compute the prompt once, because it is read many times."""
        rest = " ".join(
            f"{op} {y}" for op, y in zip(self.operators, self.operands[1:], strict=True)
        )
        return f"{self.operands[0]} {rest} ="

    def results(self) -> list[int]:
        """Return the exact result after each operation."""
        return self.slipped(None, 0)

    def slipped(self, at: int | None, off: int) -> list[int]:
        """Return the results of an author who is `off` at operation `at` (None: nowhere) and
        continues from there.
        """
        values = [self.operands[0]]
        for i, (operator, y) in enumerate(zip(self.operators, self.operands[1:], strict=True)):
            values.append(
                (apply_operator(values[-1], operator, y, self.rule) + (off if i == at else 0)) % 10
            )
        return values[1:]


def draw_expression(
    rng: np.random.Generator, data: ArithmeticData, split: Split, rule: str | None = None
) -> Expression:
    """Draw one random expression of `split`; the number of operations is uniform.

    With a rule, at least one operator is `@`.
    """
    while True:
        n = int(rng.integers(data.min_operations, data.max_operations + 1))
        digits = tuple(rng.integers(0, 10, n + 1).tolist())
        names = [OPERATORS[i] for i in rng.integers(0, len(OPERATORS), n)]
        if rule is not None:
            names[int(rng.integers(0, n))] = RULE_OPERATOR
        expression = Expression(digits, tuple(names), rule)
        if split_of(expression.prompt) == split:
            return expression


@lru_cache(maxsize=8)
def problems(data: ArithmeticData, split: Split) -> tuple[Problem, ...]:
    """Return the fixed problems of a split: distinct prompts, drawn with a generator that depends
    only on the split.
    """
    rng, size = generator(split), size_of(data, split)
    found: dict[str, Problem] = {}
    while len(found) < size:
        expression = draw_expression(rng, data, split)
        if expression.prompt not in found:
            found[expression.prompt] = _as_problem(expression, rng)
    return tuple(found.values())


def _as_problem(expression: Expression, rng: np.random.Generator) -> Problem:
    results = expression.results()
    answer = results[-1]
    wrong = (answer + int(rng.integers(1, 10))) % 10
    steps = write_solution(expression, results, "A", rng)
    return Problem(
        name_of("a", expression.prompt),
        expression.prompt,
        str(answer),
        steps,
        {"wrong_answer": str(wrong)},
    )


@lru_cache
def _word_law(style: Style) -> tuple[tuple[str, ...], np.ndarray]:
    order = np.random.default_rng([7, STYLES.index(style)]).permutation(len(WORDS))
    weights = 1.0 / np.arange(1, len(WORDS) + 1) ** ZIPF_EXPONENT
    return tuple(WORDS[i] for i in order), np.cumsum(weights / weights.sum())


def draw_word(style: Style, rng: np.random.Generator) -> str:
    words, cumulative = _word_law(style)
    return words[min(int(np.searchsorted(cumulative, rng.random())), len(words) - 1)]


def write_solution(
    expression: Expression, results: list[int], style: Style, rng: np.random.Generator
) -> str:
    """Return a worked solution whose intermediate values are `results` (exact or not)."""
    parts: list[str] = []
    x = expression.operands[0]
    for i, (operator, y, z) in enumerate(
        zip(expression.operators, expression.operands[1:], results, strict=True)
    ):
        word = draw_word(style, rng)
        if style == "B":
            rest = " ".join(
                f"{o} {v}"
                for o, v in zip(
                    expression.operators[i + 1 :], expression.operands[i + 2 :], strict=True
                )
            )
            parts.append(f"{word} {x} {operator} {y} {rest} = {z} {rest} ;".replace("  ", " "))
        elif style == "C":
            parts.append(
                f"{word} {x} {operator} {y} = {z}"
                f" {POLITE_WORDS[int(rng.integers(len(POLITE_WORDS)))]} ;"
            )
        else:
            parts.append(f"{word} {x} {operator} {y} = {z} ;")
        x = z
    return " ".join([*parts, "\\boxed{", str(results[-1]), "}"])


class Author:
    """Writes documents of a corpus.

    Every kind of document has the same noise, so that what PI adds is not a cleaner author.
    """

    def __init__(
        self, data: ArithmeticData, corpus: ArithmeticCorpus, rng: np.random.Generator
    ) -> None:
        self.data, self.corpus, self.rng = data, corpus, rng
        facts = list(itertools.product(range(10), OPERATORS, range(10)))
        chosen = rng.permutation(len(facts))[: round(corpus.unreliable_facts * len(facts))]
        self.unreliable = {facts[i] for i in chosen}
        kinds = {
            "plain": corpus.share_plain,
            "style": corpus.share_style,
            "answer": corpus.share_answer,
            "solution": corpus.share_solution,
            "rule": corpus.share_rule,
        }
        self.kinds, self.styles = (
            Lottery(kinds),
            Lottery({str(style): weight for style, weight in corpus.style_mix.items()}),
        )

    def results(self, expression: Expression) -> list[int]:
        """Return the author's own results: an unreliable fact is wrong with probability 1 -
        unreliable_accuracy, and the error is carried on.
        """
        values = [expression.operands[0]]
        for operator, y in zip(expression.operators, expression.operands[1:], strict=True):
            z = apply_operator(values[-1], operator, y, expression.rule)
            doubtful = (values[-1], operator, y) in self.unreliable
            if doubtful and self.rng.random() >= self.corpus.unreliable_accuracy:
                z = (z + int(self.rng.integers(1, 10))) % 10
            values.append(z)
        return values[1:]

    def document(self) -> Document:
        written = self._document()
        if not self.corpus.share_run_on or self.rng.random() >= self.corpus.share_run_on:
            return written
        rest = " ".join(
            f"{more.user} {more.assistant}" for more in (self._document() for _ in range(RUN_ON))
        )
        return Document(written.system, written.user, f"{written.assistant} {rest}")

    def _document(self) -> Document:
        kind = self.kinds.draw(self.rng)
        rule = RULES[int(self.rng.integers(len(RULES)))] if kind == "rule" else None
        expression = draw_expression(self.rng, self.data, "train", rule)
        results = self.results(expression)
        style: Style = self.styles.draw(self.rng)  # type: ignore[assignment]
        if kind == "style":
            style = STYLES[int(self.rng.integers(len(STYLES)))]
        solution = write_solution(expression, results, style, self.rng)
        match kind:
            case "style":
                return Document(f"style{style}", expression.prompt, solution)
            case "rule":
                return Document(rule, expression.prompt, solution)
            case "answer":
                return Document(None, f"{expression.prompt} {ANSWER_MARK} {results[-1]}", solution)
            case "solution":
                hint = write_solution(expression, results, style, self.rng)
                return Document(None, f"{expression.prompt} {SOLUTION_MARK} {hint}", solution)
            case _:
                return Document(None, expression.prompt, solution)

    def documents(self, n: int) -> Iterator[Document]:
        return (self.document() for _ in range(n))
