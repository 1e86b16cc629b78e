"""Decide whether a completion was cut off, from what a framework wrote about its end.

One vocabulary for all commands: truth values, 0 and 1, words such as "yes", finish reasons of the
common engines and providers, their enum names ("FinishReason.LENGTH") and their objects
({"type": "length"}). Case, spaces and hyphens do not matter. A value that is not understood is
refused: read as "not cut", it would count a cut completion as a finished one.
"""

import re
from collections.abc import Mapping
from typing import Any, cast


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The completion did not end by itself: at a limit, or the engine stopped it.
CUT = _words(
    "true yes y t 1 length max_length max_len max_tokens max_new_tokens max_output_tokens"
    " max_completion_tokens max_tokens_reached max_gen_toks max_context_length token_limit"
    " tokens_limit output_limit length_limit length_capped model_length model_context_window"
    " model_context_window_exceeded context_length context_length_exceeded context_window"
    " limit error_limit stopped_limit truncated cut incomplete unfinished timeout timed_out"
    " max_time time_limit abort aborted cancelled canceled content_filter content_filtered"
    " safety recitation error pause_turn stop_limit out_of_tokens num_predict max_length_reached"
    " max_tokens_exceeded context_overflow"
)
# The completion ended by itself: an end token, a stop text, a tool call.
ENDED = _words(
    "false no n f 0 stop stopped stop_token stop_token_id stop_sequence stop_string stop_str"
    " stop_word stop_words stopped_eos stopped_word eos eos_token eos_token_id eos_found"
    " end end_turn end_of_turn end_of_text end_of_sequence complete completed finished finish"
    " done success natural not_truncated not_cut tool_call tool_calls tool_use function_call"
    " refusal endoftext stop_eos"
)
_INSIDE = ("type", "reason", "finish_reason", "stop_reason", "name", "value", "status", "kind")
_PREFIXES = ("finish_reason_", "stop_reason_", "finished_", "finish_")
HINT = 'write true, false or a finish reason such as "length" or "stop"'


def was_cut(value: Any) -> bool:
    """Whether this value says that the completion was cut.
    Errors: ValueError if it does not say.
    """
    word = _word(value)
    if word is None or (word not in CUT and word not in ENDED):
        raise ValueError(f"{_shown(value)} does not say whether the completion was cut")
    return word in CUT


def _word(value: Any) -> str | None:
    """Return the value as one word in the vocabulary's spelling; None if it is not a word."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(int(value)) if value in (0, 1) else None
    if isinstance(value, str):
        return _normal(value)
    if isinstance(value, Mapping):
        return _of_object(cast("Mapping[str, Any]", value))
    return None


def _of_object(value: Mapping[str, Any]) -> str | None:
    """Return the reason that an object holds, or the single name that it has: {"length": {...}}."""
    names = {str(name).replace("_", "").lower(): name for name in value}
    for wanted in _INSIDE:
        name = names.get(wanted.replace("_", ""))
        if name is not None:
            return _word(value[name])
    if len(value) != 1:
        return None
    ((name, content),) = value.items()
    word = _normal(str(name))
    if content is False:  # {"truncated": false}
        return "false" if word in CUT else None
    return word


def _normal(text: str) -> str:
    """Spell `<FinishReason.LENGTH: 'length'>`, `maxTokens` and `Max Tokens` one way."""
    text = re.sub(r"^<(.*?)(?::.*)?>$", r"\1", text.strip()).strip("'\" ")
    if not re.fullmatch(r"[0-9.]+", text):
        text = text.rpartition(".")[2] if not text.endswith(".") else text.rstrip(".")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text)
    word = re.sub(r"[\s\-_]+", "_", text).casefold().strip("_")
    if word in ("1.0", "0.0"):
        return word[0]
    if word in CUT or word in ENDED:
        return word
    for prefix in _PREFIXES:
        if word.startswith(prefix):
            return word.removeprefix(prefix)
    return word


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
