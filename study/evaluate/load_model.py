"""Load a user's model for evaluation - tokenizer, chat template and engine; errors say how to fix
it.

Never pickled weights, never code from a model folder. dtype auto: float32 on a CPU, the dtype of
the stored checkpoint on a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from study.data.chat import date_dependence
from study.errors import PrerequisiteError
from study.evaluate.engines import Engine, TransformersEngine, VllmEngine, require_vllm
from study.evaluate.request import ModelFolder, Request
from study.models.loading import load_model
from study.models.sampling import end_token_ids

# parameters: below, a second torch thread waits more than it computes (10 times slower next to
# other work)
SMALL = 10_000_000
NOTABLE = 0.05  # share of unknown tokens from which a note is shown
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoadedModel:
    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    device: str

    def notes(self, task: str, texts: Sequence[str]) -> list[str]:
        """Return what a reader of the score must know: unknown words, a chat template that writes
        today's date.
        """
        dated = date_dependence(self.tokenizer)
        return [*self._unknown_words(task, texts), *([f"{task}: {dated}"] if dated else [])]

    def _unknown_words(self, task: str, texts: Sequence[str]) -> list[str]:
        words = list(dict.fromkeys(word for text in texts for word in text.split()))
        tokens = [self.tokenizer.encode(text, add_special_tokens=False) for text in texts]
        unknown = _unknown_ids(self.tokenizer)
        missed = sum(token in unknown for row in tokens for token in row)
        share = missed / max(1, sum(map(len, tokens)))
        if share < NOTABLE:
            return []
        shown = [
            word
            for word in words
            if unknown & set(self.tokenizer.encode(word, add_special_tokens=False))
        ][:4]
        what = (
            f"{task}: {share:.0%} of the prompts' tokens are unknown to this model's tokenizer"
            f" ({', '.join(map(repr, shown))} ...)"
        )
        return [
            f"{what}: it cannot read these problems, and its score on them says nothing about what"
            " it has learned"
        ]

    def provenance(self, request: Request) -> dict[str, Any]:
        return {"device": self.device, "batch_size": request.batch_size}


def load_for_evaluation(source: ModelFolder, request: Request) -> LoadedModel:
    """Load tokenizer and engine. PrerequisiteError for everything that is missing: vLLM, a
    tokenizer, a chat template, weights that can be trusted, an end token.
    """
    if request.backend == "vllm":
        require_vllm()
    tokenizer = _tokenizer(source.folder, request.chat)
    if request.backend == "vllm":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return LoadedModel(
            VllmEngine(source.folder, seed=request.seed, dtype=_vllm_dtype(request.dtype, device)),
            tokenizer,
            device,
        )
    model = _model(source.folder, request.dtype)
    if model.device.type == "cpu" and model.num_parameters() < SMALL:
        torch.set_num_threads(1)
    if not end_token_ids(model, tokenizer):
        what = (
            f"neither the tokenizer nor the model in {source.folder} names an end token: every"
            " completion would be cut off"
        )
        raise PrerequisiteError(what, hint="add eos_token_id to generation_config.json")
    return LoadedModel(
        TransformersEngine(model, tokenizer, batch_size=request.batch_size),
        tokenizer,
        model.device.type,
    )


def _tokenizer(folder: Path, chat: bool) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), padding_side="left", trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        hint = "save it there: tokenizer.save_pretrained(FOLDER)"
        raise PrerequisiteError(
            f"no tokenizer can be read from {folder}: {_line(error)}", hint=hint
        ) from error
    if chat and tokenizer.chat_template is None:
        hint = (
            "--no-chat-template evaluates plain prompts (a base model); or add chat_template.jinja"
            " to the model folder"
        )
        raise PrerequisiteError(f"the tokenizer in {folder} has no chat template", hint=hint)
    if tokenizer.pad_token_id is None:
        # Padding is masked: any token will do.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def _vllm_dtype(dtype: str, device: str) -> str:
    """Return the dtype for vLLM, whose `auto` is the stored dtype, on a CPU too."""
    return "float32" if dtype == "auto" and device == "cpu" else dtype


def _model(folder: Path, dtype: str) -> PreTrainedModel:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted: Any = _DTYPES.get(dtype) or (torch.float32 if device == "cpu" else "auto")
    try:
        model: Any = load_model(folder, dtype=wanted)  # transformers decorates `to` without types
        return model.to(device).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        hint = (
            "does transformers' AutoModelForCausalLM.from_pretrained load it, with the installed"
            " version?"
        )
        raise PrerequisiteError(
            f"no causal language model can be read from {folder}: {_line(error)}", hint=hint
        ) from error


def _unknown_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids for words that the vocabulary does not have; a word-level tokenizer may use
    its padding token.
    """
    core: Any = getattr(tokenizer, "backend_tokenizer", None)
    spelled = [tokenizer.unk_token, getattr(getattr(core, "model", None), "unk_token", None)]
    found = [tokenizer.convert_tokens_to_ids(token) for token in spelled if token]
    return {number for number in found if isinstance(number, int)}


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
