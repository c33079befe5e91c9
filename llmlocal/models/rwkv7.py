"""RWKV-7 "Goose" (Peng et al. 2025, arXiv 2503.14456): no attention; a time mix, whose state loses what it held under a
key when that gets a new value, and a channel mix."""

from __future__ import annotations

import math

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, drops, renames
from ..hf.streams import Stream, constant
from ..layers import Layers
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.rwkv import EPS, Heads, channel_mix, rwkv, time_mix_7
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import norm

RANKS = {"w": "decay", "a": "iclr", "v": "value_residual_mix", "g": "gate"}  # GGUF's names
CONTEXT = 1 << 20


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, hybrid=True)
    s, values = Heads.read(c, h), list[Value]()
    ranks = {name: c.integer(f"attention.{key}_lora_rank", 1, 1 << 16) for name, key in RANKS.items()}
    check_first(w.block(0), h, ranks["a"])

    def time_mix(h: Hyperparameters, b: Weights, x: Value) -> Value:
        out, v = time_mix_7(g, h, s, ranks, b, x, values[0] if values else None)
        values.append(v)
        return out

    return rwkv(g, h, w, vocab, norm, (time_mix, lambda h, b, x: channel_mix(g, h, b, x, gated=False)))


def check_first(w: Weights, h: Hyperparameters, rank: int) -> None:
    """Check the projection that the first block has and does not use: llama.cpp needs it. Raises BadFileError."""
    w.vector("time_mix_v0.weight", h.width)
    w.matrix("time_mix_v1.weight", rank, h.width)
    w.matrix("time_mix_v2.weight", h.width, rank)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for what the architecture does not have."""
    s.find("attn_mode", "num_heads", "value_dim", "norm_bias", "fuse_norm", "max_position_embeddings", "hidden_ratio")
    width, dim, eps = s.integer("hidden_size"), s.integer("head_dim"), s.number("norm_eps")
    if abs(dim * eps - EPS) > 1e-9:
        raise s.fail(f"norm_eps is {eps:g}, and GGUF has no key for the norms of heads of {dim}", "")
    if s.find("attn") or not s.flag("norm_first"):
        raise s.fail(f"{'attn' if s.find('attn') else 'norm_first'} is not supported for this architecture", "")
    low = {key: s.integer(LOW_RANKS[name], default=default_rank(width, name)) for name, key in RANKS.items()}
    return {
        "block_count": s.integer("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": width,
        "feed_forward_length": s.integer("intermediate_size", default=4 * width),
        "attention.head_count": 0,
        "attention.layer_norm_epsilon": eps,
        "wkv.head_size": dim,
        **{f"attention.{key}_lora_rank": rank for key, rank in low.items()},
    }


def default_rank(width: int, name: str) -> int:
    """The rank of a low-rank projection that config.json does not say."""
    power, factor = {"w": (0.5, 1.8), "a": (0.5, 1.8), "v": (0.5, 1.3), "g": (0.8, 0.6)}[name]
    return 32 * max(1, round(math.pow(width, power) * factor / 32))


def vector(_: Settings, x: Stream) -> Stream:
    """A parameter of all channels as a vector."""
    return constant(x.read(0, x.rows).reshape(-1))


def with_values(_: Settings, x: Stream) -> dict[str, Stream]:
    """The projection to rates of the first block, also as the one of values that it does not use."""
    return {"a_lora.": x, "v_lora.": x}


LOW_RANKS = {"w": "decay_low_rank_dim", "a": "a_low_rank_dim", "v": "v_low_rank_dim", "g": "gate_low_rank_dim"}
STEPS = {
    r"(?<=^model\.layers\.0\.attn\.)v_lora\.": drops(),
    r"(?<=^model\.layers\.0\.attn\.)a_lora\.": with_values,
    r"(?<=\.)([wavg])_lora\.lora\.0\.weight$": renames(r"\g<1>1.weight"),
    r"(?<=\.)([wavg])_lora\.lora\.2\.weight$": renames(r"\g<1>2.weight"),
    r"(?<=\.)([wav])_lora\.lora\.2\.bias$": renames(r"\g<1>0.weight"),
    **{
        rf"^model\.layers\.(\d+)\.attn\.x_{name}$": renames(rf"blk.\1.time_mix_lerp_fused.{i}.weight")
        for i, name in enumerate("rwkvag")
    },
    r"\.(k_k|k_a|r_k|ffn\.x_k)$": vector,
    r"(?<=\.)(k_k|k_a|r_k|x_k)$": renames(r"\1.weight"),
    r"\.attn\.g_norm\.": renames(".attention.ln_x."),
    r"\.attn_norm\.": renames(".ln1."),
    r"\.ffn_norm\.": renames(".ln2."),
    r"\.attn\.": renames(".attention."),
    r"\.ffn\.": renames(".feed_forward."),
}
CONVERSION = Conversion(
    classes=("RWKV7ForCausalLM", "Rwkv7ForCausalLM"),
    defaults=UNTIED | {"norm_eps": 1e-5, "norm_first": True, "head_dim": 64},
    keys=keys,
    steps=STEPS,
    own_names=("blk.{}.time_mix_lerp_fused",),
    activations=("sqrelu",),
)
