"""Decode with the study's own loop for the lab's architecture: the same tokens as transformers'
`generate`, in about half its time.

Most of `generate`'s time on a tiny model is overhead around small tensors. This loop keeps keys and
values in one static cache, multiplies once for queries, keys and values and once for the gate and
the up projection, and drops finished rows. `torch.multinomial(p, 1)` is argmax(p / e) with e drawn
from Exp(1): e is drawn for all rows of the batch, finished ones too, so that a row keeps its tokens
and the random state is afterwards the one that `generate` leaves.

The order of operations is that of transformers. On the processor where it was measured
(docs/benchmarks.md) every logit is bitwise the same; elsewhere logits may differ by rounding, and a
near tie may then give another token.

Axes: B rows of the batch, R of them still decoded, T positions of the prompts, H hidden size, N
heads, D head size, V vocabulary.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, rms_norm, scaled_dot_product_attention, silu
from transformers import GenerationConfig, LogitsProcessorList, Qwen3ForCausalLM
from transformers.activations import SiLUActivation
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper
from transformers.models.qwen3 import modeling_qwen3 as qwen3

from study.errors import SpecError

MODULES = {
    Qwen3ForCausalLM, qwen3.Qwen3Model, qwen3.Qwen3DecoderLayer, qwen3.Qwen3Attention,
    qwen3.Qwen3MLP, qwen3.Qwen3RMSNorm, qwen3.Qwen3RotaryEmbedding, nn.Embedding, nn.Linear,
    nn.ModuleList, SiLUActivation,
}  # fmt: skip
# settings of `generate` that the loop carries out; those without an effect on tokens; and those
# that have none at this value
CARRIED_OUT = {
    "do_sample", "temperature", "top_p", "top_k", "max_new_tokens", "eos_token_id", "pad_token_id",
}  # fmt: skip
WITHOUT_EFFECT = {
    "bos_token_id", "disable_compile", "use_cache", "transformers_version", "_from_model_config",
}  # fmt: skip
NEUTRAL = {
    "repetition_penalty": 1.0, "num_beams": 1, "num_return_sequences": 1,
    "output_attentions": False, "output_hidden_states": False, "output_scores": False,
}  # fmt: skip
# A product of fewer rows goes to another kernel of MKL, whose sums have another order.
FEWEST_ROWS = 8
DROP_BELOW = 0.75  # finished rows are dropped several at a time: each time copies the cache


def generate(
    model: Any, input_ids: Tensor, attention_mask: Tensor, generation_config: GenerationConfig
) -> Tensor:
    """Return prompts and completions [B, T + new tokens], as `model.generate` does with the same
    arguments: rows that ended earlier are filled with the padding token.

    input_ids, attention_mask [B, T]: prompts padded on the left. Draws from torch's global random
    state. Raises SpecError for a model or a setting that this loop does not know, RuntimeError for
    probabilities that are not numbers.
    """
    settings = known_settings(model, generation_config)
    require_known(model)
    with torch.inference_mode():
        return _decode(model, input_ids, attention_mask, settings)


def known_settings(model: Any, config: GenerationConfig) -> dict[str, Any]:
    """Return the settings that are not None, those of the model's own generation_config.json
    included. Raises SpecError for one that the loop does not know.
    """
    stored = model.generation_config.to_diff_dict() if model.generation_config else {}
    settings: dict[str, Any] = {**stored, **config.to_diff_dict()}
    unknown = sorted(
        f"{name}={value!r}"
        for name, value in settings.items()
        if name not in CARRIED_OUT | WITHOUT_EFFECT
        and (name not in NEUTRAL or value != NEUTRAL[name])
    )
    # without a top_k transformers takes the 50 likeliest tokens
    if settings.get("do_sample") and settings.get("top_k") != 0:
        unknown.append(f"top_k={settings.get('top_k')!r}")
    if unknown:
        raise _not_known(f"decoding with {', '.join(unknown)}")
    needed = ("max_new_tokens", "eos_token_id", "pad_token_id")
    if missing := [name for name in needed if name not in settings]:
        raise _not_known(f"decoding without {', '.join(missing)}")
    return settings


def require_known(model: Any) -> None:
    """Raise SpecError unless the model is a plain Qwen3 in float32 on the CPU: no adapters, no
    quantised layers, no sliding window.
    """
    modules = list(model.modules())
    if foreign := {type(module).__name__ for module in modules if type(module) not in MODULES}:
        raise _not_known(f"a model with {', '.join(sorted(foreign))}")
    config = model.config
    attention, rope = config._attn_implementation, config.rope_parameters["rope_type"]
    known = {
        f"{model.dtype} on {model.device.type}": (model.dtype, model.device.type)
        == (torch.float32, "cpu"),
        f"hidden_act {config.hidden_act}": config.hidden_act == "silu",
        f"attention {attention}": attention == "sdpa",
        f"rope_type {rope}": rope == "default",
        f"layer_types {config.layer_types}": set(config.layer_types) == {"full_attention"},
        "dropout": not (config.attention_dropout and model.training),
        "a bias": all(m.bias is None for m in modules if isinstance(m, nn.Linear)),
    }
    if unknown := [what for what, is_known in known.items() if not is_known]:
        raise _not_known(f"a model with {', '.join(unknown)}")


def _not_known(what: str) -> SpecError:
    return SpecError(
        f"the sampler qwen3 does not know {what}",
        hint="declare `sampler: transformers` in this `sampling`: it draws from every model",
    )


class _Block(NamedTuple):
    """The weights of a block, in the order of their use."""

    norm: Tensor
    qkv: Tensor
    head_norms: Tensor  # [heads of queries and keys, D]
    out: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor


class _Fused:
    """A model's weights with fused projections, and the cosines and sines of all positions."""

    def __init__(self, model: Any, positions: int) -> None:
        config, body = model.config, model.model
        self.queries, self.keys = config.num_attention_heads, config.num_key_value_heads
        self.width, self.eps = config.head_dim, config.rms_norm_eps
        self.embedding, self.norm = body.embed_tokens.weight, body.norm.weight
        self.head = model.lm_head.weight
        self.blocks = [self._block(layer.self_attn, layer.mlp, layer) for layer in body.layers]
        cos, sin = body.rotary_emb(self.embedding, torch.arange(positions)[None])
        # The sine takes the sign of the half that it turns: a rotation is
        # x * cos + (second half of x, first half) * sin.
        self.half = self.width // 2
        self.cos = cos[0]
        self.sin = torch.cat([-sin[0, :, : self.half], sin[0, :, self.half :]], dim=-1)

    def _block(self, attention: Any, mlp: Any, layer: Any) -> _Block:
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        query_norms = attention.q_norm.weight.expand(self.queries, -1)
        key_norms = attention.k_norm.weight.expand(self.keys, -1)
        return _Block(
            norm=layer.input_layernorm.weight,
            qkv=torch.cat([projection.weight for projection in projections]),
            head_norms=torch.cat([query_norms, key_norms]),
            out=attention.o_proj.weight,
            mlp_norm=layer.post_attention_layernorm.weight,
            gate_up=torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]),
            down=mlp.down_proj.weight,
        )

    def prefill(self, ids_BT: Tensor, mask_BT: Tensor, cache: Tensor) -> Tensor:
        """Fill the cache with the prompts; return the logits of the first new token, [B, V]."""
        B, T = ids_BT.shape
        positions = (mask_BT.cumsum(-1) - 1).clamp(min=0).flatten()
        causal = torch.ones(T, T, dtype=torch.bool).tril()
        # a padded position sees itself: a softmax over nothing would be nan
        seen = causal & mask_BT.bool()[:, None, None] | torch.eye(T, dtype=torch.bool)
        x = self.embedding[ids_BT.flatten()]
        for block, (keys, values) in zip(self.blocks, cache, strict=True):
            projected = self._projected(block, x, positions)
            q, k, v = (part.view(B, T, -1, self.width).transpose(1, 2) for part in projected)
            keys[:, :, :T], values[:, :, :T] = k, v
            attended = scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
            x = self._finished(block, x, attended.transpose(1, 2).reshape(B * T, -1))
        # the strides of this view are those with which transformers multiplies
        last = self._normed(x, self.norm).view(B, T, -1)[:, -1:]
        return linear(last, self.head)[:, 0]

    def next(self, tokens: Tensor, positions: Tensor, cache: Tensor, bias: Tensor) -> Tensor:
        """Return the logits [R, V] after these tokens [R], whose keys and values become the last
        entry of the cache. bias: 0 at entries of the cache that a row sees, else -inf.
        """
        x = self.embedding[tokens]
        for block, (keys, values) in zip(self.blocks, cache, strict=True):
            q, keys[:, :, -1], values[:, :, -1] = self._projected(block, x, positions)
            attended = scaled_dot_product_attention(
                q[:, :, None], keys, values, attn_mask=bias, enable_gqa=True
            )
            x = self._finished(block, x, attended.view(len(tokens), -1))
        return linear(self._normed(x, self.norm), self.head)

    def _projected(
        self, block: _Block, x: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values [n, N, D] of n positions, queries and keys turned."""
        turned = self.queries + self.keys
        heads = linear(self._normed(x, block.norm), block.qkv).view(len(x), -1, self.width)
        normed = rms_norm(heads[:, :turned], (self.width,), None, self.eps) * block.head_norms
        swapped = torch.cat([normed[..., self.half :], normed[..., : self.half]], dim=-1)
        qk = normed * self.cos[positions][:, None] + swapped * self.sin[positions][:, None]
        return qk[:, : self.queries], qk[:, self.queries :], heads[:, turned:]

    def _finished(self, block: _Block, x: Tensor, attended: Tensor) -> Tensor:
        x = x + linear(attended, block.out)
        gate, up = linear(self._normed(x, block.mlp_norm), block.gate_up).chunk(2, dim=-1)
        return x + linear(silu(gate) * up, block.down)

    def _normed(self, x: Tensor, norm: Tensor) -> Tensor:
        return rms_norm(x, (x.shape[-1],), norm, self.eps)


def _decode(model: Any, ids_BT: Tensor, mask_BT: Tensor, settings: dict[str, Any]) -> Tensor:
    (B, T), new, padding = ids_BT.shape, settings["max_new_tokens"], settings["pad_token_id"]
    fused, warpers = _Fused(model, T + new), _warpers(settings)
    cache = torch.zeros(len(fused.blocks), 2, B, fused.keys, T + new, fused.width)
    logits = fused.prefill(ids_BT, mask_BT, cache)
    unseen = pad(mask_BT, (0, new), value=1) == 0
    bias = torch.zeros(unseen.shape).masked_fill_(unseen, -math.inf)[:, None, None]
    is_end = torch.zeros(len(fused.head), dtype=torch.bool)
    is_end[settings["eos_token_id"]] = True
    completions = torch.full((B, new), padding)
    rows, positions, ended = torch.arange(B), mask_BT.sum(-1), torch.zeros(B, dtype=torch.bool)
    for step in range(new):
        sampled = bool(settings.get("do_sample"))
        tokens = _drawn(logits, rows, B, warpers) if sampled else logits.argmax(-1)
        tokens = tokens.masked_fill(ended, padding)
        completions[rows, step] = tokens
        ended = ended | is_end[tokens]
        left = len(rows) - int(ended.sum())
        if left == 0 or step + 1 == new:
            return torch.cat([ids_BT, completions[:, : step + 1]], dim=1)
        stay = max(left, min(B, FEWEST_ROWS))
        if stay <= DROP_BELOW * len(rows):
            kept = ended.argsort(stable=True)[:stay]  # rows that go on come first
            cache, bias, rows = cache[:, :, kept], bias[kept], rows[kept]
            tokens, positions, ended = tokens[kept], positions[kept], ended[kept]
        filled = T + step + 1
        logits = fused.next(tokens, positions, cache[..., :filled, :], bias[..., :filled])
        positions = positions + 1
    return ids_BT  # no new token was wanted


def _warpers(settings: dict[str, Any]) -> LogitsProcessorList:
    """Return transformers' own changes of the logits, in its order."""
    warpers = LogitsProcessorList()
    if settings.get("temperature", 1.0) != 1.0:
        warpers.append(TemperatureLogitsWarper(settings["temperature"]))
    if settings.get("top_p", 1.0) < 1.0:
        warpers.append(TopPLogitsWarper(settings["top_p"]))
    return warpers


def _drawn(logits: Tensor, rows: Tensor, B: int, warpers: LogitsProcessorList) -> Tensor:
    """Draw a token for each of these rows of a batch of B, as torch.multinomial does for all."""
    unread: Any = None  # temperature and top-p do not look at the tokens before
    scores: Any = logits
    probabilities = warpers(unread, scores).softmax(-1)
    if not bool(probabilities.sum().isfinite()):
        raise RuntimeError("the model's probabilities are not numbers: its weights have diverged")
    noise = torch.empty(B, logits.shape[-1]).exponential_()
    return (probabilities / (noise if len(rows) == B else noise[rows])).argmax(-1)
