"""Check token ids, where a turn ends, and the chat template.

A `StudyError` raised below means that the contract does not hold (`study.train.preflight.pairs`
makes it a check).
"""

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from study.data.chat import date_dependence
from study.data.problems import Problem
from study.data.views import Messages
from study.models.loading import require_same_tokens
from study.models.sampling import end_token_ids
from study.train.preflight.check import Check

_SPECIAL = ("eos", "pad", "bos", "unk")
_WORD = "xyzzy"  # a placeholder for content: no template contains it


def tokens(
    student: PreTrainedTokenizerBase,
    teacher: PreTrainedTokenizerBase,
    heads: tuple[int, int],
    subject: str,
) -> Check:
    """Check for one token-to-id map, the same special and added tokens, and heads with a row for
    every token.
    """
    shared = require_same_tokens(student, teacher)
    measured = {"shared_tokens": shared, "student_head": heads[0], "teacher_head": heads[1]}
    differing = [
        _two(name, student, teacher)
        for name in _SPECIAL
        if special_token(student, name) != special_token(teacher, name)
    ]
    ours, theirs = _added(student), _added(teacher)
    differing += [
        f"added token {token!r}"
        for token in sorted(ours.keys() | theirs.keys())
        if ours.get(token) != theirs.get(token)
    ]
    if differing:
        hint = "take tokenizer files of one release for both models"
        return Check(
            "tokens",
            subject,
            False,
            f"student and teacher disagree on {'; '.join(differing)}",
            hint,
            False,
            measured,
        )
    if min(heads) < shared:
        message = f"the tokenizer has {shared} tokens, a model only {min(heads)} rows for them"
        return Check(
            "tokens",
            subject,
            False,
            message,
            "the folder holds the tokenizer of another model",
            False,
            measured,
        )
    return Check(
        "tokens", subject, True, "one token-to-id map, the same special tokens", measured=measured
    )


def _two(name: str, student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase) -> str:
    ours, theirs = special_token(student, name), special_token(teacher, name)
    return f"the {name} token: id {ours} against {theirs}"


def special_token(tokenizer: PreTrainedTokenizerBase, name: str) -> Any:
    return getattr(tokenizer, f"{name}_token_id")


def _added(tokenizer: PreTrainedTokenizerBase) -> dict[str, tuple[int, bool]]:
    return {
        token.content: (number, token.special)
        for number, token in tokenizer.added_tokens_decoder.items()
    }


def turn_end(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, subject: str) -> Check:
    """Check that generation stops at the token with which the
    chat template ends an assistant's turn.
    """
    ends, closing = end_token_ids(model, tokenizer), _closing_ids(tokenizer)
    declared: Any = model.generation_config.eos_token_id if model.generation_config else None
    declared = [declared] if isinstance(declared, int) else list(declared or [])
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        missing = "EOS" if tokenizer.eos_token_id is None else "padding"
        return Check(
            "end of turn",
            subject,
            False,
            f"the tokenizer has no {missing} token",
            "set it in tokenizer_config.json",
        )
    if not closing:
        message = (
            "the chat template ends an assistant's turn without a token of its own: a completion"
            " would run to the length limit"
        )
        return Check(
            "end of turn",
            subject,
            False,
            message,
            "let the template write the EOS token after an assistant's content",
        )
    name = f"{tokenizer.convert_ids_to_tokens(closing[0])!r} (id {closing[0]})"
    if closing[0] not in ends:
        message = f"the chat template ends a turn with {name}, generation stops at {ends}"
        hint = f"add {closing[0]} to eos_token_id in generation_config.json"
        return Check("end of turn", subject, False, message, hint)
    if closing[0] not in declared:
        message = (
            f"{name} ends a turn and is the tokenizer's EOS,"
            f" but not one of the generation config's {declared}"
        )
        return Check(
            "end of turn",
            subject,
            True,
            message,
            "add it to generation_config.json: other engines read only that",
            True,
        )
    return Check(
        "end of turn",
        subject,
        True,
        f"{name} ends a turn in template, tokenizer and generation config",
    )


def _closing_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the special tokens that the template writes after
    the content of an assistant's message.
    """
    spoken = _text(
        tokenizer,
        [{"role": "user", "content": _WORD}, {"role": "assistant", "content": _WORD}],
        prompt=False,
    )
    special = {
        *tokenizer.all_special_ids,
        *(number for number, token in tokenizer.added_tokens_decoder.items() if token.special),
    }
    return [
        i
        for i in tokenizer(spoken.rpartition(_WORD)[2], add_special_tokens=False)["input_ids"]
        if i in special
    ]  # type: ignore[union-attr]


def template(
    student: PreTrainedTokenizerBase,
    teacher: PreTrainedTokenizerBase,
    problem: Problem,
    subject: str,
) -> Check:
    """Check that both sides have the student's template, which prompts both: a teacher with another
    one is scored out of its format.
    """
    view: Messages = [{"role": "user", "content": problem.prompt}]
    if _text(student, view) == _text(student, view, prompt=False):
        message = (
            "the chat template ignores add_generation_prompt: the answer does not start where the"
            " assistant's turn does"
        )
        return Check(
            "chat template",
            subject,
            False,
            message,
            "let the template open the assistant's turn if add_generation_prompt",
        )
    if _text(student, view) != _text(teacher, view):
        message = "the teacher's own template prompts differently; it is shown the student's"
        return Check(
            "chat template", subject, True, message, "compare the two chat_template.jinja", True
        )
    if dated := date_dependence(student):
        return Check("chat template", subject, True, dated, note=True)
    return Check("chat template", subject, True, "both sides prompt alike")


def _text(tokenizer: PreTrainedTokenizerBase, messages: Messages, *, prompt: bool = True) -> str:
    return str(
        tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, tokenize=False)
    )
