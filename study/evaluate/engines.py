"""Draw completions with transformers in this process or with vLLM, through one call.

    draw(prompts, decoding, k, seed, drawn) -> [P][k] Completion

prompts: token ids; drawn(samples, tokens) is called whenever some more are done. The same engine,
settings and seed give the same completions. vLLM is imported when its engine is made and nowhere
else.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from study.errors import PrerequisiteError
from study.evaluate.task_page import Decoding
from study.models.sampling import Completion, generate
from study.record.seeds import stream
from study.spec.recipe.training import Sampler, Sampling

Drawn = Callable[[int, int], None]


class Engine(Protocol):
    """An engine. context: how many positions the model has for prompt and completion together, None
    if it declares no number.
    """

    name: str
    context: int | None

    def draw(
        self, prompts: Sequence[list[int]], decoding: Decoding, *, k: int, seed: int, drawn: Drawn
    ) -> list[list[Completion]]: ...


class TransformersEngine:
    """Draw with the declared sampler: `generate` of transformers, or the loop for the lab's models.

    batch_size: samples drawn together, at least the k of one problem; None: one call with one
    random stream, as in a run's final evaluation.
    """

    name = "hf"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int | None = None,
        sampler: Sampler = "transformers",
    ) -> None:
        self._model, self._tokenizer, self._batch_size = model, tokenizer, batch_size
        self._sampler: Sampler = sampler
        self.context: int | None = getattr(model.config, "max_position_embeddings", None)

    def draw(
        self, prompts: Sequence[list[int]], decoding: Decoding, *, k: int, seed: int, drawn: Drawn
    ) -> list[list[Completion]]:
        if self._batch_size is None:
            return self._generate(prompts, decoding, k, seed, None)
        at_once = max(1, self._batch_size // k)
        rows: list[list[Completion]] = []
        for start in range(0, len(prompts), at_once):
            rows += self._generate(
                prompts[start : start + at_once], decoding, k, stream(seed, start), self._batch_size
            )
            drawn(k * len(rows), sum(len(completion.ids) for row in rows for completion in row))
        return rows

    def _generate(
        self,
        prompts: Sequence[list[int]],
        decoding: Decoding,
        k: int,
        seed: int,
        batch_size: int | None,
    ) -> list[list[Completion]]:
        sampling = Sampling(
            temperature=1.0 if decoding.greedy else decoding.temperature,
            top_p=decoding.top_p,
            max_completion_length=decoding.max_completion_length,
            sampler=self._sampler,
        )
        return generate(
            self._model, self._tokenizer, prompts, sampling, k=k, seed=seed, greedy=decoding.greedy,
            batch_size=batch_size
        )  # fmt: skip


class VllmEngine:
    """Draw with vLLM's offline engine: continuous batching, all GPUs of `tensor_parallel_size`.

    Every prompt has a seed of its own.
    """

    name = "vllm"

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        dtype: str = "auto",
        tensor_parallel_size: int = 1,
        at_once: int = 256,
    ) -> None:
        vllm = _vllm()
        self._params: Any = vllm.SamplingParams
        self._llm: Any = vllm.LLM(
            model=str(folder), dtype=dtype, seed=seed % 2**31,
            tensor_parallel_size=tensor_parallel_size, trust_remote_code=False,
            # a CPU build compiles for minutes and then runs the result once
            enforce_eager=not torch.cuda.is_available(),
        )  # fmt: skip
        self._at_once = at_once
        self.context: int | None = int(self._llm.llm_engine.model_config.max_model_len)

    def draw(
        self, prompts: Sequence[list[int]], decoding: Decoding, *, k: int, seed: int, drawn: Drawn
    ) -> list[list[Completion]]:
        rows: list[list[Completion]] = []
        for start in range(0, len(prompts), self._at_once):
            some = [
                {"prompt_token_ids": list(prompt)}
                for prompt in prompts[start : start + self._at_once]
            ]
            settings = [
                self._settings(decoding, k, stream(seed, start + i)) for i in range(len(some))
            ]
            rows += [
                [_completion(one) for one in answer.outputs]
                for answer in self._llm.generate(some, settings, use_tqdm=False)
            ]
            drawn(k * len(rows), sum(len(completion.ids) for row in rows for completion in row))
        return rows

    def _settings(self, decoding: Decoding, k: int, seed: int) -> Any:
        return self._params(
            n=k,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=-1,
            max_tokens=decoding.max_completion_length,
            seed=seed % 2**31,
        )


def require_vllm() -> None:
    """Require vLLM before anything is loaded or spent."""
    _vllm()


def _vllm() -> Any:
    try:
        # An optional package, and the largest of all.
        import vllm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        hint = (
            "install it where there is a GPU: pip install 'opd-study[gpu]'; or leave out --backend"
            " vllm"
        )
        raise PrerequisiteError(
            f"--backend vllm needs vLLM, which cannot be imported ({error})", hint=hint
        ) from error
    return vllm


def _completion(output: Any) -> Completion:
    return Completion(tuple(output.token_ids), output.finish_reason == "length")
