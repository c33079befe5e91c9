"""Blocks that most causal decoders share, with weights under GGUF's tensor names.

Where an architecture differs, its own file says so in terms of `Layers`. `h` are the hyperparameters, `w` the tensors
of one block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..quant.tensor import QTensor
from ..runtime.graph import Value
from . import Layers, Linear
from .expert_matrices import ExpertLinear
from .hyperparameters import SIGMOID, Experts, Hyperparameters
from .metadata import Config
from .rope import Rope
from .weights import Weights

if TYPE_CHECKING:
    from .gemma.token_clusters import ClusterLogits
    from .moe import Routing

Activation = Callable[[Value, Value], Value]  # of gate and up, such as `Layers.swiglu`
Sublayer = Callable[[Hyperparameters, Weights, Value], Value]  # sizes and tensors of a block, its normed input
Block = Callable[[int, Hyperparameters, Weights, Value], Value]  # a block's number, sizes and tensors, its input
LAST_NORMS = ("nextn.shared_head_norm", "layer_output_norm")  # of a block that predicts further tokens
Norm = Callable[[Layers, Hyperparameters, Weights, str, Value], Value]  # as `norm`


def pre_norm_decoder(
    g: Layers,
    h: Hyperparameters,
    w: Weights,
    vocab: int,
    attention: Sublayer,
    feed_forward: Sublayer,
    *,
    every_norm: Norm | None = None,
    embedding_scale: float = 1.0,
    residual_scale: float = 1.0,
) -> Value:
    """Logits (outputs, vocab) of a decoder whose blocks add attention of a norm, then an MLP of a norm, to their input.

    Norms are RMS norms unless `every_norm` is another. The embedding is multiplied by `embedding_scale`, what the
    sublayers give by `residual_scale`.
    """
    normed = every_norm or norm

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        return pre_norm_block(g, h, b, x, attention, feed_forward, normed, residual_scale)

    return decoder(g, h, w, vocab, block, every_norm, embedding_scale=embedding_scale)


def pre_norm_block(
    g: Layers,
    h: Hyperparameters,
    b: Weights,
    x: Value,
    attention: Sublayer,
    feed_forward: Sublayer,
    normed: Norm | None = None,
    residual_scale: float = 1.0,
) -> Value:
    """A block of x (tokens, width) as `pre_norm_decoder` has them."""
    normed = normed or norm
    x = g.add(x, g.scale(attention(h, b, normed(g, h, b, "attn_norm", x)), residual_scale))
    return g.add(x, g.scale(feed_forward(h, b, normed(g, h, b, "ffn_norm", x)), residual_scale))


def decoder(
    g: Layers,
    h: Hyperparameters,
    w: Weights,
    vocab: int,
    block: Block,
    output_norm: Norm | None = None,
    *,
    embedding_scale: float = 1.0,
    made_normed: bool = True,
) -> Value:
    """Logits (outputs, vocab) of tokens that pass all blocks and `output_norm`, an RMS norm by default.

    `made_normed` as in `last_logits`.
    """
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    x = g.scale(g.embed(embedding), embedding_scale)
    for i in range(h.blocks):
        x = block(i, h.block(i), w.block(i), x)
    return last_logits(g, h, w, x, embedding, output_norm or norm, made_normed=made_normed)


def norm(g: Layers, h: Hyperparameters, w: Weights, name: str, x: Value) -> Value:
    """RMS norm of whole tokens, with the weight `name`.weight."""
    return g.norm(x, w.vector(f"{name}.weight", h.width), h.eps)


def qkv_weights(h: Hyperparameters, w: Weights) -> tuple[Linear, Linear, Linear]:
    """Weights and biases of the projections to queries, keys and values: three tensors, or rows of a fused one."""
    q, k = h.q_dim, h.kv_dim
    if not w.has("attn_qkv.weight"):
        names = (("attn_q", q), ("attn_k", k), ("attn_v", k))
        q_linear, k_linear, v_linear = (w.linear(name, rows, h.width) for name, rows in names)
        return q_linear, k_linear, v_linear
    fused = w.linear("attn_qkv", q + 2 * k, h.width)
    return slice_linear(fused, 0, q), slice_linear(fused, q, q + k), slice_linear(fused, q + k, q + 2 * k)


def slice_linear(linear: Linear, first: int, last: int) -> Linear:
    """The linear layer that computes outputs first .. last - 1 of `linear`."""
    weight, bias = linear
    return weight.part(first, last), bias and bias.part(first, last)


def rope_attention(
    g: Layers,
    h: Hyperparameters,
    w: Weights,
    x: Value,
    rope: Rope | None,
    *,
    scale: float | None = None,
    window: int | None = None,
) -> Value:
    """Grouped-query attention of x (tokens, width), with biases if the file has them -> (tokens, width).

    Without `rope`, queries and keys are not rotated. `scale` multiplies scores: head_dim^-0.5 by default. A token
    sees the last `window` tokens, all by default.
    """
    q, k, v = g.linears(x, *qkv_weights(h, w))
    if rope is not None:
        g.apply_rope(rope, q, k, head_dim=h.head_dim)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5 if scale is None else scale, window=window)
    return attention_output(g, h, w, out)


def attention_output(g: Layers, h: Hyperparameters, w: Weights, heads: Value) -> Value:
    """Output projection of attention: heads (tokens, heads * head_dim) -> (tokens, width)."""
    return g.linear(heads, *w.linear("attn_output", h.width, h.q_dim))


def scaled_output(g: Layers, w: Weights, x: Value) -> Value:
    """What a block gives, x (tokens, width), times its one scale, where the file has it."""
    scale = w.maybe_vector("layer_output_scale.weight", 1)
    return x if scale is None else g.scale(x, float(scale.dequantize()[0]))


def gated_mlp(g: Layers, h: Hyperparameters, w: Weights, x: Value, activation: Activation) -> Value:
    """MLP of three matrices: down(activation(gate x, up x)). Shazeer 2020, arXiv 2002.05202."""
    gate, up = g.linears(x, w.linear("ffn_gate", h.ffn, h.width), w.linear("ffn_up", h.ffn, h.width))
    return g.linear(activation(gate, up), *w.linear("ffn_down", h.width, h.ffn))


def shared_expert(g: Layers, h: Hyperparameters, e: Experts, w: Weights, x: Value, activation: Activation) -> Value:
    """As `gated_mlp`, with the weights of the expert that all tokens use."""
    ffn = e.shared_ffn
    gate, up = g.linears(x, w.linear("ffn_gate_shexp", ffn, h.width), w.linear("ffn_up_shexp", ffn, h.width))
    return g.linear(activation(gate, up), *w.linear("ffn_down_shexp", h.width, ffn))


def mixture_of_experts(
    g: Layers, h: Hyperparameters, e: Experts, w: Weights, x: Value, activation: Activation, *, normalize_weights: bool
) -> Value:
    """Weighted sum of the `gated_mlp`s of each token's best experts; weights sum to 1 if `normalize_weights`."""
    scores = g.linear(x, *w.linear("ffn_gate_inp", e.count, h.width))
    return scored_experts(g, h, e, w, x, scores, activation, normalize_weights=normalize_weights)


def scored_experts(
    g: Layers,
    h: Hyperparameters,
    e: Experts,
    w: Weights,
    x: Value,
    scores: Value,
    activation: Activation,
    *,
    normalize_weights: bool,
) -> Value:
    """As `mixture_of_experts` for given scores (tokens, experts), which are overwritten."""
    return routed_experts(g, h, e, w, x, _routing(g, e, w, scores, normalize_weights), activation)


def routed_experts(
    g: Layers, h: Hyperparameters, e: Experts, w: Weights, x: Value, routing: Routing, activation: Activation
) -> Value:
    """As `mixture_of_experts` for a given choice of experts."""
    down = w.stack("ffn_down", e.count, h.width, e.ffn)
    return expert_mlps(g, x, routing, *gate_up_experts(h, e, w), down, activation)


def expert_mlps(
    g: Layers, x: Value, r: Routing, gate: ExpertLinear, up: ExpertLinear, down: ExpertLinear, activation: Activation
) -> Value:
    """As `mixture_of_experts` for a given choice of experts and their matrices."""
    from .moe import combine, expert_linears, sorted_expert_linear

    gates, ups = expert_linears(g, x, r, gate, up)
    return combine(g, sorted_expert_linear(g, activation(gates, ups), r, down), r)


def _routing(g: Layers, e: Experts, w: Weights, scores: Value, normalize_weights: bool) -> Routing:
    from .moe import route, route_with_bias

    bias = w.maybe_vector("exp_probs_b.bias", e.count) or w.maybe_vector("exp_probs_b", e.count)
    sigmoid = e.gating == SIGMOID
    if bias is None and not sigmoid and e.groups[0] == 1:
        return route(g, scores, e.used, normalize_weights=normalize_weights, factor=e.factor)
    rule = {"normalize_weights": normalize_weights, "sigmoid": sigmoid}
    return route_with_bias(g, scores, e.used, bias, factor=e.factor, groups=e.groups, **rule)


def gate_up_experts(h: Hyperparameters, e: Experts, w: Weights) -> tuple[ExpertLinear, ExpertLinear]:
    """Weights and biases of the experts' gate and up projections: two tensors, or rows of a fused one, gate first."""
    if not w.has("ffn_gate_up_exps.weight"):
        return w.stack("ffn_gate", e.count, e.ffn, h.width), w.stack("ffn_up", e.count, e.ffn, h.width)
    fused, biases, scales = w.stack("ffn_gate_up", e.count, 2 * e.ffn, h.width)
    if biases is not None:
        raise w.fail(f"tensor '{biases.name}' is not supported: biases of fused experts")
    gate, up = fused.part(0, e.ffn), fused.part(e.ffn, 2 * e.ffn)
    return ExpertLinear(gate, None, scales), ExpertLinear(up, None, scales)


def last_logits(
    g: Layers,
    h: Hyperparameters,
    w: Weights,
    x: Value,
    embedding: QTensor,
    output_norm: Norm = norm,
    *,
    made_normed: bool = True,
) -> Value:
    """Logits (outputs, vocab) of what the last block made, x (tokens, width), after a norm.

    Where further tokens shall be predicted, that of all tokens is kept; from before the norm if not `made_normed`.
    """
    if g.predicts:
        g.made = output_norm(g, h, w, "output_norm", x) if made_normed else x
        g.graph.keep(g.made)
        if made_normed:
            return logits(g, h, w, g.outputs(g.made), embedding)
    return logits(g, h, w, output_norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def logits(g: Layers, h: Hyperparameters, w: Weights, x: Value, embedding: QTensor) -> Value:
    """Logits (outputs, vocab) of x (outputs, width): by `output.weight`, or by the embedding if it is tied."""
    return g.logits(x, *(w.linear("output", embedding.rows, h.width) if w.has("output.weight") else (embedding, None)))


@dataclass(frozen=True, slots=True)
class Head:
    """What was recorded of a block that predicts one more token than the model does: its input and results, kept.

    Multi-token prediction, MTP (DeepSeek-AI 2024, arXiv 2412.19437, section 2.2), in GGUF "nextn": such a block reads
    what the model made of a token, and the embedding of the next one, and gives the logits of the one after that.

    `states` (tokens, width) are to be written before each run: what the model made of the token before each of the
    batch, after its last norm or before it. `last` (outputs, width) is what takes their place for the token after,
    `logits` (outputs, vocab) are those of that token; None where only those of some `clusters` are computed.
    """

    states: Value
    last: Value
    logits: Value | None
    clusters: ClusterLogits | None = None


def predicting_blocks(c: Config, blocks: int) -> int:
    """How many of the last blocks predict further tokens."""
    return c.integer("nextn_predict_layers", 0, blocks - 1, 0)


def without_predicting(c: Config, h: Hyperparameters) -> Hyperparameters:
    """The sizes of the blocks that predict the next token: those before the ones that predict further tokens."""
    return replace(h, blocks=h.blocks - predicting_blocks(c, h.blocks))


def head(
    g: Layers,
    h: Hyperparameters,
    c: Config,
    w: Weights,
    vocab: int,
    block: Block,
    *,
    made_normed: bool = True,
) -> Head:
    """Record the first block that predicts further tokens; `block` is what it has in common with the others.

    Embedding, output matrix and the last norm are those of the model where it has none of its own. `made_normed`: what
    it goes on with is taken after that norm.
    """
    i = h.blocks - predicting_blocks(c, h.blocks)
    h, b = h.block(i), w.block(i)
    shared = w.matrix("token_embd.weight", vocab, h.width)
    own = "nextn.embed_tokens.weight"
    states, both = g.graph.value(h.width), g.graph.value(2 * h.width)
    g.graph.keep(states)
    embedded = g.table_rows(b.matrix(own, vocab, h.width) if b.has(own) else shared)
    for at, x in enumerate((norm(g, h, b, "nextn.enorm", embedded), norm(g, h, b, "nextn.hnorm", states))):
        g.copy_columns(x, both, at * h.width, first=0, width=h.width)
    x = block(i, h, b, g.linear(both, *b.linear("nextn.eh_proj", h.width, 2 * h.width)))
    last = g.outputs(x)
    own_norm = next((name for name in LAST_NORMS if b.has(f"{name}.weight")), None)
    normed = norm(g, h, b, own_norm, last) if own_norm else norm(g, h, w, "output_norm", last)
    if made_normed:
        last = normed
    g.graph.keep(last)
    if b.has("nextn.shared_head_head.weight"):
        out = g.logits(normed, *b.linear("nextn.shared_head_head", vocab, h.width))
    else:
        out = logits(g, h, w, normed, shared)
    g.graph.keep(out)
    return Head(states, last, out)
