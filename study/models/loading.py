"""Read and write model folders in the transformers format: safetensors only, no remote code."""

from pathlib import Path

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from study.errors import PrerequisiteError, SpecError

# no progress bar for each folder that is read or written
transformers.logging.disable_progress_bar()


def load_model(folder: Path | str, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load the causal language model in `folder` from safetensors: a pickle can run any code when
    it is read.
    """
    _require(folder)
    if not any(Path(folder).glob("*.safetensors")):
        found = (
            ", ".join(sorted(path.name for path in Path(folder).glob("*.bin")))
            or "no weights at all"
        )
        hint = (
            "convert them where you trust them: load the model with transformers there, then"
            " save_pretrained(FOLDER)"
        )
        raise PrerequisiteError(
            f"{folder} has no *.safetensors ({found}); pickled weights are never loaded", hint=hint
        )
    return AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=dtype, trust_remote_code=False, use_safetensors=True
    )


def load_for_inference(folder: Path | str) -> PreTrainedModel:
    """Load the model for sampling and scoring outside of training: in bfloat16 on a GPU where there
    is one, else in float32 on the CPU.
    """
    if not torch.cuda.is_available():
        return load_model(folder)
    model = load_model(folder, dtype=torch.bfloat16)
    return model.to("cuda")  # pyright: ignore[reportArgumentType] - transformers decorates `to`


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """Load the tokenizer in `folder`, padding on the left as generation needs it.

    It must have a chat template.
    """
    _require(folder)
    tokenizer = AutoTokenizer.from_pretrained(
        str(folder), padding_side="left", trust_remote_code=False
    )
    if tokenizer.chat_template is None:
        raise PrerequisiteError(
            f"the tokenizer in {folder} has no chat template",
            hint="add chat_template.jinja to the model folder",
        )
    return tokenizer


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def require_same_tokens(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase) -> int:
    """Return the number of shared token ids of two tokenizers with one token-to-id map; the models
    may have different padded widths.

    Raises SpecError when a token has two ids: a teacher's
    scores would then be read at the wrong token.
    """
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    differing = sorted(t for t in ours.keys() | theirs.keys() if ours.get(t) != theirs.get(t))
    if differing:
        token = differing[0]
        raise SpecError(
            f"student and teacher disagree on {len(differing)} tokens; the first is {token!r}: "
            f"id {ours.get(token)} against {theirs.get(token)}",
            hint=(
                "choose a teacher with the student's tokenizer; cross-tokenizer distillation is"
                " another method (TRL: GOLD)"
            ),
        )
    return max(ours.values()) + 1


def _require(folder: Path | str) -> None:
    if not (Path(folder) / "config.json").is_file():
        raise PrerequisiteError(
            f"{folder} is not a model folder (no config.json)",
            hint="study plan shows which stage makes it",
        )
