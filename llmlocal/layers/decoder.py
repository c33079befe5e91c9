"""The pieces that causal decoders have in common, by GGUF's names of their tensors. Knows no architecture.

What an architecture does otherwise is written in its own file, in the words of `layers`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..quant.tensor import QTensor
from ..runtime.graph import Value
from . import Layers
from .hyperparameters import Experts, Hyper
from .moe import choose, experts_of_pairs, experts_of_tokens, mixed
from .weights import Weights

Linear = tuple[QTensor, QTensor | None]
Gate = Callable[[Value, Value], Value]


def norm(g: Layers, h: Hyper, w: Weights, name: str, x: Value) -> Value:
    """RMS norm of whole tokens."""
    return g.norm(x, w.vector(f"{name}.weight", h.width), h.eps)


def queries_keys_values(h: Hyper, w: Weights) -> tuple[Linear, Linear, Linear]:
    """What `linears` takes for the three projections: tensors of their own, or rows of one fused tensor."""
    q, k = h.queries, h.keys
    if not w.has("attn_qkv.weight"):
        names = (("attn_q", q), ("attn_k", k), ("attn_v", k))
        one, two, three = (w.linear(name, rows, h.width) for name, rows in names)
        return one, two, three
    fused = w.linear("attn_qkv", q + 2 * k, h.width)
    return part(fused, 0, q), part(fused, q, q + k), part(fused, q + k, q + 2 * k)


def part(linear: Linear, first: int, last: int) -> Linear:
    """Outputs `first` to `last` (without it) of a product."""
    weight, bias = linear
    return weight.part(first, last), bias and bias.part(first, last)


def attention_output(g: Layers, h: Hyper, w: Weights, heads: Value) -> Value:
    """The heads' values back to the model's width."""
    return g.linear(heads, *w.linear("attn_output", h.width, h.queries))


def gated(g: Layers, h: Hyper, w: Weights, x: Value, gate: Gate) -> Value:
    """A feed-forward of three matrices: down(gate(first x, second x))."""
    first, second = g.linears(x, w.linear("ffn_gate", h.ffn, h.width), w.linear("ffn_up", h.ffn, h.width))
    return g.linear(gate(first, second), *w.linear("ffn_down", h.width, h.ffn))


def shared(g: Layers, h: Hyper, e: Experts, w: Weights, x: Value, gate: Gate) -> Value:
    """As `gated`, by the expert that all tokens use."""
    inner = e.shared_ffn
    first, second = g.linears(x, w.linear("ffn_gate_shexp", inner, h.width), w.linear("ffn_up_shexp", inner, h.width))
    return g.linear(gate(first, second), *w.linear("ffn_down_shexp", h.width, inner))


def mixture(g: Layers, h: Hyper, e: Experts, w: Weights, x: Value, gate: Gate, *, renormed: bool) -> Value:
    """As `gated`, by the experts that each token chooses; their weights sum to 1 where `renormed`."""
    scores = g.linear(x, *w.linear("ffn_gate_inp", e.count, h.width))
    routing = choose(g.graph, scores, e.used, renormed=renormed, factor=e.factor)
    wide, down = (e.count, e.ffn, h.width), w.stack("ffn_down_exps", e.count, h.width, e.ffn)
    first, second = experts_of_tokens(
        g.graph, x, routing, w.stack("ffn_gate_exps", *wide), w.stack("ffn_up_exps", *wide)
    )
    return mixed(g.graph, experts_of_pairs(g.graph, gate(first, second), routing, down), routing)


def logits(g: Layers, h: Hyper, w: Weights, x: Value, embedding: QTensor) -> Value:
    """The output matrix, which is the embedding where the file has none of its own."""
    return g.linear(x, *(w.linear("output", embedding.rows, h.width) if w.has("output.weight") else (embedding, None)))
