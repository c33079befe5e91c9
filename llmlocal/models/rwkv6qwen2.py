"""QRWKV-6 (Recursal 2024): Qwen2 whose attention became RWKV-6's time mix, without a bonus for the token itself, with
keys and values shared by groups of heads."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, renames, swaps
from ..hf.streams import Stream, joined, reshaped, split, transposed
from ..layers import Layers
from ..layers.decoder import gated_mlp, pre_norm_decoder
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.rwkv import Heads, gated_linear_attention
from ..layers.weights import Weights
from ..runtime.graph import Value
from .rwkv6 import WIDE
from .rwkv7 import CONTEXT, vector

ORDER = "rkvwg"  # of the folders' low-rank projections; GGUF has wkvrg


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, hybrid=True, head_sizes=lambda *_: (64, 64))
    s, rank = Heads.read(c, h), c.integer("time_mix_extra_dim", 1, 1 << 16)
    c.integer("token_shift_count", 1, 1, 1)
    decay_rank = c.integer("time_decay_extra_dim", 1, 1 << 16)
    kv_heads = c.integer("attention.head_count_kv", 0, s.count, s.count) or s.count
    if s.count % kv_heads:
        raise c.fail(f"{s.count} heads are not a multiple of {kv_heads} key heads")
    time_mix = lambda h, b, x: gated_linear_attention(g, h, s, kv_heads, rank, decay_rank, b, x)  # noqa: E731
    return pre_norm_decoder(g, h, w, vocab, time_mix, lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu))


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    width, wide = s.integer("hidden_size"), s.integer("hidden_size") >= WIDE
    s.find("max_position_embeddings", "rope_theta", "lora_rank_gate", "lora_rank_value", "lora_rank_iclr")
    return {
        "block_count": s.integer("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": width,
        "feed_forward_length": s.integer("intermediate_size"),
        "attention.head_count": 0,
        "attention.head_count_kv": s.kv_heads,
        "attention.layer_norm_rms_epsilon": s.number("rms_norm_eps"),
        "wkv.head_size": width // max(s.integer("num_attention_heads"), 1),
        "time_mix_extra_dim": s.integer("lora_rank_tokenshift", default=64 if wide else 32),
        "time_decay_extra_dim": s.integer("lora_rank_decay", default=128 if wide else 64),
        "token_shift_count": 1,
    }


def down(s: Settings, x: Stream) -> Stream:
    """The first of the low-rank projections, (width, 5 * rank), as rows in GGUF's order."""
    rows = transposed(x)
    parts = dict(zip(ORDER, split(rows, [rows.rows // len(ORDER)] * len(ORDER)), strict=True))
    return joined([parts[name] for name in "wkvrg"])


def up(s: Settings, x: Stream) -> Stream:
    """The second ones, (5, rank, width), in GGUF's order."""
    _, rank, width = x.shape
    flat = transposed(x)
    parts = dict(zip(ORDER, split(reshaped(flat, len(ORDER) * width, rank), [width] * len(ORDER)), strict=True))
    return reshaped(joined([parts[name] for name in "wkvrg"]), len(ORDER), width, rank)


STEPS = {
    **{
        rf"^model\.layers\.(\d+)\.self_attn\.time_maa_{name}$": renames(rf"blk.\1.time_mix_lerp_fused.{i}.weight")
        for i, name in enumerate("wkvrg")
    },
    r"\.time_maa_w1$": down,
    r"\.time_maa_w2$": up,
    r"\.time_decay_w[12]$": swaps,
    r"\.time_(maa_x|decay)$": vector,
    r"(?<=\.)(time_(?:maa|decay)_w[12]|time_maa_x|time_decay)$": renames(r"\1.weight"),
}
CONVERSION = Conversion(
    classes=("RWKV6Qwen2ForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6},
    keys=keys,
    steps=STEPS,
    own_names=("blk.{}.time_mix_lerp_fused",),
)
