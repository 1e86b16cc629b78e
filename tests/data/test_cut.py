"""Whether a completion was cut, in the words of many frameworks."""

from typing import Any

import pytest

from study.data.cut import was_cut

YES = [
    True, 1, 1.0, "true", "True", " TRUE ", "yes", "1", "1.0", "length", "LENGTH", "Max Tokens",
    "max_new_tokens", "max-tokens", "MAX_TOKENS", "model_length", "maxTokens", "length_capped",
    "FinishReason.LENGTH", "<FinishReason.LENGTH: 'length'>", "FINISH_REASON_MAX_TOKENS",
    "RequestStatus.FINISHED_LENGTH_CAPPED", "model_context_window_exceeded", "abort",
    {"type": "length", "length": 4096}, {"reason": "max_output_tokens"}, {"length": {"n": 1}},
    "out_of_tokens", "MAX_LENGTH_REACHED", {"kind": "length"}, "context_overflow",
    {"finishReason": "MAX_TOKENS"}, {"type": {"name": "LENGTH"}}, {"truncated": True},
]  # fmt: skip
NO = [
    False, 0, 0.0, "false", "no", "0", "stop", "STOP", "eos_token", "EOS", "end_turn", "endTurn",
    "stop_sequence", "tool_calls", "FinishReason.STOP", "FINISH_REASON_STOP", "COMPLETE",
    "endoftext", {"kind": "eos"},
    {"type": "stop", "matched": 2}, {"type": "stop"}, {"stop": 151645}, {"truncated": False},
]  # fmt: skip
UNKNOWN = [
    None, "", "  ", "none", "null", "unknown", "other", 2, -1, 4096, float("nan"), 0.5, [], {},
    {"type": None}, {"a": 1, "b": 2}, {"type": "weird"}, "lengthy", "not stopped",
]  # fmt: skip


@pytest.mark.parametrize("value", YES)
def test_a_cut_completion(value: Any) -> None:
    assert was_cut(value)


@pytest.mark.parametrize("value", NO)
def test_a_finished_completion(value: Any) -> None:
    assert not was_cut(value)


@pytest.mark.parametrize("value", UNKNOWN)
def test_what_is_not_understood_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="does not say whether the completion was cut"):
        was_cut(value)
