"""Ling 2.0 and Ring 2.0 (inclusionAI 2025, arXiv 2510.22115), Sarvam: norms of queries and keys, rotary embedding of a
part of each head; after the first blocks a mixture of experts chosen within groups, with shared ones."""

from __future__ import annotations

from ..hf.config import Keys, Settings, as_number
from ..hf.conversion import UNTIED, Conversion, decoder_keys, renames
from ..hf.streams import Stream, constant
from ..layers import Layers
from ..layers.decoder import Head, Sublayer, head, pre_norm_block, pre_norm_decoder, without_predicting
from ..layers.hyperparameters import SIGMOID, SOFTMAX, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .dots1 import blocks_with_experts, group_keys
from .qwen3 import attention

SARVAM = "SarvamMoEForCausalLM"


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    return pre_norm_decoder(g, without_predicting(c, h), w, vocab, *sublayers(g, c, w, h))


def predict(g: Layers, c: Config, w: Weights, vocab: int) -> Head:
    """Record the block that predicts a further token. Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    attend, feed_forward = sublayers(g, c, w, h)
    return head(g, h, c, w, vocab, lambda _, h, b, x: pre_norm_block(g, h, b, x, attend, feed_forward))


def sublayers(g: Layers, c: Config, w: Weights, h: Hyperparameters) -> tuple[Sublayer, Sublayer]:
    """Attention and feed-forward of the blocks."""
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    return lambda h, b, x: attention(g, h, b, x, rope), blocks_with_experts(g, c, h)


def is_sarvam(s: Settings) -> bool:
    """Whether the class is Sarvam's, which some folders name with its module."""
    return str(s.items("architectures")[0]).endswith(SARVAM)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    sarvam = is_sarvam(s)
    part = as_number(s, "partial_rotary_factor", s.rope.get("partial_rotary_factor", 1.0 if sarvam else 0.5))
    shared, ffn = s.integer("num_shared_experts", "n_shared_experts"), s.integer("moe_intermediate_size")
    function = s.text("score_function", default="sigmoid")
    if function not in ("sigmoid", "softmax"):
        raise s.fail(f"score_function {function!r:.40} is not supported", "")
    return (
        decoder_keys(s)
        | group_keys(s)
        | {
            "rope.dimension_count": int(s.head_dim * part),
            "leading_dense_block_count": s.integer("first_k_dense_replace"),
            "vocab_size": s.integer("vocab_size"),
            "expert_feed_forward_length": ffn,
            "expert_shared_feed_forward_length": s.integer("moe_shared_expert_intermediate_size", default=ffn),
            "expert_weights_scale": s.number("routed_scaling_factor"),
            "expert_shared_count": shared,
            "expert_weights_norm": s.flag("norm_topk_prob"),
            "expert_gating_func": SIGMOID if function == "sigmoid" else SOFTMAX,
        }
    )


def bias(s: Settings, x: Stream) -> dict[str, Stream]:
    """The bias of the choice of experts, which Sarvam subtracts its mean from."""
    values = x.read(0, 1)[0].astype("f4")
    mean = values.mean() if is_sarvam(s) else 0
    return {".expert_bias.bias": constant(values - mean)}


CONVERSION = Conversion(
    classes=("BailingMoeV2ForCausalLM", SARVAM, f"modeling_sarvam_moe.{SARVAM}"),
    defaults=UNTIED
    | {
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "routed_scaling_factor": 2.5,
        "norm_topk_prob": True,
        "first_k_dense_replace": 1,
        "num_shared_experts": 1,
    },
    keys=keys,
    steps={
        r"\.(gate\.)?(expert_bias|e_score_correction_bias)$": bias,
        r"^model\.word_embeddings": renames("model.embed_tokens"),
    },
)
