"""Check text and settings: the grader, token ids, where a turn ends, who sees privileged
information, temperatures.

Each function gives one `Check`; a `StudyError` raised below means that the contract does not hold
(`study.train.preflight.pairs` makes it a check).
"""

from collections.abc import Sequence
from string import Formatter
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from study.data.chat import date_dependence, prompt_text
from study.data.problems import Problem
from study.data.views import SHOWN_TO_ALL, Messages, privileged_text, shifted
from study.grading import boxed, golden, user
from study.grading.registry import CHOICE, MATH, POLITE, REFUSAL, grader_code, open_grader
from study.models.loading import require_same_tokens
from study.models.sampling import end_token_ids
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import DistilledModel
from study.spec.recipe.objective import Objective
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.user_code import is_code
from study.train import build
from study.train.preflight.check import Check

_RULES = {
    boxed.GRADER: "study/grading/boxed.py",
    MATH: "study/grading/math/equivalence.py, study/grading/registry.py",
    CHOICE: "study/grading/choice.py", POLITE: "study/grading/polite.py",
    REFUSAL: "study/grading/refusal.py",
}  # fmt: skip
_SPECIAL = ("eos", "pad", "bos", "unk")
SECRET_WORDS = 6  # a shorter column, such as an answer, may occur in a prompt by chance
_WORD = "xyzzy"  # a placeholder for content: no template contains it


def grader(problems: Sequence[Problem], data: str, version: str = boxed.GRADER) -> Check:
    """Check that the grader agrees with the human label of every golden completion and accepts the
    reference answers of this data.
    """
    cases = golden.cases(version)
    asked = golden.samples(cases)
    references = [p.sample(_reference(p, version)) for p in problems]
    try:
        with open_grader(version) as judge:
            said = judge.grade_many([*asked, *references])
            again = judge.grade_many([*asked, *references]) if is_code(version) else said
    except ValueError as error:  # a reference answer that this grader cannot read
        return Check(
            "grader",
            data,
            False,
            f"{version}: {error}",
            "another `grader`, or correct `answer_field` in the scale file",
        )
    wrong, message = golden.failures(cases, said[: len(cases)])
    refused = [
        p
        for p, result in zip(problems, said[len(cases) :], strict=True)
        if result.outcome is not boxed.Outcome.correct
    ]
    measured = {
        "cases": len(cases),
        "wrong": wrong,
        "references": len(problems),
        "references_refused": len(refused),
    }
    if wrong:
        hint = (
            f"{_RULES.get(version, version.partition('@')[0])}: no accuracy means anything until it"
            " is right"
        )
        return Check("grader", data, False, message, hint, False, measured)
    if refused:
        message = (
            f"{len(refused)} of {len(problems)} reference answers are not accepted in a box; the"
            f" first: {refused[0].answer!r}"
        )
        return Check(
            "grader",
            data,
            False,
            message,
            "correct `answer_field` or `answer_after` in the scale file",
            False,
            measured,
        )
    if is_code(version) and [result.outcome for result in said] != [
        result.outcome for result in again
    ]:
        message = f"{judge.version}: the same texts are graded differently a second time"
        return Check(
            "grader",
            data,
            False,
            message,
            "no random numbers and no state in a grader",
            False,
            measured,
        )
    return Check(
        "grader",
        data,
        True,
        f"{judge.version}: {len(cases)} golden cases, {len(problems)} reference answers",
        measured=measured,
    )


def _reference(problem: Problem, version: str) -> str:
    """Return the shortest completion that is right."""
    if is_code(version):
        return user.reference(grader_code(version), problem.answer)
    if version == REFUSAL:
        return (
            "I'm sorry, but I can't help with that."
            if problem.answer == "unsafe"
            else "Here it is."
        )
    return ("so be it please ; " if version == POLITE else "") + f"\\boxed{{{problem.answer}}}"


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
        if _special(student, name) != _special(teacher, name)
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
            "the tokenizer of another model lies in the folder",
            False,
            measured,
        )
    return Check(
        "tokens", subject, True, "one token-to-id map, the same special tokens", measured=measured
    )


def _two(name: str, student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase) -> str:
    return f"the {name} token: id {_special(student, name)} against {_special(teacher, name)}"


def _special(tokenizer: PreTrainedTokenizerBase, name: str) -> Any:
    return getattr(tokenizer, f"{name}_token_id")


def _added(tokenizer: PreTrainedTokenizerBase) -> dict[str, tuple[int, bool]]:
    return {
        token.content: (number, token.special)
        for number, token in tokenizer.added_tokens_decoder.items()
    }


def turn_end(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, subject: str) -> Check:
    """Check that generation stops at the token with which the chat template ends an assistant's
    turn.
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
            "let the template write the EOS token behind an assistant's content",
        )
    name = f"{tokenizer.convert_ids_to_tokens(closing[0])!r} (id {closing[0]})"
    if closing[0] not in ends:
        message = f"the chat template ends a turn with {name}, generation stops at {ends}"
        hint = f"add {closing[0]} to eos_token_id in generation_config.json"
        return Check("end of turn", subject, False, message, hint)
    if closing[0] not in declared:
        message = (
            f"{name} ends a turn and is the tokenizer's EOS, but not one of the generation config's"
            f" {declared}"
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
    """Return the special tokens that the template writes after the content of an assistant's
    message.
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
            f"{unknown} tokens of the prompts are unknown to the tokenizer: the models would not"
            " see those words"
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
        f"placebo: the teacher sees another problem's, by chance the same text in {alike} of"
        f" {len(problems)}"
    )
    if alike == len(problems):
        hint = "choose a template that tells problems apart"
        return Check("views", subject, False, f"{message}: it is no placebo", hint, False, measured)
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


def _text(tokenizer: PreTrainedTokenizerBase, messages: Messages, *, prompt: bool = True) -> str:
    return str(
        tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, tokenize=False)
    )


def _unknown(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """Count words without an id of their own. The lab's tokenizer writes its padding token for
    them.
    """
    stand_ins = [
        i
        for i in (_special(tokenizer, "unk"), _special(tokenizer, "pad"))
        if i not in (None, _special(tokenizer, "eos"))
    ]
    return sum(i in stand_ins for i in tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[union-attr]


def temperatures(
    recipe: DistilledModel, objective: Objective, evaluation: Evaluation, subject: str
) -> Check:
    """Check the temperature at which each part samples or scores.

    Student and teacher are scored at one temperature, the objective's, by construction.

    Rollouts at another temperature than the loss are refused, unless the objective itself names its
    temperature: then, as with a top-p, the check has a note. (The authors' code sampled and scored
    a student at 0.6 with a teacher at 1.)
    """
    rollouts, judged = recipe.training.sampling, evaluation.sampling
    measured = {
        "rollout": rollouts.temperature, "rollout_top_p": rollouts.top_p,
        "loss": objective.temperature, "curve": 1.0,
        "evaluation": judged.temperature, "evaluation_top_p": judged.top_p,
    }  # fmt: skip
    message = (
        f"rollouts {_drawn(rollouts)}, loss T={objective.temperature:g}, curve T=1, evaluation"
        f" {_drawn(judged)}"
    )
    if rollouts.temperature == objective.temperature and rollouts.top_p == 1.0:
        return Check("temperatures", subject, True, message, measured=measured)
    if (
        rollouts.temperature != objective.temperature
        and "temperature" not in objective.model_fields_set
    ):
        fitting = f"objective: {{..., temperature: {rollouts.temperature:g}}} scores what was drawn"
        hint = f"{fitting}; on purpose: say temperature: {objective.temperature:g} there"
        return Check(
            "temperatures",
            subject,
            False,
            f"{message}: nobody asked for two temperatures",
            hint,
            False,
            measured,
        )
    hint = (
        "choose training.sampling.temperature = objective.temperature and top_p = 1, or report the"
        " results as off-policy"
    )
    return Check(
        "temperatures",
        subject,
        True,
        f"{message}: rollouts are not drawn from what the loss scores",
        hint,
        True,
        measured,
    )


def _drawn(sampling: Any) -> str:
    return f"T={sampling.temperature:g}" + (
        f" top_p={sampling.top_p:g}" if sampling.top_p != 1.0 else ""
    )
