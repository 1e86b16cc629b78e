"""Models from outside the harness: random weights, a BPE tokenizer and a chat template, saved by
transformers alone.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.trainers import BpeTrainer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.support import qwen_tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content']"
    " }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% if"
    " enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{%"
    " endif %}"
)
TEXTS = [
    "What is 1 + 1? Please reason step by step, and put your final answer within \\boxed{}.",
    "\\boxed{42}",
    "0123456789",
]


def save(
    folder: Path, *, template: str | None = TEMPLATE, positions: int = 512, bias: str = ""
) -> Path:
    """Save a Llama of a few thousand parameters with a byte-level BPE and no padding token, as many
    models.

    bias: characters that it prefers.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = ByteLevelDecoder()
    special = ["<|begin|>", "<|im_start|>", "<|im_end|>"]
    trainer = BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|begin|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=template,
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=positions, bos_token_id=0, eos_token_id=2,
        tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    if bias:
        with torch.no_grad():
            model.lm_head.weight[tokenizer.encode(bias, add_special_tokens=False)] *= 1.5
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_qwen3(folder: Path, seed: int, *, positions: int = 1024) -> Path:
    """Save a Qwen3 of some ten thousand parameters with Qwen3's special tokens and chat template;
    its weights depend only on `seed`.
    """
    tokenizer = qwen_tokenizer.build()
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, max_position_embeddings=positions, bos_token_id=None, initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
