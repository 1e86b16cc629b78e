"""Train low-rank adapters in any stage: add them before
training, merge them into the weights after it.

W' = W + (alpha / rank) B A with A drawn from the run seed and B = 0, so that step 0 is the model
itself. Every linear layer of the blocks gets an adapter, held in float32 whatever the dtype of W. A
stage leaves a plain model folder.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from study.spec.recipe.training import Lora


def adapted(model: PreTrainedModel, lora: Lora | None, seed: int) -> PreTrainedModel:
    """Return the model with adapters, which depend on the seed
    alone; for None the model unchanged.
    """
    if lora is None:
        return model
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType]
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        made: Any = get_peft_model(model, config)
    return made


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """Return the plain model with the adapters added to its
    weights; a model without adapters unchanged.
    """
    if not isinstance(model, PeftModel):
        return model
    plain: Any = model.merge_and_unload()
    return plain


def plain_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights under the names that they have without adapters, one at a time; adapters
    are added to copies of them.
    """
    if not isinstance(model, PeftModel):
        yield from model.named_parameters()
        return
    inner: Any = model.get_base_model()
    for name, value in inner.named_parameters():
        owner, under, last = name.rpartition(".base_layer.")
        if under:
            delta = (
                inner.get_submodule(owner).get_delta_weight(model.active_adapter)
                if last == "weight"
                else 0.0
            )
            yield f"{owner}.{last}", value.float() + delta
        elif ".lora_" not in name:
            yield name, value


@torch.no_grad()
def save_as_plain(model: PeftModel, folder: Path) -> None:
    """Save the model folder (without tokenizer) that merging would give now; the adapters stay
    separate, so that training can go on.
    """
    inner: Any = model.get_base_model()
    inner.save_pretrained(
        folder, state_dict={name: value.to(inner.dtype) for name, value in plain_weights(model)}
    )
