"""Measure the prompts as a model reads them: their lengths, control tokens in their text, and
whether the chat template depends on the date.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.data.chat import date_dependence, prompt_ids
from study.data.jsonl import CONTROL_TOKENS
from study.data.texts import control_tokens
from study.data.views import student_view
from study.runner.init.findings import Finding, Place
from study.runner.init.rows import Rows
from study.spec.recipe.data import JsonlData


@dataclass(frozen=True)
class Lengths:
    """Tokens of each prompt with the chat template applied.

    context: the positions of the model, None if its config does not say.
    """

    model: str
    tokens: Mapping[Place, int]
    context: int | None

    @property
    def longest(self) -> int:
        return max(self.tokens.values(), default=0)

    @property
    def room(self) -> int | None:
        """Return the largest completion, in tokens, that fits after every prompt; None for none, or
        for a context that is not known.
        """
        left = 0 if self.context is None else self.context - self.longest
        return left if left > 0 else None

    def too_long(self, completion: int) -> list[Finding]:
        """Return the prompts that leave no room for a completion of this many tokens."""
        if self.context is None:
            return []
        limit = self.context - completion
        over = {place: tokens for place, tokens in self.tokens.items() if tokens > limit}
        if not over:
            return []
        fault = (
            f"too long: {self.model} has {self.context} positions,"
            f" and {completion} are for the completion"
        )
        details = tuple(f"{tokens} tokens" for tokens in over.values())
        room = self.room
        hint = (
            f"--completion-tokens {room} is the largest that fits every prompt"
            if room
            else "leave these rows out, or use a model with more positions"
        )
        return [Finding(fault, tuple(over), details, hint)]


@dataclass(frozen=True)
class Prompts:
    """The result of one model's tokenizer on the problems. notes: not wrong, but worth knowing."""

    lengths: Lengths
    findings: list[Finding]
    notes: tuple[str, ...]


def read_prompts(
    model: str, folder: Path, rows: Sequence[Rows], thinking: bool | None, data: JsonlData
) -> Prompts:
    """Render and tokenise every problem as this model will read it.

    Errors: those of loading a tokenizer.
    """
    from study.models.loading import load_tokenizer  # transformers takes seconds to import

    tokenizer = load_tokenizer(folder)
    problems = {place: p for each in rows for place, p in each.problems.items()}
    ids: list[list[int]] = []
    if problems:
        ids = prompt_ids(tokenizer, [student_view(p) for p in problems.values()], thinking)
    config = json.loads((folder / "config.json").read_bytes())
    sizes = dict(zip(problems, map(len, ids), strict=True))
    lengths = Lengths(model, sizes, config.get("max_position_embeddings"))
    special = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    dated = date_dependence(tokenizer)
    return Prompts(
        lengths,
        template_tokens(model, special, rows, data),
        (f"{model}: {dated}",) if dated else (),
    )


def template_tokens(
    model: str, tokens: Sequence[str], rows: Iterable[Rows], data: JsonlData
) -> list[Finding]:
    """Return the problems that contain a special token of this model's tokenizer."""
    found: dict[Place, str] = {}
    for each in rows:
        for place, problem in each.problems.items():
            held = control_tokens(problem.prompt.removesuffix(data.prompt_suffix), tokens)
            if held:
                found[place] = held[0]
    if not found or data.control_tokens:
        return []
    fault = f"control token: the tokenizer of the {model} reads it as one token"
    return [Finding(fault, tuple(found), tuple(found.values()), CONTROL_TOKENS)]
