"""Write the config files of `study init`: a scale of a few
lines that extends another, and the grid `will-it-help`.

A shorter study keeps the costs of the arms equal: `--steps` and `--prompts-per-step` shorten every
arm of the grid by the same share.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, cast

from study.errors import SpecError
from study.spec.grid.scale import Scale
from study.spec.yaml.load import find, merged, parse, plain

GRID = "will-it-help"
SUFFIX = (  # from the authors' code: its student message
    "\n\nPlease reason step by step, and put your final answer within \\boxed{}."
)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./@-]*")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off")
_OFF_TARGET = re.compile(r"^  also: \[off_target\].*\n", re.MULTILINE)
_OFF_TARGET_CLAIM = re.compile(r"^  - id: off_target_.*?(?=^  - id: |\Z)", re.MULTILINE | re.DOTALL)
_SAMPLED = ("sft_r120", "warm_r")  # recipes of the grid that train on completions of the teacher


@dataclass(frozen=True)
class Size:
    """The sizes that a user can reduce; None = as in the extended scale.

    prompts_per_step: rollouts of a step, and documents of one.
    """

    steps: int | None = None
    prompts_per_step: int | None = None
    completion_tokens: int | None = None
    problems: int | None = None


def defaults(scale: Scale) -> dict[str, Any]:
    """Return the numbers of the extended scale that sizes are computed from."""
    page = plain(scale.page)
    evaluation = page["evaluations"]["math"]["sampling"]["max_completion_length"]
    return {
        "steps": page["lengths"]["standard"], "prompts": page["distill"]["prompts_per_step"],
        "documents": page["sft"]["documents_per_step"],
        "rollouts": page["grpo"]["rollouts_per_prompt"],
        "tokens": page["distill"]["sampling"]["max_completion_length"], "evaluated": evaluation,
        "document": page["sft"]["max_length"],
        "thinking": page["distill"]["sampling"].get("thinking"),
        "warm-up": page["distill"]["optimisation"].get("warmup_steps", 0),
        "curve": page["distill"]["curve"]["problems"],
    }  # fmt: skip


def sizes(scale: Scale, size: Size, longest_prompt: int) -> dict[str, Any]:
    """Return the overriding sections for a size.

    Errors: SpecError for a size that the arms of the grid cannot share.
    """
    was = defaults(scale)
    tokens = size.completion_tokens or was["tokens"]
    found: list[dict[str, Any]] = []
    if size.steps or size.prompts_per_step:
        found.append(
            _shorter(was, size.steps or was["steps"], size.prompts_per_step or was["prompts"])
        )
    if size.completion_tokens:
        cut = {"sampling": {"max_completion_length": tokens}}
        found.append(
            {
                "distill": cut,
                "grpo": cut,
                "evaluations": {"math": cut},
                "models": {name: {"corpus": cut} for name in _SAMPLED},
            }
        )
    if size.problems:
        curve = {"curve": {"problems": min(size.problems, was["curve"])}}
        found.append(
            {"evaluations": {"math": {"problems": size.problems}}, "distill": curve, "grpo": curve}
        )
    if longest_prompt + tokens > was["document"]:
        found.append({"sft": {"max_length": longest_prompt + tokens}})
    return _together(found)


def _shorter(was: Mapping[str, Any], steps: int, prompts: int) -> dict[str, Any]:
    """Return the shorter training of each arm: every arm
    samples, or receives, steps * prompts completions.
    """
    documents = min(prompts, was["documents"])
    rollouts = next(
        (r for r in range(min(was["rollouts"], prompts), 1, -1) if prompts % r == 0), None
    )
    if rollouts is None:
        hint = "choose an even number"
        raise SpecError(
            f"--prompts-per-step {prompts}: reinforcement learning needs groups of 2 or more"
            " rollouts of a prompt",
            hint=hint,
        )
    rhythm = {"optimisation": {"warmup_steps": min(was["warm-up"], steps // 10)}}
    watched = {"curve": {"every": max(1, steps // 4)}}
    supervised = ceil(steps * prompts / documents)
    return {
        "lengths": {"standard": steps},
        "distill": {"prompts_per_step": prompts, **rhythm, **watched},
        "sft": {"documents_per_step": documents, **rhythm},
        "grpo": {"rollouts_per_prompt": rollouts, **rhythm, **watched},
        "models": {
            "grpo_math": {"training": {"steps": steps, "prompts_per_step": prompts // rollouts}},
            "sft_r120": {"training": {"steps": supervised}},
            "warm_r": {"training": {"steps": ceil(supervised / 4)}},
        },
    }  # fmt: skip


def _together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    whole = parse("{}", "size")
    for part in parts:
        whole = merged(whole, parse(json.dumps(part), "size"))
    return plain(whole)


def laid_over(
    own: Mapping[str, Mapping[str, Any]], size: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Merge two sets of sections; an entry of both becomes one mapping."""
    found = {section: dict(entries) for section, entries in own.items()}
    for section, entries in size.items():
        place = found.setdefault(section, {})
        for key, value in entries.items():
            place[key] = {**place[key], **value} if key in place else value
    return found


def scale_page(
    name: str, extends: str, sections: Mapping[str, Mapping[str, Any]], notes: Mapping[str, str]
) -> str:
    """Return the text of the scale. notes: dotted path of an entry -> its end-of-line comment."""
    head = [
        (
            f"# Written by `study init`: what differs from the scale `{extends}`; everything else"
            " is taken from there."
        ),
        f"scale: {name}",
    ]
    lines = [*head, f"extends: {extends}"]
    for section, entries in sections.items():
        lines += ["", f"{section}:"]
        for key, value in entries.items():
            note = notes.get(f"{section}.{key}")
            lines.append(f"  {key}: {flow(value)}" + (f"  # {note}" if note else ""))
    return "\n".join(lines) + "\n"


def flow(value: Any) -> str:
    """Format a value as one line of YAML."""
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Any]", value).items()
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in entries) + "}"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def grid_page(off_target: bool) -> str:
    """Return the shipped grid, without its off-target evaluation if there are no data for one."""
    text = find("grids", GRID).read_text(encoding="utf-8")
    return text if off_target else _OFF_TARGET.sub("", text)


def claims_page(off_target: bool) -> str:
    """Return the shipped claims of the grid, without those on an evaluation that is missing."""
    text = find("claims", GRID).read_text(encoding="utf-8")
    return text if off_target else _OFF_TARGET_CLAIM.sub("", text)
