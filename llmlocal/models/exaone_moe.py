"""K-EXAONE (LG AI Research 2026): norms of queries and keys, a sliding window and rotary embedding in all but the last
of every four blocks; after the first blocks a mixture of experts with a shared expert, chosen by sigmoid scores."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, WITHOUT_MTP, Conversion, drops, renames, sliding_layers
from ..layers import Layers
from ..layers.decoder import Block, Head, decoder, gated_mlp, head, norm, without_predicting
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .dots1 import DEFAULTS, blocks_with_experts, sparse_keys
from .qwen3 import attention

PERIOD, WINDOW = 4, 128  # the last of so many blocks has full attention; of files that do not say it


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    return decoder(g, without_predicting(c, h), w, vocab, blocks(g, c, w, h))


def predict(g: Layers, c: Config, w: Weights, vocab: int) -> Head:
    """Record the block that predicts a further token, which has no experts. Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    return head(g, h, c, w, vocab, blocks(g, c, w, h))


def blocks(g: Layers, c: Config, w: Weights, h: Hyperparameters) -> Block:
    """All blocks, by their numbers."""
    all_windows = windows(c, h.blocks, period=PERIOD, default=WINDOW)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    experts = blocks_with_experts(g, c, h)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        window = all_windows[i]
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope if window else None, window))
        normed = norm(g, h, b, "ffn_norm", x)
        sparse = b.has("ffn_gate_inp.weight")
        return g.add(x, experts(h, b, normed) if sparse else gated_mlp(g, h, b, normed, g.swiglu))

    return block


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for what GGUF cannot say of these models."""
    shared, dense = s.integer("num_shared_experts"), s.integer("first_k_dense_replace", "first_last_k_dense_replace")
    kinds = s.items("mlp_layer_types")
    if shared != 1:
        raise s.fail(f"num_shared_experts is {shared}, must be 1", "")
    if kinds and kinds != ["dense"] * dense + ["sparse"] * (len(kinds) - dense):
        raise s.fail("mlp_layer_types must be dense in the first layers, and sparse in all others", "")
    s.values["n_shared_experts"] = shared
    s.find("sliding_window_pattern", "num_nextn_predict_layers", "mtp_layer_types")
    return sparse_keys(s) | {
        "attention.sliding_window": s.integer("sliding_window"),
        "attention.sliding_window_pattern": sliding_layers(s, period=PERIOD),
        "expert_shared_feed_forward_length": s.integer("moe_intermediate_size"),
        "vocab_size": s.integer("vocab_size"),
    }


def of_predictor(s: Settings) -> Keys:
    """Whether the block that predicts a further token has a window."""
    return {"attention.sliding_window_pattern": s.items("mtp_layer_types")[:1] == ["sliding_attention"]}


CONVERSION = Conversion(
    classes=("ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM"),
    defaults=UNTIED | DEFAULTS | {"num_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5},
    keys=keys,
    of_predictor=of_predictor,
    steps={r"^mtp\.": drops(WITHOUT_MTP), r"\.e_score_correction_bias$": renames(".e_score_correction.bias")},
)
