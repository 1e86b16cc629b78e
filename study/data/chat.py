"""From a view to the text and the token ids of a prompt, through the tokenizer's own chat template.

thinking: what the template is told as `enable_thinking`; None tells it nothing. Qwen3's template
writes no `<think>` of its own where thinking is on or unsaid: the model opens its reasoning itself.
With thinking off it closes an empty one, "<think>\\n\\n</think>\\n\\n". A view that ends with an
assistant's message brings its own beginning of the turn: the template opens the turn, is told
nothing (it would write the empty block before a hint that is reasoning), and the text follows as it
stands. The template's rendering of a finished assistant's turn is not used for this: Qwen3's
rewrites what stands before `</think>`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from study.data.views import Messages

if TYPE_CHECKING:  # transformers takes seconds to import, and nothing of it is needed here
    from transformers import PreTrainedTokenizerBase


def asked(thinking: bool | None) -> dict[str, Any]:
    """Arguments for a chat template."""
    return {} if thinking is None else {"enable_thinking": thinking}


def prompt_text(
    tokenizer: "PreTrainedTokenizerBase",
    view: Messages,
    thinking: bool | None = None,
    template: Mapping[str, Any] | None = None,
) -> str:
    """Everything before the first token of the answer. template: further arguments of the chat
    template.
    """
    begun = view[-1]["content"] if view[-1]["role"] == "assistant" else None
    messages, told = (
        (view, {**asked(thinking), **(template or {})}) if begun is None else (view[:-1], {})
    )
    return str(
        tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **told)
    ) + (begun or "")


def prompt_ids(
    tokenizer: "PreTrainedTokenizerBase",
    views: Sequence[Messages],
    thinking: bool | None = None,
    template: Mapping[str, Any] | None = None,
) -> list[list[int]]:
    """Token ids of each prompt. Special tokens are the template's alone."""
    texts = [prompt_text(tokenizer, view, thinking, template) for view in views]
    ids: Any = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids
