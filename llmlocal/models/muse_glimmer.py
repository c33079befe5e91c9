"""Muse Glimmer (Meta 2026), the text model: norms of the embedding and before and after attention and MLP, norms of
queries and keys without weights, a gate on what attention gives; three of four blocks have a sliding window, and they
alone rotary embedding. Logits are scaled, then soft-capped.

GGUF has a factor of the queries as the weight of their norm.
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import MAX_LAYERS, UNTIED, Conversion, adds, decoder_keys, renames
from ..hf.streams import Stream, constant
from ..layers import Layers
from ..layers.decoder import gated_mlp, last_logits, norm
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .afmoe import attention
from .llama import PERMUTED_QK

PERIOD = 4  # the last of so many blocks has full attention
POST_EPS = 1e-8  # of the norms after attention and MLP


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)

    def after(b: Weights, name: str, x: Value) -> Value:
        return g.norm(x, b.vector(f"{name}.weight", h.width), POST_EPS)

    x = g.unit_norm(g.embed(embedding), h.width, h.eps)
    for i, window in enumerate(windows(c, h.blocks, period=PERIOD)):
        h, b = h.block(i), w.block(i)
        attended = attention(g, h, b, norm(g, h, b, "attn_norm", x), rope if window else None, window)
        x = g.add(x, after(b, "post_attention_norm", attended))
        x = g.add(x, after(b, "post_ffw_norm", gated_mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.swiglu)))
    out = g.scale(last_logits(g, h, w, x, embedding), c.number("logit_scale", 1e-6, 1e6))
    return g.softcap(out, c.number("final_logit_softcapping", 0, 1e6, 0.0))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for what GGUF cannot say of these models."""
    count = min(s.integer("num_hidden_layers"), MAX_LAYERS)
    kinds = s.items("layer_types")
    slides = [kind == "sliding_attention" for kind in kinds] or [(count - 1 - i) % PERIOD > 0 for i in range(count)]
    if s.number("post_norm_eps", default=POST_EPS) != POST_EPS:
        raise s.fail(f"post_norm_eps is not {POST_EPS:g}, and GGUF has no key for another value")
    bases = s.items("layer_rope_theta")
    if bases and bases != [s.rope.get("rope_theta") if here else 0 for here in slides]:
        raise s.fail("layer_rope_theta must be 0 in layers with full attention, and rope_theta in all others", "")
    return decoder_keys(s) | {
        "attention.sliding_window": s.integer("sliding_window"),
        "attention.sliding_window_pattern": slides,
        "logit_scale": s.number("output_multiplier"),
        "final_logit_softcapping": s.number("final_logit_softcapping"),
    }


def norms_of_heads(s: Settings) -> dict[str, Stream]:
    """Weights of the norms of queries, a factor, and of keys, 1."""
    weights = {"q": s.number("qk_scale_factor"), "k": 1.0}
    blocks = range(min(s.integer("num_hidden_layers"), MAX_LAYERS))
    return {
        f"blk.{i}.attn_{name}_norm.weight": constant([value] * s.head_dim)
        for i in blocks
        for name, value in weights.items()
    }


CONVERSION = Conversion(
    classes=("MuseGlimmerForConditionalGeneration",),
    defaults=UNTIED
    | {"rms_norm_eps": 1e-5, "head_dim": 128, "sliding_window": 2048, "final_logit_softcapping": 20.0}
    | {"qk_scale_factor": 3.87, "output_multiplier": 26**-0.5, "hidden_activation": "silu"},
    keys=keys,
    steps=PERMUTED_QK
    | {
        r"layernorm\.weight$": adds(1),
        r"^model\.(?:language_model\.)?layers\.(\d+)\.self_attn\.gate_proj\.": renames(r"blk.\1.attn_gate."),
    },
    extra=norms_of_heads,
    named_as="gemma2",
    own_names=("blk.{}.attn_gate", "blk.{}.attn_q_norm", "blk.{}.attn_k_norm"),
)
