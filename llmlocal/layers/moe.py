"""Mixture of experts, step by step: route, sort rows by expert, multiply, combine.

Each token uses `used` experts. Rows sorted by expert are (tokens * used, width): a value of `used * width` numbers for
each token.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..gguf.pages import ADVICE, advise_address
from ..ops.combine_experts import combine_experts
from ..ops.elementwise import scale_rows
from ..ops.expert_bias import add_expert_bias
from ..ops.expert_scale import scale_by_expert
from ..ops.gather_rows import gather_rows
from ..ops.prefetch_experts import prefetch_experts
from ..ops.sigmoid_router import sigmoid_router
from ..ops.softmax_router import softmax_router
from ..ops.sort_by_expert import groups_bytes, sort_by_expert
from ..ops.sparse_mixer import sparse_mixer
from ..ops.topk_router import topk_router
from ..quant.blocks.parts import float_activations
from ..quant.jit.kernel import Kernel
from ..quant.kernels.matmul import SCRATCH_BYTES
from ..quant.kernels.matmul_grouped import matmul_grouped
from ..quant.kernels.q8_activations import q8_bytes
from ..quant.tensor import QTensor
from ..runtime.graph import Value
from . import Layers
from .expert_matrices import ExpertLinear, ExpertMatrices, StackTable


@dataclass(frozen=True, slots=True)
class Routing:
    """Which experts process which tokens, as `ops.sort_by_expert` writes it; `weights` are (tokens, used) float32.

    `stacks` are the matrices of the experts, which are prefetched if they are in a file larger than memory.
    """

    used: int
    weights: Value
    groups: Value
    token_of: Value
    expert_of: Value
    pair_of: Value
    stacks: StackTable


def route(layers: Layers, scores: Value, used: int, *, normalize_weights: bool, factor: float) -> Routing:
    """The `used` best experts of each token by scores (tokens, experts), which are overwritten: `ops.topk_router`."""
    rule = {"normalize_weights": int(normalize_weights), "factor": float(factor)}
    return _routing(layers, topk_router, scores, used, rule)


def route_with_bias(
    layers: Layers,
    scores: Value,
    used: int,
    bias: QTensor | None,
    *,
    sigmoid: bool,
    normalize_weights: bool,
    factor: float,
    groups: tuple[int, int] = (1, 1),
) -> Routing:
    """As `route`, by sigmoid (or softmax) scores plus `bias` (experts,), if there is one: `ops.sigmoid_router`.

    `groups`: how many groups of experts there are, and how many of the best the chosen may be of. A group is as good
    as its two best experts; by plain softmax, as DeepSeek-V2 does it, as its best one.
    """
    address = bias.address if bias else layers.constant(np.zeros(scores.width))
    rule = {"normalize_weights": int(normalize_weights), "factor": float(factor), "bias": address}
    rule |= {"groups": groups[0], "groups_used": groups[1], "group_best": 2 if sigmoid or bias else 1}
    return _routing(layers, sigmoid_router if sigmoid else softmax_router, scores, used, rule)


def route_by_sparse_mixer(layers: Layers, scores: Value, used: int, jitter: float) -> Routing:
    """The `used` best experts of each token by scores (tokens, experts), which are overwritten: `ops.sparse_mixer`."""
    return _routing(layers, sparse_mixer, scores, used, {"band": 2 * jitter})


def _routing(layers: Layers, router: Kernel, scores: Value, used: int, rule: dict[str, Any]) -> Routing:
    g, experts = layers.graph, scores.width
    weights, token_of, expert_of, pair_of = g.value(used), g.integers(used), g.integers(used), g.integers(used)
    shared: dict[str, Any] = {"tokens": g.batch.tokens, "chosen": g.integers(used), "experts": experts, "used": used}
    g.add(router, scores=scores, weights=weights, **rule, **shared)
    groups = Value(1, groups_bytes(experts))
    g.add(sort_by_expert, groups=groups, token_of=token_of, expert_of=expert_of, pair_of=pair_of, **shared)
    return Routing(used, weights, groups, token_of, expert_of, pair_of, _prefetched(layers, groups, experts))


def _prefetched(layers: Layers, groups: Value, experts: int) -> StackTable:
    """A table of stacks, of which the matrices of `groups` are prefetched if the layers do so."""
    stacks = StackTable()
    if layers.prefetch_bytes and advise_address():
        layers.graph.add(
            prefetch_experts,
            barrier=False,
            groups=groups,
            stacks=layers.keep(stacks.memory),
            experts=experts,
            advise=advise_address(),
            advice=ADVICE,
            page=mmap.PAGESIZE,
            most=layers.prefetch_bytes,
        )
    return stacks


def expert_linears(layers: Layers, x: Value, r: Routing, *stacks: ExpertLinear) -> list[Value]:
    """Linear layers of each token of `x` (tokens, k) by its experts -> (tokens * used, rows), sorted by expert."""
    g = layers.graph
    if g.observer:
        g.observer.before_expert_matmul(g, x, r.groups, r.token_of, [stack.weights for stack in stacks])
    rows: dict[bool, Value] = {}
    for floats in sorted({float_activations(stack.weights.format) for stack in stacks}):
        row_bytes = 4 * x.width if floats else q8_bytes(x.width)
        rows[floats] = Value(r.used * x.width, r.used * row_bytes * g.batch.ubatch)
        source, out = x if floats else layers.q8(x), rows[floats]
        count = g.batch.tokens_times(r.used)
        g.add(gather_rows, outputs=count, rows=r.token_of, x=source, out=out, width=row_bytes // 4)
    return _matmuls(layers, [rows[float_activations(stack.weights.format)] for stack in stacks], r, stacks)


def sorted_expert_linear(layers: Layers, x: Value, r: Routing, stack: ExpertLinear) -> Value:
    """As `expert_linears`, of rows x (tokens * used, k) that are sorted by expert."""
    g = layers.graph
    if g.observer:
        g.observer.before_expert_matmul(g, x, r.groups, None, [stack.weights])
    rows = x if float_activations(stack.weights.format) else layers.q8(x, r.used)
    return _matmuls(layers, [rows], r, (stack,))[0]


def grouped_linear(layers: Layers, x: Value, groups: Value, per_token: int, matrices: ExpertMatrices) -> Value:
    """x (tokens * per_token, k) @ the matrix of each row's group, transposed -> (tokens * per_token, rows)."""
    if layers.graph.observer:
        layers.graph.observer.before_expert_matmul(layers.graph, x, groups, None, [matrices])
    rows = x if float_activations(matrices.format) else layers.q8(x, per_token)
    return _products(layers, [rows], groups, per_token, [matrices])[0]


def _matmuls(layers: Layers, xs: list[Value], r: Routing, stacks: tuple[ExpertLinear, ...]) -> list[Value]:
    g, placed = layers.graph, [stack.weights.placed(layers.place) for stack in stacks]
    for matrices in placed:
        r.stacks.add(matrices)
    outs = _products(layers, xs, r.groups, r.used, placed)
    for (weights, biases, scales), out in zip(stacks, outs, strict=True):
        shared: dict[str, Any] = {"pairs": g.batch.tokens_times(r.used), "x": out, "width": weights.shape[1]}
        if scales is not None:
            g.add(scale_by_expert, expert_of=r.expert_of, scales=scales.address, **shared)
        if biases is not None:
            g.add(add_expert_bias, expert_of=r.expert_of, bias=biases.address, **shared)
    return outs


def _products(
    layers: Layers, xs: list[Value], groups: Value, per_token: int, stacks: list[ExpertMatrices]
) -> list[Value]:
    g = layers.graph
    outs = [g.value(per_token * stack.shape[1]) for stack in stacks]
    for i, (stack, x, out) in enumerate(zip(stacks, xs, outs, strict=True)):
        _, rows, k = stack.shape
        layers.expert_matrices.append(stack)
        layers.multiplied(stack.format, interleaved=stack.interleaved)
        g.add(
            matmul_grouped(stack.format, interleaved=stack.interleaved),
            barrier=i == len(outs) - 1,
            tokens=g.batch.tokens,
            groups=groups,
            matrices=stack.addresses.ctypes.data,
            x=x,
            y=out,
            rows=rows,
            k=k,
            row_bytes=stack.format.row_bytes(k),
            scratch=g.scratch(SCRATCH_BYTES),
        )
    return outs


def combine(layers: Layers, x: Value, r: Routing) -> Value:
    """The weighted sum of each token's rows: x (tokens * used, width), sorted by expert -> (tokens, width)."""
    g, width = layers.graph, x.width // r.used
    out = g.value(width)
    g.add(
        combine_experts,
        tokens=g.batch.tokens,
        x=x,
        pair_of=r.pair_of,
        weights=r.weights,
        out=out,
        width=width,
        used=r.used,
    )
    return out


def weighted(layers: Layers, x: Value, r: Routing) -> Value:
    """x (tokens, width) times the weights of each token's only expert, a copy."""
    out = layers.columns(x, first=0, width=x.width)
    layers.graph.add(scale_rows, tokens=layers.graph.batch.tokens, x=out, factors=r.weights, width=x.width)
    return out


def in_order(layers: Layers, x: Value, r: Routing) -> Value:
    """Rows x (tokens, width) that are sorted by each token's only expert, in the order of tokens, without weights."""
    g, out = layers.graph, layers.graph.value(x.width)
    g.add(gather_rows, outputs=g.batch.tokens, rows=r.pair_of, x=x, out=out, width=x.width)
    return out


def scale_by_sigmoid(layers: Layers, x: Value, scores: Value) -> Value:
    """Each of n parts of x (tokens, width) times the sigmoid of its score, of scores (tokens, n), in place of `x`."""
    return scale_parts(layers, x, layers.sigmoid(scores))


def scale_parts(layers: Layers, x: Value, factors: Value) -> Value:
    """Each of n parts of x (tokens, width) times its factor, of factors (tokens, n), in place of `x`."""
    g, parts = layers.graph, factors.width
    rows = g.batch.tokens_times(parts) if parts > 1 else g.batch.tokens
    g.add(scale_rows, tokens=rows, x=x, factors=factors, width=x.width // parts)
    return layers.overwritten(x)
