"""PLaMo 3 (Preferred Networks and NICT 2025): norms before and after attention and MLP, norms of queries and keys, gate
and up projections in one matrix; seven of eight blocks have a sliding window, and may have a RoPE base of their own."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, adds, decoder_keys
from ..layers import Layers
from ..layers.decoder import decoder, norm
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters, unscaled_rope
from ..layers.weights import Weights
from ..runtime.graph import Value
from .phi3 import mlp
from .qwen3 import attention

PERIOD = 8  # the last of so many blocks has full attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    full = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    base = c.number("rope.freq_base_swa", 1e-3, 1e12, 10000.0)
    local = g.rope(unscaled_rope(h.rotary_dim, base), interleaved=False)
    all_windows = windows(c, h.blocks, period=PERIOD)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        window = all_windows[i]
        return mixed(g, h, b, x, attention(g, h, b, norm(g, h, b, "attn_norm", x), local if window else full, window))

    return decoder(g, h, w, vocab, block)


def mixed(g: Layers, h: Hyperparameters, w: Weights, x: Value, y: Value) -> Value:
    """The rest of a block: its input x plus a norm of what its mixer gave, y, and a norm of the MLP.

    Weights of norms behind something have names without a suffix.
    """
    x = g.add(x, g.norm(y, w.vector("post_attention_norm", h.width), h.eps))
    made = mlp(g, h, w, norm(g, h, w, "ffn_norm", x))
    return g.add(x, g.norm(made, w.vector("post_ffw_norm", h.width), h.eps))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Longer contexts have YaRN, of which it says the factor and the first context alone."""
    s.find("rope_local_theta", "linear_type", "full_attention_idx", "interleaved_sliding_window")
    factor = s.number("rope_scaling_factor")
    if factor != 1:
        scaling = {"rope_type": "yarn", "factor": factor, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}
        s.rope.update(scaling, original_max_position_embeddings=s.integer("initial_context_length"))
    window = s.find("window_size", "sliding_window")
    sliding = {
        "attention.sliding_window": s.integer("window_size", "sliding_window", default=0),
        "attention.sliding_window_pattern": s.integer("sliding_window_pattern"),
        "rope.freq_base_swa": s.number("rope_local_theta"),
    }
    return decoder_keys(s) | (sliding if window else {}) | {"vocab_size": s.integer("vocab_size")}


# Norms are stored less 1, those behind mixers and MLPs less smaller numbers.
NORMS = {
    r"\.(pre_mixer_norm|pre_mlp_norm|norm|mixer\.q_norm|mixer\.k_norm)\.weight$": adds(1),
    r"\.post_mixer_norm\.weight$": adds(1 / 5),
    r"\.post_mlp_norm\.weight$": adds(1 / 5**1.5),
}
CONVERSION = Conversion(
    classes=("Plamo3ForCausalLM", "PLaMo3ForCausalLM"),
    defaults=UNTIED
    | {
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "rope_local_theta": 10000.0,
        "rope_scaling_factor": 1,
        "sliding_window_pattern": PERIOD,
        "head_dim": 128,
    },
    keys=keys,
    steps=NORMS,
    whole_pairs=False,
)
