"""The shape of a decoder, with the names of transformers' configurations, and its parameters, work
per token and cache per token.

Torch is not needed: the counts are closed forms, checked against transformers' own models on the
meta device (tests/runner/test_rehearse.py).
"""

from typing import Literal

from pydantic import Field

from study.spec.base import Spec


class Shape(Spec):
    """The shape of a decoder.

    qwen3: no biases, a norm on each head's queries and keys; qwen2: biases on queries, keys and
    values, no such norms.
    """

    model_type: Literal["qwen3", "qwen2"] = "qwen3"
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    tie_word_embeddings: bool = False

    @property
    def queries(self) -> int:
        """Return the width of all queries together."""
        return self.num_attention_heads * self.head_dim

    @property
    def keys(self) -> int:
        """Return the width of all keys together, which is also that of the values."""
        return self.num_key_value_heads * self.head_dim

    @property
    def head(self) -> int:
        """Return the weights of the head, which are as many as those of the embedding."""
        return self.vocab_size * self.hidden_size

    @property
    def blocks(self) -> int:
        """Return the weights of all linear layers of the blocks: those that a token is multiplied
        with, except the head.
        """
        per_layer = (
            2 * self.hidden_size * (self.queries + self.keys)
            + 3 * self.hidden_size * self.intermediate_size
        )
        return self.num_hidden_layers * per_layer

    @property
    def parameters(self) -> int:
        small = 2 * self.head_dim if self.model_type == "qwen3" else self.queries + 2 * self.keys
        norms = self.num_hidden_layers * (small + 2 * self.hidden_size) + self.hidden_size
        return self.blocks + norms + self.head * (1 if self.tie_word_embeddings else 2)

    def forward_flops(self, context: float) -> float:
        """Return the FLOPs of one token's forward pass without the head.

        2 per weight, plus 4 x width x context per layer for attention (under a padding mask, so the
        part above the diagonal counts too).
        """
        return 2.0 * self.blocks + 4.0 * self.num_hidden_layers * self.queries * context

    def adapters(self, rank: int) -> int:
        """Return the weights of low-rank adapters on every linear layer of the blocks."""
        attention = 2 * (self.hidden_size + self.queries) + 2 * (self.hidden_size + self.keys)
        return (
            self.num_hidden_layers
            * rank
            * (attention + 3 * (self.hidden_size + self.intermediate_size))
        )

    def cache_bytes(self, bytes_each: float) -> float:
        """Return the bytes of keys and values of one token in all layers."""
        return 2.0 * self.num_hidden_layers * self.keys * bytes_each


class KnownShapes(Spec):
    """experiments/architectures/hub.yaml: hub id -> shape, for machines without access to the
    hub.
    """

    models: dict[str, Shape]
