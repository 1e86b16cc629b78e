"""Low-rank adapters as an option of any stage: put on before training, merged into the weights after it.

W' = W + (alpha / rank) B A with A drawn from the run seed and B = 0, so that step 0 is the model itself. The adapters lie on every linear
layer of the blocks and are held in float32 whatever the dtype of W. What a stage leaves behind is a plain model folder.
"""

from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from study.spec.training import Lora


def adapted(model: PreTrainedModel, lora: Lora | None, seed: int) -> PreTrainedModel:
    """The model with adapters, a function of the seed alone; the model as it is for None."""
    if lora is None:
        return model
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM")  # pyright: ignore[reportArgumentType]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        made: Any = get_peft_model(model, config)
    return made


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """The plain model with the adapters added to its weights; a model without adapters is handed back."""
    if not isinstance(model, PeftModel):
        return model
    plain: Any = model.merge_and_unload()
    return plain
