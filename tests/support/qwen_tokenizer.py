"""A small local tokenizer with Qwen3's special tokens, byte-level BPE and the chat template that
TRL ships for Qwen3.
"""

from functools import lru_cache
from importlib.resources import files

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Added tokens that are not special in Qwen3: decoding with skip_special_tokens keeps them.
PLAIN = ("<think>", "</think>")
TEXTS = [
    "Please reason step by step, and put your final answer within \\boxed{}. What is 1 + 1? aaaa"
    " aaa aa"
] * 4


def template(name: str = "qwen3") -> str:
    return files("trl").joinpath("chat_templates", f"{name}.jinja").read_text(encoding="utf-8")


@lru_cache
def build() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = ByteLevelDecoder()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXTS, BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    core.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL]
    )
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        chat_template=template(), padding_side="left",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
