"""Nemotron 3 Nano and Super (NVIDIA 2025): Nemotron-H with a mixture of experts and a shared expert in place of the
MLP, whose experts may read and write a narrower latent state."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, WITHOUT_MTP, Conversion, drops, renames
from ..layers import Layers
from ..layers.decoder import Head, Sublayer
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.moe import combine, expert_linears, route_with_bias, sorted_expert_linear
from ..layers.weights import Weights
from ..runtime.graph import Value
from .mamba2 import STEPS
from .nemotron__h import DEFAULTS, NAMES, decoder, layer_kinds, predictor, shared_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, hybrid=True)
    return decoder(g, h, c, w, vocab, experts(g, c, h))


def predict(g: Layers, c: Config, w: Weights, vocab: int) -> Head:
    """Record the block that predicts a further token. Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, hybrid=True)
    return predictor(g, h, c, w, vocab, experts(g, c, h))


def experts(g: Layers, c: Config, h: Hyperparameters) -> Sublayer:
    """The feed-forward. Raises BadFileError for wrong metadata."""
    e, normalizes = Experts.read(c, h), c.flag("expert_weights_norm", False)
    latent = c.integer("moe_latent_size", 0, 1 << 20, 0)
    c.integer("expert_shared_count", 0, 1 << 12, 1)  # `shared_ffn` is the width of all of them

    def feed_forward(h: Hyperparameters, b: Weights, x: Value) -> Value:
        scores = g.linear(x, b.matrix("ffn_gate_inp.weight", e.count, h.width))
        bias = b.vector("exp_probs_b.bias", e.count)
        rule = {"sigmoid": True, "normalize_weights": normalizes}
        routing = route_with_bias(g, scores, e.used, bias, factor=e.factor, groups=e.groups, **rule)
        width = latent or h.width
        narrow = g.linear(x, b.matrix("ffn_latent_down.weight", latent, h.width)) if latent else x
        up = expert_linears(g, narrow, routing, b.stack("ffn_up", e.count, e.ffn, width))[0]
        down = b.stack("ffn_down", e.count, width, e.ffn)
        routed = combine(g, sorted_expert_linear(g, g.relu_squared(up), routing, down), routing)
        if latent:
            routed = g.linear(routed, b.matrix("ffn_latent_up.weight", h.width, latent))
        return g.add(routed, shared_mlp(g, h, e, b, x))

    return feed_forward


def shared_mlp(g: Layers, h: Hyperparameters, e: Experts, w: Weights, x: Value) -> Value:
    """The expert that all tokens use: down(max(up(x), 0)^2)."""
    x = g.relu_squared(g.linear(x, w.matrix("ffn_up_shexp.weight", e.shared_ffn, h.width)))
    return g.linear(x, w.matrix("ffn_down_shexp.weight", h.width, e.shared_ffn))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for MLPs beside the experts."""
    kinds, ffn = layer_kinds(s), s.integer("moe_intermediate_size")
    if "-" in kinds:
        raise s.fail("layers with an MLP beside layers with experts are not supported for this architecture")
    s.find("moe_shared_expert_overlap", "num_nextn_predict_layers", *PREDICTING)
    latent = s.integer("moe_latent_size", default=0)
    return shared_keys(s, kinds, ffn) | {
        "expert_count": s.integer("n_routed_experts"),
        "expert_used_count": s.integer("num_experts_per_tok"),
        "expert_feed_forward_length": ffn,
        "expert_shared_feed_forward_length": s.integer("moe_shared_expert_intermediate_size"),
        "expert_shared_count": s.integer("n_shared_experts"),
        "expert_weights_norm": s.flag("norm_topk_prob"),
        "expert_weights_scale": s.number("routed_scaling_factor"),
        "expert_group_count": s.integer("n_group"),
        "expert_group_used_count": s.integer("topk_group"),
        "moe_latent_size": latent or None,
    }


def of_predictor(s: Settings) -> Keys:
    """Sizes of the block that predicts a further token, which has attention and experts."""
    return {"feed_forward_length": s.integer("moe_intermediate_size"), "attention.head_count_kv": s.kv_heads}


PREDICTING = ("mtp_hybrid_override_pattern", "mtp_layers_block_type")
ROUTER = {"n_group": 1, "topk_group": 1, "n_shared_experts": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.0}
EXPERTS = {
    r"^backbone\.(layers\.\d+)\.mixer\.experts\.": renames(r"model.\1.mlp.experts."),
    r"\.e_score_correction_bias$": renames(".e_score_correction.bias"),
    r"^mtp\.": drops(WITHOUT_MTP),
}
CONVERSION = Conversion(
    classes=("NemotronHForCausalLM",),
    defaults=UNTIED | DEFAULTS | ROUTER,
    keys=keys,
    of_predictor=of_predictor,
    own_names=("blk.{}.post_attention_norm",),
    steps=NAMES | EXPERTS | STEPS,
)
