"""How tests run a kernel and measure an error, and what a llama model means: NumPy in float64, nothing clever."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from threading import Thread
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from llmlocal.gguf.reader import GGUFFile
from llmlocal.quant.format import Format
from llmlocal.quant.jit.kernel import CALL, Kernel
from llmlocal.quant.jit.linker import address_of

Floats = NDArray[np.float64]
Array = NDArray[Any]


def run(kernel: Kernel, isa: str | None = None, threads: int = 1, **operands: Array | float) -> None:
    """Run a kernel on arrays, counts and floats, on `threads` Python threads at once."""
    fields = {k: x.ctypes.data if isinstance(x, np.ndarray) else x for k, x in operands.items()}
    block = np.array(kernel.block(**fields), np.int64)
    call = CALL(address_of(kernel, isa))
    team = [Thread(target=call, args=(block.ctypes.data, i, threads)) for i in range(1, threads)]
    for thread in team:
        thread.start()
    call(block.ctypes.data, 0, threads)
    for thread in team:
        thread.join()


def number(n: int) -> NDArray[np.int64]:
    """A count that a kernel reads from memory."""
    return np.array([n], np.int64)


def nmse(got: Array, want: Array) -> float:
    """Squared error relative to the squares of what is wanted; where all of that is 0, the squared error."""
    error = ((got.astype(np.float64) - want) ** 2).sum()
    return float(error / ((want.astype(np.float64) ** 2).sum() or 1.0))


def encoded(fmt: type[Format], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Rows of blocks with these values; random ones of their size where it has no quantizer, or a slow one."""
    if not fmt.name.startswith(("IQ1", "IQ2", "IQ3")):
        with suppress(NotImplementedError):
            return fmt.quantize(values)
    return random_blocks(fmt, values.shape, float(values.std()))


def random_blocks(fmt: type[Format], shape: tuple[int, ...], std: float) -> NDArray[np.uint8]:
    """Blocks of random bytes, chosen from many for values of about the size wanted."""
    rng = np.random.default_rng(shape[-1])
    chosen = rng.choice(_pool(fmt, std), math.prod(shape) // fmt.block)
    return chosen.reshape(*shape[:-1], fmt.row_bytes(shape[-1]))


@cache
def _pool(fmt: type[Format], std: float) -> NDArray[np.uint8]:
    data = np.random.default_rng(0).integers(0, 256, (1 << 13, fmt.nbytes), np.uint8)
    with np.errstate(all="ignore"):
        values = fmt.dequantize(data).astype(np.float64)
        distance = np.abs(np.log(np.sqrt((values * values).mean(axis=1)) / std))
    return data[np.argsort(distance)[:64]]  # NaN comes last


@dataclass(frozen=True)
class Llama:
    """Hyper-parameters, frequencies and dequantized tensors of an open file."""

    CACHE: ClassVar[type] = np.float16

    tensors: Mapping[str, Floats]
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    frequencies: Floats
    rope_scale: float

    @classmethod
    def of(cls, gguf: GGUFFile) -> Llama:
        m = {k.removeprefix("llama."): v for k, v in gguf.metadata.items()}
        tensors = {name: t.dequantize().astype(np.float64) for name, t in gguf.tensors.items()}
        heads = m["attention.head_count"]
        head_dim = m.get("attention.key_length", m["embedding_length"] // heads)
        turned = m.get("rope.dimension_count", head_dim)
        return cls(
            tensors,
            m["block_count"],
            heads,
            m.get("attention.head_count_kv", heads),
            head_dim,
            m["attention.layer_norm_rms_epsilon"],
            *rotation(m, turned, tensors.get("rope_freqs.weight", np.ones(turned // 2))),
        )

    def logits(self, ids: Sequence[int], cache: type | None = None) -> Floats:
        """Logits after every token, (tokens, vocab); keys and values are rounded to the `cache` type, or CACHE."""
        w, cache = self.tensors, cache or self.CACHE
        x = w["token_embd.weight"][list(ids)]
        for i in range(self.layers):
            block = {k.removeprefix(f"blk.{i}."): t for k, t in w.items() if k.startswith(f"blk.{i}.")}
            x = x + self._attention(block, x, cache)
            x = x + self._feed_forward(block, x)
        x = self._norm(x, w["output_norm.weight"])
        out: Floats = x @ w.get("output.weight", w["token_embd.weight"]).T
        return out

    def _norm(self, x: Floats, weight: Floats) -> Floats:
        normed: Floats = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * weight
        return normed

    def _attention(self, w: Mapping[str, Floats], x: Floats, cache: type) -> Floats:
        x = self._norm(x, w["attn_norm.weight"])
        q, k, v = (linear(w, n, x).reshape(len(x), -1, self.head_dim) for n in ("attn_q", "attn_k", "attn_v"))
        q, k = (turn_neighbours(a, self.frequencies, self.rope_scale) for a in (q, k))
        k, v = (a.astype(cache).astype(np.float64) for a in (k, v))
        out = np.zeros_like(q)
        for head in range(self.heads):
            shared = head * self.kv_heads // self.heads
            for t in range(len(x)):
                scores = k[: t + 1, shared] @ q[t, head] / math.sqrt(self.head_dim)
                weights = np.exp(scores - scores.max())
                out[t, head] = weights @ v[: t + 1, shared] / weights.sum()
        return linear(w, "attn_output", out.reshape(len(x), -1))

    def _feed_forward(self, w: Mapping[str, Floats], x: Floats) -> Floats:
        x = self._norm(x, w["ffn_norm.weight"])
        gate = linear(w, "ffn_gate", x)
        return linear(w, "ffn_down", gate / (1 + np.exp(-gate)) * linear(w, "ffn_up", x))


def linear(w: Mapping[str, Floats], name: str, x: Floats) -> Floats:
    out: Floats = x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)
    return out


def turn_neighbours(x: Floats, frequencies: Floats, scale: float = 1.0) -> Floats:
    """x (tokens, heads, head_dim) at positions 0, 1, ...: values 2 i and 2 i + 1 are a complex number that turns."""
    turned = 2 * len(frequencies)
    turns = scale * np.exp(1j * np.arange(len(x))[:, None] * frequencies)[:, None]
    pairs = np.ascontiguousarray(x[..., :turned]).view(np.complex128) * turns
    return np.concatenate([pairs.view(np.float64), x[..., turned:]], axis=-1)


def rotation(m: Mapping[str, Any], turned: int, divisors: Floats) -> tuple[Floats, float]:
    """Angle per position of every pair, and the factor of the turned values, as llama.cpp computes them."""
    base, factor = m.get("rope.freq_base", 10000.0), m.get("rope.scaling.factor", 1.0)
    kind, scale = m.get("rope.scaling.type", "linear"), m.get("rope.scaling.attn_factor", 1.0)
    plain = [base ** (-2 * i / turned) / divisors[i] for i in range(turned // 2)]
    if kind == "none":
        return np.array(plain), scale
    if kind == "linear":
        return np.array(plain) / factor, scale
    original = m.get("rope.scaling.original_context_length", m["context_length"])

    def pair(turns: float) -> float:
        return turned * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(0, math.floor(pair(m.get("rope.scaling.yarn_beta_fast", 32.0))))
    high = min(turned - 1, math.ceil(pair(m.get("rope.scaling.yarn_beta_slow", 1.0))))
    out = []
    for i, angle in enumerate(plain):
        slowed = min(1.0, max(0.0, (i - low) / max(0.001, high - low)))
        out.append(angle * (1 - slowed) + angle / factor * slowed)
    return np.array(out), scale * (1 + 0.1 * math.log(factor))
