"""The words of mixtures of experts: choose, group by expert, multiply, mix. Each records kernels, as in `layers`.

Rows of a batch that were grouped by expert are (tokens * used, width): a value of `used * width` numbers a token.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ops.activations import sigmoid
from ..ops.elementwise import scale_rows
from ..ops.gather_rows import select
from ..ops.topk_router import add_own_bias, group, groups_bytes, mix, route
from ..quant.blocks.parts import float_activations
from ..quant.kernels.matmul import SCRATCH_BYTES
from ..quant.kernels.matmul_grouped import matmul_grouped
from ..quant.kernels.q8_activations import q8_bytes
from ..quant.tensor import QTensor
from ..runtime.graph import Graph, Value

Stack = tuple[QTensor, QTensor | None]  # matrices (experts, rows, k), biases (experts, rows)


@dataclass(frozen=True, slots=True)
class Routing:
    """Who reads what: weights and places (tokens, used) of the choices; of each sorted pair its token and expert."""

    used: int
    weights: Value
    groups: Value
    source: Value
    owner: Value
    place: Value


def choose(g: Graph, scores: Value, used: int, *, renormed: bool, factor: float) -> Routing:
    """The `used` best experts of scores (tokens, experts), which are used up; weights by `ops.route`."""
    experts, tokens = scores.width, g.step.tokens
    chosen, weights = g.integers(used), g.value(used)
    g.add(
        route,
        tokens=tokens,
        scores=scores,
        chosen=chosen,
        weights=weights,
        experts=experts,
        used=used,
        renormed=int(renormed),
        factor=float(factor),
    )
    source, owner, place = (g.integers(used) for _ in range(3))
    groups = Value(1, groups_bytes(experts))
    g.add(
        group,
        tokens=tokens,
        chosen=chosen,
        groups=groups,
        source=source,
        owner=owner,
        place=place,
        experts=experts,
        used=used,
    )
    return Routing(used, weights, groups, source, owner, place)


def experts_of_tokens(g: Graph, x: Value, r: Routing, *stacks: Stack) -> list[Value]:
    """Products of each token of `x` (tokens, k) with the matrices that it chose, of several stacks."""
    if g.watcher:
        g.watcher.experts(g, x, r.groups, r.source, [stack for stack, _ in stacks])
    rows: dict[bool, Value] = {}
    for floats in sorted({float_activations(stack.format) for stack, _ in stacks}):
        row_bytes = 4 * x.width if floats else q8_bytes(x.width)
        rows[floats] = Value(r.used * x.width, r.used * row_bytes * g.step.ubatch)
        source, out = x if floats else g.q8(x), rows[floats]
        g.add(select, outputs=g.step.times(r.used), rows=r.source, x=source, out=out, width=row_bytes // 4)
    return _products(g, [rows[float_activations(stack.format)] for stack, _ in stacks], r, stacks)


def experts_of_pairs(g: Graph, x: Value, r: Routing, stack: Stack) -> Value:
    """Products of rows that are already grouped."""
    if g.watcher:
        g.watcher.experts(g, x, r.groups, None, [stack[0]])
    rows = x if float_activations(stack[0].format) else g.q8(x, r.used)
    return _products(g, [rows], r, (stack,))[0]


def _products(g: Graph, xs: list[Value], r: Routing, stacks: tuple[Stack, ...]) -> list[Value]:
    outs = [g.value(r.used * stack.shape[1]) for stack, _ in stacks]
    for i, ((stack, _), x, out) in enumerate(zip(stacks, xs, outs, strict=True)):
        _, rows, k = stack.shape
        row_bytes = stack.format.row_bytes(k)
        g.add(
            matmul_grouped(stack.format),
            meet=i == len(outs) - 1,
            tokens=g.step.tokens,
            groups=r.groups,
            weights=stack.address,
            matrix_bytes=rows * row_bytes,
            x=x,
            y=out,
            rows=rows,
            k=k,
            row_bytes=row_bytes,
            scratch=g.scratch(SCRATCH_BYTES),
        )
    for (stack, bias), out in zip(stacks, outs, strict=True):
        if bias is not None:
            pairs, width = g.step.times(r.used), stack.shape[1]
            g.add(add_own_bias, pairs=pairs, x=out, owner=r.owner, bias=bias.address, width=width)
    return outs


def mixed(g: Graph, x: Value, r: Routing) -> Value:
    """The weighted sum of each token's grouped rows."""
    width = x.width // r.used
    out = g.value(width)
    g.add(mix, tokens=g.step.tokens, x=x, place=r.place, weights=r.weights, out=out, width=width, used=r.used)
    return out


def sigmoid_scaled(g: Graph, x: Value, score: Value) -> Value:
    """Each token of `x` times the sigmoid of its `score` (tokens, 1), in the place of `x`."""
    g.add(sigmoid, tokens=g.step.tokens, x=score, out=score, width=1)
    g.add(scale_rows, tokens=g.step.tokens, x=x, factors=score, width=x.width)
    return g.changed(x)
