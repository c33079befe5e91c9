"""Checks kernels on this machine: each layer, and each format in the layers that read weights.

Random numbers go through a recorded program, as in a model, and the results are compared with NumPy in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..layers import Layers
from ..layers.rope_scaling import unscaled_rope
from ..ops.activations import swiglu_reference
from ..ops.attention import attention_reference
from ..ops.program import run_program
from ..ops.rms_norm import rms_norm_reference
from ..ops.rope import rope_reference, rope_table
from ..ops.top_candidates import top_candidates
from ..quant.format import BY_NAME, Format
from ..quant.formats import load_all
from ..quant.jit.kernel import Kernel
from ..quant.jit.linker import address_of
from ..quant.jit.parallel_compile import prepare
from ..quant.kernels.matmul import matmul_reference
from ..quant.kernels.q8_activations import BLOCK, q8_reference
from ..quant.tensor import QTensor
from ..runtime.batch import Batch
from ..runtime.graph import Graph, Value
from ..runtime.kv_cache import KVCache

if TYPE_CHECKING:
    from ..runtime.executor import ThreadTeam

Floats = NDArray[np.float32]
Layer = Callable[[Layers, Value], Value]

TOKENS, ROWS, K = 11, 40, 512  # more than a panel of tokens and a tile of rows, with tails; two blocks of the longest
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 64
EPS = 1e-5
EXACT, NORMS = 1e-11, 1e-10  # normalized mean squared errors that are allowed
CACHES = {"f16": 1e-6, "q8_0": 3e-4}


@dataclass(frozen=True, slots=True)
class Trial:
    """A layer, its input `x` (tokens, width), the expected output (tokens, any width), and the error that is allowed.

    `weights` keeps alive the tensors that the layer reads.
    """

    name: str
    layer: Layer
    x: Floats
    want: NDArray[np.float64]
    bound: float
    weights: list[QTensor] = field(default_factory=list)
    kv_type: str = "f16"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a trial; `error` is a normalized mean squared error."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.error <= self.bound


class Recorded:
    """A trial, recorded as a graph; its kernels may not be compiled yet."""

    def __init__(self, trial: Trial) -> None:
        self.trial, tokens = trial, len(trial.x)
        self.batch = Batch(tokens, tokens)
        self.graph = Graph(self.batch, 1)
        self.layers = Layers(self.graph, KVCache(tokens, 1, trial.kv_type))
        self.x = tensor("x", "F32", trial.x)
        self.out = trial.layer(self.layers, self.layers.embed(self.x))

    @property
    def kernels(self) -> list[Kernel]:
        return self.graph.kernels

    def run(self, team: ThreadTeam) -> Outcome:
        """Compile missing kernels, run, and compare with the expected output."""
        batch, tokens = self.batch, len(self.trial.x)
        batch.resize(tokens, tokens)
        batch.ids[:] = batch.positions[:] = batch.cells[:] = batch.output_rows[:] = np.arange(tokens)
        for table in self.layers.tables:
            table.fill(batch.positions)
        self.graph.keep(self.out)
        team.run(self.graph.finish())
        assert self.out.kept is not None
        got = self.out.kept.view(np.float32).reshape(tokens, -1).astype(np.float64)
        want = self.trial.want
        error = float(((got - want) ** 2).sum() / ((want**2).sum() or 1.0))
        return Outcome(self.trial.name, error, self.trial.bound)


def self_test(processes: int) -> Iterator[Outcome]:
    """Run all trials, after compiling missing kernels with `processes` processes."""
    from ..runtime.executor import ThreadTeam

    recorded = [Recorded(trial) for trial in trials()]
    warm_up(recorded, processes)
    team = ThreadTeam(1)
    try:
        for one in recorded:
            yield one.run(team)
    finally:
        team.close()


def warm_up(recorded: list[Recorded] | None = None, processes: int = 1) -> int:
    """Compile the kernels of all trials that are not in the cache, with `processes` processes.

    Returns the number of kernels.
    """
    recorded = [Recorded(trial) for trial in trials()] if recorded is None else recorded
    kernels = list(dict.fromkeys([run_program, top_candidates, *(k for one in recorded for k in one.kernels)]))
    prepare(kernels, processes)
    for kernel in kernels:
        address_of(kernel)
    return len(kernels)


def trials() -> Iterator[Trial]:
    """All trials of `doctor`; they cover every registered format."""
    load_all()
    for name in sorted(name for name, fmt in BY_NAME.items() if fmt.activations):
        yield from format_trials(BY_NAME[name])
    yield norm_trial()
    yield from (rope_trial(interleaved) for interleaved in (False, True))
    yield from (attention_trial(*kind) for kind in CACHES.items())
    x, gate, up = normal(TOKENS, K), random_tensor("F32", ROWS, K, 1), random_tensor("F32", ROWS, K, 2)
    g, u = (matmul_reference(w.dequantize(), x) for w in (gate, up))
    yield Trial(
        "swiglu",
        lambda layers, v: layers.swiglu(*layers.linears(v, (gate, None), (up, None))),
        x,
        swiglu_reference(g, u),
        NORMS,
        [gate, up],
    )
    yield Trial(
        "add", lambda layers, v: layers.add(layers.outputs(v), layers.outputs(v)), x, 2 * x.astype(np.float64), EXACT
    )


def format_trials(fmt: type[Format]) -> Iterator[Trial]:
    """The embedding, and linear layers with a bias for one token and for a batch."""
    weight = random_tensor(fmt.name, ROWS, K, 0)
    values, bias = weight.dequantize(), random_tensor("F32", 1, ROWS, 3)
    vector = QTensor("bias", bias.format, (ROWS,), bias.data)
    exact = values.astype(np.float64)
    ids = normal(TOKENS, K)
    yield Trial(f"rows of {fmt.name}", lambda layers, v: layers.embed(weight), ids, exact[:TOKENS], EXACT, [weight])
    for tokens in (1, TOKENS):
        x = normal(tokens, K)
        want = matmul_reference(values, x if fmt.activations == "f32" else rounded(x)) + bias.dequantize().astype(
            np.float64
        )
        name = f"{fmt.name} times {'a token' if tokens == 1 else 'a batch'}"
        yield Trial(name, lambda layers, v: layers.linear(v, weight, vector), x, want, EXACT, [weight, vector])


def norm_trial() -> Trial:
    x, weight = normal(TOKENS, K), random_tensor("F32", 1, K, 4)
    vector = QTensor("norm", weight.format, (K,), weight.data)
    want = rms_norm_reference(x.astype(np.float64), weight.dequantize()[0].astype(np.float64), EPS)
    return Trial("norm", lambda layers, v: layers.norm(v, vector, EPS), x, want, NORMS, [vector])


def rope_trial(interleaved: bool) -> Trial:
    x, parameters = normal(TOKENS, HEADS * HEAD_DIM), unscaled_rope(HEAD_DIM, 10000.0)
    table = rope_table(np.arange(TOKENS), parameters.frequencies, 1.0, interleaved)

    def layer(layers: Layers, v: Value) -> Value:
        layers.apply_rope(layers.rope(parameters, interleaved=interleaved), v, head_dim=HEAD_DIM)
        return v

    want = rope_reference(x.astype(np.float64).reshape(TOKENS, HEADS, HEAD_DIM), table.astype(np.float64), interleaved)
    return Trial(f"rope, {'interleaved' if interleaved else 'NeoX'}", layer, x, want.reshape(TOKENS, -1), NORMS)


def attention_trial(kv_type: str, bound: float) -> Trial:
    x, sizes = normal(TOKENS, K), (HEADS, KV_HEADS, KV_HEADS)
    weights = [random_tensor("F32", n * HEAD_DIM, K, 5 + i) for i, n in enumerate(sizes)]

    def layer(layers: Layers, v: Value) -> Value:
        q, k, values = layers.linears(v, *((w, None) for w in weights))
        return layers.attention(q, k, values, head_dim=HEAD_DIM, scale=HEAD_DIM**-0.5)

    q, k, values = (
        matmul_reference(w.dequantize(), x).reshape(TOKENS, n, HEAD_DIM) for w, n in zip(weights, sizes, strict=True)
    )
    want = attention_reference(q, k, values).reshape(TOKENS, -1)
    return Trial(f"attention over {kv_type}", layer, x, want, bound, weights, kv_type)


def normal(*shape: int) -> Floats:
    return np.random.default_rng(shape[0]).normal(size=shape).astype(np.float32)


def rounded(x: Floats) -> Floats:
    """`x` after quantization to Q8 records."""
    q, scale = q8_reference(x)
    return q.astype(np.float32) * np.repeat(scale, BLOCK, axis=-1)


def random_tensor(name: str, rows: int, k: int, seed: int) -> QTensor:
    """Weights (rows, k) of a standard deviation of about 1 / sqrt(k): random numbers, or random blocks of that size."""
    fmt, rng = BY_NAME[name], np.random.default_rng(seed)
    if fmt.block == 1:
        return tensor(name, name, (rng.normal(size=(rows, k)) / np.sqrt(k)).astype(np.float32))
    pool = rng.integers(0, 256, (4096, fmt.nbytes), np.uint8)
    with np.errstate(all="ignore"):
        size = np.sqrt((fmt.dequantize(pool).astype(np.float64) ** 2).mean(axis=1))
        near = np.argsort(np.abs(np.log(size * np.sqrt(k))))[:64]  # blocks that are not finite are sorted to the end
    blocks = pool[rng.choice(near, rows * k // fmt.block)]
    return QTensor(name, fmt, (rows, k), np.ascontiguousarray(blocks).data.cast("B"))


def tensor(label: str, name: str, values: Floats) -> QTensor:
    data = np.ascontiguousarray(BY_NAME[name].quantize(values))
    return QTensor(label, BY_NAME[name], values.shape, data.data.cast("B"))
