"""Build tiny Qwen3 models and their tokenizers from scratch: no hub, no download.

The lab's tokenizer is word-level: 64 tokens for arithmetic, 82 for all worlds. `build_tokenizer`
can also train a byte-level BPE on any texts, so that the same stages run on real problems.
"""

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from study.data.worlds import arithmetic, hidden_fact, search, shared_rule
from study.grading.polite import POLITE_WORDS
from study.spec.recipe.model import Architecture, BpeTokenizer, LabTokenizer

PAD, END, SYSTEM, USER, ASSISTANT = "<pad>", "<eos>", "<system>", "<user>", "<assistant>"
SPECIAL = (PAD, END, SYSTEM, USER, ASSISTANT)
LAB_VOCABULARY = (
    *SPECIAL, *"0123456789", *arithmetic.OPERATORS, arithmetic.RULE_OPERATOR, "=", ";", "\\boxed{",
    "}",
    *(f"style{s}" for s in arithmetic.STYLES), *arithmetic.RULES, arithmetic.ANSWER_MARK,
    arithmetic.SOLUTION_MARK,
    *POLITE_WORDS, *arithmetic.WORDS,
)  # fmt: skip
WORLDS_VOCABULARY = (
    *LAB_VOCABULARY, "(", ")", "x", "?", ":", "yes", "no", search.ORDERED, search.NEUTRAL,
    hidden_fact.HIDDEN, hidden_fact.UNKNOWN, hidden_fact.FACT_MARK, shared_rule.CONCISE,
    shared_rule.DETAILED, shared_rule.CONSTITUTION, shared_rule.FORBIDDEN,
    *shared_rule.REFUSAL.split()[::2],
)  # fmt: skip
VOCABULARIES = {"arithmetic": LAB_VOCABULARY, "worlds": WORLDS_VOCABULARY}
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' %}<system> {{ m['content'] }} {% elif"
    " m['role'] == 'user' %}<user> {{ m['content'] }} {% else %}<assistant> {{ m['content'] }}"
    " <eos>{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def build_tokenizer(
    spec: LabTokenizer | BpeTokenizer, texts: Iterable[str] = ()
) -> PreTrainedTokenizerFast:
    """Build a transformers tokenizer with a chat template.

    `texts` is the training text of a BPE tokenizer; the lab's needs none.
    """
    match spec:
        case LabTokenizer(vocabulary=vocabulary):
            core = Tokenizer(
                models.WordLevel(
                    {word: i for i, word in enumerate(VOCABULARIES[vocabulary])}, unk_token=PAD
                )
            )
            core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        case BpeTokenizer(vocab_size=size):
            core = Tokenizer(models.BPE())
            core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            core.decoder = ByteLevelDecoder()
            alphabet = pre_tokenizers.ByteLevel.alphabet()
            core.train_from_iterator(
                texts,
                BpeTrainer(
                    vocab_size=size,
                    special_tokens=list(SPECIAL),
                    initial_alphabet=alphabet,
                    show_progress=False,
                ),
            )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE, padding_side="left", clean_up_tokenization_spaces=False,
    )  # fmt: skip


def build_model(architecture: Architecture, vocab_size: int, seed: int) -> Qwen3ForCausalLM:
    """Build a randomly initialised Qwen3; its weights depend on `seed` alone, whatever the global
    random state.
    """
    config = Qwen3Config(
        vocab_size=vocab_size, use_cache=True, pad_token_id=0, eos_token_id=1, bos_token_id=None,
        attention_dropout=0.0,
        **architecture.model_dump(),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)
