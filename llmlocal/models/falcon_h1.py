"""Falcon-H1 (TII 2025, arXiv 2507.22448): each block adds attention and Mamba-2 of the same norm.

The multipliers of its config.json are multiplied into the matrices when a folder is converted.
"""

from __future__ import annotations

import numpy as np

from ..hf.config import Keys, Settings, as_number
from ..hf.conversion import UNTIED, Conversion, TensorRule, decoder_keys
from ..hf.streams import Stream, times
from ..layers import Layers
from ..layers.decoder import gated_mlp, logits, norm, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.mamba import Mamba2, mamba2
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .mamba2 import STEPS, check_time_steps


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h, m = Hyperparameters.read(c, w), Mamba2.read(c)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    scale = c.number("attention.scale", 0, 1e6, 0.0) or h.head_dim**-0.5
    x = g.embed(embedding)
    for i in range(h.blocks):
        h, b = h.block(i), w.block(i)
        n = norm(g, h, b, "attn_norm", x)
        recurrent = mamba2(g, h, m, b, n, normed=b.has("ssm_norm.weight"))
        x = g.add(x, g.add(recurrent, rope_attention(g, h, b, n, rope, scale=scale)))
        n = g.norm(x, b.vector("ffn_norm", h.width), h.eps)  # the name has no suffix in files of this architecture
        x = g.add(x, gated_mlp(g, h, b, n, g.swiglu))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for biases and for a norm before the gate."""
    s.find("mamba_chunk_size", "mamba_d_head", "mamba_conv_bias", "mamba_use_mlp", "mamba_expand", *UNUSED)
    check_time_steps(s)
    if biased := next((name for name in BIASES if s.flag(name)), None):
        raise s.fail(f"{biased} is true; biases are not supported for this architecture")
    if s.flag("mamba_rms_norm") and s.flag("mamba_norm_before_gate"):
        raise s.fail("mamba_norm_before_gate is true; this architecture has the norm after the gate")
    return decoder_keys(s) | {
        "attention.key_length": s.head_dim,
        "attention.value_length": s.head_dim,
        "vocab_size": s.integer("vocab_size"),
        "ssm.conv_kernel": s.integer("mamba_d_conv"),
        "ssm.state_size": s.integer("mamba_d_state"),
        "ssm.group_count": s.integer("mamba_n_groups"),
        "ssm.inner_size": inner_size(s),
        "ssm.time_step_rank": s.integer("mamba_n_heads"),
    }


def inner_size(s: Settings) -> int:
    """Width of all Mamba heads."""
    return s.integer("mamba_d_ssm", default=s.integer("mamba_expand") * s.integer("hidden_size"))


def multiplier(s: Settings, name: str, index: int | None = None) -> float:
    """A multiplier of config.json, or one of a list of them; 1 where it is left out."""
    if index is None:
        return s.number(name, default=1.0)
    numbers = s.items(name) or [1.0] * (index + 1)
    if index >= len(numbers):
        raise s.fail(f"{name} has {len(numbers)} numbers, must have more than {index}")
    return as_number(s, name, numbers[index])


def multiplied(*names: str, index: int | None = None) -> TensorRule:
    """Multiply by the multipliers `names`, the first of which may be one of a list."""

    def step(s: Settings, x: Stream) -> Stream:
        first, *others = names
        return times(x, np.prod([multiplier(s, first, index), *(multiplier(s, name) for name in others)]))

    return step


def input_projection(s: Settings, x: Stream) -> Stream:
    """The projection to gate, inputs, B, C and steps: each part has a multiplier of its own."""
    inner, part = inner_size(s), s.integer("mamba_n_groups") * s.integer("mamba_d_state")
    sizes = (inner, inner, part, part, s.integer("mamba_n_heads"))
    if sum(sizes) != x.rows:
        raise s.fail(f"a projection has {x.rows} rows, must have {sum(sizes)}")
    own = [multiplier(s, "ssm_multipliers", i) for i in range(len(sizes))]
    return times(x, multiplier(s, "ssm_in_multiplier") * np.repeat(own, sizes))


def embedding(s: Settings, x: Stream) -> dict[str, Stream]:
    """The embedding, and as output matrix where it is used for both: their multipliers differ."""
    tied = {"lm_head.weight": times(x, multiplier(s, "lm_head_multiplier"))} if s.flag("tie_word_embeddings") else {}
    return {"model.embed_tokens.weight": times(x, multiplier(s, "embedding_multiplier")), **tied}


def output(s: Settings, x: Stream) -> Stream | dict[str, Stream]:
    """The output matrix; where it is tied, it is made of the embedding."""
    return {} if s.flag("tie_word_embeddings") else times(x, multiplier(s, "lm_head_multiplier"))


BIASES = ("attention_bias", "mlp_bias", "projectors_bias", "mamba_proj_bias")
UNUSED = ("num_logits_to_keep", "time_step_min", "time_step_max", "time_step_floor", "time_step_rank")
MULTIPLIED = {
    r"\.self_attn\.[qv]_proj\.weight$": multiplied("attention_in_multiplier"),
    r"\.self_attn\.k_proj\.weight$": multiplied("attention_in_multiplier", "key_multiplier"),
    r"\.self_attn\.o_proj\.weight$": multiplied("attention_out_multiplier"),
    r"\.feed_forward\.gate_proj\.weight$": multiplied("mlp_multipliers", index=0),
    r"\.feed_forward\.down_proj\.weight$": multiplied("mlp_multipliers", index=1),
    r"\.mamba\.in_proj\.weight$": input_projection,
    r"\.mamba\.out_proj\.weight$": multiplied("ssm_out_multiplier"),
    r"^lm_head\.weight$": output,
    r"^model\.embed_tokens\.weight$": embedding,
}
DEFAULTS: dict[str, float] = {
    "mamba_d_conv": 4,
    "mamba_d_state": 256,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "mamba_n_heads": 128,
}
DEFAULTS |= {"mamba_norm_before_gate": True, "rms_norm_eps": 1e-5}
CONVERSION = Conversion(
    classes=("FalconH1ForCausalLM",), defaults=UNTIED | DEFAULTS, keys=keys, steps=MULTIPLIED | STEPS
)
