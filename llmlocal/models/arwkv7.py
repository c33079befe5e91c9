"""ARWKV-7 (Yueyu et al. 2025, arXiv 2501.15570): Qwen2 whose attention became RWKV-7's time mix, in some models without
a gate and a norm of heads."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, drops, renames
from ..hf.streams import Stream, transposed
from ..layers import Layers
from ..layers.decoder import gated_mlp, pre_norm_decoder
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.rwkv import Heads, time_mix_7
from ..layers.weights import Weights
from ..runtime.graph import Value
from .rwkv7 import CONTEXT, RANKS, check_first, vector

LOW_RANKS = {"w": 64, "a": 64, "v": 32, "g": 128}  # of the folders, which do not say them


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, hybrid=True, head_sizes=lambda *_: (64, 64))
    s, values = Heads.read(c, h), list[Value]()
    c.integer("token_shift_count", 1, 1, 1)
    ranks = {name: c.integer(f"attention.{key}_lora_rank", int(name != "g"), 1 << 16) for name, key in RANKS.items()}
    check_first(w.block(0), h, ranks["a"])

    def time_mix(h: Hyperparameters, b: Weights, x: Value) -> Value:
        first, norm = values[0] if values else None, b.has("time_mix_ln.weight")
        out, v = time_mix_7(g, h, s, ranks, b, x, first, norm=norm)
        values.append(v)
        return out

    return pre_norm_decoder(g, h, w, vocab, time_mix, lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for another version of RWKV, and for blocks that attend."""
    version, gate = s.integer("wkv_version"), s.flag("wkv_has_gate")
    if version != 7 or s.items("wkv_layers"):
        raise s.fail("wkv_version must be 7, and no block may have attention (wkv_layers)", "")
    s.find("max_position_embeddings", "rope_theta", "num_attention_heads", "num_key_value_heads", "rms_norm_eps")
    s.find("wkv_has_group_norm", "wkv_has_shift", "num_wkv_heads", "wkv_chunk_ctx", "wkv_grad_cp", "num_wkv_layers")
    ranks = {name: rank if name != "g" or gate else 0 for name, rank in LOW_RANKS.items()}
    return {
        "block_count": s.integer("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": s.integer("hidden_size"),
        "feed_forward_length": s.integer("intermediate_size"),
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": s.number("rms_norm_eps"),
        "wkv.head_size": s.integer("head_size"),
        **{f"attention.{key}_lora_rank": ranks[name] for name, key in RANKS.items()},
        "token_shift_count": 1,
    }


def with_values(_: Settings, x: Stream) -> dict[str, Stream]:
    """The projection to rates of the first block, also as the one of values that it does not use."""
    return {"a": x, "v": x}


STEPS = {
    r"(?<=^model\.layers\.0\.self_attn\.time_mixer\.)v(?=[012]$)": drops(),
    r"(?<=^model\.layers\.0\.self_attn\.time_mixer\.)a(?=[012]$)": with_values,
    **{
        rf"^model\.layers\.(\d+)\.self_attn\.time_mixer\.x_{name}$": renames(rf"blk.\1.time_mix_lerp_fused.{i}.weight")
        for i, name in enumerate("rwkvag")
    },
    r"\.time_mixer\.[wavg][12]$": lambda _, x: transposed(x),
    r"\.time_mixer\.([wav]0|k_k|k_a|r_k)$": vector,
    r"(?<=\.time_mixer\.)([wavg][012]|k_k|k_a|r_k)$": renames(r"\1.weight"),
    r"\.self_attn\.time_mixer\.": renames(".attention."),
}
CONVERSION = Conversion(
    classes=("RwkvHybridForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "head_size": 64, "wkv_has_gate": True, "wkv_version": 7},
    keys=keys,
    steps=STEPS,
    own_names=("blk.{}.time_mix_lerp_fused",),
)
