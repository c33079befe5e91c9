"""MPT (MosaicML 2023): GPT-2 with linear biases (ALiBi) or learned positions, layer norms without biases, and GELU
itself, which llama.cpp approximates."""

from __future__ import annotations

from typing import Any

from ..hf.config import Keys, Settings, as_integer
from ..hf.conversion import Conversion, drops_if_tied
from ..layers import Layers
from ..layers.decoder import logits
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import attention, mlp


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    steepest = c.number("attention.max_alibi_bias", 0, 64, 0.0)
    if c.number("attention.clamp_kqv", 0, 1e6, 0.0):
        raise c.fail(f"{c.arch}.attention.clamp_kqv is not 0: limits of queries, keys and values are not supported")
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    x = g.embed(embedding)
    if not steepest or w.has("position_embd.weight"):
        x = g.add(x, g.embed_positions(w.matrix("position_embd.weight", h.context, h.width)))
    bias = g.linear_bias(h.heads, steepest) if steepest else None
    for i in range(h.blocks):
        h, b = h.block(i), w.block(i)
        if b.has("attn_q_norm.weight") or b.has("ffn_act.scales"):
            raise b.fail("norms of queries and keys, and scales of activations (AWQ), are not supported")
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), bias))
        x = g.add(x, mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.gelu_erf))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def norm(g: Layers, h: Hyperparameters, w: Weights, name: str, x: Value) -> Value:
    """Layer norm of whole tokens, with a bias if the file has one."""
    return g.layer_norm(x, w.vector(f"{name}.weight", h.width), w.maybe_vector(f"{name}.bias", h.width), h.eps)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for attention that this architecture does not have."""
    own: Any = s.find("attn_config") or {}
    if not isinstance(own, dict):
        raise s.fail("attn_config must be an object")
    for name in ("clip_qkv", "softmax_scale", "qk_ln", "prefix_lm", "attn_uses_sequence_id"):
        if own.get(name):
            raise s.fail(f"{name} of attn_config is set, which is not supported", "")
    if s.find("logit_scale") is not None or s.integer("expansion_ratio") != 4:
        raise s.fail("logit_scale must be absent and expansion_ratio 4", "")
    s.find("learned_pos_emb", "no_bias", "norm_type", "init_device", "embedding_fraction")
    alibi, groups = own.get("alibi", True), own.get("kv_n_heads")
    width, heads = s.integer("d_model", "hidden_size"), s.integer("n_heads", "num_attention_heads")
    return {
        "context_length": s.integer("max_seq_len"),
        "embedding_length": width,
        "block_count": s.integer("n_layers", "num_hidden_layers"),
        "feed_forward_length": 4 * width,
        "attention.head_count": heads,
        "attention.head_count_kv": None if groups is None else as_integer(s, "kv_n_heads", groups),
        "attention.layer_norm_epsilon": s.number("layer_norm_epsilon"),
        "attention.max_alibi_bias": float(as_integer(s, "alibi_bias_max", own.get("alibi_bias_max", 8)))
        if alibi
        else 0.0,
    }


CONVERSION = Conversion(
    classes=("MPTForCausalLM", "MptForCausalLM"),
    defaults={"layer_norm_epsilon": 1e-5, "max_seq_len": 2048, "expansion_ratio": 4},
    keys=keys,
    steps={r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=True)},
)
