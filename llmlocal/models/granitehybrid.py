"""Granite 4.0 H (Granite Team 2025): Granite's scale factors, Mamba-2 in most blocks, attention without rotary
embedding in the others, and in the larger models a mixture of experts with a shared expert. Bamba (IBM et al. 2024) is
the same without scale factors, with attention of which half of each head is rotated."""

from __future__ import annotations

import numpy as np

from ..hf.config import Keys, Settings
from ..hf.conversion import MAX_LAYERS, Conversion, TensorRule, cuts
from ..hf.streams import Stream, take
from ..layers import Layers
from ..layers.decoder import gated_mlp, pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.mamba import Mamba2, mamba2
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .granite import keys as granite_keys
from .granitemoe import CONVERSION as EXPERTS
from .granitemoe import LAYER
from .granitemoe import feed_forward as routed_and_shared
from .mamba2 import CONTEXT, STEPS, check_time_steps


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h, m = Hyperparameters.read(c, w, hybrid=True), Mamba2.read(c)
    e = Experts.read(c, h) if c.integer("expert_count", 0, 1 << 12, 0) else None
    parameters = rope_parameters(c, w, h, g.cache.n_ctx)
    rope = g.rope(parameters, interleaved=True) if c.flag("rope.scaling.finetuned", True) else None
    scale = c.number("attention.scale", 0, 1e6, 0.0) or h.head_dim**-0.5

    def mix(h: Hyperparameters, b: Weights, x: Value) -> Value:
        return rope_attention(g, h, b, x, rope, scale=scale) if h.kv_heads else mamba2(g, h, m, b, x)

    def feed_forward(h: Hyperparameters, b: Weights, x: Value) -> Value:
        return routed_and_shared(g, h, e, b, x) if e else gated_mlp(g, h, b, x, g.swiglu)

    out = pre_norm_decoder(
        g,
        h,
        w,
        vocab,
        attention=mix,
        feed_forward=feed_forward,
        embedding_scale=c.number("embedding_scale", 0, 1e6, 1.0) or 1.0,
        residual_scale=c.number("residual_scale", 0, 1e6, 1.0) or 1.0,
    )
    return g.scale(out, 1 / c.number("logit_scale", 1e-6, 1e6, 1.0))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for blocks that are all attention, or limited time steps."""
    if is_bamba(s):
        attends, ffn = s.items("attn_layer_indices"), s.integer("intermediate_size")
        kinds = [
            "attention" if i in attends else "mamba" for i in range(min(s.integer("num_hidden_layers"), MAX_LAYERS))
        ]
        s.values |= {"layer_types": kinds, "position_embedding_type": "rope", "shared_intermediate_size": ffn}
        s.values |= {"num_local_experts": 0, "num_experts_per_tok": 0, "attention_multiplier": s.head_dim**-0.5}
        s.rope["partial_rotary_factor"] = rotary_dim(s) / s.head_dim
        s.find("num_logits_to_keep", "z_loss_coefficient", "attn_rotary_emb")
    kinds, experts = s.items("layer_types"), s.integer("num_local_experts")
    recurrent = [kind in ("mamba", "linear_attention") for kind in kinds]
    if not any(recurrent):
        raise s.fail("every layer has attention", "convert it as a Granite model without Mamba layers")
    s.find("mamba_chunk_size", "mamba_d_head", "mamba_conv_bias", "mamba_proj_bias", "normalization_function")
    turned = s.text("position_embedding_type") == "rope"
    check_time_steps(s)
    return granite_keys(s) | {
        "attention.head_count_kv": [0 if mamba else s.kv_heads for mamba in recurrent],
        "expert_count": experts or None,
        "expert_used_count": s.integer("num_experts_per_tok") if experts else None,
        "expert_shared_feed_forward_length": s.integer("shared_intermediate_size") if experts else None,
        "feed_forward_length": s.integer("intermediate_size" if experts else "shared_intermediate_size"),
        "rope.scaling.finetuned": turned,
        "rope.dimension_count": rotary_dim(s),
        "context_length": s.integer("max_position_embeddings") if turned else CONTEXT,
        "ssm.conv_kernel": s.integer("mamba_d_conv"),
        "ssm.state_size": s.integer("mamba_d_state"),
        "ssm.group_count": s.integer("mamba_n_groups"),
        "ssm.inner_size": s.integer("mamba_expand") * s.integer("hidden_size"),
        "ssm.time_step_rank": s.integer("mamba_n_heads"),
    }


def is_bamba(s: Settings) -> bool:
    """Whether the settings are Bamba's, which has other names for them."""
    return str(s.items("architectures")[0]) == "BambaForCausalLM"


def rotary_dim(s: Settings) -> int:
    """How many values of a head are rotated: half of them in Bamba, unless its settings say it."""
    return s.integer("attn_rotary_emb", default=s.head_dim // 2) if is_bamba(s) else s.head_dim


def pairs_of_part_turned(*heads: str) -> TensorRule:
    """As `pairs_turned`, of the rotated values of each head; `heads` is the setting with their number."""

    def step(s: Settings, x: Stream) -> Stream:
        rows, part = np.arange(x.shape[0]).reshape(s.integer(*heads), -1), rotary_dim(s)
        rows[:, :part] = rows[:, :part].reshape(len(rows), 2, -1).swapaxes(1, 2).reshape(len(rows), -1)
        return take(x, rows.reshape(-1))

    return step


def gate_and_up(s: Settings, x: Stream) -> dict[str, Stream]:
    """The fused projection of the shared expert, or of the feed-forward where there are no experts."""
    end = "_shexp" if s.integer("num_local_experts") else ""
    cut = cuts(rf"blk.\1.ffn_gate{end}", rf"blk.\1.ffn_up{end}")(s, x)
    assert isinstance(cut, dict)
    return cut


def down(s: Settings, x: Stream) -> dict[str, Stream]:
    """The projection back, as `gate_and_up`."""
    return {rf"blk.\1.ffn_down{'_shexp' if s.integer('num_local_experts') else ''}": x}


MLP = {
    LAYER + r"shared_mlp\.input_linear": gate_and_up,
    LAYER + r"shared_mlp\.output_linear": down,
}
TURNED = {
    r"q_proj\.(weight|bias)$": pairs_of_part_turned("num_attention_heads"),
    r"k_proj\.(weight|bias)$": pairs_of_part_turned("num_key_value_heads", "num_attention_heads"),
}
SIZES = {"mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2}
CONVERSION = Conversion(
    classes=("GraniteMoeHybridForCausalLM", "BambaForCausalLM"),
    defaults=SIZES | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "num_local_experts": 8, "num_experts_per_tok": 2},
    keys=keys,
    steps={**EXPERTS.steps, **TURNED, **MLP, **STEPS},
)
