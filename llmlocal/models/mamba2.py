"""Mamba-2 and Mamba-Codestral (Dao and Gu 2024, arXiv 2405.21060): blocks of one recurrent layer, without attention."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, as_column, decay_rates, renames, squeezes
from ..hf.streams import Stream, constant
from ..layers import Layers
from ..layers.decoder import logits, norm
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.mamba import Mamba2, mamba2
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h, m = Hyperparameters.read(c, w, hybrid=True), Mamba2.read(c)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    x = g.embed(embedding)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, mamba2(g, h, m, b, norm(g, h, b, "attn_norm", x)))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. A model without positions has no context of its own."""
    s.find("expand", "chunk_size", "rescale_prenorm_residual", "residual_in_fp32", "use_bias", "use_conv_bias")
    s.find("time_step_rank", "time_step_min", "time_step_max", "time_step_floor", "intermediate_size")
    check_time_steps(s)
    return {
        "block_count": s.integer("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": s.integer("hidden_size"),
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": s.number("layer_norm_epsilon"),
        "vocab_size": s.integer("vocab_size"),
        **state_keys(s, s.integer("num_heads"), s.integer("head_dim"), s.integer("state_size")),
    }


def state_keys(s: Settings, heads: int, head_dim: int, state_size: int) -> Keys:
    """Metadata of a block's state and its convolution."""
    return {
        "ssm.conv_kernel": s.integer("conv_kernel"),
        "ssm.state_size": state_size,
        "ssm.group_count": s.integer("n_groups"),
        "ssm.inner_size": heads * head_dim,
        "ssm.time_step_rank": heads,
    }


def check_time_steps(s: Settings) -> None:
    """Raises BadFileError for limits of the time steps, which GGUF cannot say."""
    low, *high = s.items("time_step_limit") or [0.0]
    if low != 0.0 or any(isinstance(limit, int | float) and limit < 1e30 for limit in high):
        raise s.fail("time_step_limit is not 0 to infinity, and GGUF has no key for it")


def grouped(s: Settings, x: Stream) -> Stream:
    """The weight of the norm, (inner,), by groups."""
    groups = s.integer("n_groups", "mamba_n_groups")
    if not groups or x.k % groups:
        raise s.fail(f"a norm of {x.k} values cannot be divided into {groups} groups")
    return constant(x.read(0, 1)[0].reshape(groups, -1))


CONTEXT = 1 << 20
STEPS = {
    r"\.conv1d\.weight$": squeezes,
    r"\.A_log$": decay_rates,
    r"\.(A_log|D)$": as_column,
    r"\.dt_bias$": renames(".dt_proj.bias"),
    r"\.(mixer|mamba)\.norm\.weight$": grouped,
}
DEFAULTS = {"layer_norm_epsilon": 1e-5, "conv_kernel": 4, "state_size": 128, "n_groups": 8, "head_dim": 64}
CONVERSION = Conversion(classes=("Mamba2ForCausalLM",), defaults=DEFAULTS, keys=keys, steps=STEPS)
