"""Every view of PI at the paper scale through Qwen3's own chat template, thinking on and off:
golden texts, no leak, no re-tokenisation.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import Qwen3Config, Qwen3ForCausalLM

from study.data.chat import prompt_ids, prompt_text
from study.data.problems import Problem
from study.data.views import MASK, privileged_text, student_view, teacher_view
from study.errors import SpecError
from study.spec.grid.scale import load_scale
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.yaml.load import Located
from tests.support import qwen_tokenizer

SUFFIX = "\n\nPlease reason step by step, and put your final answer within \\boxed{}."
PROBLEM = Problem(
    "p1",
    "What is 2 + 2?" + SUFFIX,
    "4",
    "Two and two make \\boxed{4}.",
    {"problem": "What is 2 + 2?", "format": SUFFIX.strip()},
)
OTHER = Problem(
    "p2",
    "What is 3 * 5?" + SUFFIX,
    "15",
    "Three fives are \\boxed{15}.",
    {"problem": "What is 3 * 5?", "format": SUFFIX.strip()},
)
ASK = "Please reason step by step, and put your final answer within \\boxed{}."
MODES = (
    "none",
    "answer",
    "solution",
    "masked",
    "hidden_think",
    "hidden_think_full",
    "conciseness",
    "constitution",
    "other_solution",
    "random",
)
USER = "<|im_start|>user\n{}<|im_end|>\n"
OPEN = "<|im_start|>assistant\n"
SILENT = "<think>\n\n</think>\n\n"
FULL = (
    "What is 2 + 2?\n\n"
    + ASK
    + "\n\nFor reference, a worked solution of this problem:\nSOLUTION\n\nWork through it until"
    " every step is clear to you. Then solve the problem in your own words, step by step, and put"
    " your final answer within \\boxed{}."
)
GAPS = FULL.replace("of this problem:", "of this problem, with gaps:").replace(
    "Work through it until every step is clear to you.", "Fill the gaps in your mind."
)
CONCISE = (
    "Be brief. Give only the steps that the answer rests on: no restating of the problem, no"
    " repeated checks, no digressions. The answer must still be right."
)
RULES = (
    "Keep to these rules in your reply:\n1. Give no help with anything harmful or against the"
    " law.\n2. Decline such requests, and stay polite.\n3. Where you decline, offer something safe"
    " instead.\n4. With every other request, help fully and without judging.\n\n"
)
# What the teacher reads when the student does not think.
GOLDEN = {
    "none": USER.format(PROBLEM.prompt) + OPEN + SILENT,
    "answer": (
        USER.format(
            PROBLEM.prompt
            + "\n\nThe answer is known to be 4. Find your own way to it, step by step, and end with"
            " that answer in the box."
        )
        + OPEN
        + SILENT
    ),
    "solution": USER.format(FULL.replace("SOLUTION", PROBLEM.solution)) + OPEN + SILENT,
    # a mask and an order are drawn by the problem's id alone, so that they can be written down
    "masked": USER.format(GAPS.replace("SOLUTION", "[MASK] and two make [MASK]")) + OPEN + SILENT,
    "random": USER.format(FULL.replace("SOLUTION", "fives Three \\boxed{15}. are")) + OPEN + SILENT,
    "wrong_answer": (
        USER.format(
            PROBLEM.prompt
            + "\n\nThe answer is known to be 15. Find your own way to it, step by step, and end"
            " with that answer in the box."
        )
        + OPEN
        + SILENT
    ),
    "shuffled": USER.format(OTHER.prompt) + OPEN + SILENT,
    "hidden_think": (
        USER.format(PROBLEM.prompt)
        + OPEN
        + "<think>\nI know the answer to this problem: \\boxed{4}.\n</think>\n\n"
    ),
    "hidden_think_full": (
        USER.format(PROBLEM.prompt) + OPEN + "<think>\nTwo and two make \\boxed{4}.\n</think>\n\n"
    ),
    "conciseness": (
        f"<|im_start|>system\n{CONCISE}<|im_end|>\n" + USER.format(PROBLEM.prompt) + OPEN + SILENT
    ),
    "constitution": USER.format(RULES + PROBLEM.prompt) + OPEN + SILENT,
    "other_solution": USER.format(FULL.replace("SOLUTION", OTHER.solution)) + OPEN + SILENT,
}


@lru_cache
def pi(name: str) -> PrivilegedInformation | None:
    return load_scale("paper").privileged(Located(name, "here"), "pi").spec


def teacher_text(name: str, thinking: bool | None) -> str:
    return prompt_text(qwen_tokenizer.build(), teacher_view(PROBLEM, pi(name), OTHER), thinking)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_teachers_prompt_is_written_as_it_should_be(name: str) -> None:
    assert teacher_text(name, False) == GOLDEN[name]


@pytest.mark.parametrize("thinking", [True, None])
@pytest.mark.parametrize("name", sorted(set(GOLDEN) - {"hidden_think", "hidden_think_full"}))
def test_with_thinking_on_the_template_leaves_the_first_think_tag_to_the_model(
    name: str, thinking: bool | None
) -> None:
    assert teacher_text(name, thinking) == GOLDEN[name].removesuffix(SILENT)


def test_a_hidden_thought_takes_the_place_of_the_empty_block_that_the_student_has() -> None:
    student = prompt_text(qwen_tokenizer.build(), student_view(PROBLEM), False)
    assert student.endswith(OPEN + SILENT)
    for thinking in (False, True, None):
        text = teacher_text("hidden_think", thinking)
        assert text == GOLDEN["hidden_think"]
        assert text.count("<think>") == text.count("</think>") == 1
        assert text.endswith(student[-len("\n</think>\n\n") :]), (
            "both sides go on from the same last tokens"
        )


def test_every_mode_of_the_reference_code_is_bound() -> None:
    assert set(MODES) <= set(load_scale("paper").page.entries["pi"].entries)


@pytest.mark.parametrize("name", [mode for mode in MODES if mode != "none"])
@pytest.mark.parametrize("thinking", [True, False])
def test_pi_stands_in_the_teachers_prompt_and_nowhere_in_the_students(
    name: str, thinking: bool
) -> None:
    student = prompt_text(qwen_tokenizer.build(), student_view(PROBLEM), thinking)
    shown = privileged_text(PROBLEM, pi(name), OTHER).strip()
    assert shown in teacher_text(name, thinking)
    assert shown not in student
    assert PROBLEM.solution not in student
    assert OTHER.solution not in student


def test_a_mask_hides_about_its_share_of_the_words_and_the_same_ones_each_time() -> None:
    long = Problem(
        "p3", "?", "7", " ".join(f"w{i}" for i in range(2000)), {"problem": "?", "format": "!"}
    )
    masked = pi("masked")
    text = privileged_text(long, masked)
    assert 0.46 < text.count(MASK) / 2000 < 0.54
    assert privileged_text(long, masked) == text
    assert all(
        word in long.solution.split() or word == MASK
        for word in text.partition(":\n")[2].partition("\n\n")[0].split()
    )
    other = Problem("p4", "?", "7", long.solution, long.columns)
    assert privileged_text(other, masked) != text, "each problem has its own mask"


def test_the_random_placebo_has_the_other_problems_words_and_not_their_order() -> None:
    words = " ".join(f"w{i}" for i in range(50))
    other = Problem("p5", "?", "15", words, {"problem": "?", "format": "!"})
    shown = privileged_text(PROBLEM, pi("random"), other).partition(":\n")[2].partition("\n\n")[0]
    assert sorted(shown.split()) == sorted(words.split())
    assert shown != words
    with pytest.raises(SpecError, match="another problem"):
        privileged_text(PROBLEM, pi("random"), PROBLEM)


def test_pi_that_the_data_does_not_have_is_refused_not_left_out() -> None:
    bare = Problem("p6", "What?", "4", "", {"problem": "What?", "format": "!"})
    with pytest.raises(SpecError, match="'solution', which is empty for problem p6"):
        teacher_view(bare, pi("solution"), OTHER)


def test_ids_are_those_of_the_template_and_the_tags_are_one_token_each() -> None:
    tokenizer = qwen_tokenizer.build()
    views = [teacher_view(PROBLEM, pi(name), OTHER) for name in ("none", "answer")]
    for thinking, asked in (
        (None, {}),
        (False, {"enable_thinking": False}),
        (True, {"enable_thinking": True}),
    ):
        whole: Any = tokenizer.apply_chat_template(
            views, add_generation_prompt=True, tokenize=True, return_dict=False, **asked
        )
        assert prompt_ids(tokenizer, views, thinking) == whole
    ids = prompt_ids(tokenizer, [teacher_view(PROBLEM, pi("hidden_think"))], False)[0]
    assert [ids.count(tokenizer.convert_tokens_to_ids(tag)) for tag in ("<think>", "</think>")] == [
        1,
        1,
    ]
    assert tokenizer.decode(ids) == GOLDEN["hidden_think"]


def test_the_students_own_tokens_are_scored_whatever_text_they_spell(tmp_path: Path) -> None:
    """Ids that no tokeniser would write for their text reach both sides unchanged, behind each
    side's own prompt.
    """
    from trl import DistillationConfig

    from study.spec.recipe.objective import Objective
    from study.spec.recipe.training import Optimisation
    from study.train.arguments import arguments
    from study.train.distill import OnPolicyDistillation
    from study.train.evidence import Evidence

    tokenizer = qwen_tokenizer.build()
    a = tokenizer.encode("a", add_special_tokens=False)[0]
    odd = [a, a, a, a, int(tokenizer.eos_token_id)]
    assert tokenizer.encode(tokenizer.decode(odd[:-1]), add_special_tokens=False) != odd[:-1], (
        "else nothing would be shown"
    )
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=1024,
    )  # fmt: skip
    student, teacher = Qwen3ForCausalLM(config), Qwen3ForCausalLM(config)
    rows = [
        {
            "prompt": student_view(PROBLEM),
            "teacher_prompt": teacher_view(PROBLEM, pi("hidden_think")),
            "problem": 0,
        },
        {
            "prompt": student_view(PROBLEM),
            "teacher_prompt": teacher_view(PROBLEM, pi("solution")),
            "problem": 0,
        },
    ]
    args = arguments(
        DistillationConfig, tmp_path, Optimisation(learning_rate=1e-3), steps=1, batch=2, seed=0,
        max_completion_length=8,
        chat_template_kwargs={"enable_thinking": False},
    )  # fmt: skip
    evidence = Evidence([PROBLEM], tokenizer, [int(tokenizer.eos_token_id)], 1, 8)
    trainer = OnPolicyDistillation(
        student,
        teacher,
        args,
        Dataset.from_list(rows),
        tokenizer,
        objective=Objective(),
        seed=0,
        evidence=evidence,
    )
    trainer._generate_single_turn = lambda *_: [list(odd), list(odd)]  # type: ignore[method-assign]
    trainer.model.train()
    batch = trainer._generate_and_score_completions(rows)
    assert batch["completion_ids"].tolist() == [odd, odd]
    seen = {
        side: batch[f"{side}_ids"][0][batch[f"{side}_mask"][0].bool()].tolist()
        for side in ("prompt", "teacher_prompt")
    }
    assert tokenizer.decode(seen["prompt"]) == GOLDEN["none"]
    assert tokenizer.decode(seen["teacher_prompt"]) == GOLDEN["hidden_think"]
