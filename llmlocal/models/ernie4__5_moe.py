"""ERNIE 4.5 with experts (Baidu 2025): a mixture of experts with shared experts after the first blocks; a bias of the
softmax scores takes part in the choice of experts."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import WITHOUT_MTP, Conversion, TensorRule, decoder_keys, drops
from ..hf.streams import Stream, constant
from ..layers import Layers
from ..layers.decoder import (
    Head,
    Sublayer,
    gated_mlp,
    head,
    last_logits,
    mixture_of_experts,
    pre_norm_block,
    predicting_blocks,
    rope_attention,
    shared_expert,
)
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .ernie4__5 import DEFAULTS
from .ernie4__5 import STEPS as DENSE_STEPS


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    first, blocks = c.integer("leading_dense_block_count", 0, h.blocks, 0), h.blocks - predicting_blocks(c, h.blocks)
    step = c.integer("interleave_moe_layer_step", 1, 1 << 10)
    sparse = [f"blk.{i}." for i in range(first, blocks) if (i + 1) % step == 0]

    def feed_forward(h: Hyperparameters, b: Weights, x: Value) -> Value:
        if b.prefix not in sparse:
            return gated_mlp(g, h, b, x, g.swiglu)
        routed = mixture_of_experts(g, h, e, b, x, g.swiglu, normalize_weights=True)
        return g.add(routed, shared_expert(g, h, e, b, x, g.swiglu)) if e.shared_ffn else routed

    embedding = w.matrix("token_embd.weight", vocab, h.width)
    x = g.embed(embedding)
    for i in range(blocks):
        x = pre_norm_block(g, h.block(i), w.block(i), x, lambda h, b, x: rope_attention(g, h, b, x, rope), feed_forward)
    return last_logits(g, h, w, x, embedding)


def predict(g: Layers, c: Config, w: Weights, vocab: int) -> Head:
    """Record the block that predicts a further token, which has no experts. Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        attention: Sublayer = lambda h, b, x: rope_attention(g, h, b, x, rope)  # noqa: E731
        return pre_norm_block(g, h, b, x, attention, lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu))

    return head(g, h, c, w, vocab, block)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError where blocks after the experts' are dense again."""
    last = s.find("moe_layer_end_index")
    if last not in (None, -1, s.integer("num_hidden_layers") - 1):
        raise s.fail("moe_layer_end_index is not the last layer, and GGUF has no key for it", "")
    s.find("moe_norm_min")  # bounds a sum that is far from it
    ffn, shared = s.integer("moe_intermediate_size"), s.integer("moe_num_shared_experts")
    return decoder_keys(s) | {
        "expert_count": s.integer("moe_num_experts", "num_experts"),
        "expert_used_count": s.integer("moe_k", "num_experts_per_tok"),
        "interleave_moe_layer_step": s.integer("moe_layer_interval"),
        "leading_dense_block_count": s.integer("moe_layer_start_index"),
        "expert_feed_forward_length": ffn,
        "expert_shared_feed_forward_length": ffn * shared,
    }


def bias_of_choice(_: Settings, x: Stream) -> dict[str, Stream]:
    """The bias (1, experts) as a vector (experts,)."""
    return {"e_score_correction.bias": constant(x.read(0, x.rows).reshape(-1))}


def keeps_block(s: Settings, x: Stream) -> Stream:
    """Tell what becomes of the block that predicts a further token."""
    s.note("the block that predicts further tokens (MTP) is kept; llama.cpp does not load ERNIE with one")
    return x


STEPS: dict[str, TensorRule] = {
    r"e_score_correction_bias$": bias_of_choice,
    r"\.eh_proj\.weight$": keeps_block,
    r"^model\.mtp_": drops(WITHOUT_MTP),
}
SIZES = {"moe_layer_interval": 1, "moe_layer_start_index": 1, "moe_num_shared_experts": 2, "moe_k": 6}
CONVERSION = Conversion(
    classes=("Ernie4_5_MoeForCausalLM",), defaults=DEFAULTS | SIZES, keys=keys, steps=DENSE_STEPS | STEPS
)
