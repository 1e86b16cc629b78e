"""Render a view as the text and the token ids of a prompt, with the tokenizer's own chat template.

thinking: the template's argument `enable_thinking`; None leaves it out. Qwen3's template writes no
`<think>` if thinking is on or not set: the model opens its reasoning itself.
With thinking off it writes an empty one, "<think>\\n\\n</think>\\n\\n". A view that ends with an
assistant's message contains the beginning of that turn: the template opens the turn without the
argument (it would write the empty block before a hint that is reasoning), and the text follows
unchanged. The template's rendering of a finished assistant's turn is not used for this, because
Qwen3's rewrites what comes before `</think>`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from study.data.views import Messages

if TYPE_CHECKING:  # transformers takes seconds to import, and this module needs only its types
    from transformers import PreTrainedTokenizerBase


def template_arguments(thinking: bool | None) -> dict[str, Any]:
    """Return the arguments for a chat template."""
    return {} if thinking is None else {"enable_thinking": thinking}


_DATE = "a-date-of-the-probe"
_PROBES: tuple[Messages, ...] = (
    [{"role": "user", "content": "?"}],
    [{"role": "system", "content": "!"}, {"role": "user", "content": "?"}],
)


def date_dependence(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Say in words that the chat template writes today's date into a prompt; "" if it does not.

    The template is rendered with a clock of our own (`strftime_now`), and again with a fixed
    `date_string`, which many templates take in place of the clock.
    """
    if not _writes_date(tokenizer, {}):
        return ""
    fixed = not _writes_date(tokenizer, {"date_string": "26 Jul 2024"})
    remedy = (
        'fix it: the template takes date_string: "26 Jul 2024"'
        if fixed
        else "fix it: write a date into chat_template.jinja in the place of strftime_now"
    )
    return (
        "the chat template writes today's date into every prompt, so a run made again on another"
        f" day differs; {remedy}"
    )


def _writes_date(tokenizer: "PreTrainedTokenizerBase", arguments: Mapping[str, Any]) -> bool:
    template = tokenizer.chat_template
    texts = template.values() if isinstance(template, dict) else [template or ""]
    if not any("strftime_now" in str(text) for text in texts):
        return False
    rendered: list[str] = []
    for messages in _PROBES:
        try:
            text = tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=True,
                tokenize=False,
                strftime_now=lambda _: _DATE,
                **arguments,
            )
        except TemplateError:  # a template without system turns
            continue
        rendered.append(str(text))
    return any(_DATE in text for text in rendered)


def prompt_text(
    tokenizer: "PreTrainedTokenizerBase",
    view: Messages,
    thinking: bool | None = None,
    template: Mapping[str, Any] | None = None,
) -> str:
    """Return everything before the first token of the answer. template: further arguments of the
    chat template.
    """
    begun = view[-1]["content"] if view[-1]["role"] == "assistant" else None
    messages, arguments = view, {**template_arguments(thinking), **(template or {})}
    if begun is not None:  # the view opens the turn itself, so the template gets no argument
        messages, arguments = view[:-1], {}
    return str(
        tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, **arguments
        )
    ) + (begun or "")


def prompt_ids(
    tokenizer: "PreTrainedTokenizerBase",
    views: Sequence[Messages],
    thinking: bool | None = None,
    template: Mapping[str, Any] | None = None,
) -> list[list[int]]:
    """Return the token ids of each prompt. Only the template adds special tokens."""
    texts = [prompt_text(tokenizer, view, thinking, template) for view in views]
    ids: Any = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids
