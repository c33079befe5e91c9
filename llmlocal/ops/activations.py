"""Activation functions: SwiGLU, its clamped form, GeGLU, GELU by tanh, ReLU and its square, tanh, sigmoid, softplus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet
from .elementwise import elementwise, rowwise
from .exp import exp, exp_of_minus
from .exp import softplus as softplus_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALPHA, LIMIT = 1.702, 7.0  # of clamped SwiGLU in gpt-oss
CUBIC, SLOPE = 0.044715, 1.5957691216057308  # of GELU's tanh approximation; the second is 2 sqrt(2 / pi)


def sigmoid_reference(x: Floats) -> Floats:
    """1 / (1 + e^-x)."""
    import numpy as np

    with np.errstate(over="ignore"):
        out: Floats = 1 / (1 + np.exp(-x))
    return out


def swiglu_reference(gate: Floats, up: Floats) -> Floats:
    """silu(gate) * up. Shazeer 2020, arXiv 2002.05202."""
    return gate * sigmoid_reference(gate) * up


def swiglu_clamped_reference(gate: Floats, up: Floats) -> Floats:
    """gate sigmoid(1.702 gate) (up + 1), with gate <= 7 and -7 <= up <= 7. OpenAI 2025, arXiv 2508.10925."""
    import numpy as np

    gate, up = np.minimum(gate, LIMIT), np.clip(up, -LIMIT, LIMIT)
    return gate * sigmoid_reference(ALPHA * gate) * (up + 1)


def gelu_reference(x: Floats) -> Floats:
    """x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). Hendrycks and Gimpel 2016, arXiv 1606.08415."""
    return x * sigmoid_reference(SLOPE * (x + CUBIC * x * x * x))


def relu_reference(x: Floats) -> Floats:
    """max(x, 0)."""
    import numpy as np

    out: Floats = np.maximum(x, 0)
    return out


def relu_squared_reference(x: Floats) -> Floats:
    """max(x, 0)^2. So et al. 2021, arXiv 2109.08668."""
    import numpy as np

    out: Floats = np.maximum(x, 0) ** 2
    return out


def tanh_reference(x: Floats) -> Floats:
    """Hyperbolic tangent."""
    import numpy as np

    out: Floats = np.tanh(x)
    return out


def softplus_reference(x: Floats) -> Floats:
    """ln(1 + e^x)."""
    import numpy as np

    out: Floats = np.logaddexp(0, x)
    return out


def sigmoid_gate_reference(gate: Floats, up: Floats) -> Floats:
    """sigmoid(gate) * up: the output gate of attention. Qiu et al. 2025, arXiv 2505.06708."""
    return sigmoid_reference(gate) * up


def geglu_reference(gate: Floats, up: Floats) -> Floats:
    """gelu(gate) * up. Shazeer 2020, arXiv 2002.05202."""
    return gelu_reference(gate) * up


def sigmoid_of(v: InstructionSet) -> Any:
    """`(x, y)`: x * sigmoid(y) of f32x8."""
    power = exp_of_minus(v, v.f32x8, v.i32x8)
    return v.jitable(lambda x, y: x / (power(y) + 1.0))


def _gelu_of(v: InstructionSet) -> Any:
    gated = sigmoid_of(v)
    return v.jitable(lambda x: gated(x, (x * x * x * CUBIC + x) * SLOPE))


def _gate(v: InstructionSet, eight: Any) -> Any:
    """The kernel's body: out = eight(gate, up), where `eight` maps f32x8."""
    f32x8, float32, eight, lane = v.f32x8, v.float32, v.jitable(eight), v.slice_of(0, 1)

    @v.jitable
    def one(g, u):
        return v.reduce_add(lane(eight(v.splat(f32x8, float32(g)), v.splat(f32x8, float32(u)))))

    return rowwise(v, elementwise(v, eight, one))


@kernel("tokens gate up out width", pieces="tokens")
def swiglu(v: InstructionSet) -> Any:
    """out = silu(gate) * up, all (tokens, width) float32; out may be gate."""
    gated = sigmoid_of(v)
    return _gate(v, lambda g, u: gated(g, g) * u)


@kernel("tokens gate up out width", pieces="tokens")
def swiglu_clamped(v: InstructionSet) -> Any:
    """out = swiglu_clamped_reference(gate, up), as `swiglu`."""
    f32x8, gated = v.f32x8, sigmoid_of(v)

    def eight(g, u):
        g = v.minimum(g, v.splat(f32x8, LIMIT))
        u = v.minimum(v.maximum(u, v.splat(f32x8, -LIMIT)), v.splat(f32x8, LIMIT))
        return gated(g, g * ALPHA) * (u + 1.0)

    return _gate(v, eight)


@kernel("tokens gate up out width", pieces="tokens")
def geglu(v: InstructionSet) -> Any:
    """out = gelu(gate) * up, as `swiglu`."""
    gelu_of = _gelu_of(v)
    return _gate(v, lambda g, u: gelu_of(g) * u)


@kernel("tokens gate up out width", pieces="tokens")
def sigmoid_gate(v: InstructionSet) -> Any:
    """out = sigmoid(gate) * up, as `swiglu`."""
    gated = sigmoid_of(v)
    return _gate(v, lambda g, u: gated(u, g))


def _unary(v: InstructionSet, eight: Any) -> Any:
    """The kernel's body: out = eight(x), where `eight` maps f32x8."""
    body = v.jitable(_gate(v, lambda x, same: eight(x)))

    def run(counter, ith, nth, tokens, x, out, width):
        body(counter, ith, nth, tokens, x, x, out, width)

    return run


@kernel("tokens x out width", pieces="tokens")
def gelu(v: InstructionSet) -> Any:
    """out = gelu(x), both (tokens, width) float32; out may be x."""
    return _unary(v, _gelu_of(v))


@kernel("tokens x out width", pieces="tokens")
def relu(v: InstructionSet) -> Any:
    """out = max(x, 0), as `gelu`."""
    f32x8 = v.f32x8
    return _unary(v, v.jitable(lambda x: v.maximum(x, v.zero(f32x8))))


@kernel("tokens x out width", pieces="tokens")
def relu_squared(v: InstructionSet) -> Any:
    """out = max(x, 0)^2, as `gelu`."""
    f32x8 = v.f32x8

    def eight(x):
        positive = v.maximum(x, v.zero(f32x8))
        return positive * positive

    return _unary(v, v.jitable(eight))


@kernel("tokens x out width", pieces="tokens")
def tanh(v: InstructionSet) -> Any:
    """out = tanh(x), as `gelu`."""
    f32x8, power = v.f32x8, exp(v, v.f32x8, v.i32x8)
    return _unary(v, v.jitable(lambda x: v.splat(f32x8, 1.0) - v.splat(f32x8, 2.0) / (power(x * 2.0) + 1.0)))


@kernel("tokens x out width", pieces="tokens")
def sigmoid(v: InstructionSet) -> Any:
    """out = 1 / (1 + e^-x), as `gelu`."""
    f32x8, gated = v.f32x8, sigmoid_of(v)
    return _unary(v, v.jitable(lambda x: gated(v.splat(f32x8, 1.0), x)))


@kernel("tokens x out width", pieces="tokens")
def softplus(v: InstructionSet) -> Any:
    """out = ln(1 + e^x), as `gelu`."""
    return _unary(v, softplus_of(v, v.f32x8, v.i32x8))
