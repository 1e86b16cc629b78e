"""Check who sees privileged information: the teacher does, and the student does not."""

from collections.abc import Sequence
from string import Formatter

from transformers import PreTrainedTokenizerBase

from study.data.chat import prompt_text
from study.data.problems import Problem
from study.data.views import SHOWN_TO_ALL, privileged_text, shifted
from study.spec.recipe.model import DistilledModel
from study.spec.recipe.privileged import PrivilegedInformation
from study.train import build
from study.train.preflight.check import Check
from study.train.preflight.tokens import special_token

SECRET_WORDS = 6  # a shorter column, such as an answer, may occur in a prompt by chance


def views(
    recipe: DistilledModel,
    problems: Sequence[Problem],
    tokenizer: PreTrainedTokenizerBase,
    subject: str,
) -> Check:
    """Check that the rendered privileged information is in the teacher's prompt and nowhere in the
    student's, and that every token of both is known.
    """
    rows = build.prompt_rows(list(problems), recipe)
    thinking = recipe.training.sampling.thinking
    prompts = {
        side: [prompt_text(tokenizer, view, thinking) for view in rows[side]]
        for side in ("prompt", "teacher_prompt")
    }
    unknown = sum(_unknown(tokenizer, text) for texts in prompts.values() for text in texts)
    shown = _shown(recipe.privileged, problems)
    told = [_secrets(recipe.privileged, problem) for problem in problems]
    leaks = sum(
        s.count(pi) > p.prompt.count(pi) or any(secret in s for secret in secrets)
        for s, pi, p, secrets in zip(prompts["prompt"], shown, problems, told, strict=False)
        if pi
    )
    absent = sum(
        t.count(pi) <= s.count(pi) for s, t, pi in zip(*prompts.values(), shown, strict=False) if pi
    )
    measured: dict[str, float] = {
        "problems": len(problems),
        "leaks": leaks,
        "absent": absent,
        "unknown_tokens": unknown,
    }
    if leaks:
        message = (
            f"the student's prompt holds the privileged information in {leaks} of {len(problems)}"
            f" problems; the first: {shown[0]!r}"
        )
        hint = (
            "PI belongs to the teacher's view only: does the prompt's column hold the solution?"
            " Else study/data/views.py"
        )
        return Check("views", subject, False, message, hint, False, measured)
    if absent or (recipe.privileged is None and prompts["prompt"] != prompts["teacher_prompt"]):
        message = (
            "the teacher's prompt lacks what it should hold, or holds what it should not, in"
            f" {absent or len(problems)} problems"
        )
        return Check(
            "views",
            subject,
            False,
            message,
            "study/data/views.py, or the chat template drops a role",
            False,
            measured,
        )
    if unknown:
        message = (
            f"{unknown} tokens of the prompts are unknown to the tokenizer:"
            " the models would not see those words"
        )
        return Check(
            "views",
            subject,
            False,
            message,
            "write `pi` in words of the tokenizer's vocabulary",
            False,
            measured,
        )
    return _views_hold(recipe.privileged, problems, shown, measured, subject)


def _views_hold(
    privileged: PrivilegedInformation | None,
    problems: Sequence[Problem],
    shown: list[str],
    measured: dict[str, float],
    subject: str,
) -> Check:
    if privileged is None:
        return Check(
            "views",
            subject,
            True,
            "no privileged information: both sides see one prompt",
            measured=measured,
        )
    if privileged.source == "own":
        return Check(
            "views",
            subject,
            True,
            "privileged information is in the teacher's view only",
            measured=measured,
        )
    own = [
        privileged_text(p, privileged.model_copy(update={"source": "own"})).strip()
        for p in problems
    ]
    alike = measured["same_as_own"] = sum(a == b for a, b in zip(own, shown, strict=True))
    message = (
        "placebo: the teacher sees another problem's,"
        f" by chance the same text in {alike} of {len(problems)}"
    )
    if alike == len(problems):
        hint = "choose a template that tells problems apart"
        return Check(
            "views", subject, False, f"{message}: it is not a placebo", hint, False, measured
        )
    return Check("views", subject, True, message, measured=measured)


def _shown(privileged: PrivilegedInformation | None, problems: Sequence[Problem]) -> list[str]:
    """Return the text that each teacher's view should hold and the student's should not."""
    if privileged is None:
        return []
    others = shifted(problems)  # as training pairs them; templates strip whitespace at the ends
    return [
        privileged_text(p, privileged, other).strip()
        for p, other in zip(problems, others, strict=True)
    ]


def _secrets(privileged: PrivilegedInformation | None, problem: Problem) -> list[str]:
    """Return the columns that the template shows the teacher and that are too long to occur in a
    prompt by chance.
    """
    if privileged is None:
        return []
    asked = {name for _, name, _, _ in Formatter().parse(privileged.template) if name} - set(
        SHOWN_TO_ALL
    )
    columns = problem.fields()
    return [
        text
        for name in sorted(asked)
        if len((text := columns.get(name, "").strip()).split()) >= SECRET_WORDS
    ]


def _unknown(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """Count words without an id of their own. The lab's
    tokenizer writes its padding token for them.
    """
    stand_ins = [
        i
        for i in (special_token(tokenizer, "unk"), special_token(tokenizer, "pad"))
        if i not in (None, special_token(tokenizer, "eos"))
    ]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return sum(i in stand_ins for i in ids)  # type: ignore[union-attr]
