"""The decode loop draws the tokens of transformers' `generate`, and refuses what it does not
know.
"""

import math
import random
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from study.errors import SpecError
from study.models import decode
from study.models.lab import build_model, build_tokenizer
from study.models.sampling import generate
from study.spec.recipe.model import Architecture, LabTokenizer
from study.spec.recipe.training import Sampling

VOCABULARY, PAD, END, NEW = 64, 0, 1, 24
SHAPES = {
    "the student's": {},
    "wider, untied": {"hidden_size": 48, "head_dim": 24, "tie_word_embeddings": False},
    "one head of keys": {"num_key_value_heads": 1, "head_dim": 8},
    "as many keys as queries": {"num_key_value_heads": 4, "num_hidden_layers": 1},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampled": {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0},
    "cold, top-p": {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 0},
}


def lab_model(seed: int = 0, **shape: Any) -> Any:
    usual = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": 96, "initializer_range": 0.25,
    }  # fmt: skip
    return build_model(Architecture(**(usual | shape)), VOCABULARY, seed).eval()


def config(**settings: Any) -> GenerationConfig:
    usual = SETTINGS["sampled"] | {
        "max_new_tokens": NEW, "eos_token_id": [END], "pad_token_id": PAD, "disable_compile": True,
    }  # fmt: skip
    return GenerationConfig(**(usual | settings))


def padded(rows: int, *, longest: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return prompts of 2 to `longest` tokens, padded on the left, and their mask."""
    rng = random.Random(seed)
    lengths = [rng.randint(2, longest) for _ in range(rows)]
    prompts = [[rng.randrange(3, VOCABULARY) for _ in range(n)] for n in lengths]
    width = max(lengths)
    ids = torch.tensor([[PAD] * (width - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (width - n) + [1] * n for n in lengths])
    return ids, mask


def both(model: Any, ids: Tensor, mask: Tensor, settings: GenerationConfig) -> list[Tensor]:
    """Return what transformers and the loop draw from one random state, and require that both leave
    the same state.
    """
    drawn, states = [], []
    given = {"input_ids": ids, "attention_mask": mask, "generation_config": settings}
    for draw in (model.generate, lambda **how: decode.generate(model, **how)):
        torch.manual_seed(3)
        drawn.append(draw(**given))
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    return drawn


@pytest.mark.parametrize("how", SETTINGS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [1, 3, 9, 40])
def test_tokens_are_those_of_transformers(rows: int, shape: str, how: str) -> None:
    ends = [END, *range(40, 44)]  # so many that rows of a random model end at many lengths
    settings = config(**SETTINGS[how], eos_token_id=ends)
    theirs, ours = both(lab_model(**SHAPES[shape]), *padded(rows), settings)
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("longest", [2, 5, 30])
def test_tokens_are_equal_at_every_width_and_without_padding(longest: int) -> None:
    theirs, ours = both(lab_model(), *padded(16, longest=longest), config())
    assert ours.tolist() == theirs.tolist()
    ids, mask = (
        torch.randint(3, VOCABULARY, (16, longest)),
        torch.ones(16, longest, dtype=torch.long),
    )
    theirs, ours = both(lab_model(), ids, mask, config())
    assert ours.tolist() == theirs.tolist()


def test_rows_end_are_dropped_and_reach_the_limit_in_one_batch() -> None:
    ids, mask = padded(64)
    ends = [END, *range(40, 48)]
    theirs, ours = both(lab_model(), ids, mask, config(eos_token_id=ends))
    assert ours.tolist() == theirs.tolist()
    completions = ours[:, ids.shape[1] :]
    ended = torch.isin(completions, torch.tensor(ends))
    lengths = ended.int().argmax(dim=1)[ended.any(dim=1)]
    # so the batch shrinks several times, down to the fewest rows that are multiplied together
    assert len(lengths.unique()) > 10
    assert (~ended.any(dim=1)).sum() in range(1, 8)
    for row, end in zip(completions[ended.any(dim=1)], lengths, strict=True):
        assert set(row[end + 1 :].tolist()) <= {PAD}


def test_a_batch_that_ends_early_is_as_wide_as_its_longest_row() -> None:
    model = lab_model()
    ids, mask = padded(4)
    theirs, ours = both(model, ids, mask, config(eos_token_id=list(range(1, VOCABULARY))))
    assert ours.shape == theirs.shape
    assert ours.shape[1] < ids.shape[1] + NEW
    theirs, ours = both(model, ids, mask, config(max_new_tokens=1))
    assert ours.tolist() == theirs.tolist()
    assert ours.shape[1] == ids.shape[1] + 1


def test_logits_are_those_of_transformers_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all rows at all steps; the loop compares by their place in the batch."""
    model, (ids, mask) = lab_model(), padded(12)
    found: list[tuple[Tensor, Tensor]] = []
    draw = decode._drawn

    def watched(logits: Tensor, rows: Tensor, *rest: Any) -> Tensor:
        found.append((logits, rows))
        return draw(logits, rows, *rest)

    monkeypatch.setattr(decode, "_drawn", watched)
    settings = config(return_dict_in_generate=True, output_logits=True, eos_token_id=[END, 40])
    torch.manual_seed(0)
    theirs: Any = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    torch.manual_seed(0)
    decode.generate(model, ids, mask, config(eos_token_id=[END, 40]))
    written = theirs.sequences[:, ids.shape[1] :]
    for step, (logits, rows) in enumerate(found):
        goes_on = ~torch.isin(written[rows, :step], torch.tensor([END, 40])).any(dim=1)
        expected = theirs.logits[step][rows][goes_on]
        torch.testing.assert_close(logits[goes_on], expected, rtol=1e-5, atol=1e-5)
    assert len(found[-1][1]) < 12


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"repetition_penalty": 1.2}, "repetition_penalty=1.2"),
        ({"min_p": 0.1}, "min_p=0.1"),
        ({"top_k": 20}, "top_k=20"),
        ({"top_k": None}, "top_k=None"),
        ({"num_beams": 2, "no_repeat_ngram_size": 3}, "no_repeat_ngram_size=3, num_beams=2"),
        ({"a_word_of_next_year": 1}, "a_word_of_next_year=1"),
    ],
)
def test_a_setting_that_the_loop_does_not_know_is_refused(
    settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(SpecError, match=named) as error:
        decode.generate(lab_model(), *padded(2), config(**settings))
    assert "sampler: transformers" in error.value.hint


def test_a_setting_of_the_models_own_file_is_refused_too() -> None:
    model = lab_model()
    model.generation_config.no_repeat_ngram_size = 3  # `generate` would carry it out
    with pytest.raises(SpecError, match="no_repeat_ngram_size=3"):
        decode.generate(model, *padded(2), config())


def test_a_setting_that_is_missing_is_named() -> None:
    without = GenerationConfig(do_sample=False, eos_token_id=[END], pad_token_id=PAD)
    with pytest.raises(SpecError, match="max_new_tokens"):
        decode.generate(lab_model(), *padded(2), without)


def _llama() -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1,
        )
    )  # fmt: skip


def _with_bias() -> Any:
    model = lab_model()
    model.lm_head = torch.nn.Linear(32, VOCABULARY, bias=True)
    return model


def _changed(**changes: Any) -> Any:
    model = lab_model()
    for name, value in changes.items():
        setattr(model.config, name, value)
    return model


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (_llama, "LlamaForCausalLM"),
        (lambda: get_peft_model(lab_model(), LoraConfig(target_modules=["q_proj"])), "PeftModel"),
        (lambda: lab_model().to(torch.bfloat16), "bfloat16 on cpu"),
        (_with_bias, "a bias"),
        (lambda: _changed(hidden_act="gelu"), "hidden_act gelu"),
        (lambda: _changed(_attn_implementation="eager"), "attention eager"),
        (lambda: _changed(layer_types=["sliding_attention"] * 2), "sliding_attention"),
        (lambda: _changed(rope_parameters={"rope_type": "linear"}), "rope_type linear"),
        (lambda: _changed(attention_dropout=0.1).train(), "dropout"),
    ],
)  # fmt: skip
def test_a_model_that_the_loop_does_not_know_is_refused(made: Any, named: str) -> None:
    with pytest.raises(SpecError, match=named):
        decode.require_known(made())


def test_weights_that_diverged_are_an_error_as_in_transformers() -> None:
    model = lab_model()
    model.model.norm.weight.data.fill_(math.nan)
    for draw in (model.generate, lambda **how: decode.generate(model, **how)):
        ids, mask = padded(2)
        with pytest.raises(RuntimeError, match=r"nan|not numbers"):
            draw(input_ids=ids, attention_mask=mask, generation_config=config())


def test_the_declared_sampler_draws_and_gives_the_same_completions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, tokenizer = lab_model(), build_tokenizer(LabTokenizer())
    prompts = [[3, 5, 15, 6, 4], [3, 5, 4], [7, 8, 9, 10, 11, 12]]
    sizes: list[int] = []
    drawn = decode.generate

    def counted(model: Any, input_ids: Tensor, **rest: Any) -> Tensor:
        sizes.append(len(input_ids))
        return drawn(model, input_ids, **rest)

    monkeypatch.setattr(decode, "generate", counted)
    before = torch.get_rng_state()
    ways: tuple[dict[str, Any], ...] = (
        {"seed": 1}, {"seed": 2, "batch_size": 4}, {"seed": 3, "greedy": True},
    )  # fmt: skip
    for how in ways:
        by_name = [
            generate(
                model, tokenizer, prompts,
                Sampling(temperature=0.8, top_p=0.95, max_completion_length=12, sampler=sampler),
                k=5, **how,
            )
            for sampler in ("transformers", "qwen3")
        ]  # fmt: skip
        assert by_name[0] == by_name[1]
    assert sizes == [15, 4, 4, 4, 3, 15]
    assert torch.equal(before, torch.get_rng_state())
