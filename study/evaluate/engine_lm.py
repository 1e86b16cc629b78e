"""An engine of the project as a model of lm-eval: chats in, completions out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from transformers import PreTrainedTokenizerBase

from study.data.chat import prompt_text
from study.errors import PrerequisiteError
from study.evaluate.engines import Drawn, Engine
from study.evaluate.task_page import Decoding


@dataclass(frozen=True)
class Chat:
    """How a problem becomes a prompt.

    template: the tokenizer's chat template, or the plain text; arguments: passed to the template.

    views: problem's prompt -> the messages that replace it (privileged information); what the task
    file puts after the prompt stays after the problem. prefixes: problem's prompt -> the tokens
    that the answer begins with; they are part of the completion that is graded.
    """

    template: bool = True
    arguments: Mapping[str, Any] | None = None
    views: Mapping[str, list[dict[str, str]]] | None = None
    prefixes: Mapping[str, Sequence[int]] | None = None

    def messages(self, history: list[dict[str, str]]) -> list[dict[str, str]]:
        """Return lm-eval's own messages with the view of their problem put in."""
        if self.views is None:
            return history
        prompt = self.problem(history[-1]["content"], self.views)
        before, rest = self.views[prompt], history[-1]["content"].removeprefix(prompt)
        return [*before[:-1], {**before[-1], "content": before[-1]["content"] + rest}]

    def prefix(self, history: list[dict[str, str]]) -> Sequence[int]:
        return (
            self.prefixes[self.problem(history[-1]["content"], self.prefixes)]
            if self.prefixes
            else ()
        )

    @staticmethod
    def problem(text: str, known: Mapping[str, Any]) -> str:
        """Return the longest known prompt that a message begins with."""
        return (
            text
            if text in known
            else max((prompt for prompt in known if text.startswith(prompt)), key=len)
        )


AS_TEMPLATED = Chat()


class Text(str):
    """A completion's text that remembers whether it was cut off and how many tokens it has; lm-eval
    passes strings on unchanged.
    """

    __slots__ = ("num_tokens", "truncated")
    truncated: bool
    num_tokens: int

    def __new__(cls, text: str, *, truncated: bool, num_tokens: int) -> "Text":
        made = super().__new__(cls, text)
        made.truncated, made.num_tokens = truncated, num_tokens
        return made


class EngineLM(LM):
    """Present an engine to lm-eval as a model. lm-eval's own models return text alone: a completion
    that was cut looks like one that ended.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: PreTrainedTokenizerBase,
        chat: Chat,
        seed: int,
        drawn: Drawn,
        fits: bool,
    ) -> None:
        super().__init__()
        self._engine, self._tokenizer, self._chat = engine, tokenizer, chat
        self._seed, self._drawn, self._fits = seed, drawn, fits
        # rendered prompt -> the tokens that the answer begins with
        self._begun: dict[str, Sequence[int]] = {}

    @property
    def tokenizer_name(self) -> str:
        """Return an empty name; it is only part of the key of a request cache that is never
        used.
        """
        return type(self._tokenizer).__name__

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        if not add_generation_prompt:
            raise NotImplementedError(
                "the tasks of this project ask, and do not continue an answer of their own"
            )
        prompt = prompt_text(
            self._tokenizer, self._chat.messages(chat_history), template=self._chat.arguments
        )
        self._begun[prompt] = self._chat.prefix(chat_history)
        return prompt

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return one text per request. lm-eval sends every request `repeats` times in a row; all
        share the decoding settings.
        """
        k = requests[0].repeats or 1
        settings: dict[str, Any] = requests[0].arguments[1]
        decoding = Decoding(settings["temperature"], settings["top_p"], settings["max_gen_toks"])
        special = not self._chat.template  # a template writes its own start token
        begun = [self._begun.get(request.arguments[0], ()) for request in requests[::k]]
        texts = [request.arguments[0] for request in requests[::k]]
        prompts = [
            [*self._tokenizer.encode(text, add_special_tokens=special), *start]
            for text, start in zip(texts, begun, strict=True)
        ]
        if self._fits:
            _require_room(str(requests[0].task_name), prompts, decoding, self._engine.context)
        rows = self._engine.draw(prompts, decoding, k=k, seed=self._seed, drawn=self._drawn)
        return [
            Text(
                str(self._tokenizer.decode([*start, *completion.ids], skip_special_tokens=True)),
                truncated=completion.truncated, num_tokens=len(completion.ids),
            )
            for start, row in zip(begun, rows, strict=True) for completion in row
        ]  # fmt: skip

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("the tasks of this project generate")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError("the tasks of this project generate")


def _require_room(
    task: str, prompts: Sequence[Sequence[int]], decoding: Decoding, context: int | None
) -> None:
    longest = max(map(len, prompts))
    if context is None or longest + decoding.max_completion_length <= context:
        return
    room = context - longest
    wanted = (
        f"prompts of up to {longest} tokens and {decoding.max_completion_length} for a completion"
    )
    what = f"{task}: the model has {context} positions; {wanted} do not fit"
    hint = (
        f"--max-completion-length {room}"
        if room > 0
        else "these problems are too long for this model: leave the task out"
    )
    raise PrerequisiteError(what, hint=hint)
