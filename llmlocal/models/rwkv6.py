"""RWKV-6 "Finch" (Peng et al. 2024, arXiv 2404.05892): no attention; a time mix, whose channels forget at rates that
depend on the token, and a channel mix."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, renames, swaps
from ..layers import Layers
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.rwkv import EPS, Heads, channel_mix, rwkv, time_mix_6
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import norm
from .rwkv7 import CONTEXT, vector

WIDE = 4096  # width of models whose low-rank projections have twice the rank


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, hybrid=True)
    s, rank = Heads.read(c, h), c.integer("time_mix_extra_dim", 1, 1 << 16)
    decay_rank = c.integer("time_decay_extra_dim", 1, 1 << 16)
    rescale = c.integer("rescale_every_n_layers", 0, 1 << 12, 0)  # weights of such files are divided by as much
    time_mix = lambda h, b, x: time_mix_6(g, h, s, rank, decay_rank, b, x)  # noqa: E731
    return rwkv(g, h, w, vocab, norm, (time_mix, lambda h, b, x: channel_mix(g, h, b, x, gated=True)), rescale)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for what the architecture does not have.

    Halving the states between blocks (rescale_every) keeps them within half precision, which is not needed here.
    """
    s.find("num_attention_heads", "rescale_every", "model_version")
    width, eps, divisor = s.integer("hidden_size"), s.number("layer_norm_epsilon"), s.integer("head_size_divisor")
    if abs(divisor**2 * eps - EPS) > 1e-9:
        raise s.fail(f"head_size_divisor is {divisor}, and GGUF has no key for the norms of heads", "")
    if s.integer("attention_hidden_size", default=width) != width:
        raise s.fail("attention_hidden_size differs from hidden_size, which is not supported", "")
    return {
        "block_count": s.integer("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": width,
        "feed_forward_length": s.integer("intermediate_size", default=width * 7 // 2 // 32 * 32),
        "attention.head_count": 0,
        "attention.layer_norm_epsilon": eps,
        "wkv.head_size": s.integer("head_size"),
        "time_mix_extra_dim": 64 if width == WIDE else 32,
        "time_decay_extra_dim": 128 if width == WIDE else 64,
    }


STEPS = {
    **{
        rf"^rwkv\.blocks\.(\d+)\.attention\.time_maa_{name}$": renames(rf"blk.\1.time_mix_lerp_fused.{i}.weight")
        for i, name in enumerate("wkvrg")
    },
    r"\.time_(maa|decay)_w[12]$": swaps,
    r"\.time_(maa_[xkr]|decay)$": vector,
    r"(?<=\.)(time_(?:maa|decay)_w[12]|time_maa_[xkr]|time_decay|time_faaaa)$": renames(r"\1.weight"),
}
CONVERSION = Conversion(
    classes=("Rwkv6ForCausalLM",),
    defaults=UNTIED | {"layer_norm_epsilon": 1e-5, "head_size": 64, "head_size_divisor": 8},
    keys=keys,
    steps=STEPS,
    own_names=("blk.{}.time_mix_lerp_fused",),
)
