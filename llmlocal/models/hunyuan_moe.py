"""Hunyuan-A13B (Tencent 2025): Hunyuan with a mixture of experts and a shared expert in every block."""

from __future__ import annotations

from dataclasses import replace

from ..hf.config import Keys, Settings, as_integer
from ..hf.conversion import UNTIED, Conversion
from ..layers import Layers
from ..layers.decoder import mixture_of_experts, pre_norm_decoder, shared_expert
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .hunyuan_dense import CONVERSION as DENSE
from .hunyuan_dense import attention
from .hunyuan_dense import keys as dense_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    shared = h.ffn * c.integer("expert_shared_count", 1, 1 << 10, 1)
    e = replace(e, shared_ffn=e.shared_ffn or shared)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def feed_forward(h: Hyperparameters, b: Weights, x: Value) -> Value:
        routed = mixture_of_experts(g, h, e, b, x, g.swiglu, normalize_weights=True)
        return g.add(routed, shared_expert(g, h, e, b, x, g.swiglu))

    return pre_norm_decoder(g, h, w, vocab, lambda h, b, x: attention(g, h, b, x, rope), feed_forward)


def one_for_all(s: Settings, name: str, default: int) -> int:
    """A setting that may be written once for each layer. Raises BadFileError where layers differ."""
    value = s.find(name)
    values = value if isinstance(value, list) and value else [default if value is None else value]
    if any(other != values[0] for other in values):
        raise s.fail(f"{name} differs between layers, which is not supported", "")
    return as_integer(s, name, values[0])


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for sizes that differ between layers."""
    width = s.integer("intermediate_size")
    if one_for_all(s, "num_shared_expert", 1) != 1:
        raise s.fail("num_shared_expert must be 1", "")
    return dense_keys(s) | {
        "expert_count": one_for_all(s, "num_experts", 1),
        "expert_used_count": one_for_all(s, "moe_topk", 1),
        "expert_feed_forward_length": one_for_all(s, "moe_intermediate_size", width),
        "expert_shared_count": 1,
        "expert_shared_feed_forward_length": width,
    }


CONVERSION = Conversion(classes=("HunYuanMoEV1ForCausalLM",), defaults={**UNTIED, **DENSE.defaults}, keys=keys)
