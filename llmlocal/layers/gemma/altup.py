"""AltUp: four residual streams, of which a block computes one and corrects the others (Gemma 3n)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...ops.altup import STREAMS, altup_correct, altup_predict
from ...ops.elementwise import scale_columns
from ...ops.magnitude import match_magnitude
from ...quant.tensor import QTensor
from ...runtime.graph import Value
from .. import Layers
from ..decoder import norm
from ..hyperparameters import Hyperparameters
from ..weights import Weights


def spread(g: Layers, x: Value, projections: QTensor) -> list[Value]:
    """The streams that a token begins with: x (tokens, width), and x by each of 3 matrices (3, width, width)."""
    return [x, *(_projected(g, x, x, projections, i) for i in range(STREAMS - 1))]


def merged(g: Layers, streams: list[Value], projections: QTensor) -> Value:
    """The mean of the streams (tokens, width), all but the first by a matrix each: projections (3, width, width)."""
    first, *others = streams
    out = _projected(g, others[0], first, projections, 0)
    for i, x in enumerate(others[1:], 1):
        out = g.add(out, _projected(g, x, first, projections, i))
    return g.scale(g.add(out, first), 1 / STREAMS)


def _projected(g: Layers, x: Value, like: Value, projections: QTensor, i: int) -> Value:
    """x by one of the matrices, scaled to the magnitude of `like`."""
    rows = replace(projections, shape=(projections.rows, projections.k))
    out = g.linear(x, rows.part(i * x.width, (i + 1) * x.width))
    g.graph.add(match_magnitude, tokens=g.graph.rows_of(x), x=out, like=like, width=x.width)
    return g.overwritten(out)


def _modalities(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """tanh of a router's scores of x, (tokens, 4)."""
    scores = g.linear(norm(g, h, w, "altup_router_norm", x), w.matrix("altup_router.weight", STREAMS, h.width))
    return g.softcap(g.scale(scores, 1 / h.width), 1.0)


def predicted(g: Layers, h: Hyperparameters, w: Weights, streams: list[Value], active: int) -> list[Value]:
    """What a block expects of each stream: its mix with the others, by coefficients of the active one."""
    routed = _modalities(g, h, w, streams[active])
    coefficients = g.linear(routed, w.matrix("altup_predict_coef.weight", STREAMS * STREAMS, STREAMS))
    outs = [g.graph.value(h.width) for _ in streams]
    named = dict(zip("abcd", streams, strict=True))
    for i, out in enumerate(outs):
        shared: dict[str, Any] = {"width": h.width, "coefficients": coefficients, "stream": i} | named
        g.graph.add(altup_predict, barrier=i == STREAMS - 1, tokens=g.graph.batch.tokens, out=out, **shared)
    return outs


def corrected(
    g: Layers, h: Hyperparameters, w: Weights, predictions: list[Value], activated: Value, active: int
) -> list[Value]:
    """Each prediction plus its share of how far the block's output `activated` is from the active one."""
    routed = _modalities(g, h, w, activated)
    coefficients = g.linear(routed, w.matrix("altup_correct_coef.weight", STREAMS, STREAMS))
    outs = [g.graph.value(h.width) for _ in predictions]
    for i, (prediction, out) in enumerate(zip(predictions, outs, strict=True)):
        g.graph.add(
            altup_correct,
            barrier=i == STREAMS - 1,
            tokens=g.graph.batch.tokens,
            prediction=prediction,
            activated=activated,
            active=predictions[active],
            out=out,
            width=h.width,
            coefficients=coefficients,
            stream=i,
        )
    return outs


def scaled(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """x (tokens, width) times the block's scale of each column."""
    out, factors = g.graph.value(h.width), w.vector("altup_correct_scale.weight", h.width)
    tokens, width = g.graph.batch.tokens, h.width
    g.graph.add(scale_columns, tokens=tokens, x=x, out=out, factors=factors.address, width=width)
    return out
