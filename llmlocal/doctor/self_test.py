"""Every word of `layers`, and every format in those that read weights, on this machine, against what it means.

Random numbers go through a recorded program, as in a model, and are compared with NumPy in float64. Knows no
architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..layers import Layers
from ..layers.rope_scaling import Rotation
from ..ops.activations import swiglu_meaning
from ..ops.attention import attention_meaning
from ..ops.program import run_program
from ..ops.rms_norm import rms_norm_meaning
from ..ops.rope import rope_meaning, rope_table
from ..quant.format import BY_NAME, Format
from ..quant.formats import load_all
from ..quant.jit.kernel import Kernel
from ..quant.jit.linker import address_of
from ..quant.jit.parallel_compile import prepare
from ..quant.kernels.matmul import matmul_reference
from ..quant.kernels.q8_activations import BLOCK, q8_reference
from ..quant.tensor import QTensor
from ..runtime.graph import Graph, Step, Value
from ..runtime.kv_cache import KVCache

if TYPE_CHECKING:
    from ..runtime.executor import Team

Floats = NDArray[np.float32]
Word = Callable[[Layers, Value], Value]

TOKENS, ROWS, K = 11, 40, 512  # more than a panel of tokens and a tile of rows, with tails; two blocks of the longest
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 64
EPS = 1e-5
EXACT, NORMS = 1e-11, 1e-10  # normalized mean squared errors that are allowed
CACHES = {"f16": 1e-6, "q8_0": 3e-4}


@dataclass(frozen=True, slots=True)
class Trial:
    """A word on `x` (tokens, width), what it means (tokens, any width), and the error that is allowed.

    `weights` keeps alive what the word reads.
    """

    name: str
    word: Word
    x: Floats
    want: NDArray[np.float64]
    bound: float
    weights: list[QTensor] = field(default_factory=list)
    kv_type: str = "f16"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A trial that was run. `error` is a normalized mean squared error."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.error <= self.bound


class Recorded:
    """A trial as a program, whose kernels may not be compiled yet."""

    def __init__(self, trial: Trial) -> None:
        self.trial, tokens = trial, len(trial.x)
        self.step = step = Step(tokens, tokens)
        self.graph = Graph(step, 1)
        self.layers = Layers(self.graph, KVCache(tokens, 1, trial.kv_type))
        self.x = tensor("x", "F32", trial.x)
        self.out = trial.word(self.layers, self.layers.embed(self.x))

    @property
    def kernels(self) -> list[Kernel]:
        return self.graph.kernels

    def run(self, team: Team) -> Outcome:
        """Compile what is missing, run, compare."""
        step, tokens = self.step, len(self.trial.x)
        step.count(tokens, tokens)
        step.ids[:] = step.positions[:] = step.cells[:] = step.output_rows[:] = np.arange(tokens)
        for table in self.layers.tables:
            table.fill(step.positions)
        self.graph.keep(self.out)
        team.run(self.graph.finish())
        assert self.out.kept is not None
        got = self.out.kept.view(np.float32).reshape(tokens, -1).astype(np.float64)
        want = self.trial.want
        error = float(((got - want) ** 2).sum() / ((want**2).sum() or 1.0))
        return Outcome(self.trial.name, error, self.trial.bound)


def self_test(processes: int) -> Iterator[Outcome]:
    """All trials, after their kernels were compiled, `processes` at a time, where the cache does not hold them."""
    from ..runtime.executor import Team

    recorded = [Recorded(trial) for trial in trials()]
    warm_up(recorded, processes)
    team = Team(1)
    try:
        for one in recorded:
            yield one.run(team)
    finally:
        team.close()


def warm_up(recorded: list[Recorded] | None = None, processes: int = 1) -> int:
    """Compile the kernels of all trials, of all formats, that the cache does not hold; how many kernels there are."""
    recorded = [Recorded(trial) for trial in trials()] if recorded is None else recorded
    kernels = list(dict.fromkeys([run_program, *(k for one in recorded for k in one.kernels)]))
    prepare(kernels, processes)
    for kernel in kernels:
        address_of(kernel)
    return len(kernels)


def trials() -> Iterator[Trial]:
    """Everything that `doctor` runs; a new format is among it by existing."""
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
        swiglu_meaning(g, u),
        NORMS,
        [gate, up],
    )
    yield Trial(
        "add", lambda layers, v: layers.add(layers.outputs(v), layers.outputs(v)), x, 2 * x.astype(np.float64), EXACT
    )


def format_trials(fmt: type[Format]) -> Iterator[Trial]:
    """Embedding rows, and products with a bias of one token and of a batch."""
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
    want = rms_norm_meaning(x.astype(np.float64), weight.dequantize()[0].astype(np.float64), EPS)
    return Trial("norm", lambda layers, v: layers.norm(v, vector, EPS), x, want, NORMS, [vector])


def rope_trial(interleaved: bool) -> Trial:
    x, rotation = normal(TOKENS, HEADS * HEAD_DIM), Rotation(10000.0 ** -np.linspace(0, 1, HEAD_DIM // 2), 1.0)
    table = rope_table(np.arange(TOKENS), rotation.frequencies, 1.0, interleaved)

    def word(layers: Layers, v: Value) -> Value:
        layers.turn(layers.rope(rotation, interleaved=interleaved), v, head_dim=HEAD_DIM)
        return v

    want = rope_meaning(x.astype(np.float64).reshape(TOKENS, HEADS, HEAD_DIM), table.astype(np.float64), interleaved)
    return Trial(f"rope of {'neighbours' if interleaved else 'halves'}", word, x, want.reshape(TOKENS, -1), NORMS)


def attention_trial(kv_type: str, bound: float) -> Trial:
    x, sizes = normal(TOKENS, K), (HEADS, KV_HEADS, KV_HEADS)
    weights = [random_tensor("F32", n * HEAD_DIM, K, 5 + i) for i, n in enumerate(sizes)]

    def word(layers: Layers, v: Value) -> Value:
        q, k, values = layers.linears(v, *((w, None) for w in weights))
        return layers.attention(q, k, values, head_dim=HEAD_DIM, scale=HEAD_DIM**-0.5)

    q, k, values = (
        matmul_reference(w.dequantize(), x).reshape(TOKENS, n, HEAD_DIM) for w, n in zip(weights, sizes, strict=True)
    )
    want = attention_meaning(q, k, values).reshape(TOKENS, -1)
    return Trial(f"attention over {kv_type}", word, x, want, bound, weights, kv_type)


def normal(*shape: int) -> Floats:
    return np.random.default_rng(shape[0]).normal(size=shape).astype(np.float32)


def rounded(x: Floats) -> Floats:
    """`x` as products of bytes read it."""
    q, scale = q8_reference(x)
    return q.astype(np.float32) * np.repeat(scale, BLOCK, axis=-1)


def random_tensor(name: str, rows: int, k: int, seed: int) -> QTensor:
    """Weights of about unit variance over sqrt(k): random numbers, or random blocks that hold such."""
    fmt, rng = BY_NAME[name], np.random.default_rng(seed)
    if fmt.block == 1:
        return tensor(name, name, (rng.normal(size=(rows, k)) / np.sqrt(k)).astype(np.float32))
    pool = rng.integers(0, 256, (4096, fmt.nbytes), np.uint8)
    with np.errstate(all="ignore"):
        size = np.sqrt((fmt.dequantize(pool).astype(np.float64) ** 2).mean(axis=1))
        near = np.argsort(np.abs(np.log(size * np.sqrt(k))))[:64]  # those that are not finite come last
    blocks = pool[rng.choice(near, rows * k // fmt.block)]
    return QTensor(name, fmt, (rows, k), np.ascontiguousarray(blocks).data.cast("B"))


def tensor(label: str, name: str, values: Floats) -> QTensor:
    data = np.ascontiguousarray(BY_NAME[name].quantize(values))
    return QTensor(label, BY_NAME[name], values.shape, data.data.cast("B"))
