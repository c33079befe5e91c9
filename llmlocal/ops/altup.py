"""Alternating updates of four residual streams (AltUp). Baykal et al. 2023, arXiv 2301.13310."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STREAMS = 4


def altup_predict_reference(streams: Sequence[Floats], coefficients: Floats, stream: int) -> Floats:
    """Prediction of one of the streams, each (tokens, width): itself + the sum of all, by its row of coefficients.

    Coefficients are (tokens, 4, 4).
    """
    mixed: Floats = streams[stream] + sum(coefficients[:, stream, i, None] * x for i, x in enumerate(streams))
    return mixed


@kernel("tokens a b c d out width coefficients stream", pieces="tokens")
def altup_predict(v: InstructionSet) -> Any:
    """out = altup_predict_reference((a, b, c, d), ...): streams (tokens, width), coefficients (tokens, 16), float32."""
    f32x8, lane = v.f32x8, v.slice_of(0, 1)

    def run(counter, ith, nth, tokens, a, b, c, d, out, width, coefficients, stream):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            at, own = 4 * width * t, coefficients + 64 * t + 16 * stream
            base = (a if stream == 0 else b if stream == 1 else c if stream == 2 else d) + at
            first, second = v.load_f32(own), v.load_f32(own + 4)
            third, fourth = v.load_f32(own + 8), v.load_f32(own + 12)
            for i in range(0, width - 7, 8):
                p = at + 4 * i
                low = v.load(f32x8, a + p) * first + v.load(f32x8, b + p) * second
                high = v.load(f32x8, c + p) * third + v.load(f32x8, d + p) * fourth
                v.store(out + p, v.load(f32x8, base + 4 * i) + (low + high))
            for i in range(width // 8 * 8, width):
                p = at + 4 * i
                low = v.splat(f32x8, v.load_f32(a + p)) * first + v.splat(f32x8, v.load_f32(b + p)) * second
                high = v.splat(f32x8, v.load_f32(c + p)) * third + v.splat(f32x8, v.load_f32(d + p)) * fourth
                v.store(out + p, lane(v.splat(f32x8, v.load_f32(base + 4 * i)) + (low + high)))
            t = v.take_work(counter, 1)

    return run


def altup_correct_reference(prediction: Floats, activated: Floats, active: Floats, coefficients: Floats) -> Floats:
    """prediction + (activated - active) * (1 + coefficients), all (tokens, width) but the coefficients (tokens,)."""
    corrected: Floats = prediction + (activated - active) * (1 + coefficients[:, None])
    return corrected


@kernel("tokens prediction activated active out width coefficients stream", pieces="tokens")
def altup_correct(v: InstructionSet) -> Any:
    """out = altup_correct_reference(...), with column `stream` of the coefficients (tokens, 4), float32."""
    f32x8 = v.f32x8

    def run(counter, ith, nth, tokens, prediction, activated, active, out, width, coefficients, stream):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            at, by = 4 * width * t, v.load_f32(coefficients + 16 * t + 4 * stream) + v.float32(1)
            for i in range(0, width - 7, 8):
                p = at + 4 * i
                step = (v.load(f32x8, activated + p) - v.load(f32x8, active + p)) * by
                v.store(out + p, v.load(f32x8, prediction + p) + step)
            for i in range(width // 8 * 8, width):
                p = at + 4 * i
                step = (v.load_f32(activated + p) - v.load_f32(active + p)) * by
                v.store(out + p, v.load_f32(prediction + p) + step)
            t = v.take_work(counter, 1)

    return run
