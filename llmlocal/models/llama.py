"""Llama (Touvron et al. 2023, arXiv 2302.13971) and what shares its shape. Read this architecture first."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import Config
from ..convert.settings import Settings
from ..convert.words import Conversion, Keys, decoder_keys, llama3_factors, pairs_turned, renames
from ..graph import Value
from ..layers import Layers, Rope
from ..rope_scaling import rotation
from ..weights import Weights


@dataclass(frozen=True, slots=True)
class Hyper:
    """Hyper-parameters, each in its range."""

    blocks: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    turned: int
    eps: float
    context: int

    @classmethod
    def read(cls, c: Config, tensors: int) -> Hyper:
        """From metadata; a file has more tensors than blocks. Raises BadFileError."""
        width, heads = c.integer("embedding_length", 1, 1 << 20), c.integer("attention.head_count", 1, 1 << 12)
        kv_heads = c.integer("attention.head_count_kv", 1, heads, heads)
        head_dim = c.integer("attention.key_length", 1, 1 << 12, max(1, width // heads))
        turned = c.integer("rope.dimension_count", 0, head_dim, head_dim // 2 * 2)
        if heads % kv_heads:
            raise c.fail(f"{heads} attention heads cannot share {kv_heads} key heads")
        if turned % 2:
            raise c.fail(f"{c.arch}.rope.dimension_count is {turned}, must be even")
        if c.integer("attention.value_length", 1, 1 << 12, head_dim) != head_dim:
            raise c.fail("values of another length than keys are not supported")
        if c.integer("expert_count", 0, 1 << 12, 0):
            raise c.fail("mixture of experts is not supported yet")
        return cls(
            blocks=c.integer("block_count", 1, tensors),
            width=width,
            ffn=c.integer("feed_forward_length", 1, 1 << 22),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            turned=turned,
            eps=c.number("attention.layer_norm_rms_epsilon", 0, 1, 1e-5),
            context=c.integer("context_length", 1, 1 << 31),
        )


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, len(w.gguf.tensors))
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    turns = g.rope(rotation(c, w, h.turned, h.context), interleaved=True)
    x = g.embed(embedding)
    for i in range(h.blocks):
        x = g.add(x, attention(g, h, w, f"blk.{i}.", x, turns))
        x = g.add(x, feed_forward(g, h, w, f"blk.{i}.", x))
    x = g.norm(g.outputs(x), w.vector("output_norm.weight", h.width), h.eps)
    return g.linear(x, w.maybe_matrix("output.weight", vocab, h.width) or embedding)


def attention(g: Layers, h: Hyper, w: Weights, block: str, x: Value, rope: Rope) -> Value:
    """Grouped-query attention with rotary positions, biases where the file has them."""
    x = g.norm(x, w.vector(f"{block}attn_norm.weight", h.width), h.eps)
    rows = {"attn_q": h.heads * h.head_dim, "attn_k": h.kv_heads * h.head_dim, "attn_v": h.kv_heads * h.head_dim}
    q, k, v = g.linears(
        x,
        *((w.matrix(f"{block}{n}.weight", r, h.width), w.maybe_vector(f"{block}{n}.bias", r)) for n, r in rows.items()),
    )
    g.turn(rope, q, k, head_dim=h.head_dim)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5)
    weight = w.matrix(f"{block}attn_output.weight", h.width, h.heads * h.head_dim)
    return g.linear(out, weight, w.maybe_vector(f"{block}attn_output.bias", h.width))


def feed_forward(g: Layers, h: Hyper, w: Weights, block: str, x: Value) -> Value:
    """SwiGLU."""
    x = g.norm(x, w.vector(f"{block}ffn_norm.weight", h.width), h.eps)
    gate, up = g.linears(
        x,
        *(
            (w.matrix(f"{block}{n}.weight", h.ffn, h.width), w.maybe_vector(f"{block}{n}.bias", h.ffn))
            for n in ("ffn_gate", "ffn_up")
        ),
    )
    down = w.matrix(f"{block}ffn_down.weight", h.width, h.ffn)
    return g.linear(g.swiglu(gate, up), down, w.maybe_vector(f"{block}ffn_down.bias", h.width))


def llama_keys(s: Settings) -> Keys:
    """Keys of a Hugging Face folder; Llama's relatives begin with them."""
    sizes = {"attention.key_length": s.head_dim, "attention.value_length": s.head_dim}
    return decoder_keys(s) | sizes | {"vocab_size": s.integer("vocab_size"), "rope.dimension_count": s.head_dim}


TURNED = {
    r"q_proj\.(weight|bias)$": pairs_turned("num_attention_heads"),
    r"k_proj\.(weight|bias)$": pairs_turned("num_key_value_heads", "num_attention_heads"),
}
CONVERSION = Conversion(
    classes=("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"),
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=llama_keys,
    steps=TURNED | {r"^model\.(.*)\.block_sparse_moe\.experts\.": renames(r"\1.feed_forward.experts.")},
    extra=llama3_factors,
)
