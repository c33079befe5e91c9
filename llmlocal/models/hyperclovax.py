"""HyperCLOVA X SEED Think (NAVER Cloud 2025): Granite with norms behind attention and MLP, too. GGUF has no name for
it; keys and tensors are Granite's, those norms GLM-4's."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, renames
from ..layers import Layers
from ..layers.decoder import gated_mlp, norm, pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .granite import keys as granite_keys
from .llama import PERMUTED_QK


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    score_scale = c.number("attention.scale", 0, 1e6)

    def attention(h: Hyperparameters, b: Weights, x: Value) -> Value:
        return normed(h, b, "post_attention_norm", rope_attention(g, h, b, x, rope, scale=score_scale))

    def feed_forward(h: Hyperparameters, b: Weights, x: Value) -> Value:
        return normed(h, b, "post_ffw_norm", gated_mlp(g, h, b, x, g.swiglu))

    def normed(h: Hyperparameters, b: Weights, name: str, x: Value) -> Value:
        return norm(g, h, b, name, x) if b.has(f"{name}.weight") else x

    scale, residual = c.number("embedding_scale", 0, 1e6), c.number("residual_scale", 0, 1e6)
    out = pre_norm_decoder(g, h, w, vocab, attention, feed_forward, embedding_scale=scale, residual_scale=residual)
    return g.scale(out, c.number("logit_scale", 1e-6, 1e6))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Logits are multiplied by their scale, not divided as Granite's."""
    s.values["attention_multiplier"] = s.number("attention_multiplier", default=s.head_dim**-0.5)
    s.find("use_post_norm")  # the tensors say it
    s.note("llama.cpp does not know this architecture")
    return granite_keys(s)


CONVERSION = Conversion(
    classes=("HyperCLOVAXForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
    steps=PERMUTED_QK
    | {
        r"^model\.layers\.(\d+)\.post_norm1\.": renames(r"blk.\1.post_attention_norm."),
        r"^model\.layers\.(\d+)\.post_norm2\.": renames(r"blk.\1.post_ffw_norm."),
    },
    named_as="granite",
    own_names=("blk.{}.post_attention_norm", "blk.{}.post_ffw_norm"),
)
