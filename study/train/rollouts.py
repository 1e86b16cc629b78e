"""Draw rollouts through TRL's trainers: by the declared sampler, or from vLLM with a seed that
reaches it.

TRL makes a colocated engine with its process index as seed and passes sampling settings without
one: the trainer's seed changes nothing (TRL issue 7040). One seed in its `generation_kwargs` would
be worse: every prompt of a batch would be continued with the same random numbers, and the copies of
one prompt (GRPO) would be identical. So each prompt of a call gets a seed of its own here,

    seed_i = stream(run seed, "rollout", step, group, "vllm", i) mod 2^31

group: processes that hold one engine together draw the same. In mode `server` each prompt is a
request of its own.

Training with vLLM was never run: TRL passes trained weights to an engine only on a GPU. Tests pass
a stand-in to TRL's own generation code. Source: trl/generation/vllm_generation.py and
vllm_client.py of TRL 1.16.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from study.errors import PrerequisiteError
from study.models.sampling import drawing_by
from study.record.seeds import stream
from study.spec.recipe.training import Sampler

_REQUESTS = 64  # concurrent requests; TRL's own number for requests of one prompt each


@contextlib.contextmanager
def drawn_by(trainer: Any, sampler: Sampler) -> Iterator[None]:
    """Let the trainer's call of `model.generate` inside the block reach the declared sampler.

    Raises PrerequisiteError where the profile draws rollouts from vLLM and the recipe declares
    another sampler than transformers.
    """
    if sampler == "transformers":
        yield
        return
    if getattr(trainer, "use_vllm", False):
        raise PrerequisiteError(
            f"the recipe declares `sampler: {sampler}` and the profile draws rollouts from vLLM",
            hint="leave `rollouts` out of the profile, or declare `sampler: transformers`",
        )
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.generate = drawing_by(model, sampler)
    try:
        yield
    finally:
        del model.generate


@contextlib.contextmanager
def seeded(trainer: Any, run_seed: int) -> Iterator[None]:
    """Draw the trainer's vLLM rollouts from seeds of this run and step inside the block;
    transformers rollouts are unchanged.
    """
    if not getattr(trainer, "use_vllm", False):
        yield
        return
    generation = trainer.vllm_generation
    together = generation.tensor_parallel_size if generation.mode == "colocate" else 1
    seed = stream(
        run_seed,
        "rollout",
        trainer.state.global_step,
        trainer.accelerator.process_index // together,
        "vllm",
    )
    engine = (
        generation.llm
        if generation.mode == "colocate"
        else getattr(generation, "vllm_client", None)
    )
    if engine is None:  # in mode server the first process sends the requests of all
        yield
        return
    original, own = engine.generate, "generate" in vars(engine)
    engine.generate = (
        _colocated(original, seed) if generation.mode == "colocate" else _served(original, seed)
    )
    try:
        yield
    finally:
        if own:
            engine.generate = original
        else:
            del engine.generate


def seed_of(seed: int, index: int) -> int:
    """Return the seed of prompt `index` of a call."""
    return stream(seed, index) % 2**31


def _colocated(generate: Any, seed: int) -> Any:
    """Call `LLM.generate` with one copy of the settings for each prompt."""

    def drawn(prompts: Sequence[Any], *, sampling_params: Any, **more: Any) -> Any:
        each = [sampling_params.clone() for _ in prompts]
        for i, own in enumerate(each):
            own.seed = seed_of(seed, i)
        return generate(prompts, sampling_params=each, **more)

    return drawn


def _served(generate: Any, seed: int) -> Any:
    """Call TRL's `VLLMClient.generate`, one request per prompt; vLLM gives the n completions of one
    request seeds of their own (seed + index).
    """

    def drawn(
        *, prompts: Sequence[Any], generation_kwargs: Mapping[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        def ask(i: int) -> dict[str, Any]:
            asked = {**(generation_kwargs or {}), "seed": seed_of(seed, i)}
            return generate(prompts=[prompts[i]], generation_kwargs=asked, **_one(more, i))

        with ThreadPoolExecutor(min(_REQUESTS, max(1, len(prompts)))) as pool:
            answers = list(pool.map(ask, range(len(prompts))))
        return {name: _joined([answer[name] for answer in answers]) for name in answers[0]}

    return drawn


def _one(more: Mapping[str, Any], i: int) -> dict[str, Any]:
    features = more.get("features")
    return {**more, "features": None if features is None else [features[i]]}


def _joined(parts: Sequence[list[Any] | None]) -> list[Any] | None:
    return (
        None
        if any(part is None for part in parts)
        else [row for part in parts if part is not None for row in part]
    )
